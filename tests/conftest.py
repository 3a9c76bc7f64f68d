"""Shared by all tests: the folder of real data, a tiny trained run, limits on memory."""

import atexit
import contextlib
import ctypes
import gc
import importlib.metadata
import os
import pathlib
import shutil
import sys
import tempfile

import pytest
from traced_once import remembered, step_key

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the suite's time goes into compiling programs that run for milliseconds.
# `make test-portability` compiles them as users do.
_IN_HASTE = ["--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones end at this flag
  _IN_HASTE.append("--xla_cpu_use_fusion_emitters=false")  # a third of the time
_flags = os.environ.get("XLA_FLAGS", "")
if "--xla_backend_optimization_level" not in _flags:
  os.environ["XLA_FLAGS"] = " ".join([_flags, *_IN_HASTE]).strip()

if "TRANSFORMER_JAX_CACHE" not in os.environ:  # so that tests neither use nor fill a user's cache
  os.environ["TRANSFORMER_JAX_CACHE"] = tempfile.mkdtemp(prefix="transformer_jax-tests-")
  atexit.register(shutil.rmtree, os.environ["TRANSFORMER_JAX_CACHE"], ignore_errors=True)

# A program that one test has compiled is found on disk by the others.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", f"{os.environ['TRANSFORMER_JAX_CACHE']}/compiled"
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")

_ENOUGH_MEMORY = 1e9  # bytes that a test process may have before it drops its compiled programs


@pytest.fixture(scope="session", autouse=True)
def _suited_to_many_small_runs():
  """Keeps small programs on disk, and returns freed memory."""
  from transformer_jax import machine, parallel

  parallel.MIN_SECONDS_TO_CACHE = 0.05
  machine.keep_freed_memory = lambda: None


@pytest.fixture(autouse=True)
def _drop_programs():
  """Drops compiled programs, which would take gigabytes for the whole suite."""
  yield
  if _resident_bytes() > _ENOUGH_MEMORY:
    _drop()


@pytest.fixture(scope="session", autouse=True)
def _traced_once():
  """Tracing takes most of the time of a tiny run, and a resumed run would trace it all again."""
  from transformer_jax.runs import train, trained_model, validation

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, "TrainStep", remembered(train.TrainStep, step_key))
    patch.setattr(train, "make_reset", remembered(train.make_reset, lambda: ()))
    for module, name in (
      (validation, "make_evaluation_step"),
      (validation, "make_decode_batch"),
      (trained_model, "make_decode_batch"),
    ):
      function = remembered(getattr(module, name), lambda *args: str(args))
      patch.setattr(module, name, function)
    yield


def _drop():
  if "jax" in sys.modules:
    sys.modules["jax"].clear_caches()
  gc.collect()
  with contextlib.suppress(OSError, AttributeError):  # of glibc: returns freed memory
    ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes():
  """Returns the bytes of memory in use; 0 if /proc does not say."""
  with contextlib.suppress(OSError):
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
  return 0


@pytest.fixture(scope="session")
def shared_data():
  """The folder of real text and treebanks.

  It is $TRANSFORMER_JAX_DATA, or shared/data beside the repository.
  """
  beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
  folder = pathlib.Path(os.environ.get("TRANSFORMER_JAX_DATA") or beside)
  if not folder.is_dir():
    pytest.skip(f"needs real data: set TRANSFORMER_JAX_DATA ({folder} is not there)")
  return folder


@pytest.fixture
def tiny_settings():
  """Sizes of a model that compiles and trains in seconds."""
  return dict(num_layers=1, d_model=16, d_ff=32, num_heads=2, d_k=8, d_v=8, attention_kernel="xla")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
  """The workdir of a tiny run on the built-in task, trained once, for tests that only read it."""
  import tiny_run

  from transformer_jax.runs.train import train

  workdir = tmp_path_factory.mktemp("trained") / "run"
  train(tiny_run.tiny_config(), workdir, ".")
  return workdir


@pytest.fixture
def run_copy(trained, tmp_path):
  """A copy of `trained` that a test may change."""
  return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="module")
def browser():
  """Headless Chromium."""
  import explorer_page

  with explorer_page.started() as found:
    yield found
