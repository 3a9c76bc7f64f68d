"""The two penalties at known lengths."""

import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.decoding.length_penalty import LENGTH_PENALTIES


def test_known_values():
  gnmt = LENGTH_PENALTIES["gnmt"]
  power = LENGTH_PENALTIES["power"]
  assert [round(gnmt(n, 0.6), 2) for n in (1, 10, 25, 50)] == [1.0, 1.73, 2.63, 3.78]
  assert [round(power(n, 0.5), 3) for n in (1, 4, 25)] == [1.0, 2.0, 5.0]


@pytest.mark.parametrize("penalty", LENGTH_PENALTIES.values(), ids=LENGTH_PENALTIES.keys())
@pytest.mark.parametrize("alpha", [0.0, 0.6, 10.0])
def test_integers_and_arrays_give_floats_that_do_not_fall(penalty, alpha):
  lengths = jnp.arange(1, 200)
  values = penalty(lengths, alpha)
  assert values.dtype == jnp.float32
  assert (np.diff(values) >= 0).all() and (alpha > 0 or (values == 1).all())
  np.testing.assert_allclose(values[41], penalty(42, alpha), rtol=1e-5)
