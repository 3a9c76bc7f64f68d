"""Names and writes the files of an evaluation in a workdir, and renames older ones."""

import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from transformer_jax import parallel
from transformer_jax.config import Config, DecodeConfig
from transformer_jax.errors import WorkdirError
from transformer_jax.files import StrPath, as_workdir_error, atomic_write
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir

# Decoding settings that are not part of a file's name: the first one is shown by the steps in the
# name, and the second one changes no answer.
_NOT_IN_NAMES = ("average_last", "decode_batch_tokens")
# Two results with the same file name can be of different evaluations, as the run's own settings may
# change. They are of the same one if these agree.
_IDENTITY = (
  "set_sha256",
  "beam_size",
  "length_penalty",
  "length_penalty_form",
  "early_stopping",
  "max_extra_length",
  "constrained",
  "max_source_length",
  "ensemble",
)
_ENDINGS = (".hypotheses.txt", ".sentences.jsonl", ".json")


def evaluation_stem(
  workdir: StrPath, name: str, steps: Sequence[int], decode: DecodeConfig | None = None
) -> str:
  """Returns the path of an evaluation's files in a workdir, without their endings.

  Args:
    workdir: folder of the run.
    name: "valid", "test", "files-" and the beginning of their digest, or the name and the language
      pair of a test set, such as "wmt14_full-en-de".
    steps: the checkpoints.
    decode: the decoding settings; those that differ from the run's own become part of the name.
  """
  folder = Workdir(workdir, primary=False).evaluations
  average = f"-average{len(steps)}" if len(steps) > 1 else ""
  return f"{folder}/{name}-step{steps[-1]}{average}{_changed_settings(workdir, decode)}"


def _changed_settings(workdir: StrPath, decode: DecodeConfig | None) -> str:
  """Returns the settings of `decode` that differ from the run's own, as part of a name."""
  if decode is None:
    return ""
  own = Config.from_flat(Workdir(workdir, primary=False).read_config()).decode
  parts = []
  for name, value in dataclasses.asdict(decode).items():
    if name not in _NOT_IN_NAMES and value != getattr(own, name):
      parts.append(f"-{name}={value}")
  return "".join(parts)


def set_name(result: Mapping[str, Any]) -> str:
  """Returns the name of an evaluation's set as its files have it; see `evaluation_stem`."""
  if result["set"] == "files":
    return f"files-{result['set_sha256'][:8]}"
  if "pair" in result:
    return f"{result['set'].replace('/', '_')}-{result['pair']}"
  return result["set"]


def text_digest(sources: list[str], references: list[str], is_preprocessed: bool) -> str:
  """Returns the SHA-256 of a test set's text."""
  return hashlib.sha256(json_text([sources, references, is_preprocessed]).encode()).hexdigest()


def keep(
  workdir: StrPath, decode: DecodeConfig, sentences: list[dict], result: dict[str, Any]
) -> None:
  """Writes the files of an evaluation.

  If they cannot be written, it prints the reason instead of failing: the scores took hours.
  """
  if not parallel.is_primary():
    return
  stem = evaluation_stem(workdir, set_name(result), result["steps"], decode)
  if "ensemble" in result:
    stem += f"-ensemble{len(result['ensemble'])}-{_digest_of_members(result['ensemble'])[:8]}"
  folder = Workdir(workdir, primary=False).evaluations
  hypotheses = "".join(f"{sentence['hypothesis']}\n" for sentence in sentences)
  sentence_lines = "".join(f"{json_text(sentence)}\n" for sentence in sentences)
  try:
    with as_workdir_error(folder):
      folder.mkdir(exist_ok=True)
      _rename_other(stem, result)
    atomic_write(f"{stem}.hypotheses.txt", hypotheses)
    atomic_write(f"{stem}.sentences.jsonl", sentence_lines)
    atomic_write(f"{stem}.json", json_text(result, indent=1) + "\n")
  except WorkdirError as error:
    print(
      f"transformer-jax: {error.where}: {error.problem}; the scores are not kept", file=sys.stderr
    )


def _digest_of_members(members: Sequence[Mapping[str, Any]]) -> str:
  """Returns the SHA-256 of the runs and checkpoints of an ensemble."""
  names = [[str(pathlib.Path(member["workdir"]).resolve()), member["steps"]] for member in members]
  return hashlib.sha256(json_text(names).encode()).hexdigest()


def _rename_other(stem: str, result: dict[str, Any]) -> None:
  """Renames older files of this name if they are of another text or other settings."""
  path = pathlib.Path(f"{stem}.json")
  content = path.read_bytes() if path.exists() else b""
  if not content or _is_same(content, result):
    return
  other = f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}"
  for ending in _ENDINGS:
    file = pathlib.Path(f"{stem}{ending}")
    if file.exists():
      file.rename(f"{other}{ending}")
  problem = "is of another text or other settings, and is kept as"
  print(f"transformer-jax: {path} {problem} {other}.json", file=sys.stderr)


def _is_same(content: bytes, result: dict[str, Any]) -> bool:
  """Returns whether a kept result is of the same evaluation. An old one may lack some names."""
  try:
    before = json.loads(content)
    return all(before.get(name, result.get(name)) == result.get(name) for name in _IDENTITY)
  except (ValueError, AttributeError, RecursionError):
    return False
