"""`doctor`: what state a run is in, and whether a resume would be exact. It changes nothing."""

import dataclasses

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import Config
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.errors import CheckpointError, TransformerJaxError
from transformer_jax.runs.prepare import data_fingerprint, text_fingerprints
from transformer_jax.workdir.folder import Workdir
from transformer_jax.workdir.lock import lock_holder
from transformer_jax.workdir.versions import versions


@dataclasses.dataclass
class Findings:
  """What was found: a line for each, and the errors that a resume would meet, the first one first."""

  lines: list = dataclasses.field(default_factory=list)
  errors: list = dataclasses.field(default_factory=list)

  def note(self, subject, text):
    """Something that is as it should be, or good to know."""
    self.lines.append(f"{subject:12} {text}")

  def blame(self, subject, error):
    """Something that stands in the way."""
    self.errors.append(error)
    self.note(subject, f"PROBLEM: {error}")


def examine(workdir, data_root="."):
  """Examines a run.

  Args:
    workdir: its folder.
    data_root: folder that relative data paths start from.

  Returns:
    (lines, dict of what was found, the first error or None).

  Raises:
    WorkdirError, ConfigError: there is no run, or its config.json cannot be read.
  """
  parallel.start_up()
  folder, found = Workdir(workdir, primary=False), Findings()
  config = Config.from_flat(folder.read_config())
  found.note(
    "run",
    f"{config.data.task}, {config.train.train_steps:,} updates wanted, seed {config.train.seed}",
  )
  holder = lock_holder(folder.path)
  found.note("lock", f"held: {holder}" if holder else "free")
  step, damaged, meta = _checkpoints(folder, found, holder)
  _metrics(folder, found, step)
  changed = _versions(folder, found)
  _data(config, folder, data_root, found, meta)
  devices = parallel.num_devices()
  if meta and meta.get("num_devices") != devices:
    found.blame(
      "devices",
      CheckpointError(
        f"step {step}",
        f"was trained on {meta.get('num_devices')} devices, and here are {devices}",
        "use as many, or --allow_device_change",
      ),
    )
  is_done = step is not None and step >= config.train.train_steps
  is_exact = not found.errors and not changed
  found.note("resume", _verdict(step, is_done, is_exact, found.errors))
  result = dict(
    step=step,
    train_steps=config.train.train_steps,
    is_done=is_done,
    damaged=damaged,
    lock=holder,
    changed_versions=changed,
    problems=[str(error) for error in found.errors],
    resume_is_exact=is_exact,
  )
  return found.lines, result, found.errors[0] if found.errors else None


def _verdict(step, is_done, is_exact, errors):
  if errors:
    return "not as it stands: see the problems"
  start = "from the beginning" if step is None else f"from step {step:,}"
  done = "the run is done; with a larger --train_steps it would go on " if is_done else ""
  return f"{done}{start}, {'to the bit' if is_exact else 'but the last bits may differ, as versions have changed'}"


def _checkpoints(folder, found, holder):
  """(latest step or None, damaged steps, its meta or None); `holder` is who trains here, if any."""
  checkpoints, damaged, latest = Checkpoints(folder.checkpoints, read_only=True), [], None
  try:
    steps, scores, regular = checkpoints.steps(), checkpoints.scores(), checkpoints.regular_steps()
    for step in steps:
      try:
        _, meta, _ = checkpoints.read(step)
      except CheckpointError as error:
        if holder and step not in checkpoints.steps():
          found.note("checkpoint", f"{step:,}: was deleted meanwhile, as the run goes on")
          continue
        damaged.append(step)
        if step == steps[-1]:
          found.blame("checkpoint", error)
        else:
          found.note("checkpoint", f"{step:,}: damaged, but not the latest: {error}")
        continue
      latest = meta if step == steps[-1] else latest
      score = f", score {scores[step]:.4g}" if step in scores else ""
      found.note(
        "checkpoint",
        f"{step:,}: whole{score}" + ("" if step in regular else ", made by an interruption"),
      )
    if not steps:
      found.note("checkpoint", "there is none yet")
    litter = "litter of a killed process, which the next start removes"
    for name in checkpoints.litter():
      found.note("checkpoint", f"{name}: " + (f"perhaps at work: {holder}" if holder else litter))
    for name in checkpoints.put_aside():
      found.note("checkpoint", f"{name}: was damaged, and is not used; delete it if you like")
    return steps[-1] if steps else None, damaged, latest
  finally:
    checkpoints.close()


def _metrics(folder, found, step):
  try:
    lines = folder.read_metrics()
  except TransformerJaxError as error:
    found.blame("metrics", error)
    return
  last = max((line["step"] for line in lines), default=0)
  after = sum(line["step"] > (step or 0) for line in lines)
  found.note(
    "metrics",
    f"{len(lines):,} lines, the last of step {last:,}"
    + (f"; {after} after the latest checkpoint are done again" if after else ""),
  )


def _versions(folder, found):
  """name -> (then, now) of what computes, where it has changed."""
  then, now = folder.read_versions(), versions()
  changed = {
    name: [then[name], now[name]]
    for name in now
    if name in then and then[name] != now[name] and name != "transformer_jax"
  }
  for name, (before, after) in changed.items():
    found.note("versions", f"{name} was {before} and is {after}")
  if not changed:
    found.note("versions", "what computes is as it was")
  return changed


def _data(config, folder, data_root, found, meta):
  try:
    tokenizer = load_tokenizer(folder.tokenizer)
    found.note("tokenizer", "whole")
  except TransformerJaxError as error:
    found.blame("tokenizer", error)
    return
  try:
    fingerprint = data_fingerprint(
      text_fingerprints(open_source(config.data, data_root), config.data), tokenizer
    )
  except TransformerJaxError as error:
    found.blame("data", error)
    return
  if meta and fingerprint != meta.get("data_fingerprint"):
    found.blame(
      "data",
      CheckpointError(
        "data", "the training text or the tokenizer is not what the run began with", "restore it"
      ),
    )
  else:
    found.note(
      "data", "as the run began with" if meta else "there; no checkpoint says what it should be"
    )
