"""`doctor`: the state of a run, and whether a resume would be exact. It changes nothing."""

import dataclasses
from typing import Any

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import Config
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.data.tokenizers.tokenizer import SavableTokenizer
from transformer_jax.errors import CheckpointError, TransformerJaxError
from transformer_jax.files import StrPath
from transformer_jax.runs.patience import ended_early
from transformer_jax.runs.prepare import data_fingerprint, text_fingerprints
from transformer_jax.runs.startup_report import origin_lines
from transformer_jax.workdir.folder import Workdir, source_settings
from transformer_jax.workdir.lock import lock_holder
from transformer_jax.workdir.versions import versions


@dataclasses.dataclass
class Findings:
  """The lines of the findings, and the errors that a resume would raise, in its order."""

  lines: list[str] = dataclasses.field(default_factory=list)
  errors: list[TransformerJaxError] = dataclasses.field(default_factory=list)

  def note(self, subject: str, text: str) -> None:
    """Adds a finding that is not a problem."""
    self.lines.append(f"{subject:12} {text}")

  def blame(self, subject: str, error: TransformerJaxError) -> None:
    """Adds a problem that prevents a resume."""
    self.errors.append(error)
    self.note(subject, f"PROBLEM: {error}")


@dataclasses.dataclass
class _CheckpointFindings:
  """The findings about the checkpoints."""

  step: int | None = None  # the latest
  meta: dict[str, Any] | None = None  # of the latest, if it is whole
  damaged: list[int] = dataclasses.field(default_factory=list)


def examine(
  workdir: StrPath, data_root: StrPath = "."
) -> tuple[list[str], dict[str, Any], TransformerJaxError | None]:
  """Examines a run.

  Args:
    workdir: its folder.
    data_root: folder that relative data paths start from.

  Returns:
    (lines, dict of the findings, the first error or None).

  Raises:
    WorkdirError, ConfigError: there is no run, or its config.json cannot be read.
  """
  parallel.start_up()
  folder, found = Workdir(workdir, primary=False), Findings()
  config = Config.from_flat(folder.read_config())
  train_steps = config.train.train_steps
  found.note(
    "run", f"{config.data.task}, {train_steps:,} updates requested, seed {config.train.seed}"
  )
  for line in origin_lines(folder.read_initialized_from()):
    found.note("parameters", line)
  holder = lock_holder(folder.path)
  found.note("lock", f"held: {holder}" if holder else "free")
  latest = _checkpoints(folder, found, holder)
  _source(config, found, latest)
  _metrics(folder, found, latest.step)
  changed = _versions(folder, found)
  is_imported = folder.is_imported()
  tokenizer = _tokenizer(folder, found)
  if tokenizer and not is_imported:
    _data(config, tokenizer, data_root, found, latest.meta)
  if not is_imported:
    _devices(found, latest)
  is_early = latest.step is not None and _ended_early(config, folder, latest.step)
  is_done = is_early or (latest.step is not None and latest.step >= train_steps)
  is_exact = not found.errors and not changed and not is_imported
  if is_imported:
    found.note("resume", "an imported model is not resumed: train a copy of it, with --init_from")
  else:
    found.note("resume", _verdict(latest.step, is_done, is_early, is_exact, found.errors))
  result = dict(
    step=latest.step,
    train_steps=train_steps,
    is_done=is_done,
    damaged=latest.damaged,
    lock=holder,
    changed_versions=changed,
    problems=[str(error) for error in found.errors],
    resume_is_exact=is_exact,
  )
  return found.lines, result, found.errors[0] if found.errors else None


def _ended_early(config: Config, folder: Workdir, step: int) -> bool:
  """Returns whether `patience` ended the run at this step; False if the metrics are damaged."""
  try:
    lines = folder.read_metrics()
  except TransformerJaxError:
    return False
  return ended_early(config, [line for line in lines if line["step"] <= step])


def _verdict(
  step: int | None,
  is_done: bool,
  is_early: bool,
  is_exact: bool,
  errors: list[TransformerJaxError],
) -> str:
  if errors:
    return "not possible yet: see the problems"
  setting = "--patience" if is_early else "--train_steps"
  done = f"the run is done; with a larger {setting} it would resume " if is_done else ""
  start = "from the beginning" if step is None else f"from step {step:,}"
  exactness = "to the bit" if is_exact else "but the last bits may differ, as versions have changed"
  return f"{done}{start}, {exactness}"


def _checkpoints(folder: Workdir, found: Findings, holder: str) -> _CheckpointFindings:
  """Reads every checkpoint; `holder` names the process that trains here, or is ""."""
  latest = _CheckpointFindings()
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    steps = checkpoints.steps()
    scores, regular = checkpoints.scores(), checkpoints.regular_steps()
    latest.step = steps[-1] if steps else None
    for step in steps:
      try:
        _, meta, _ = checkpoints.read(step)
      except CheckpointError as error:
        if holder and step not in checkpoints.steps():
          found.note("checkpoint", f"{step:,}: was deleted meanwhile, as the run goes on")
        else:
          _note_damage(found, latest, step, error)
        continue
      if step == latest.step:
        latest.meta = meta
      score = f", score {scores[step]:.4g}" if step in scores else ""
      interruption = "" if step in regular else ", made by an interruption"
      found.note("checkpoint", f"{step:,}: whole{score}{interruption}")
    if not steps:
      found.note("checkpoint", "there is none yet")
    _note_other_folders(found, checkpoints, holder)
  return latest


def _source(config: Config, found: Findings, latest: _CheckpointFindings) -> None:
  """Checks that the run of `init_from` can be read, which is needed until there is a checkpoint."""
  if not config.train.init_from or latest.step is not None:
    return
  try:
    source_settings(config.train.init_from)
  except TransformerJaxError as error:
    found.blame("parameters", error)


def _note_damage(
  found: Findings, latest: _CheckpointFindings, step: int, error: CheckpointError
) -> None:
  """Adds a damaged checkpoint, which is a problem if it is the latest one."""
  latest.damaged.append(step)
  if step == latest.step:
    found.blame("checkpoint", error)
  else:
    found.note("checkpoint", f"{step:,}: damaged, but not the latest: {error}")


def _note_other_folders(found: Findings, checkpoints: Checkpoints, holder: str) -> None:
  """Adds the other folders: those that a killed process left, and damaged ones."""
  for name in checkpoints.litter():
    if holder:
      found.note("checkpoint", f"{name}: perhaps at work: {holder}")
    else:
      found.note("checkpoint", f"{name}: left by a killed process; the next start removes it")
  for name in checkpoints.put_aside():
    found.note("checkpoint", f"{name}: was damaged and is not used; you may delete it")


def _metrics(folder: Workdir, found: Findings, step: int | None) -> None:
  """Reads the lines of metrics."""
  try:
    lines = folder.read_metrics()
  except TransformerJaxError as error:
    found.blame("metrics", error)
    return
  last = max((line["step"] for line in lines), default=0)
  text = f"{len(lines):,} lines, the last of step {last:,}"
  after = sum(line["step"] > (step or 0) for line in lines)
  if after:
    text += f"; {after} after the latest checkpoint will be written again"
  found.note("metrics", text)


def _versions(folder: Workdir, found: Findings) -> dict[str, list[str]]:
  """Returns package -> [version then, version now] of the packages that changed."""
  then, now = folder.read_versions(), versions()
  changed = {
    name: [then[name], now[name]]
    for name in now
    if name in then and then[name] != now[name] and name != "transformer_jax"
  }
  for name, (before, after) in changed.items():
    found.note("versions", f"{name} was {before} and is now {after}")
  if not changed:
    found.note("versions", "unchanged")
  return changed


def _tokenizer(folder: Workdir, found: Findings) -> SavableTokenizer | None:
  """Returns the run's tokenizer, or None if it is damaged."""
  try:
    tokenizer = load_tokenizer(folder.tokenizer)
  except TransformerJaxError as error:
    found.blame("tokenizer", error)
    return None
  found.note("tokenizer", "whole")
  return tokenizer


def _data(
  config: Config,
  tokenizer: SavableTokenizer,
  data_root: StrPath,
  found: Findings,
  meta: dict[str, Any] | None,
) -> None:
  """Compares tokenizer and training text with those of the latest checkpoint."""
  try:
    fingerprints = text_fingerprints(
      open_source(config.data, data_root), config.data, by_content=True
    )
  except TransformerJaxError as error:
    found.blame("data", error)
    return
  if not meta:
    found.note("data", "readable; there is no checkpoint to compare it with")
  elif data_fingerprint(fingerprints, tokenizer) == meta.get("data_fingerprint"):
    found.note("data", "what the run began with")
  else:
    problem = "the training text or the tokenizer is not what the run began with"
    found.blame("data", CheckpointError("data", problem, "restore it"))


def _devices(found: Findings, latest: _CheckpointFindings) -> None:
  """Compares the number of devices with that of the latest checkpoint."""
  now = parallel.num_devices()
  if latest.meta and latest.meta.get("num_devices") != now:
    problem = f"was trained on {latest.meta.get('num_devices')} devices, but there are {now} here"
    remedy = "use the same number, or --allow_device_change"
    found.blame("devices", CheckpointError(f"step {latest.step}", problem, remedy))
