"""Divisors of a hypothesis' log-probability, so that long ones can win (Section 6.1).

`length` counts generated tokens, EOS included; it is at least 1. The search stops early because it
relies on a penalty that never falls as length grows, which holds for alpha >= 0.
"""

from jaxtyping import Array, Num

Number = int | float | Num[Array, "..."]


def length_penalty(length: Number, alpha: Number) -> Number:
  """Returns ((5 + length) / 6)^alpha, the paper's; 1 for length 1.

  Wu et al. 2016, equation 14.

  Example:
    length_penalty(25, 0.6)  # 2.63
  """
  return ((5 + length) / 6) ** alpha


def power_penalty(length: Number, alpha: Number) -> Number:
  """Returns length^alpha, which other toolkits call the length penalty; 1 for length 1."""
  return (length / 1) ** alpha


LENGTH_PENALTIES = {"gnmt": length_penalty, "power": power_penalty}
