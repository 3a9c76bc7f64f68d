"""Translates with a run, for `sentences.py`.

python benchmarks/sentences_worker.py RUN [preprocessed]
"""

import functools
import sys

import jax
from peers.serve_sentences import serve

import transformer_jax


@functools.cache
def model(**settings):
  """Returns the run with these decoding settings."""
  return transformer_jax.load(sys.argv[1], **settings)


def translate(lines, **settings):
  """Returns the translations."""
  return model(**settings).translate(lines, is_preprocessed="preprocessed" in sys.argv)


serve(translate, f"jax {jax.__version__}")
