"""`translate`: a line for each line, whatever its bytes; n-best lists; scores; whole files."""

import gzip
import io
import itertools
import sys
import types

import pytest
from conversation import answers_of_a_conversation

import transformer_jax
from transformer_jax.cli.main import run as command_line
from transformer_jax.config import EOS_ID
from transformer_jax.decoding.generate import Source, generate
from transformer_jax.errors import ConfigError
from transformer_jax.runs.search import make_decode_batch
from transformer_jax.runs.translate import translate

# Each holds exactly one newline, at its end.
DIRTY = [
  b"forty two\n",
  b"\n",
  b"\xff\xfe\x80\n",
  b"seven\r\n",
  b"one\rtwo\n",
  "one\N{LINE SEPARATOR}two\n".encode(),
  b"\x00\x01\x0c\x1c\x85\n",
  "\N{ZERO WIDTH NO-BREAK SPACE}five\n".encode(),
  b"   \n",
  b"<pad> </s> <unk>\n",
  "\N{GRINNING FACE} שלום\n".encode(),
  b"one " * 300 + b"\n",
  b"last, without newline",
]


def translated(workdir, tmp_path, content, **options):
  (tmp_path / "in").write_bytes(content)
  translate(
    workdir, tmp_path / "in", tmp_path / "out", overrides=options.pop("overrides", {}), **options
  )
  return (tmp_path / "out").read_bytes().split(b"\n")[:-1]


def test_every_line_has_its_line(trained, tmp_path, capsys):
  lines = translated(trained, tmp_path, b"".join(DIRTY), overrides=dict(max_source_length=100))
  assert len(lines) == len(DIRTY)
  assert lines[1] == b"" and lines[8] == b""
  for line in lines:
    line.decode("utf-8")
  warnings = capsys.readouterr().err.splitlines()
  assert (
    len(warnings) == 2
    and "in:12: cut from" in warnings[0]
    and "--max_source_length=100" in warnings[0]
  )
  assert (
    "in:3: is not UTF-8, the first of 2 such lines" in warnings[1] and "--strict" in warnings[1]
  )


def test_a_line_gets_the_answer_it_gets_by_itself(trained, tmp_path):
  """The scores agree; rounding in a batch of another shape may choose another of equal ones."""

  def scored(content):
    return [line.split(b"\t") for line in translated(trained, tmp_path, content, with_scores=True)]

  together = scored(b"".join(DIRTY[:11]))
  # A file that begins as the third line does is taken for UTF-16.
  alone = [scored(b"\n" * (number == 2) + line)[-1] for number, line in enumerate(DIRTY[:11])]
  for ours, theirs in zip(together, alone, strict=True):
    assert float(ours[1]) == pytest.approx(float(theirs[1]), abs=1e-3)
  assert scored(b"\xef\xbb\xbfforty two\r\n") == alone[:1]  # a BOM and a CR are no text


def test_strict_refuses_what_is_not_utf8(trained, tmp_path, capsys):
  (tmp_path / "in").write_bytes(b"one\ntw\xff\n")
  assert (
    command_line(
      [
        "translate",
        f"--workdir={trained}",
        f"--input={tmp_path}/in",
        f"--output={tmp_path}/out",
        "--strict",
      ]
    )
    == 3
  )
  assert (
    f"{tmp_path}/in:2: is not UTF-8 at byte 2" in capsys.readouterr().err
    and not (tmp_path / "out").exists()
  )


def test_packed_input_and_output(trained, tmp_path):
  (tmp_path / "in.gz").write_bytes(gzip.compress(b"forty two\nnine\n"))
  for name in ("out", "out.gz", "again.gz"):
    translate(trained, tmp_path / "in.gz", tmp_path / name, overrides={})
  plain, packed = (tmp_path / "out").read_bytes(), (tmp_path / "out.gz").read_bytes()
  assert (
    plain.count(b"\n") == 2
    and gzip.decompress(packed) == plain
    and packed == (tmp_path / "again.gz").read_bytes()
  )


def test_each_line_is_answered_while_the_pipe_stays_open(trained, monkeypatch):
  sentences = [b"\n", b"forty two\n", b"   \n", b"nine\n"]
  answers = answers_of_a_conversation(
    monkeypatch,
    sentences,
    lambda: translate(trained, overrides=dict(beam_size=1, max_extra_length=4)),
  )
  assert len(answers) == 4 and answers[0] == answers[2] == b"\n"


def test_an_empty_file_gives_an_empty_file(trained, tmp_path):
  assert translated(trained, tmp_path, b"") == [] and (tmp_path / "out").read_bytes() == b""


def test_output_may_be_the_input_and_is_replaced_whole(trained, tmp_path, monkeypatch):
  path = tmp_path / "text"
  path.write_bytes(b"one\ntwo\n")
  translate(trained, path, path, overrides={})
  assert path.read_bytes().count(b"\n") == 2 and path.read_bytes() != b"one\ntwo\n"
  path.write_bytes(b"one\n")

  def broken(*_):
    raise RuntimeError("in the middle")

  monkeypatch.setattr("transformer_jax.runs.translate._format", broken)
  with pytest.raises(RuntimeError):
    translate(trained, path, path, overrides={})
  assert path.read_bytes() == b"one\n" and [p.name for p in tmp_path.iterdir()] == ["text"]


def test_n_best_lists_and_scores(trained, tmp_path):
  lines = translated(trained, tmp_path, b"forty two\n\nnine\n", num_best=3)
  rows = [line.decode().split(" ||| ") for line in lines]
  assert [row[0] for row in rows] == ["0"] * 3 + ["1"] + ["2"] * 3
  scores = [float(row[3]) for row in rows[:3]]
  assert scores == sorted(scores, reverse=True) and len({row[1] for row in rows[:3]}) == 3
  (with_scores,) = translated(trained, tmp_path, b"forty two\n", with_scores=True)
  log_prob, score, text = with_scores.decode().split("\t")
  assert text == rows[0][1]
  assert [float(log_prob), float(score)] == pytest.approx(
    [float(rows[0][2]), float(rows[0][3])], abs=1e-3
  )  # of a batch of another shape


def test_no_more_translations_than_the_search_keeps(trained, tmp_path):
  for num_best, overrides in ((0, {}), (-3, {}), (5, {}), (2, dict(beam_size=1))):
    with pytest.raises(
      ConfigError, match=f"--num_best={num_best}: is not between 1 and --beam_size="
    ):
      translated(trained, tmp_path, b"one\n", num_best=num_best, overrides=overrides)


def test_log_probabilities_are_those_of_score(trained):
  """The search, with its cache, sums the same as the whole model does for the same tokens."""
  model = transformer_jax.load(trained)
  decode = model.config.decode
  decode_batch = make_decode_batch(model.model, decode, num_best=2)(model._params)
  sources = [Source(model.task.encode_source(text)) for text in ("forty two", "nine")]
  n_best_lists = generate(
    sources,
    decode_batch,
    batch_tokens=decode.decode_batch_tokens,
    max_extra_length=decode.max_extra_length,
    num_best=2,
  )
  pairs, expected = [], []
  for source, hypotheses in zip(sources, n_best_lists, strict=True):
    for hypothesis in hypotheses:
      pairs.append((source.tokens, hypothesis.tokens + [EOS_ID] * hypothesis.is_finished))
      expected.append(hypothesis.log_prob)
  scored = [log_prob for log_prob, _ in model.encoded_log_probs(pairs)]
  assert len(pairs) == 4 and scored == pytest.approx(expected, rel=1e-4)


def test_greedy_is_beam_size_1(trained, tmp_path):
  assert len(translated(trained, tmp_path, b"one\ntwo\n", overrides=dict(beam_size=1))) == 2


def test_standard_input_to_standard_output_as_it_comes(trained, monkeypatch):
  """Of endless input: answers are written before the last line is read."""
  out = io.BytesIO()
  taken = 0

  class Stop(Exception):
    pass

  class Out(io.RawIOBase):
    def write(self, data):
      out.write(data)
      if out.getvalue().count(b"\n") == 100:
        raise Stop
      return len(data)

  def endless():
    nonlocal taken
    for line in itertools.cycle([b"one\n", b"twenty two\n"]):
      taken += 1
      yield line

  class In:
    def __enter__(self):
      return endless()

    def __exit__(self, *_):
      pass

  monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=In()))
  monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=Out()))
  with pytest.raises(Stop):
    translate(trained, overrides={})
  assert taken <= 32 + 256


def test_missing_files_are_named(trained, tmp_path, capsys):
  assert command_line(["translate", f"--workdir={trained}", f"--input={tmp_path}/none"]) == 3
  assert (
    command_line(
      ["translate", f"--workdir={trained}", "--input=/dev/null", f"--output={tmp_path}/none/out"]
    )
    == 6
  )
  errors = capsys.readouterr().err.splitlines()
  assert (
    len(errors) == 2
    and f"{tmp_path}/none cannot be read" in errors[0]
    and f"{tmp_path}/none/out: cannot be written" in errors[1]
  )
