"""Validation reports, before it translates, which sources are cut."""

import pytest
import tiny_run

from transformer_jax.runs.build import build_model
from transformer_jax.runs.prepare import prepare
from transformer_jax.runs.search import Sentence, best_outputs
from transformer_jax.runs.validation import Validation


def test_cut_sources_are_reported_once(capsys):
  config = tiny_run.tiny_config(max_source_length=6, bleu_sentences=20)
  prepared = prepare(config, ".")
  Validation(config, build_model(config, prepared.task), prepared)
  (line,) = [line for line in capsys.readouterr().err.splitlines() if "cut" in line]
  assert "valid:" in line and "--max_source_length=6" in line
  generous = config.replace(max_source_length=1000)
  Validation(generous, build_model(generous, prepared.task), prepared)
  assert "cut" not in capsys.readouterr().err


def test_an_empty_line_has_an_empty_answer_as_in_evaluate(monkeypatch):
  config = tiny_run.tiny_config(bleu_sentences=3)
  prepared = prepare(config, ".")
  pairs = [("", "a"), ("six", "sechs"), (" ", "b")]
  monkeypatch.setattr(Validation, "_pairs_to_translate", lambda self: pairs)
  sentences = Validation(config, build_model(config, prepared.task), prepared)._sentences
  assert [bool(sentence.tokens) for sentence in sentences] == [False, True, False]
  never = lambda *_: pytest.fail("there is nothing to search for")
  empty = [Sentence.of("", prepared.task.encode_source(""))]
  assert [output.text for output in best_outputs(prepared.task, empty, never, config.decode)] == [
    ""
  ]
