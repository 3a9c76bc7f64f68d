"""The data floor needs only numpy until a part is used that needs more."""

import pathlib
import subprocess
import sys

_ALONE = """
import importlib, pkgutil, sys
absent = "jax flax tensorflow tensorflow_datasets sentencepiece sacremoses subword_nmt nltk"
absent += " datasets huggingface_hub sacrebleu"
for name in absent.split():
  sys.modules[name] = None
import transformer_jax.data
for module in pkgutil.walk_packages(transformer_jax.data.__path__, "transformer_jax.data."):
  importlib.import_module(module.name)
from transformer_jax.config import Config
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.preprocessing import Preprocessor
print(Preprocessor("none", "de")(next(open_source(Config().data).pairs("train"))[1]))
"""


def test_imports_and_runs_without_the_optional_packages():
  run = subprocess.run(
    [sys.executable, "-c", _ALONE],
    capture_output=True,
    text=True,
    check=False,
    cwd=pathlib.Path(__file__).parents[2],
  )
  assert run.returncode == 0, run.stderr
  assert run.stdout.strip()
