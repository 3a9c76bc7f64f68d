"""The checkpoints of a run: saved in the background, the last and the best kept, read back."""

import concurrent.futures
import math
import pathlib
import shutil
from typing import Any

import jax
import numpy as np

from transformer_jax.checkpoints import layout, reading, saving
from transformer_jax.checkpoints.arrays import plainly_named
from transformer_jax.checkpoints.checksums import Damaged
from transformer_jax.checkpoints.leaves import check_finite, rebuild
from transformer_jax.checkpoints.scores import (
  StepInfo,
  best_first,
  latest_scores,
  read_info,
  steps_to_keep,
)
from transformer_jax.config import whole_number
from transformer_jax.errors import CheckpointError, WorkdirError
from transformer_jax.files import StrPath, as_workdir_error
from transformer_jax.strict_json import json_text


class Checkpoints:
  """The checkpoints of a run. One process writes them; any process may read them meanwhile.

  Attributes:
    passed_over: the errors of the damaged steps that the last `restore` skipped.

  Example:
    with Checkpoints("run/checkpoints", read_only=True) as checkpoints:
      arrays, meta, step = checkpoints.read()
  """

  passed_over: list[CheckpointError]

  def __init__(
    self,
    folder: StrPath,
    keep_last: int = 5,
    keep_best: int = 1,
    *,
    read_only: bool = False,
    primary: bool = True,
  ) -> None:
    """Opens a folder of checkpoints.

    Args:
      folder: made if it is missing, unless read only.
      keep_last: number of latest steps kept, not counting temporary ones.
      keep_best: number of steps with the highest scores kept as well.
      read_only: nothing is changed, so no lock is needed.
      primary: this process of the run writes; the others' `save` does nothing.

    Raises:
      WorkdirError: the folder cannot be made or written to, or what a killed process left cannot be
        removed.
    """
    try:
      self._folder = pathlib.Path(folder).absolute()
    except FileNotFoundError:
      raise WorkdirError(
        folder,
        "starts at this shell's working folder, which was deleted",
        "change to a folder that exists",
      ) from None
    self._keep_last = keep_last
    self._keep_best = keep_best
    self._is_writer = primary and not read_only
    self._writing: concurrent.futures.Future | None = None
    self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
    self.passed_over = []
    if self._is_writer:
      with as_workdir_error(self._folder):
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in self.litter():
          shutil.rmtree(self._folder / name)
        with plainly_named(self._folder):
          pass

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Waits for the last save, and ends the background thread."""
    try:
      self.wait()
    finally:
      self._pool.shutdown()

  def steps(self) -> list[int]:
    """Returns all steps, ascending; a damaged one is found only by reading it."""
    return layout.steps_in(self._folder)

  def litter(self) -> list[str]:
    """Returns the names of folders that are half written or half deleted.

    A killed process left them, or a running one is writing or deleting them.
    """
    return layout.litter_in(self._folder)

  def put_aside(self) -> list[str]:
    """Returns the names of the folders of damaged steps that a resumed run skipped."""
    return layout.put_aside_in(self._folder)

  def regular_steps(self) -> list[int]:
    """Returns the steps that are not temporary, ascending."""
    return [step for step, info in self._infos().items() if not info.is_temporary]

  def scores(self) -> dict[int, float]:
    """Returns step -> score, for scores of the latest score's kind, without temporary steps."""
    return latest_scores(self._infos())

  def best_step(self) -> int | None:
    """Returns the step with the highest score, the earliest of equals; None without scores."""
    return next(iter(best_first(self.scores())), None)

  def named_step(self, checkpoint: int | str) -> int:
    """Returns the step that `checkpoint` names: "best" (by its score), "last", or a step's number.

    Raises:
      CheckpointError: there is no such step.
    """
    latest = self._existing(None)
    if checkpoint == "last":
      return latest
    if checkpoint != "best":
      if (step := whole_number(str(checkpoint))) is None:
        problem = f"{checkpoint!r} is not a checkpoint"
        raise CheckpointError(self._folder, problem, "give best, last or a step, such as 100000")
      return self._existing(step)
    best = self.best_step()
    if best is None:
      steps = ", ".join(map(str, self.steps()))
      raise CheckpointError(
        self._folder,
        f"no checkpoint has a score to find the best by (steps that are there: {steps})",
        "give last or a step; only training scores checkpoints, an imported model has no score",
      )
    return best

  def _infos(self) -> dict[int, StepInfo]:
    return {step: read_info(self._folder / str(step)) for step in self.steps()}

  def _existing(self, step: int | None) -> int:
    """Returns `step`, or the latest if it is None, once a running save is done.

    Raises:
      CheckpointError: it is not there.
    """
    self.wait()
    steps = self.steps()
    if not steps:
      raise CheckpointError(self._folder, "there is no checkpoint", "train first")
    if step is None:
      return steps[-1]
    if step not in steps:
      raise CheckpointError(
        self._folder,
        f"there is no checkpoint of step {step}",
        f"there are {', '.join(map(str, steps))}",
      )
    return step

  # Saving.

  def save(
    self,
    step: int,
    state: Any,
    meta: dict[str, Any],
    score: float | None = None,
    temporary: bool = False,
  ) -> None:
    """Saves in the background; first waits for a save that is still running.

    A step that exists already is left as it is: an update is a pure function of the state before
    it, so the step holds the same state.

    Args:
      step: number of updates done.
      state: pytree of host arrays, which must not be changed afterwards.
      meta: whatever else is needed to resume, for JSON.
      score: the higher the better; None or a number that is not finite: never the best.
      temporary: deleted when a later step is saved; `keep_last` does not count it.

    Raises:
      WorkdirError: this save cannot begin, or the one before it failed; mostly a full disk.
    """
    self.wait()
    if not self._is_writer or step in self.steps():
      return
    if score is not None:
      score = float(score) if math.isfinite(score) else None
    info = json_text(dict(step=int(step), score=score, temporary=temporary, meta=meta))
    host_state = jax.tree.map(np.asarray, state)
    self._writing = self._pool.submit(self._write, int(step), host_state, info)

  def add_score(self, step: int, score: float, of: Any = None) -> None:
    """Adds the score of a step that was saved without one; does nothing if the step is not there.

    Args:
      step: number of updates done.
      score: the higher the better; one that is not finite is ignored.
      of: what it is a score of, for JSON. Only scores of the same kind are compared, and the best
        of each kind are kept.

    Raises:
      WorkdirError: the save before failed, or this one; mostly a full disk.
    """
    self.wait()
    if not self._is_writer or step not in self.steps() or not math.isfinite(score):
      return
    content = json_text(dict(score=float(score), of=of))
    saving.add_file(self._folder / str(step), layout.SCORE, content)
    self._writing = self._pool.submit(self._delete_old, max(self.steps()))

  def make_regular(self, step: int) -> None:
    """Makes a temporary step one that is kept like others; does nothing with any other step.

    Raises:
      WorkdirError: as `add_score`.
    """
    self.wait()
    path = self._folder / str(step)
    if self._is_writer and step in self.steps() and read_info(path).is_temporary:
      saving.add_file(path, layout.REGULAR, "")

  def wait(self) -> None:
    """Waits until the last save is on disk; raises its error, if it had one."""
    writing = self._writing
    self._writing = None
    if writing is not None:
      writing.result()

  def _write(self, step: int, state: Any, info: str) -> None:
    saving.write_step(self._folder, step, state, info)
    self._delete_old(step)

  def _delete_old(self, latest: int) -> None:
    keep = steps_to_keep(self._infos(), latest, self._keep_last, self._keep_best)
    with as_workdir_error(self._folder):
      for step in set(self.steps()) - keep:
        saving.delete_step(self._folder, step)

  # Reading.

  def restore(
    self,
    like: Any,
    step: int | None = None,
    on_corrupt: str = "refuse",
  ) -> tuple[Any, dict[str, Any], int]:
    """Reads a whole state.

    Args:
      like: pytree of leaves with the shape and dtype that the state must have.
      step: by default the latest.
      on_corrupt: "refuse" a damaged checkpoint, or go back to the "previous" undamaged one. The
        skipped steps are then in `passed_over`, and a writer renames them, since their updates
        are done again.

    Returns:
      (the state with numpy leaves, the `meta` it was saved with, its step).

    Raises:
      CheckpointError: there is no checkpoint, it is damaged (names step and file), it does not fit
        (names the leaf), or holds parameters that are not finite.
    """
    step = self._existing(step)
    candidates = [s for s in reversed(self.steps()) if s <= step]
    self.passed_over = []
    for candidate in candidates:
      try:
        arrays, meta, _ = self.read(candidate, like=like)
        check_finite(arrays, self._folder / str(candidate))
      except Damaged as error:
        self.passed_over.append(error)
        if on_corrupt == "previous":
          continue
        remedy = _remedy(is_oldest=candidate == candidates[-1])
        raise CheckpointError(error.where, error.problem, remedy) from None
      if self._is_writer:
        for damaged in candidates[: len(self.passed_over)]:
          saving.put_step_aside(self._folder, damaged)
      return rebuild(like, arrays), meta, candidate
    newest = self.passed_over[0]
    remedy = "no checkpoint before it is undamaged: start anew in another --workdir"
    raise CheckpointError(newest.where, newest.problem, remedy)

  def restore_params(self, like_params: Any, step: int | None = None, part: str = "params") -> Any:
    """Returns only the parameters of a step (by default the latest), as numpy arrays.

    Args:
      like_params: pytree of leaves with the shape and dtype that they must have.
      step: by default the latest.
      part: the key at the top of the state that they are under.

    Raises:
      CheckpointError: as `restore`.
    """
    step = self._existing(step)
    arrays, _, _ = self.read(step, part, like_params)
    check_finite(arrays, self._folder / str(step))
    params = {name.removeprefix(f"{part}/"): array for name, array in arrays.items()}
    return rebuild(like_params, params)

  def read(
    self, step: int | None = None, part: str = "", like: Any = None
  ) -> tuple[dict[str, np.ndarray], dict[str, Any], int]:
    """Reads a state without a template.

    Args:
      step: by default the latest.
      part: a key at the top of the state, such as "params": only the arrays under it.
      like: pytree of leaves with the shape and dtype that the state, or this part of it, must have;
        compared before arrays are read.

    Returns:
      (name -> numpy array, meta, step); a name is the pytree's keys, joined by "/".

    Raises:
      CheckpointError: there is no such step, it is damaged, or does not fit.
    """
    step = self._existing(step)
    arrays, meta = reading.read_step(self._folder, step, part, like)
    return arrays, meta, step

  def meta(self, step: int | None = None) -> dict[str, Any]:
    """Returns the `meta` that a step (by default the latest) was saved with; not verified.

    Raises:
      CheckpointError: there is no such step, or its meta.json cannot be read.
    """
    return reading.read_meta(self._folder, self._existing(step))


def _remedy(is_oldest: bool) -> str:
  """Returns what to do about a damaged checkpoint."""
  if is_oldest:
    return "there is none before it: restore the file, or start anew in another --workdir"
  return "restore the file, or go back to the checkpoint before with --on_corrupt=previous"
