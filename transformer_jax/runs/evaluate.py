"""`evaluate`: decodes a test set, scores it, and keeps output and figures in the workdir."""

import sys
import time
from typing import Any, NamedTuple

from transformer_jax.config import split_list
from transformer_jax.data.sacrebleu_sets import NamedSet, read_test_set, refuse_contradictions
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.text import read_parallel
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.files import StrPath
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.ensemble import Ensemble, load_together
from transformer_jax.runs.evaluation_files import keep, text_digest
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.runs.validation import perplexity_of
from transformer_jax.tasks.task import Output, Task


class EvaluationSet(NamedTuple):
  """Pairs to score."""

  name: str  # "valid", "test", "files", or that of a test set of sacreBLEU
  sources: list[str]
  references: list[str]
  is_preprocessed: bool
  source_name: str  # of the text, for messages
  reference_name: str
  pair: str = ""  # of a test set of sacreBLEU, such as "en-de"


def evaluate(  # noqa: PLR0913 - one argument for each flag of the command
  workdir: StrPath,
  *,
  split: str | NamedSet = "test",
  overrides: dict[str, Any],
  source: StrPath | None = None,
  reference: StrPath | None = None,
  data_root: StrPath = ".",
  checkpoint: int | str = "last",
  ensemble: str = "",
  tokenized_input: bool = False,
) -> dict[str, Any]:
  """Scores a split of the run's data, a pair of files, or a test set of sacreBLEU.

  Args:
    workdir: folder of the run.
    split: "valid" or "test", or a test set of sacreBLEU, such as NamedSet("wmt14/full", "en-de").
    overrides: decoding settings that replace the run's (None keeps it).
    source, reference: files to translate and to compare with, instead of a split.
    data_root: folder that relative data paths start from.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.
    ensemble: workdirs of other runs to score together with this one, as `load_together` takes them;
      the result names all of them, with their steps, under "ensemble".
    tokenized_input: the files have been through the run's preprocessing.

  Returns:
    dict of scores, settings and speed. It is also written to evaluations/, with the translations
    (.hypotheses.txt) and a line of JSON for each sentence, with the log-probability and the tokens
    of its reference (.sentences.jsonl). If these files cannot be written, a warning says so.

  Raises:
    ConfigError, DataError: the set cannot be read or scored; raised before anything is decoded.
  """
  if isinstance(split, NamedSet):
    given = dict(source=source, reference=reference, tokenized_input=tokenized_input)
    refuse_contradictions(*split, [name for name, value in given.items() if value])
  if tokenized_input and not source:
    raise ConfigError(
      "--tokenized_input",
      "is about --source and --reference",
      "for a split, the run's --preprocessed_splits decides",
    )
  translator = load_together(workdir, ensemble, checkpoint, **overrides)
  if isinstance(split, NamedSet):
    test_set = _named(translator.task, split)
  elif source or reference:
    test_set = _files(translator.task, source, reference, tokenized_input)
  else:
    test_set = _split(translator.task, split, data_root)
  sentences, result = _score(translator, test_set)
  if source:
    result.update(source=str(source), reference=str(reference))
  if test_set.pair:
    result.update(pair=test_set.pair)
  result["headline"] = translator.task.headline(result)
  if isinstance(translator, Ensemble):
    result["ensemble"] = [dict(workdir=path, steps=steps) for path, steps in translator.members]
    result["headline"] += f", ensemble of {len(translator.members)}"
  keep(workdir, translator.config.decode, sentences, result)
  return result


def _files(
  task: Task, source: StrPath | None, reference: StrPath | None, is_preprocessed: bool
) -> EvaluationSet:
  """Reads a pair of files."""
  if not source or not reference:
    missing = "--reference" if source else "--source"
    raise ConfigError(missing, "is missing", "give both files, or neither")
  sources, references = read_parallel(source, reference)
  if not sources:
    raise DataError(source, "has no lines")
  for number, pair in enumerate(zip(sources, references, strict=True), 1):
    if problem := task.problem_of(*pair):
      raise DataError(f"{reference}:{number}", problem)
  return EvaluationSet("files", sources, references, is_preprocessed, str(source), str(reference))


def _split(task: Task, split: str, data_root: StrPath) -> EvaluationSet:
  """Reads a split of the run's data."""
  data = task.config
  pairs = list(open_source(data, data_root).pairs(split))
  if not pairs:
    remedy = f"the run had no {split} data: give --source and --reference, or --test_set"
    raise DataError(f"--split={split}", "has no sentences", remedy)
  sources = [source for source, _ in pairs]
  references = [target for _, target in pairs]
  is_preprocessed = split in split_list(data.preprocessed_splits)
  where = f"--split={split}"
  return EvaluationSet(split, sources, references, is_preprocessed, where, where)


def _named(task: Task, named: NamedSet) -> EvaluationSet:
  """Reads a test set of sacreBLEU."""
  name, data = named.name, task.config
  if data.task != "translation":
    raise ConfigError(
      f"--test_set={name}", f"is for translation, and the run's task is {data.task}"
    )
  pair = named.pair or f"{data.source_language}-{data.target_language}"
  sources, references = read_test_set(name, pair)
  if pair == f"{data.target_language}-{data.source_language}":
    problem = f"the run translates {data.source_language} into {data.target_language}"
    print(f"transformer-jax: warning: --pair={pair}: {problem}", file=sys.stderr)
  where = f"{name} {pair}"
  return EvaluationSet(name, sources, references, False, where, where, pair)


def _score(
  translator: TrainedModel, test_set: EvaluationSet
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
  """Decodes and scores a set: (a dict for each sentence, the result)."""
  task, decode = translator.task, translator.config.decode
  sources, references = test_set.sources, test_set.references
  is_preprocessed = test_set.is_preprocessed
  pairs = zip(sources, references, strict=True)
  cut_sources = CutSources(translator.config)
  where = f"{test_set.reference_name}:"
  encoded = list(translator.encoded_pairs(pairs, is_preprocessed, cut_sources, where))
  cut_sources.report(test_set.source_name)
  start = time.perf_counter()
  outputs = translator.outputs(sources, is_preprocessed)
  seconds = time.perf_counter() - start
  scores = task.report(outputs, references, is_preprocessed)
  log_probs = list(translator.encoded_log_probs(encoded))
  loss = -sum(log_prob for log_prob, _ in log_probs) / sum(tokens for _, tokens in log_probs)
  result = dict(
    set=test_set.name,
    set_sha256=text_digest(sources, references, is_preprocessed),
    sentences=len(references),
    steps=translator.steps,
    main_score=task.main_score,
    **scores,
    loss=loss,
    perplexity=perplexity_of(loss),
    beam_size=decode.beam_size,
    length_penalty=decode.length_penalty,
    length_penalty_form=decode.length_penalty_form,
    early_stopping=decode.early_stopping,
    max_extra_length=decode.max_extra_length,
    constrained=decode.constrained,
    decode_seconds=seconds,
    sentences_per_second=len(references) / seconds,
    max_source_length=decode.max_source_length,
    cut_sources=cut_sources.count,
  )
  return _sentences(test_set, outputs, log_probs), result


def _sentences(
  test_set: EvaluationSet, outputs: list[Output], log_probs: list[tuple[float, int]]
) -> list[dict[str, Any]]:
  """Returns a dict for each sentence: texts, log-probability and tokens of the reference."""
  lines = zip(test_set.sources, test_set.references, outputs, log_probs, strict=True)
  return [
    dict(
      source=source,
      reference=reference,
      hypothesis=output.text,
      log_prob=log_prob,
      tokens=tokens,
    )
    for source, reference, output, (log_prob, tokens) in lines
  ]
