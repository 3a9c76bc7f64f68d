"""Tests of trained models pass with other rounding."""

import portability
import pytest


@pytest.mark.slow
def test_with_other_instructions():
  portability.check_trained("sse4_2")
