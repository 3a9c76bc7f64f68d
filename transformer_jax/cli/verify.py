"""`transformer-jax verify`."""


def declare(command):
  """No flags."""


def run(command):
  """A line per fact; exit code 1 if one fails."""
  from transformer_jax.analysis.verify.facts import facts

  failed = 0
  for fact in facts():
    holds, seen = fact.check()
    failed += not holds
    print(
      f"{'pass' if holds else 'FAIL'}  {fact.name} (Section {fact.section}): {seen}", flush=True
    )
  print(f"{failed} of {len(facts())} facts failed" if failed else f"all {len(facts())} facts hold")
  return 1 if failed else 0
