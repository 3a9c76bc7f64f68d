"""Tests of trained models pass with models from another seed.

A file of its own, so that another process may run it beside the other way.
"""

import portability
import pytest


@pytest.mark.slow
def test_from_another_seed():
  portability.check_trained("seed")
