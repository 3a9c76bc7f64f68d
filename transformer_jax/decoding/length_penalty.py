"""What a hypothesis' log-probability is divided by, so that long ones can win (Section 6.1).

`length` counts generated tokens, EOS included; it is a number or an array, at least 1. The search stops early on the
ground that a penalty never falls as length grows, which holds for alpha >= 0.
"""


def length_penalty(length, alpha):
  """((5 + length) / 6)^alpha, the paper's (after Wu et al. 2016, equation 14); 1 for length 1."""
  return ((5 + length) / 6) ** alpha


def power_penalty(length, alpha):
  """length^alpha, which other toolkits call by the same name; 1 for length 1."""
  return (length / 1) ** alpha


LENGTH_PENALTIES = {"gnmt": length_penalty, "power": power_penalty}
