"""A parser from end to end: trained, evaluated, and a tree for each line, whatever its text."""

import gzip
import json

import pytest
import tiny_run
from conversation import answers_of_a_conversation

import transformer_jax
from transformer_jax.analysis.attention.maps import sentence_attention
from transformer_jax.cli.main import run as command_line
from transformer_jax.data.preprocessing import penn_tokenize
from transformer_jax.data.trees import parse_tree
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.runs.evaluate import evaluate
from transformer_jax.runs.parse import parse
from transformer_jax.runs.train import train
from transformer_jax.runs.translate import translate
from transformer_jax.tasks.parsing import split_words

SETTINGS = dict(
  task="parsing",
  data_source="grammar",
  grammar_train_size=300,
  embedding_sharing="none",
  vocab_size=120,
  max_length=200,
  batch_tokens=1024,
  num_buckets=1,
  max_extra_length=60,
  train_steps=20,
  evaluate_every=20,
  checkpoint_every=20,
  bleu_sentences=4,
  beam_size=2,
)
LINES = [
  b"the dog (who barks) can't run.\n",
  b"\n",
  b"   \n",
  b"( ) ) (\n",
  b"\xff\xfe \x00\n",
  "שלום \N{GRINNING FACE} a\N{NO-BREAK SPACE}b\n".encode(),
  b"word " * 300 + b"\n",
  b"-LRB- (TOP (S XX )S </s> <pad>\n",
  "one\N{LINE SEPARATOR}two\n".encode(),
  b"\x0b\x0c\n",
  b"end",
]


@pytest.fixture(scope="module")
def parser(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("parser") / "run"
  train(tiny_run.tiny_config(**SETTINGS), workdir, ".")
  return workdir


def parsed(workdir, tmp_path, content, **options):
  (tmp_path / "in").write_bytes(content)
  parse(
    workdir, tmp_path / "in", tmp_path / "out", overrides=options.pop("overrides", {}), **options
  )
  return (tmp_path / "out").read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.parametrize(
  "overrides", [dict(beam_size=1, max_extra_length=30), dict(constrained=True)]
)
def test_every_line_has_a_tree_over_its_words(parser, tmp_path, overrides, capsys):
  for tokenized_input in (False, True):
    lines = parsed(
      parser,
      tmp_path,
      b"".join(LINES),
      overrides=dict(max_source_length=400, **overrides),
      tokenized_input=tokenized_input,
    )
    assert len(lines) == len(LINES)
    for line, raw in zip(lines, LINES, strict=True):
      text = raw.decode("utf-8", errors="replace").removesuffix("\n")
      words = split_words(text if tokenized_input else penn_tokenize(text))
      assert parse_tree(line).words == tuple(words)
      assert not words or line.startswith("(TOP ")
  assert "trees, " in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_with_and_without_constraint(parser):
  free = evaluate(parser, overrides={}, split="valid")
  kept = evaluate(parser, overrides=dict(constrained=True), split="valid")
  assert kept["repair_rate"] == 0 and kept["failed_sentences"] == []
  assert (
    free["sentences"] == kept["sentences"] == 500 and 0 <= free["repair_rate"] <= 100
  )  # per cent
  assert (
    0 <= free["f1"] <= 100 and free["summary"]["valid_sentences"] == 500 and "NP" in free["labels"]
  )
  assert (parser / "evaluations" / "valid-step20.hypotheses.txt").read_text().count("\n") == 500


@pytest.mark.parametrize(
  "source, reference, problem",
  [
    ("", "", "has no lines"),
    ("a dog\n", "(TOP (NN a)\n", "reference:1: a bracket"),
    ("a dog\n", "\n", "reference:1: is not a tree"),
    ("a\n", "(TOP (S (NN b)))\n", "reference:1: has other words"),
  ],
)
def test_files_that_cannot_be_scored(parser, tmp_path, capsys, source, reference, problem):
  (tmp_path / "source").write_text(source)
  (tmp_path / "reference").write_text(reference)
  assert (
    command_line(
      [
        "evaluate",
        f"--workdir={parser}",
        f"--source={tmp_path / 'source'}",
        f"--reference={tmp_path / 'reference'}",
      ]
    )
    == 3
  )
  assert problem in capsys.readouterr().err


def test_metrics_have_f1(parser):
  valid = [
    json.loads(line)
    for line in (parser / "metrics.jsonl").read_text().splitlines()
    if '"valid"' in line
  ]
  assert {"f1", "complete_match", "repair_rate", "perplexity"} <= set(valid[-1])


def test_pretty_and_scores(parser, tmp_path):
  lines = parsed(parser, tmp_path, b"a dog .\n\n", pretty=True)
  assert lines[0] == "(TOP" and lines[-1] == ""
  log_prob, score, tree = parsed(parser, tmp_path, b"a dog .\n", with_scores=True)[0].split("\t")
  assert float(log_prob) < 0 and float(score) < 0 and parse_tree(tree).words == ("a", "dog", ".")
  with pytest.raises(ConfigError, match="--pretty"):
    parse(parser, overrides={}, pretty=True, with_scores=True)


def test_each_sentence_is_parsed_while_the_pipe_stays_open(parser, monkeypatch):
  answers = answers_of_a_conversation(
    monkeypatch,
    [b"a dog .\n", b"\n", b"a dog .\n"],
    lambda: parse(parser, overrides=dict(beam_size=1, max_extra_length=4)),
  )
  assert len(answers) == 3 and answers[0] == answers[2] != b"\n" == answers[1]


def test_packed_sentences_and_bytes_that_are_no_text(parser, tmp_path, capsys):
  options = dict(overrides=dict(beam_size=1, max_extra_length=4))
  (tmp_path / "in.gz").write_bytes(gzip.compress(b"a dog .\na \xff\n"))
  parse(parser, tmp_path / "in.gz", tmp_path / "out.gz", **options)
  assert gzip.decompress((tmp_path / "out.gz").read_bytes()).count(b"\n") == 2
  assert "in.gz:2: is not UTF-8" in capsys.readouterr().err
  with pytest.raises(DataError, match=r"in.gz:2: is not UTF-8"):
    parse(parser, tmp_path / "in.gz", tmp_path / "out", is_strict=True, **options)


def test_attention_over_the_words_of_another_sentence_is_refused(parser):
  model = transformer_jax.load(parser)
  with pytest.raises(ValueError, match=r"^the output has other words than its sentence"):
    model.attention("the cat sat .", "(TOP (S (NP (NNP John)) (VP (VBZ runs))))")
  with pytest.raises(DataError, match="is not a tree"):
    model.attention("the cat sat .", "the cat sat .")


def test_attention_of_a_parser_is_from_brackets_to_words(parser):
  one = sentence_attention(
    transformer_jax.load(parser),
    "the dog barks .",
    "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))",
  )
  assert one.maps["cross"].queries == [
    "(S",
    "(NP",
    "XX",
    "XX",
    ")NP",
    "(VP",
    "XX",
    ")VP",
    "XX",
    ")S",
    "</s>",
  ]
  assert "".join(one.maps["cross"].keys[:-1]).replace(
    "\N{LOWER ONE EIGHTH BLOCK}", " "
  ).split() == ["the", "dog", "barks", "."]


def test_the_wrong_command_for_a_run(parser, trained, tmp_path):
  with pytest.raises(ConfigError, match="transformer-jax translate"):
    parse(trained, overrides={})
  with pytest.raises(ConfigError, match="transformer-jax parse"):
    translate(parser, overrides={})
  with pytest.raises(ConfigError, match="--constrained"):
    evaluate(trained, overrides=dict(constrained=True))


def test_resumes_and_scores_pairs(parser, tmp_path, capsys):
  (tmp_path / "source").write_text("the dog barks .\n")
  (tmp_path / "target").write_text("(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))\n")
  assert (
    command_line(
      [
        "score",
        f"--workdir={parser}",
        f"--source={tmp_path / 'source'}",
        f"--target={tmp_path / 'target'}",
      ]
    )
    == 0
  )
  (tmp_path / "target").write_text("no tree\n")
  assert (
    command_line(
      [
        "score",
        f"--workdir={parser}",
        f"--source={tmp_path / 'source'}",
        f"--target={tmp_path / 'target'}",
      ]
    )
    == 3
  )
  assert f"{tmp_path / 'target'}:1: 'no' stands outside of brackets" in capsys.readouterr().err
