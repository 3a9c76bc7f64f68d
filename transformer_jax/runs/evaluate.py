"""`evaluate`: decodes a test set, scores it, and keeps output and figures in the workdir."""

import time

from transformer_jax import parallel
from transformer_jax.config import split_list
from transformer_jax.data.sources import open_source
from transformer_jax.data.text import read_parallel
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.runs.translator import Translator
from transformer_jax.runs.validation import perplexity_of
from transformer_jax.runs.workdir import Workdir, atomic_write
from transformer_jax.strict_json import json_text


def evaluate(workdir, *, split="test", overrides, source=None, reference=None, data_root=".", step=None):
  """Scores a split of the run's data, or a pair of files.

  Args:
    workdir: folder of the run.
    split: "valid" or "test".
    overrides: decoding settings that replace the run's (None keeps it).
    source, reference: files to translate and to compare with, instead of a split.
    data_root: folder that relative data paths start from.
    step: checkpoint to use.

  Returns:
    dict of scores, settings and speed; it also stands in evaluations/, beside the translations (.hypotheses.txt) and a line of
    JSON for each sentence, with the log-probability of its reference and the reference's tokens (.sentences.jsonl).
  """
  translator = Translator.load(workdir, step=step, **overrides)
  sources, references, is_preprocessed, name = _test_set(translator.task, split, source, reference, data_root)
  start = time.perf_counter()
  outputs = translator.outputs(sources, is_preprocessed)
  seconds = time.perf_counter() - start
  scores = translator.task.report(outputs, references, is_preprocessed)
  of_references = list(translator.log_probs(zip(sources, references, strict=True), is_preprocessed))
  log_prob, tokens = map(sum, zip(*of_references))
  decode = translator.config.decode
  result = dict(
      set=name, sentences=len(references), steps=translator.steps,
      main_score=translator.task.main_score, **scores, loss=-log_prob / tokens, perplexity=perplexity_of(-log_prob / tokens),
      beam_size=decode.beam_size, length_penalty=decode.length_penalty, length_penalty_form=decode.length_penalty_form,
      max_extra_length=decode.max_extra_length, constrained=decode.constrained, decode_seconds=seconds, sentences_per_second=len(references) / seconds)
  result["headline"] = translator.task.headline(result)
  sentences = [dict(source=s, reference=r, hypothesis=o.text, log_prob=p, tokens=t)
               for s, r, o, (p, t) in zip(sources, references, outputs, of_references, strict=True)]
  _keep(workdir, name, translator.steps, sentences, result)
  return result


def _test_set(task, split, source, reference, data_root):
  """(sources, references, whether they are preprocessed already, the set's name)."""
  if bool(source) != bool(reference):
    raise ConfigError("--source" if reference else "--reference", "is missing", "give both files, or neither")
  if source:
    sources, references = read_parallel(source, reference)
    if not sources:
      raise DataError(source, "has no lines")
    for number, pair in enumerate(zip(sources, references, strict=True), 1):
      if problem := task.problem_of(*pair):
        raise DataError(f"{reference}:{number}", problem)
    return sources, references, False, "files"
  data = task.config
  pairs = list(open_source(data, data_root).pairs(split))
  if not pairs:
    raise DataError(f"--split={split}", "has no sentences", f"the run had no {split} data")
  return [s for s, _ in pairs], [t for _, t in pairs], split in split_list(data.preprocessed_splits), split


def evaluation_stem(workdir, name, steps):
  """What the files of an evaluation are called in a workdir, without their endings."""
  return f"{Workdir(workdir, primary=False).evaluations}/{name}-step{steps[-1]}" + (f"-average{len(steps)}" if len(steps) > 1 else "")


def _keep(workdir, name, steps, sentences, result):
  if not parallel.is_primary():
    return
  Workdir(workdir, primary=True)  # makes the folder
  stem = evaluation_stem(workdir, name, steps)
  atomic_write(f"{stem}.hypotheses.txt", "".join(f"{sentence['hypothesis']}\n" for sentence in sentences))
  atomic_write(f"{stem}.sentences.jsonl", "".join(f"{json_text(sentence)}\n" for sentence in sentences))
  atomic_write(f"{stem}.json", json_text(result, indent=1) + "\n")
