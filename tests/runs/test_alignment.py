"""`translate --alignment`: a line of links for each line of the output, of the raw lines' words."""

import json

import numpy as np
import pytest

import transformer_jax
from transformer_jax.cli.main import run as command_line
from transformer_jax.config import Config
from transformer_jax.data.preprocessing import build_preprocessors
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.runs.alignment import (
  Aligner,
  default_heads,
  heads_of_run,
  named_heads,
  pharaoh,
)
from transformer_jax.runs.translate import translate
from transformer_jax.tasks.translation import TranslationTask

LINES = "forty two\n\nsix hundred seven\n  seven \n\N{GRINNING FACE} \u200b\n" + "one " * 60 + "\n"
HEADS = [(0, 0), (0, 1)]


@pytest.fixture(scope="module")
def model(trained):
  return transformer_jax.load(trained)


def translated(workdir, folder, content, alignment=None, **options):
  folder.mkdir(exist_ok=True)
  (folder / "in").write_text(content, encoding="utf-8")
  path = folder / alignment if alignment else None
  overrides = options.pop("overrides", {})
  translate(
    workdir, folder / "in", folder / "out", overrides=overrides, alignment_path=path, **options
  )
  return (folder / "out").read_bytes(), path and path.read_text().splitlines()


@pytest.mark.parametrize(
  "options",
  [dict(), pytest.param(dict(num_best=3), marks=pytest.mark.slow), dict(with_scores=True)],
)
def test_a_line_for_each_line_of_an_output_that_stays(trained, tmp_path, options):
  plain, _ = translated(trained, tmp_path / "plain", LINES, **options)
  output, alignment = translated(trained, tmp_path / "aligned", LINES, "links", **options)
  assert output == plain
  texts = output.decode().splitlines()
  assert len(alignment) == len(texts)
  for number, (line, links) in enumerate(zip(texts, alignment, strict=True)):
    if options.get("num_best"):
      place, text = line.split(" ||| ")[:2]
    else:
      place, text = number, line.split("\t")[-1]
    source = LINES.splitlines()[int(place)]
    pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
    assert len({word for _, word in pairs}) == len(pairs)  # one link a word of the output
    assert all(word < len(text.split()) for _, word in pairs)
    assert all(word < len(source.split()) for word, _ in pairs)


@pytest.mark.slow
def test_a_group_gets_the_links_that_each_gets_alone(model):
  """Rounding of batches of other shapes could move a link between equal words only."""
  sentences = ["forty two", "six hundred seven", "one million"] * 15
  n_best_lists = list(model.n_best(sentences, 2))
  aligner = Aligner(model, HEADS)
  outputs = [
    (text, answer.tokens, answer.text)
    for text, n_best in zip(sentences, n_best_lists, strict=True)
    for answer in n_best
  ]
  together = list(aligner.links(outputs))
  alone = [next(aligner.links([output])) for output in outputs]
  assert np.mean([a == b for a, b in zip(together, alone, strict=True)]) > 0.9


def test_the_weights_are_those_of_attention(model):
  """Also for a target without EOS, and beside a longer one."""
  pairs = [("forty two", "zweiundvierzig"), ("six hundred seven", "sechshundertsieben")]
  encoded = [(model.encode(a), model.encode(b, "target")) for a, b in pairs]
  encoded.append((encoded[0][0], encoded[0][1][:-1]))
  found = list(model.cross_attention(encoded, HEADS))
  for (source, target), weights_TS in zip(pairs, found[:2], strict=True):
    expected_HTS = model.attention(source, target)["cross"][0]
    np.testing.assert_allclose(weights_TS, expected_HTS.mean(0), atol=1e-5)
  np.testing.assert_allclose(found[2], found[0][:-1], atol=1e-6)


def task_of(words, **settings):
  """Returns a task whose sub-words are the words of a list."""
  from transformer_jax.data.tokenizers.word_list import WordListTokenizer

  files = dict(
    data_source="text", train_source="s", train_target="t", valid_source="s", valid_target="t"
  )
  data = Config().replace(**files, **settings).data
  return TranslationTask(data, WordListTokenizer(words), *build_preprocessors(data))


class Given:
  """A run with given weights in place of a model's."""

  def __init__(self, task, weights):
    self.task = task
    self.config = Config()
    self._weights = weights

  def cross_attention(self, encoded, heads):
    for (source, target), weights_TS in zip(encoded, self._weights, strict=True):
      assert np.shape(weights_TS) == (len(target), len(source))
      yield np.array(weights_TS, np.float32)


def test_the_position_that_reads_a_word():
  """It is the next one; the end sign gets one more."""
  task = task_of(["a", "b", "x", "y"], tokenizer="segmented")
  weights = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]  # predict x, y, EOS; EOS has another position
  tokens = task.tokenizer.encode("x y")
  aligner = Aligner(Given(task, [weights]), HEADS, position="reads")
  assert list(aligner.links([("a b", tokens, "x y")])) == [[(1, 0), (0, 1)]]


def test_named_heads(trained, tmp_path):
  model = Config().replace(num_layers=2, num_heads=4).model
  assert named_heads("1.2,2.4", model) == [(0, 1), (1, 3)]
  for names in ("3.1", "1.5", "0.1", "1", "a.b", "1.2.3"):
    with pytest.raises(ConfigError, match=r"is no head; name heads from 1\.1 to 2\.4"):
      named_heads(names, model)
  with pytest.raises(ConfigError, match="names no head"):
    named_heads(",", model)
  path = tmp_path / "links"
  flags = [f"--workdir={trained}", "--alignment_heads=1.2", "--alignment_position=reads"]
  (tmp_path / "in").write_text("forty two\n")
  files = [f"--input={tmp_path}/in", f"--output={tmp_path}/out", f"--alignment={path}"]
  assert command_line(["translate", *flags, *files]) == 0
  assert len(path.read_text().splitlines()) == 1


def test_sums_over_sub_words_and_the_end_sign():
  task = task_of(["ab@@", "c", "d", "x@@", "y", "z"], tokenizer="segmented")
  # The source "ab@@ c d" has the words 0, 1, 2 of the line, then EOS; "xy z" has two.
  weights = [[0.3, 0.2, 0.4, 0.1], [0.3, 0.3, 0.4, 0.0], [0.1, 0.0, 0.3, 0.6]]
  tokens = task.tokenizer.encode("x@@ y z")
  (links,) = Aligner(Given(task, [weights]), HEADS).links([("ab@@ c d", tokens, "xy z")])
  assert links == [(2, 0)]  # 0.8 of 2; z rests on the end sign
  # Joined to one word of the line, ab and c have 1.1 together.
  joined = task_of(["ab@@", "c", "d", "x@@", "y", "z"], tokenizer="segmented")
  joined.tokenizer.segment = lambda text: ["ab@@", "c", "d"]
  (links,) = Aligner(Given(joined, [weights]), HEADS).links([("abc d", tokens, "xy z")])
  assert pharaoh(links) == "0-0"


def test_words_of_the_raw_line_with_moses():
  words = ["&apos;s", "ja", ",", "it", "yes"]
  task = task_of(words, tokenizer="segmented", preprocessing="moses_lowercase")
  source = "Ja, IT's"  # ja , it &apos;s EOS
  weights = np.eye(5)[[0, 1, 3]]
  tokens = task.tokenizer.encode("yes , it")
  run = Given(task, [weights])
  assert list(Aligner(run, HEADS).links([(source, tokens, "yes, it")])) == [[(0, 0), (1, 1)]]
  run = Given(task, [weights])  # the output as it is tokenized
  assert list(Aligner(run, HEADS).links([(source, tokens, "yes , it")])) == [
    [(0, 0), (0, 1), (1, 2)]
  ]
  run = Given(task, [weights])  # and the input
  aligner = Aligner(run, HEADS, is_preprocessed=True)
  (links,) = aligner.links([("ja , it &apos;s", tokens, "yes , it")])
  assert links == [(0, 0), (1, 1), (3, 2)]


def test_a_source_that_is_cut(trained, tmp_path, capsys):
  output, alignment = translated(
    trained, tmp_path / "cut", LINES, "links", overrides=dict(max_source_length=5)
  )
  assert "cut from" in capsys.readouterr().err
  assert len(alignment) == len(output.splitlines())
  assert all(int(link.split("-")[0]) < 5 for link in alignment[-1].split())


def test_default_heads_are_of_the_last_layer_or_in_deep_models_of_the_last_but_one():
  layers = {
    number: {layer for layer, _ in default_heads(Config().replace(num_layers=number).model)}
    for number in (1, 2, 3, 4, 6)
  }
  assert layers == {1: {0}, 2: {1}, 3: {2}, 4: {2}, 6: {4}}
  assert default_heads(Config().model) == [(4, head) for head in range(8)]


def rows_of(num_layers, num_heads, alignment):
  return [
    dict(attention=attention, layer=layer, head=head, alignment=alignment[layer])
    for attention in ("encoder", "cross")
    for layer in range(num_layers)
    for head in range(num_heads)
  ]


class Run:
  """What `heads_of_run` asks of a run."""

  def __init__(self):
    self.steps = [7]
    self.config = Config().replace(num_layers=3, num_heads=2)


def write_heads(workdir, heads):
  (workdir / "heads").mkdir(exist_ok=True)
  content = dict(steps=[7], perplexity=1.0, heads=heads)
  (workdir / "heads" / "heads.json").write_text(json.dumps(content), encoding="utf-8")


def test_measured_heads_name_the_layer(tmp_path):
  assert heads_of_run(Run(), tmp_path) == [(2, 0), (2, 1)]
  write_heads(tmp_path, rows_of(3, 2, [0.1, 0.8, 0.3]))
  assert heads_of_run(Run(), tmp_path) == [(1, 0), (1, 1)]


@pytest.mark.parametrize(
  "heads", [[], [3], rows_of(2, 2, [0.1, 0.2]), rows_of(4, 2, [0.1] * 4), rows_of(3, 2, ["x"] * 3)]
)
def test_measured_heads_of_another_model(tmp_path, heads):
  write_heads(tmp_path, heads)
  with pytest.raises(
    DataError, match=r"each cross-attention head|is not what .* heads writes"
  ) as caught:
    heads_of_run(Run(), tmp_path)
  assert caught.value.where == f"{tmp_path}/heads/heads.json"


def test_the_output_is_no_place_for_it(trained, tmp_path, capsys):
  for output, alignment in ((tmp_path / "x", f"{tmp_path}/./x"), ("-", "-")):
    flags = [f"--workdir={trained}", f"--output={output}", f"--alignment={alignment}"]
    assert command_line(["translate", *flags]) == 2
    assert "is also the output" in capsys.readouterr().err


def test_an_ensemble_has_no_attention_of_its_own(trained, tmp_path, capsys):
  flags = [f"--workdir={trained}", f"--ensemble={trained}", f"--alignment={tmp_path}/x"]
  assert command_line(["translate", *flags]) == 2
  assert "leave out --ensemble" in capsys.readouterr().err


def test_heads_without_a_file_for_alignments_are_refused(trained, capsys):
  assert command_line(["translate", f"--workdir={trained}", "--alignment_heads=9.9"]) == 2
  assert "--alignment_heads: needs --alignment" in capsys.readouterr().err
