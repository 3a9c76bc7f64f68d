"""Exported models give the model's own logits and translations in CTranslate2 and transformers.

`make test-interop` installs both. Random parameters show every transform, also of biases and norms
that a short training leaves as they were; the trained run goes the whole way by the command.
"""

import contextlib
import io
import json
import re

import jax
import marian_folder as marian
import numpy as np
import pytest
from random_models import LINES, hypotheses, is_as_good, random_model

import transformer_jax
from transformer_jax.cli.main import run as command_line
from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.data.pipeline import pad_rows
from transformer_jax.data.tokenizers.folder import train_tokenizer
from transformer_jax.interop.checks import Form
from transformer_jax.interop.export import export_model
from transformer_jax.interop.import_run import import_run

pytestmark = pytest.mark.interop

SIZES = dict(num_layers=2, d_model=32, d_ff=48, num_heads=2, d_k=16, d_v=16)
VARIANTS = {
  "post, sinusoidal, all": dict(),
  "pre, learned, none, d_k < d_v": dict(
    norm="pre",
    positions="learned",
    max_positions=60,
    embedding_sharing="none",
    num_heads=3,
    d_k=8,
    d_v=24,
  ),
  "post, concatenated, target, d_k > d_v": dict(
    positions="sinusoidal_concatenated", embedding_sharing="target", num_heads=4, d_k=32, d_v=8
  ),
  "pre, no positions, wide heads": dict(norm="pre", positions="none", num_heads=5),
}
SEARCHES = dict(greedy=dict(beam_size=1), beam=dict(beam_size=4))
# Both limits are far beyond what is compared.
LIMITS = dict(max_extra_length=12, length_penalty_form="power")
TEXTS = ["the cat sat on the mat", "die katze saß auf der matte", "forty two", "nine one"] * 3
TEXT_FILES = dict(data_source="text", train_source="a", train_target="b", valid_source="c")
TEXT_FILES |= dict(valid_target="d", bpe_merges=20, vocab_size=50)


@pytest.fixture(scope="module")
def run(trained):
  return transformer_jax.load(trained)


def pairs_of(model):
  """Returns (source, target) tokens, EOS included: targets that have nothing to do with sources."""
  targets = [*LINES[1:], LINES[0]]
  return [
    (model.task.encode_source(source), model.task.encode_target(target))
    for source, target in zip(LINES, targets, strict=True)
  ]


def segmented(config, kind):
  """Returns (settings, tokenizer) of text that is not SentencePiece's."""
  settings = dict(tokenizer=kind, **TEXT_FILES)
  return settings, train_tokenizer(config.replace(**settings).data, iter(TEXTS))


# CTranslate2.


class InCTranslate2:
  """An exported model in CTranslate2."""

  def __init__(self, model, folder, form=None):
    import ctranslate2

    export_model(model, folder, form or Form("ctranslate2"))
    self.translator = ctranslate2.Translator(str(folder), device="cpu", intra_threads=1)
    tokenizer = model.task.tokenizer
    self.pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    self.ids = {piece: number for number, piece in enumerate(self.pieces)}

  def log_probs(self, pairs):
    """Returns the log-probability of each (source, target), EOS included."""
    source, target = ([self.text(tokens) for tokens in side] for side in zip(*pairs, strict=True))
    return [sum(result.log_probs) for result in self.translator.score_batch(source, target)]

  def search(self, model, lines):
    """Returns (tokens, score) for each line."""
    decode = model.config.decode
    results = self.translator.translate_batch(
      [self.text(model.task.encode_source(line)) for line in lines],
      beam_size=decode.beam_size,
      length_penalty=decode.length_penalty,
      patience=8,
      min_decoding_length=0,
      max_decoding_length=60,
      return_scores=True,
    )
    return [([self.ids[piece] for piece in r.hypotheses[0]], r.scores[0]) for r in results]

  def text(self, tokens):
    assert tokens[-1] == EOS_ID
    return [self.pieces[token] for token in tokens[:-1]]


def check_search(model, engine, search, tolerance):
  """Compares translations, and scores of those that end within the limit."""
  searching = random_model_with(model, **SEARCHES[search], **LIMITS)
  ours = hypotheses(searching, LINES)
  theirs = engine.search(searching, LINES)
  for line, mine, (tokens, score) in zip(LINES, ours, theirs, strict=True):
    if search == "greedy":
      assert is_as_good(model, line, mine.tokens, tokens, tolerance)
    elif mine.is_finished and len(tokens) < 60:
      assert mine.tokens == tokens or score == pytest.approx(mine.score, abs=tolerance)
      if mine.tokens == tokens:
        assert score == pytest.approx(mine.score, abs=tolerance)


def random_model_with(model, **settings):
  """Returns the same model with other decoding settings."""
  from transformer_jax.runs.trained_model import TrainedModel

  config = model.config.replace(**settings)
  return TrainedModel(config, model.task, model.model, model.params, model.steps)


def check_ctranslate2(model, folder, searches=("greedy",)):
  pytest.importorskip("ctranslate2", reason="needs the package ctranslate2")
  engine = InCTranslate2(model, folder)
  pairs = pairs_of(model)
  ours = [log_prob for log_prob, _ in model.encoded_log_probs(pairs)]
  np.testing.assert_allclose(engine.log_probs(pairs), ours, rtol=2e-6, atol=1e-5)
  for search in searches:
    check_search(model, engine, search, tolerance=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_ctranslate2_takes_every_form(variant, run, tmp_path):
  settings = {**SIZES, **VARIANTS[variant]}
  check_ctranslate2(random_model(run.config, run.task.tokenizer, **settings), tmp_path / "out")


@pytest.mark.parametrize("kind", ["subword_nmt", "segmented"])
def test_ctranslate2_takes_every_tokenizer(kind, run, tmp_path):
  settings, tokenizer = segmented(run.config, kind)
  model = random_model(run.config, tokenizer, **SIZES, **settings)
  check_ctranslate2(model, tmp_path / "out")
  names = {path.name for path in (tmp_path / "out").iterdir()}
  assert {"vocabulary.txt", "model.bin", "config.json", "README.md"} <= names


def test_ctranslate2_of_the_trained_run(run, tmp_path):
  check_ctranslate2(run, tmp_path / "out", SEARCHES)


@pytest.mark.parametrize(
  "quantization, tolerance", [("float16", 1e-2), ("int8", 0.1), ("int16", 1e-2), ("float32", 1e-6)]
)
def test_quantized_models_are_close_and_small(quantization, tolerance, run, tmp_path):
  pytest.importorskip("ctranslate2", reason="needs the package ctranslate2")
  before = [leaf.copy() for leaf in run.params["encoder"]["layer_0"]["feed_forward"].values()]
  engine = InCTranslate2(run, tmp_path / "out", Form("ctranslate2", quantization))
  export_model(run, tmp_path / "whole", Form("ctranslate2"))
  pairs = pairs_of(run)
  ours = [log_prob for log_prob, _ in run.encoded_log_probs(pairs)]
  np.testing.assert_allclose(engine.log_probs(pairs), ours, rtol=tolerance)
  size, whole = ((tmp_path / name / "model.bin").stat().st_size for name in ("out", "whole"))
  assert size <= whole and (size < whole or quantization == "float32")
  after = list(run.params["encoder"]["layer_0"]["feed_forward"].values())
  for one, other in zip(before, after, strict=True):
    for name in one:
      np.testing.assert_array_equal(one[name], other[name])


# Hugging Face transformers.


class InTransformers:
  """An exported model in transformers."""

  def __init__(self, model, folder, is_untied):
    import torch
    import transformers

    export_model(model, folder, Form("huggingface", is_untied=is_untied))
    torch.set_num_threads(1)  # threads that wait for each other are slow on a busy machine
    self.torch = torch
    self.model, loading = transformers.MarianMTModel.from_pretrained(
      folder, output_loading_info=True
    )
    self.model.eval()
    assert not any(loading[name] for name in ("missing_keys", "unexpected_keys"))
    self.tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    self.pad = self.model.config.pad_token_id

  def ids(self, tokens):
    """Returns Marian's ids."""
    return [token - 1 if token else self.pad for token in tokens]

  def logits(self, source_BS, target_BT):
    """Returns [B, T, C] with our order of classes; rows are padded with our PAD."""
    marian = lambda tokens: self.torch.tensor(np.where(tokens == PAD_ID, self.pad + 1, tokens) - 1)
    previous_BT = np.pad(target_BT, ((0, 0), (1, 0)))[:, :-1]
    with self.torch.no_grad():
      logits_BTC = self.model(
        input_ids=marian(source_BS),
        attention_mask=self.torch.tensor((source_BS != PAD_ID).astype(np.int64)),
        decoder_input_ids=marian(previous_BT),
      ).logits
    return np.roll(logits_BTC.numpy(), 1, axis=-1)

  def search(self, model, lines):
    """Returns (tokens, score) for each line; the defaults are those of the folder."""
    with self.torch.no_grad():
      output = self.model.generate(
        **self.tokenizer(lines, return_tensors="pt", padding=True),
        num_beams=model.config.decode.beam_size,
        max_length=60,
        return_dict_in_generate=True,
        output_scores=True,
      )
    rows = [row[1:] for row in output.sequences.tolist()]
    rows = [row[: row.index(0)] if 0 in row else row for row in rows]
    scores = (
      output.sequences_scores.tolist() if "sequences_scores" in output else [None] * len(rows)
    )
    tokens = ([number + 1 for number in row] for row in rows)
    return list(zip(tokens, scores, strict=True))


def check_transformers(model, folder, is_untied):
  pytest.importorskip("transformers", reason="needs the packages transformers and torch")
  pytest.importorskip("torch", reason="needs the package torch")
  engine = InTransformers(model, folder, is_untied)
  for line in LINES:
    assert engine.tokenizer(line)["input_ids"] == engine.ids(model.task.encode_source(line))
  has_pad = is_untied or model.config.model.embedding_sharing == "none"
  source_BS, target_BT = (
    pad_rows(side, len(side), 48) for side in zip(*pairs_of(model), strict=True)
  )
  ours_BTC = jax.jit(model.model.apply)({"params": model.params}, source_BS, target_BT)
  is_token_BT = target_BT != PAD_ID
  ours, theirs = np.asarray(ours_BTC)[is_token_BT], engine.logits(source_BS, target_BT)[is_token_BT]
  # Epsilon is 1e-5 there, and 1e-6 here.
  first = 0 if has_pad else 1
  np.testing.assert_allclose(theirs[:, first:], ours[:, first:], rtol=0, atol=2e-3)
  assert has_pad or (theirs[:, 0] < -1e3).all()
  return engine


@pytest.mark.parametrize("is_untied", [False, True])
@pytest.mark.parametrize("sharing", ["all", "target", "none"])
def test_transformers_has_our_logits(sharing, is_untied, run, tmp_path):
  settings = dict(SIZES, embedding_sharing=sharing)
  model = random_model(run.config, run.task.tokenizer, **settings)
  engine = check_transformers(model, tmp_path / "out", is_untied)
  check_search(model, engine, "greedy", tolerance=5e-3)


def test_transformers_with_the_trained_run(trained, tmp_path):
  """The command exports averaged checkpoints; transformers saves the model and reads it again."""
  transformers = pytest.importorskip("transformers", reason="needs the package transformers")
  flags = ["--format=huggingface", "--average_last=2", f"--output={tmp_path}/out"]
  assert command_line(["export", f"--workdir={trained}", *flags]) == 0
  model = transformer_jax.load(trained, average_last=2)
  engine = check_transformers(model, tmp_path / "direct", is_untied=False)
  for name in ("model.safetensors", "vocab.json", "source.spm"):
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()
  for search in SEARCHES:
    check_search(model, engine, search, tolerance=0.02)
  engine.model.save_pretrained(tmp_path / "again")
  again = transformers.MarianMTModel.from_pretrained(tmp_path / "again").state_dict()
  for name, tensor in engine.model.state_dict().items():
    assert tensor.equal(again[name]), name


# The lines of README.md.


def run_readme(folder, monkeypatch, lines):
  """Runs the code of a folder's README.md with other sentences; returns what it prints."""
  text = (folder / "README.md").read_text(encoding="utf-8")
  (code,) = re.findall("```python\n(.*?)```", text, re.DOTALL)
  code = re.sub(r"^sentences = .*$", f"sentences = {json.dumps(lines)}", code, flags=re.M)
  monkeypatch.chdir(folder)
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    exec(code, {})  # the code that README.md shows
  return printed.getvalue().splitlines()


@pytest.mark.parametrize("form", ["ctranslate2", "huggingface", "subword_nmt", "safetensors"])
def test_the_code_of_the_readme_runs(form, run, tmp_path, monkeypatch):
  pytest.importorskip("transformers" if form == "huggingface" else "ctranslate2")
  model = run
  if form == "subword_nmt":
    settings, tokenizer = segmented(run.config, form)
    model = random_model(run.config, tokenizer, **SIZES, **settings)
    form = "ctranslate2"
  export_model(model, tmp_path / "out", Form(form))
  lines = ["forty two", "the cat sat"]
  printed = run_readme(tmp_path / "out", monkeypatch, lines)
  assert len(printed) == len(lines)


def test_the_code_of_an_imported_model_gives_its_texts(tmp_path, monkeypatch):
  """Also where a piece is the source's alone, whose mark the target's model does not know."""
  pytest.importorskip("ctranslate2")
  marian.write_marian(tmp_path / "model")
  import_run(str(tmp_path / "model"), tmp_path / "run")
  model = transformer_jax.load(tmp_path / "run")
  engine = InCTranslate2(model, tmp_path / "out")
  lines = marian.sentences(marian.SOURCE_WORDS, 20, 3)
  expected = []
  for result in engine.translator.translate_batch(
    [engine.text(model.task.encode_source(line)) for line in lines],
    beam_size=4,
    length_penalty=1.0,
    patience=8,
    min_decoding_length=0,
  ):
    ids = [engine.ids[piece] for piece in result.hypotheses[0]]
    expected.append(model.task.tokenizer.decode(ids))
  assert run_readme(tmp_path / "out", monkeypatch, lines) == expected
