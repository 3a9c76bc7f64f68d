"""`evaluate`: decodes a test set, scores it, and keeps output and figures in the workdir."""

import dataclasses
import hashlib
import json
import pathlib
import sys
import time

from transformer_jax import parallel
from transformer_jax.config import Config, split_list
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.text import read_parallel
from transformer_jax.errors import ConfigError, DataError, WorkdirError
from transformer_jax.files import as_workdir_error, atomic_write
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.runs.validation import perplexity_of
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir

# Decoding settings that are told by an evaluation's steps, or change nothing that is scored.
_NOT_IN_NAMES = ("average_last", "decode_batch_tokens")
# What makes a result another one than a result of the same name: the run's own settings may change.
_IDENTITY = (
  "set_sha256",
  "beam_size",
  "length_penalty",
  "length_penalty_form",
  "max_extra_length",
  "constrained",
  "max_source_length",
)
_ENDINGS = (".hypotheses.txt", ".sentences.jsonl", ".json")


def evaluate(
  workdir,
  *,
  split="test",
  overrides,
  source=None,
  reference=None,
  data_root=".",
  checkpoint="last",
  tokenized_input=False,
):
  """Scores a split of the run's data, or a pair of files.

  Args:
    workdir: folder of the run.
    split: "valid" or "test".
    overrides: decoding settings that replace the run's (None keeps it).
    source, reference: files to translate and to compare with, instead of a split.
    data_root: folder that relative data paths start from.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.
    tokenized_input: the files have been through the run's preprocessing already.

  Returns:
    dict of scores, settings and speed; it also stands in evaluations/, beside the translations (.hypotheses.txt) and a line of
    JSON for each sentence, with the log-probability of its reference and the reference's tokens (.sentences.jsonl). Where these
    cannot be written it is said on standard error.

  Raises:
    ConfigError, DataError: the set cannot be read or scored; before anything is decoded.
  """
  if tokenized_input and not source:
    raise ConfigError(
      "--tokenized_input",
      "is about --source and --reference",
      "a split's text is told by the run's --preprocessed_splits",
    )
  translator = TrainedModel.load(workdir, checkpoint, **overrides)
  sources, references, is_preprocessed, name = _test_set(
    translator.task, split, source, reference, data_root, tokenized_input
  )
  pairs, cut_sources = zip(sources, references, strict=True), CutSources(translator.config)
  where = reference or f"--split={split}"
  encoded = list(translator.encoded_pairs(pairs, is_preprocessed, cut_sources, f"{where}:"))
  cut_sources.report(source or where)
  start = time.perf_counter()
  outputs = translator.outputs(sources, is_preprocessed)
  seconds = time.perf_counter() - start
  scores = translator.task.report(outputs, references, is_preprocessed)
  of_references = list(translator.encoded_log_probs(encoded))
  log_prob, tokens = map(sum, zip(*of_references))
  decode = translator.config.decode
  result = dict(
    set=name,
    set_sha256=_digest(sources, references, is_preprocessed),
    sentences=len(references),
    steps=translator.steps,
    main_score=translator.task.main_score,
    **scores,
    loss=-log_prob / tokens,
    perplexity=perplexity_of(-log_prob / tokens),
    beam_size=decode.beam_size,
    length_penalty=decode.length_penalty,
    length_penalty_form=decode.length_penalty_form,
    max_extra_length=decode.max_extra_length,
    constrained=decode.constrained,
    decode_seconds=seconds,
    sentences_per_second=len(references) / seconds,
  )
  result.update(max_source_length=decode.max_source_length, cut_sources=cut_sources.count)
  if source:
    result.update(source=str(source), reference=str(reference))
  result["headline"] = translator.task.headline(result)
  sentences = [
    dict(source=s, reference=r, hypothesis=o.text, log_prob=p, tokens=t)
    for s, r, o, (p, t) in zip(sources, references, outputs, of_references, strict=True)
  ]
  _keep(workdir, decode, sentences, result)
  return result


def _test_set(task, split, source, reference, data_root, tokenized_input):
  """(sources, references, whether they are preprocessed already, the set's name)."""
  if bool(source) != bool(reference):
    raise ConfigError(
      "--source" if reference else "--reference", "is missing", "give both files, or neither"
    )
  if source:
    sources, references = read_parallel(source, reference)
    if not sources:
      raise DataError(source, "has no lines")
    for number, pair in enumerate(zip(sources, references, strict=True), 1):
      if problem := task.problem_of(*pair):
        raise DataError(f"{reference}:{number}", problem)
    return sources, references, tokenized_input, "files"
  data = task.config
  pairs = list(open_source(data, data_root).pairs(split))
  if not pairs:
    raise DataError(f"--split={split}", "has no sentences", f"the run had no {split} data")
  return (
    [s for s, _ in pairs],
    [t for _, t in pairs],
    split in split_list(data.preprocessed_splits),
    split,
  )


def evaluation_stem(workdir, name, steps, decode=None):
  """What the files of an evaluation are called in a workdir, without their endings.

  Args:
    workdir: folder of the run.
    name: "valid", "test", or "files-" and the beginning of their digest.
    steps: the checkpoints.
    decode: the DecodeConfig; what differs from the run's own is part of the name. None: nothing does.
  """
  average = f"-average{len(steps)}" if len(steps) > 1 else ""
  return f"{Workdir(workdir, primary=False).evaluations}/{name}-step{steps[-1]}{average}{_changed(workdir, decode)}"


def _changed(workdir, decode):
  """The settings of `decode` that are not the run's own, as a part of a name."""
  if decode is None:
    return ""
  own = dataclasses.asdict(Config.from_flat(Workdir(workdir, primary=False).read_config()).decode)
  settings = {
    name: value for name, value in dataclasses.asdict(decode).items() if name not in _NOT_IN_NAMES
  }
  return "".join(f"-{name}={value}" for name, value in settings.items() if value != own[name])


def _digest(sources, references, is_preprocessed):
  """SHA-256 of a test set's text."""
  return hashlib.sha256(json_text([sources, references, is_preprocessed]).encode()).hexdigest()


def _keep(workdir, decode, sentences, result):
  """Writes the files; scores that took hours are not lost because they cannot be kept."""
  if not parallel.is_primary():
    return
  name = f"files-{result['set_sha256'][:8]}" if result["set"] == "files" else result["set"]
  stem = evaluation_stem(workdir, name, result["steps"], decode)
  folder = Workdir(workdir, primary=False).evaluations
  try:
    with as_workdir_error(folder):
      folder.mkdir(exist_ok=True)
      _put_other_aside(stem, result)
    atomic_write(
      f"{stem}.hypotheses.txt", "".join(f"{sentence['hypothesis']}\n" for sentence in sentences)
    )
    atomic_write(
      f"{stem}.sentences.jsonl", "".join(f"{json_text(sentence)}\n" for sentence in sentences)
    )
    atomic_write(f"{stem}.json", json_text(result, indent=1) + "\n")
  except WorkdirError as error:
    print(
      f"transformer-jax: {error.where}: {error.problem}; the scores are not kept", file=sys.stderr
    )


def _put_other_aside(stem, result):
  """Gives the files of an evaluation another name, where they are of another text or settings."""
  path = pathlib.Path(f"{stem}.json")
  content = path.read_bytes() if path.exists() else b""
  if not content or _is_same(content, result):
    return
  aside = f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}"
  for ending in _ENDINGS:
    if (file := pathlib.Path(f"{stem}{ending}")).exists():
      file.rename(f"{aside}{ending}")
  problem = "is of another text or other settings, and is kept as"
  print(f"transformer-jax: {path} {problem} {aside}.json", file=sys.stderr)


def _is_same(content, result):
  """Whether a kept result is of the same; what an old one does not tell is not compared."""
  try:
    before = json.loads(content)
    return all(before.get(name, result[name]) == result[name] for name in _IDENTITY)
  except (ValueError, AttributeError, RecursionError):
    return False
