"""Devices and hosts: the only file with `jax.pmap` (floor 2).

Everything above says what happens on one device and which values are summed over all of them.
"""

import contextlib
import ctypes
import os
import pathlib
import sys
import warnings

import jax
import numpy as np
from flax import jax_utils

from transformer_jax import interrupt
from transformer_jax.cache_folder import cache_folder
from transformer_jax.errors import ConfigError

MIN_SECONDS_TO_CACHE = 0.5  # programs that compile sooner are not kept on disk

_AXIS = "devices"
_PATIENCE_AT_START = 100  # seconds for all processes of a run to be there
_HEARTBEAT_TIMEOUT = 60  # seconds, before jax ends a process that waits for one that is gone; `runs.watchdog` is mostly sooner

# glibc's names for what `mallopt` sets.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def start_up(coordinator=None, num_processes=None, process_id=None, *, deterministic=False):
  """Joins the hosts of a run, if there are several, and turns on the persistent compilation cache.

  Args:
    coordinator: host:port of the first process, or "auto" where the platform knows (TPU pods, Slurm).
    num_processes, process_id: how many there are, and which this is.
    deterministic: GPUs use only kernels that give the same bits each time; to be said before the first computation.
  """
  if sys.platform == "linux":
    keep_freed_memory()
  if deterministic:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
  if coordinator is not None:
    _join(coordinator, num_processes, process_id)
  _keep_programs(cache_folder() / "compiled")


def _keep_programs(folder: pathlib.Path) -> None:
  """Turns the cache on. Where it cannot be written, one line says so, and what is there is read."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    why = "" if os.access(folder, os.W_OK) else "Permission denied"
  except OSError as error:
    why = error.strerror or str(error)
  if why:
    print(
      f"transformer-jax: warning: compiled programs are not kept: {folder}: {why}; "
      "set TRANSFORMER_JAX_CACHE to a writable folder",
      file=sys.stderr,
    )
  # jax says it again, or that the disk is full, in several lines for each program, which runs
  # all the same.
  warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
  is_readable = os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)
  jax.config.update("jax_compilation_cache_dir", str(folder) if is_readable else None)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS_TO_CACHE)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _join(coordinator, num_processes, process_id):
  """Waits for the other hosts.

  Raises:
    ConfigError: they cannot be found.
  """
  # Its handler of SIGTERM only takes note. Another jax may have no such service.
  with contextlib.suppress(AttributeError):
    jax.config.update("jax_enable_preemption_service", False)
  where = (
    {}
    if coordinator == "auto"
    else dict(coordinator_address=coordinator, num_processes=num_processes, process_id=process_id)
  )
  try:
    jax.distributed.initialize(
      **where,
      initialization_timeout=_PATIENCE_AT_START,
      heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
    )
    interrupt.has_others = jax.process_count() > 1
  except (ValueError, RuntimeError) as error:
    raise ConfigError(
      f"--coordinator={coordinator}",
      f"the hosts of the run were not found: {error}",
      "name the first process's host:port; auto is for Slurm and TPU pods",
    ) from None


def keep_freed_memory():
  """Has glibc keep what is freed for the next update's arrays, instead of giving it back and taking zeroed pages anew.

  A fifth of the processor time of an update on two cores went into that. It must come before the backend starts its threads: a
  thread that has its own arena by then goes on giving its memory back. Elsewhere than in glibc nothing is done.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (OSError, AttributeError):
    return
  for setting, value in (
    (_M_MMAP_MAX, 0),
    (_M_TRIM_THRESHOLD, -1),
    (_M_TOP_PAD, 1 << 28),
    (_M_ARENA_MAX, 1),
  ):
    mallopt(setting, value)


def backend():
  """cpu, gpu or tpu."""
  return jax.default_backend()


def free_memory():
  """Bytes that one of this process's devices has left, None where that is not known; CPU devices share the machine's."""
  devices = jax.local_devices()
  stats = devices[0].memory_stats()
  if stats and "bytes_limit" in stats:
    return stats["bytes_limit"] - stats["bytes_in_use"]
  free = [n for n in (_available(), _left_in_container()) if n is not None]
  return min(free) // len(devices) if backend() == "cpu" and free else None


def _available():
  with contextlib.suppress(OSError, ValueError):
    for line in pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
      if line.startswith("MemAvailable:"):
        return 1024 * int(line.split()[1])
  return None


def _left_in_container(folder=pathlib.Path("/sys/fs/cgroup")):
  with contextlib.suppress(OSError, ValueError):  # there is no such limit, or it is "max"
    limit = int((folder / "memory.max").read_text(encoding="ascii"))
    cached = dict(
      line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    )
    return (
      limit
      - int((folder / "memory.current").read_text(encoding="ascii"))
      + int(cached["inactive_file"])
    )
  return None


def num_devices():
  """Devices of all hosts."""
  return jax.device_count()


def num_processes():
  """Hosts of the run, or processes on one host."""
  return jax.process_count()


def process_number():
  """Which of them this is, from 0."""
  return jax.process_index()


def is_primary():
  """Whether this process writes the run's files."""
  return jax.process_index() == 0


def on_devices(function, donate=()):
  """`function` on every device at once; all arguments and results have a leading axis of local devices."""
  return jax.pmap(function, axis_name=_AXIS, donate_argnums=donate)


def sum_over_devices(tree):
  """Inside `on_devices`: the sum over all devices of all hosts."""
  return jax.lax.psum(tree, _AXIS)


def device_index():
  """Inside `on_devices`: this device's number among all."""
  return jax.lax.axis_index(_AXIS)


def replicate(tree):
  """A copy of the tree for each local device."""
  return jax_utils.replicate(tree)


def to_host(tree):
  """The first device's copy of a replicated tree, as numpy."""
  return jax.device_get(jax_utils.unreplicate(tree))


def shard_rows(array):
  """This process's part of the rows of a global array, split over its devices: [local devices, rows, ...].

  Rows are filled up with zeros (padding) to a multiple of the number of devices, so every batch keeps its tokens
  whatever the number of devices is.
  """
  devices, local = jax.device_count(), jax.local_device_count()
  rows = -(-array.shape[0] // devices) * devices
  if rows != array.shape[0]:
    array = np.concatenate(
      [array, np.zeros((rows - array.shape[0], *array.shape[1:]), array.dtype)]
    )
  split = array.reshape(devices, rows // devices, *array.shape[1:])
  return split[jax.process_index() * local :][:local]


def gather_rows(tree, rows):
  """The inverse of `shard_rows` for results that all hosts need: numpy arrays of the first `rows` rows."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    tree = multihost_utils.process_allgather(tree, tiled=True)
  return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:])[:rows], tree)


def agree_on(value):
  """The largest of all processes' values of a small integer, for decisions that all must take alike."""
  if jax.process_count() == 1:
    return value
  from jax.experimental import multihost_utils

  return int(np.max(multihost_utils.process_allgather(np.int32(value))))
