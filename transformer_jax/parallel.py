"""Devices and hosts: the only file with `jax.pmap` (floor 2).

Everything above says what happens on one device, and which values are summed over all of them.
"""

import contextlib
import os
import pathlib
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import jax_utils

from transformer_jax import interrupt, machine
from transformer_jax.cache_folder import cache_folder
from transformer_jax.errors import ConfigError
from transformer_jax.roll_call import START_TIMEOUT, call_roll

MIN_SECONDS_TO_CACHE = 0.1  # programs that compile in less time are not kept on disk

_AXIS = "devices"
ALIGNED_ROWS = 8  # an accelerator's products are fast where rows are a multiple of this
_MANY_ROWS = 64  # of a device; a multiple of eight is at most an eighth more

# Seconds until jax ends a process that waits for a lost one; `runs.watchdog` is usually sooner.
_HEARTBEAT_TIMEOUT = 60


def start_up(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  start_timeout: int = START_TIMEOUT,
  deterministic: bool = False,
) -> None:
  """Joins the hosts of a run, if there are several, and turns on the compilation cache.

  Args:
    coordinator: host:port of the first process, or "auto" where the platform knows (TPU pods,
      Slurm).
    num_processes: number of processes of the run.
    process_id: number of this process, from 0.
    start_timeout: seconds to wait for the other processes.
    deterministic: GPUs use only kernels that give the same bits each time. It takes effect only
      before the first computation.

  Raises:
    ConfigError: the other hosts cannot be found.
    WorkdirError: other users can change the folder of the cache, or it cannot be made.
  """
  if sys.platform == "linux":
    machine.keep_freed_memory()
  if deterministic:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
  if coordinator is not None:
    _join(coordinator, num_processes, process_id, start_timeout)
  _keep_programs(cache_folder() / "compiled")


def _keep_programs(folder: pathlib.Path) -> None:
  """Turns on the compilation cache. If it cannot be written, one line says so; it is still read."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    problem = "" if os.access(folder, os.W_OK) else "Permission denied"
  except OSError as error:
    problem = error.strerror or str(error)
  if problem:
    print(
      f"transformer-jax: warning: compiled programs are not kept: {folder}: {problem}; "
      "set TRANSFORMER_JAX_CACHE to a writable folder",
      file=sys.stderr,
    )
  # jax repeats this, or that the disk is full, in several lines for each program, which runs
  # nevertheless.
  warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
  is_readable = os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)
  jax.config.update("jax_compilation_cache_dir", str(folder) if is_readable else None)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS_TO_CACHE)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _join(
  coordinator: str, num_processes: int | None, process_id: int | None, timeout: int
) -> None:
  """Waits for the other hosts.

  Raises:
    ConfigError: they cannot be found.
  """
  # The service's handler of SIGTERM only records the signal. Other versions of jax may lack it.
  with contextlib.suppress(AttributeError):
    jax.config.update("jax_enable_preemption_service", False)
  try:
    address, count, number = coordinator, num_processes, process_id
    if coordinator == "auto":
      address, count, number = _detected(timeout)
    if address is None or count is None or number is None:
      raise ValueError("nothing here says which processes belong to the run")
    jax.distributed.initialize(
      call_roll(address, count, number, timeout),
      count,
      number,
      # Where several processes share a machine, jax gives each the device of its local number.
      cluster_detection_method="deactivate" if _is_alone_on_its_machine() else None,
      initialization_timeout=timeout,
      heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
    )
    interrupt.has_others = jax.process_count() > 1
    # On CPUs the first sum waits only 30 seconds for the others, so it comes before the work that
    # may take one of them longer.
    agree_on(0)
  except (ValueError, RuntimeError) as error:
    raise ConfigError(
      f"--coordinator={coordinator}",
      f"the hosts of the run were not found: {error}",
      "name the first process's host:port; auto is for Slurm and TPU pods",
    ) from None


def _is_alone_on_its_machine() -> bool:
  """Returns whether Slurm or Open MPI say that no other process of the run is on this machine.

  Such a process has all of the machine's devices; jax would give it only the first one.
  """
  tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get(
    "OMPI_COMM_WORLD_LOCAL_SIZE", ""
  )
  return re.fullmatch(r"1(\(x\d+\))?(,1)*", tasks) is not None


def _detected(timeout: int) -> tuple[str | None, int | None, int | None]:
  """Returns coordinator, number of processes and number of this one, as the platform knows them."""
  # jax says them nowhere else before it connects.
  from jax._src.clusters import ClusterEnv  # noqa: PLC0415  needed on several hosts only

  detected = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, timeout)
  return detected[:3]


def backend() -> str:
  """Returns "cpu", "gpu" or "tpu"."""
  return jax.default_backend()


def free_memory() -> int | None:
  """Returns the free bytes of one of this process's devices, or None if they are unknown.

  CPU devices share the machine's memory.
  """
  devices = jax.local_devices()
  stats = devices[0].memory_stats()
  if stats and "bytes_limit" in stats:
    return stats["bytes_limit"] - stats["bytes_in_use"]
  available = machine.available_memory()
  if backend() != "cpu" or available is None:
    return None
  return available // len(devices)


def num_devices() -> int:
  """Returns the number of devices of all hosts."""
  return jax.device_count()


def num_processes() -> int:
  """Returns the number of hosts of the run, or of processes on one host."""
  return jax.process_count()


def process_number() -> int:
  """Returns the number of this process, from 0."""
  return jax.process_index()


def is_primary() -> bool:
  """Returns whether this process writes the run's files."""
  return jax.process_index() == 0


def on_devices(function: Callable, donate: int | Sequence[int] = ()) -> Any:
  """Returns `function` on every device at once.

  All arguments and results have a leading axis of local devices.

  Args:
    function: what one device does.
    donate: numbers of the arguments whose memory the results may take.
  """
  return jax.pmap(function, axis_name=_AXIS, donate_argnums=donate)


def sum_over_devices(tree: Any) -> Any:
  """Returns, inside `on_devices`, the sum over all devices of all hosts."""
  return jax.lax.psum(tree, _AXIS)


def device_index() -> jax.Array:
  """Returns, inside `on_devices`, this device's number among all."""
  return jax.lax.axis_index(_AXIS)


def replicate(tree: Any) -> Any:
  """Returns a copy of the tree for each local device."""
  return jax_utils.replicate(tree)


def to_host(tree: Any) -> Any:
  """Returns the first device's copy of a replicated tree, as numpy."""
  return jax.device_get(jax_utils.unreplicate(tree))


def own_rows(num_rows: int, multiple: int = 1) -> range:
  """Returns which rows of a batch of all hosts this process's devices take.

  Each device takes as many, a multiple of `multiple`, so the last ones may be beyond the batch:
  padding, so that a batch has the same tokens on any number of devices.
  """
  num_blocks = -(-num_rows // (jax.device_count() * multiple))
  num_own = num_blocks * multiple * jax.local_device_count()
  start = jax.process_index() * num_own
  return range(start, start + num_own)


def own_rows_of_update(num_rows: int) -> range:
  """Returns `own_rows` of a batch that is trained on or scored.

  On an accelerator, a device that takes many rows takes a multiple of eight: before a product of
  other sizes in bfloat16, XLA copies each factor into a larger array.
  """
  has_many = num_rows >= _MANY_ROWS * jax.device_count()
  return own_rows(num_rows, ALIGNED_ROWS if has_many and backend() != "cpu" else 1)


def split_rows(array: np.ndarray) -> np.ndarray:
  """Returns this process's own rows [rows, ...] as [local devices, rows per device, ...]."""
  num_rows, *shape = array.shape
  num_local = jax.local_device_count()
  return array.reshape(num_local, num_rows // num_local, *shape)


def shard_rows(array: np.ndarray, rows_of: Callable[[int], range] = own_rows) -> np.ndarray:
  """Returns this process's rows of a global array, split over its devices.

  Args:
    array: [rows, ...], the same in all processes; rows of zeros take the places beyond its end.
    rows_of: from the number of rows to this process's: `own_rows` or `own_rows_of_update`.

  Returns:
    [local devices, rows per device, ...].
  """
  own = rows_of(len(array))
  rows = array[own.start : own.stop]
  padding = len(own) - len(rows)
  if padding:
    rows = np.concatenate([rows, np.zeros((padding, *array.shape[1:]), array.dtype)])
  return split_rows(rows)


def gather_rows(tree: Any, num_rows: int) -> Any:
  """Reverses `split_rows` for results that all hosts need.

  Args:
    tree: pytree of arrays [local devices, rows per device, ...].
    num_rows: rows without padding.

  Returns:
    The tree with numpy arrays [num_rows, ...].
  """
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils  # noqa: PLC0415  needed on several hosts only

    tree = multihost_utils.process_allgather(tree, tiled=True)
  return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:])[:num_rows], tree)


def agree_on(value: int) -> int:
  """Returns the maximum of a small integer over all processes, so that they all decide the same."""
  if jax.process_count() == 1:
    return value
  from jax.experimental import multihost_utils  # noqa: PLC0415  needed on several hosts only

  return int(np.max(multihost_utils.process_allgather(np.int32(value))))
