"""Checkpoints that are whole or absent, checked before they are trusted (floor 2).

Orbax writes the arrays; this file decides when they count. A step is written to `writing-<step>/`,
read back as far as its arrays' shapes, listed with the SHA-256 of every file in it, flushed to
disk, and only then renamed to `<step>/`; older steps go after that, by a rename to
`deleting-<step>/` first. A process killed at any moment therefore leaves whole steps, and folders
under these two names, which the next opening for writing removes. Orbax restores a flipped bit in
silence, so every file is compared with the list before it is read. Files that nobody listed are
nobody's business.

    <step>/state/        the arrays, an orbax PyTree
    <step>/meta.json     step, score, whether it is temporary, and the caller's JSON
    <step>/score.json    the score, where it came after the save, and what it is a score of
    <step>/regular       where a step that was saved as temporary is none any more
    <step>/SHA256SUMS    as `sha256sum` writes it
    damaged-<step>/      a step that a resumed run went back past, put aside
"""

import concurrent.futures
import contextlib
import itertools
import json
import math
import os
import pathlib
import re
import secrets
import shutil
import tempfile

import jax
import numpy as np
import orbax.checkpoint as ocp

from transformer_jax import integrity
from transformer_jax.errors import CheckpointError, WorkdirError
from transformer_jax.interrupt import temporary_file
from transformer_jax.strict_json import json_text

_WRITING, _DELETING, _DAMAGED = "writing-", "deleting-", "damaged-"
_SCORE, _REGULAR = "score.json", "regular"
_LITTER = re.compile(rf"({_WRITING}|{_DELETING})\d+")
# What orbax and this file name their own files: if one of these is not listed, the list is damaged.
_OWN = re.compile(
  r"meta\.json|state/(.*/)?(_\w+|manifest\.ocdbt|process_\d+|commit_success\.txt|d/[^/]+)"
)
_PLAIN = re.compile(r"[A-Za-z0-9_./+=,@ -]*")  # what orbax and TensorStore take for nothing else
_COMPRESSION = 100  # times that a state is larger than its files, at the very most


class Checkpoints:
  """The checkpoints of a run. One process writes them; any may read them, also while they are written."""

  def __init__(self, folder, keep_last=5, keep_best=1, *, read_only=False, primary=True):
    """Opens a folder of checkpoints.

    Args:
      folder: made if it is missing, unless read only.
      keep_last: latest steps kept, not counting temporary ones.
      keep_best: steps with the highest scores kept besides.
      read_only: nothing is changed, so no lock is needed.
      primary: whether this process of the run writes; the others' `save` does nothing.

    Raises:
      WorkdirError: the folder cannot be made or written to, or a killed process's litter cannot be
        removed.
    """
    try:
      self._folder = pathlib.Path(folder).absolute()
    except FileNotFoundError:
      raise WorkdirError(
        folder,
        "starts at this shell's working folder, which was deleted",
        "change to one that is there",
      ) from None
    self._keep_last, self._keep_best = keep_last, keep_best
    self._is_writer = primary and not read_only
    self._writing = None  # future of the save under way
    self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
    self.passed_over = []  # the errors of the steps that the last `restore` found damaged and went past
    if self._is_writer:
      try:
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in self.litter():
          shutil.rmtree(self._folder / name)
        with _plainly_named(self._folder):
          pass
      except OSError as error:
        raise _not_written(self._folder, error) from None

  def steps(self):
    """The steps that are there, ascending; whether they are undamaged is seen when one is read."""
    numbers = (name for name in self._folders() if name.isdecimal())
    return sorted(int(name) for name in numbers if str(int(name)) == name)

  def litter(self):
    """Names of the folders that a killed process left half written or half deleted (or that a living one is at)."""
    return sorted(filter(_LITTER.fullmatch, self._folders()))

  def put_aside(self):
    """Names of the folders of damaged steps that a resumed run went back past."""
    return sorted(name for name in self._folders() if name.startswith(_DAMAGED))

  def _folders(self):
    """Names of the folders that are there."""
    names = os.listdir(self._folder) if self._folder.is_dir() else []
    return [name for name in names if (self._folder / name).is_dir()]

  def regular_steps(self):
    """The steps that are not temporary, ascending."""
    return [step for step in self.steps() if not self._info(step)["temporary"]]

  def latest_step(self):
    """The last step, or None."""
    return max(self.steps(), default=None)

  def scores(self):
    """step -> score, of the steps that are not temporary and have one of the latest one's kind."""
    return next(reversed(self._scores_by_kind().values()), {})

  def best_step(self):
    """The step with the highest score, the earliest of equals, or None."""
    return next(iter(_best_first(self.scores())), None)

  def named_step(self, checkpoint: int | str) -> int:
    """Returns the step that `checkpoint` names: "best" (by its score), "last", or a step's number.

    Raises:
      CheckpointError: there is no such step.
    """
    latest = self._existing(None)
    if checkpoint == "last":
      return latest
    if checkpoint != "best":
      return self._existing(int(checkpoint))
    best = self.best_step()
    if best is None:
      steps = ", ".join(map(str, self.steps()))
      raise CheckpointError(
        self._folder, "no checkpoint has a score to find the best by", f"there are {steps}"
      )
    return best

  def _scores_by_kind(self):
    """What a score is of -> {step: score}; the kind of the latest scored step comes last."""
    kinds = {}
    for step in self.steps():
      info = self._info(step)
      if info["score"] is not None and not info["temporary"]:
        kinds[info["of"]] = {**kinds.pop(info["of"], {}), step: info["score"]}
    return kinds

  def save(self, step, state, meta, score=None, temporary=False):
    """Saves in the background; first waits for a save that is still under way.

    A step that is there already is left as it is: an update is a pure function of the state before it, so it holds
    the same.

    Args:
      step: updates done, an int.
      state: pytree of host arrays, which must not be changed afterwards.
      meta: what else is needed to go on, as JSON takes it.
      score: the higher the better; None or a number that is not finite: no candidate for the best.
      temporary: kept only until a later step is saved, and not counted among the last.

    Raises:
      WorkdirError: this save cannot begin, or the one before it failed; a full disk, mostly.
    """
    self.wait()
    if not self._is_writer or step in self.steps():
      return
    score = float(score) if score is not None and math.isfinite(score) else None
    info = json_text(dict(step=int(step), score=score, temporary=temporary, meta=meta))
    self._writing = self._pool.submit(self._write, int(step), jax.tree.map(np.asarray, state), info)

  def add_score(self, step, score, of=None):
    """Adds the score of a step that was saved without one; nothing where the step is not there.

    Args:
      step: updates done, an int.
      score: the higher the better; no candidate for the best where it is not finite.
      of: what it is a score of, as JSON takes it. Only scores of the same are compared; of each
        kind the best are kept.

    Raises:
      WorkdirError: the save failed, or this fails; a full disk, mostly.
    """
    self.wait()
    if not self._is_writer or step not in self.steps() or not math.isfinite(score):
      return
    self._add_file(step, _SCORE, json_text(dict(score=float(score), of=of)))
    self._writing = self._pool.submit(self._delete_old, max(self.steps()))

  def make_regular(self, step):
    """Makes of a temporary step one that counts and is kept as others; else changes nothing.

    Raises:
      WorkdirError: as `add_score`.
    """
    self.wait()
    if self._is_writer and step in self.steps() and self._info(step)["temporary"]:
      self._add_file(step, _REGULAR, "")

  def _add_file(self, step, name, content):
    path = self._folder / str(step)
    try:
      if integrity.is_listed(path, name):  # a kill before it is listed again would look like damage
        integrity.drop_from_list(path, name)
      (path / name).write_text(content, encoding="utf-8")
      integrity.add_to_list(path, name)
    except OSError as error:
      raise _not_written(path, error) from None

  def is_saving(self):
    """Whether a save is under way."""
    return self._writing is not None and not self._writing.done()

  def wait(self):
    """Returns once the last save is on disk; raises what went wrong with it."""
    writing, self._writing = self._writing, None
    if writing is not None:
      writing.result()

  def close(self):
    """Waits for the last save, and ends the background thread."""
    try:
      self.wait()
    finally:
      self._pool.shutdown()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def restore(self, like, step=None, on_corrupt="refuse"):
    """Reads a whole state.

    Args:
      like: pytree of leaves with shape and dtype that the state must have.
      step: by default the latest.
      on_corrupt: "refuse" a damaged checkpoint, or go back to the "previous" undamaged one; what was passed over
        then stands in `passed_over`, and a writer puts it aside, since these steps are done again.

    Returns:
      (the state with numpy leaves, the `meta` it was saved with, its step).

    Raises:
      CheckpointError: there is none, it is damaged (names step and file), it does not fit (names
        the leaf), or holds parameters that are not finite.
    """
    step = self._existing(step)
    candidates = [s for s in reversed(self.steps()) if s <= step]
    self.passed_over = []
    for number, candidate in enumerate(candidates):
      try:
        arrays, meta, _ = self.read(candidate, like=like)
        _check_finite(arrays, self._folder / str(candidate))
      except integrity.Damaged as error:
        self.passed_over.append(error)
        if on_corrupt == "previous":
          continue
        raise CheckpointError(
          error.where, error.problem, _remedy(is_oldest=candidate == candidates[-1])
        ) from None
      if self._is_writer:
        for damaged in candidates[:number]:
          self._put_aside(damaged)
      return _like(like, arrays), meta, candidate
    newest = self.passed_over[0]
    raise CheckpointError(
      newest.where, newest.problem, "none before it is whole: start anew in another --workdir"
    )

  def restore_params(self, like_params, step=None):
    """The numpy parameters of a step (the latest by default), without reading the rest of its state.

    Raises:
      CheckpointError: as `restore`.
    """
    step = self._existing(step)
    arrays, _, _ = self.read(step, "params", like_params)
    _check_finite(arrays, self._folder / str(step))
    params = {name.removeprefix("params/"): array for name, array in arrays.items()}
    return _like(like_params, params)

  def meta(self, step=None):
    """The `meta` that a step (the latest by default) was saved with; not compared with the list.

    Raises:
      CheckpointError: there is no such step, or it has no such file.
    """
    path = self._folder / str(self._existing(step)) / "meta.json"
    try:
      return json.loads(path.read_bytes())["meta"]
    except (OSError, ValueError, KeyError, TypeError):
      raise integrity.Damaged(path, "cannot be read") from None

  def read(self, step=None, part="", like=None):
    """A state without a template: (name -> numpy array, meta, step); names are the pytree's keys, joined by "/".

    Args:
      step: by default the latest.
      part: a key at the top of the state, such as "params": only the arrays under it.
      like: pytree of leaves with shape and dtype that the state, or this part of it, must have;
        seen before arrays are read.

    Raises:
      CheckpointError: there is no such step, it is damaged, or does not fit.
    """
    step = self._existing(step)
    path = self._folder / str(step)
    try:
      integrity.verify(path, _OWN.fullmatch)
      info = json.loads((path / "meta.json").read_bytes())
      if info["step"] != step:
        raise integrity.Damaged(path / "meta.json", f"belongs to step {info['step']}, not {step}")
      return _read_arrays(path / "state", part, like), info["meta"], step
    except Exception:
      if not path.is_dir():  # a run that is training deletes its older steps
        raise integrity.Damaged(path, "was deleted while it was read") from None
      raise

  def _existing(self, step):
    """`step`, or the latest, once a save under way is done; CheckpointError if it is not there."""
    self.wait()
    steps = self.steps()
    if not steps:
      raise CheckpointError(self._folder, "there is no checkpoint", "train first")
    if step is not None and step not in steps:
      raise CheckpointError(
        self._folder,
        f"there is no checkpoint of step {step}",
        f"there are {', '.join(map(str, steps))}",
      )
    return steps[-1] if step is None else step

  def _info(self, step):
    """Score and kind of a step, for choosing among steps; a damaged one has no score (reading it is refused)."""
    path = self._folder / str(step)
    try:
      info = json.loads((path / "meta.json").read_bytes())
      score, of = info["score"], None
      if integrity.is_listed(path, _SCORE):
        added = json.loads((path / _SCORE).read_bytes())
        score, of = added["score"], added["of"]
      return dict(
        score=None if score is None else float(score),
        of=json_text(of, sort_keys=True),
        temporary=bool(info["temporary"]) and not integrity.is_listed(path, _REGULAR),
      )
    except (OSError, ValueError, KeyError, TypeError):
      return dict(score=None, of=None, temporary=False)

  def _write(self, step, state, info):
    """In the background: the whole life of a save, ending with the clean-up of older steps."""
    path = self._folder / f"{_WRITING}{step}"
    try:
      self._check_room(state)
      shutil.rmtree(path, ignore_errors=True)
      path.mkdir()
      with _plainly_named(path) as plain, _orbax() as writer:
        writer.save(plain / "state", args=ocp.args.PyTreeSave(state))
      _check_readable(path / "state", state)
      (path / "meta.json").write_text(info, encoding="utf-8")
      integrity.write_list(path)
      integrity.flush(path)
      path.rename(self._folder / str(step))
      integrity.flush_one(self._folder)
      self._delete_old(step)
    except (OSError, ValueError) as error:
      shutil.rmtree(path, ignore_errors=True)
      # TensorStore reports failed writes as ValueError.
      if isinstance(error, OSError) or "os_error_code" in str(error):
        raise _not_written(self._folder / str(step), error) from None
      raise

  def _check_room(self, state):
    """Notices a full disk before orbax does, which would print a traceback for every array."""
    needed = int(1.02 * sum(leaf.nbytes for leaf in jax.tree.leaves(state))) + 2**18
    free = shutil.disk_usage(self._folder).free
    if free < needed:
      raise OSError(None, f"No space left on device: {needed:,} bytes needed, {free:,} free")

  def _delete_old(self, latest):
    """Removes what `keep_last` and `keep_best` do not keep; `latest` always stays."""
    keep = {latest, *self.regular_steps()[-self._keep_last :]}
    for scores in self._scores_by_kind().values():
      keep.update(_best_first(scores)[: self._keep_best])
    for step in set(self.steps()) - keep:
      self._delete(step)

  def _delete(self, step):
    rubbish = self._folder / f"{_DELETING}{step}"
    (self._folder / str(step)).rename(rubbish)
    shutil.rmtree(rubbish)

  def _put_aside(self, step):
    """Makes room for a damaged step to be done again; perhaps just its list is damaged."""
    numbered = (f"{_DAMAGED}{step}-{number}" for number in itertools.count(2))
    names = itertools.chain([f"{_DAMAGED}{step}"], numbered)
    free = next(name for name in names if not (self._folder / name).exists())
    try:
      (self._folder / str(step)).rename(self._folder / free)
    except OSError as error:
      raise _not_written(self._folder / free, error) from None


def average_params(checkpoints, like_params, steps):
  """The mean of the parameters of some steps (Section 6.1), computed in float64, in the dtypes of `like_params`.

  Raises:
    CheckpointError: a step is missing, damaged, or does not fit.
  """
  if len(steps) == 1:
    return checkpoints.restore_params(like_params, steps[0])
  total = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), like_params)
  for step in steps:
    total = jax.tree.map(np.add, total, checkpoints.restore_params(like_params, step))
  return jax.tree.map(
    lambda leaf, like: np.asarray(leaf / len(steps)).astype(like.dtype), total, like_params
  )


def _orbax():
  """Reads and writes for this process alone, so the processes of a run need not wait for each other.

  Without compression: float32 weights lose 8% of their size to it, and a save takes three times the processor time.
  """
  me = jax.process_index()
  alone = ocp.options.MultiprocessingOptions(
    me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
  )
  handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
  return ocp.Checkpointer(handler, multiprocessing_options=alone)


@contextlib.contextmanager
def _plainly_named(path):
  """A folder's path, or that of a link to it, without what orbax takes for pattern or address.

  Orbax looks for its own files with a pattern that has the whole path in it, and TensorStore takes
  no backslash.

  Raises:
    WorkdirError: the folder for temporary files has no plain name either.
  """
  if _PLAIN.fullmatch(str(path)):
    yield path
    return
  link = pathlib.Path(tempfile.gettempdir(), f"transformer_jax-{secrets.token_hex(8)}")
  if not _PLAIN.fullmatch(str(link)):
    raise WorkdirError(
      path,
      "has a name that checkpoints cannot be written under",
      "use another --workdir, or another TMPDIR",
    )
  with temporary_file(link):
    link.symlink_to(path, target_is_directory=True)
    try:
      yield link
    finally:
      link.unlink()


def _read_arrays(path, part, like=None):
  """name -> numpy array of an orbax PyTree, or of what stands under its key `part`.

  Raises:
    CheckpointError: shapes and dtypes are not those of a given `like`, or there is no state.
  """
  with _plainly_named(path) as plain, _orbax() as reader, _naming_damage(path):
    tree = reader.metadata(plain).item_metadata.tree
    if part:
      if part not in tree:
        raise CheckpointError(path, f"has no {part}")
      tree = {part: tree[part]}
    _check_claims(path, tree[part] if part else tree, like)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    args = ocp.args.PyTreeRestore(item=tree, restore_args=as_numpy, partial_restore=bool(part))
    return dict(_named_leaves(reader.restore(plain, args=args)))


@contextlib.contextmanager
def _naming_damage(path):
  """Says that files, as they were written, are no state. Orbax fails in many ways on them."""
  try:
    yield
  except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
    reason = next(iter(str(error).splitlines()), "")[:200]
    problem = f"holds no state that can be read: {type(error).__name__} {reason}"
    raise integrity.Damaged(path, problem) from None


def _check_claims(path, tree, like):
  """Refuses what does not fit, or claims more than its files can hold, before memory is taken."""
  if like is not None:
    _check_fit(like, dict(_named_leaves(tree)), path.parent)
  claimed = sum(
    math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree)
  )
  found = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
  if claimed > _COMPRESSION * found:
    problem = f"claims {claimed:,} bytes of arrays in {found:,} bytes of files"
    raise integrity.Damaged(path, problem)


def _check_readable(path, state):
  """Refuses to count a save that orbax cannot read back; it has gone wrong without an error.

  Raises:
    WorkdirError: its files do not tell of arrays like those of `state`.
  """
  try:
    with _plainly_named(path) as plain, _orbax() as reader, _naming_damage(path):
      _check_fit(state, dict(_named_leaves(reader.metadata(plain).item_metadata.tree)), path)
  except CheckpointError as error:
    problem = f"cannot be read back after it was written: {error.problem}"
    raise WorkdirError(path.parent, problem, "use another --workdir") from None


def _named_leaves(tree):
  """(keys joined by "/", leaf) of each leaf; a state and the dicts and lists orbax reads back have the same names."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _check_fit(like, found, where):
  """CheckpointError names the first leaf of `found` (by name) that is not as in `like`."""
  wanted = {name: (tuple(leaf.shape), np.dtype(leaf.dtype)) for name, leaf in _named_leaves(like)}
  found = {name: (tuple(leaf.shape), np.dtype(leaf.dtype)) for name, leaf in found.items()}
  for name in [*wanted, *found]:
    if wanted.get(name) != found.get(name):
      here, there = _show(wanted.get(name)), _show(found.get(name))
      raise CheckpointError(
        where,
        f"{name} is {there} in the checkpoint, and {here} in this model",
        "use the settings of the run: they stand in its config.json",
      )


def _like(like, arrays):
  """`arrays` (by name) in the structure of `like`."""
  leaves = [arrays[name] for name, _ in _named_leaves(like)]
  return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _check_finite(arrays, where):
  """Takes NaN among a state's parameters for damage: what is computed from them is none better."""
  for name, array in arrays.items():
    if name.startswith("params/") and not np.all(np.isfinite(array)):
      raise integrity.Damaged(where, f"{name} holds numbers that are not finite")


def _show(leaf):
  return f"{leaf[1]}{list(leaf[0])}" if leaf else "missing"


def _remedy(is_oldest):
  """What to do about a damaged checkpoint."""
  if is_oldest:
    return "there is none before it: restore the file, or start anew in another --workdir"
  return "restore the file, or go back to the checkpoint before with --on_corrupt=previous"


def _best_first(scores):
  return sorted(scores, key=lambda step: (-scores[step], step))


def _not_written(path, error):
  """The WorkdirError for a failed write."""
  problem = getattr(error, "strerror", None) or str(error)
  full = "No space left" in problem or "quota" in problem.lower()
  remedy = "free some space" if full else "check the disk and the permissions"
  return WorkdirError(
    path, f"cannot be written: {problem}", f"{remedy}, then run the same command again"
  )
