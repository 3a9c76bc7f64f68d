"""Packaging: dependencies, extras, and the console script `transformer-jax`."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
  r'__version__ = "(.+)"', (HERE / "transformer_jax" / "__init__.py").read_text(encoding="utf-8")
).group(1)
# What an installed package has of experiments/: no pictures, no files of single seeds.
EXPERIMENTS = ["README.md", "clusters/*", "**/*.flags", "**/table.json", "**/table.md"]

setup(
  name="transformer_jax",
  version=VERSION,
  description='"Attention Is All You Need" in JAX: the whole system of the paper',
  long_description=(HERE / "README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  # On Windows: in WSL.
  classifiers=["Operating System :: POSIX :: Linux", "Operating System :: MacOS"],
  packages=[
    *find_packages(include=["transformer_jax", "transformer_jax.*"]),
    "transformer_jax.experiments",
  ],
  # The flag files lie outside of the package here, and inside of it where it is installed.
  package_dir={"transformer_jax.experiments": "experiments"},
  package_data={
    "transformer_jax": ["py.typed", "demo/README.md", "demo/german_english/*"],
    "transformer_jax.analysis.attention": ["explorer/*", "explorer/model/*"],
    "transformer_jax.attention": ["fastest.json"],
    "transformer_jax.experiments": EXPERIMENTS,
  },
  python_requires=">=3.11",
  install_requires=[
    "absl-py>=2.3",
    "flax>=0.12.8,<0.13",
    "importlib_resources>=6",  # tensorflow-datasets 4.9.10 imports it without declaring it
    "jax>=0.10.2,<0.13",
    "jaxtyping>=0.3",
    "matplotlib>=3.8",
    "numpy>=1.26",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "sacrebleu>=2.4",
    "sacremoses>=0.1.1",
    "safetensors>=0.5",  # the demo's model, export and import
    "nltk>=3.8",
    "scipy>=1.13",
    "sentencepiece>=0.2",
    "subword-nmt>=0.3.8",
    "tensorboardX>=2.6",
    "tensorflow-datasets>=4.9.10,<5",
    "tqdm>=4.66",
  ],
  extras_require={
    "cuda": ["jax[cuda12]"],
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
    "tpu": ["jax[tpu]"],
    "datasets": ["datasets>=4"],  # --data_source=huggingface
    "prepare": ["tensorflow-cpu"],  # only the download of a TensorFlow dataset needs it
    "ctranslate2": ["ctranslate2>=4.6"],  # export --format=ctranslate2
    "huggingface": ["huggingface_hub>=0.24"],  # import by name
    "serve": ["starlette>=0.40", "uvicorn>=0.30"],
    "test": [
      "beartype>=0.20",
      "hypothesis>=6.100",
      "pytest>=8",
      "pytest-xdist>=3.5",
      "selenium>=4.20",
      "starlette>=0.40",
      "uvicorn>=0.30",
    ],
    "lint": ["mdformat-gfm>=1", "pyright[nodejs]>=1.1.400", "ruff>=0.15"],
    "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
  },
  entry_points={"console_scripts": ["transformer-jax = transformer_jax.cli.main:main"]},
)
