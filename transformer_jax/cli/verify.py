"""`transformer-jax verify`."""

from transformer_jax.cli.flags import Command


def declare(command: Command) -> None:
  """Declares no flags."""


def run(command: Command) -> int:  # noqa: ARG001  there are no flags
  """Prints a line for each fact; returns 1 if one fails."""
  from transformer_jax.analysis.verify.facts import facts

  num_failed = 0
  for fact in facts():
    holds, seen = fact.check()
    num_failed += not holds
    verdict = "pass" if holds else "FAIL"
    print(f"{verdict}  {fact.name} (Section {fact.section}): {seen}", flush=True)
  if num_failed:
    print(f"{num_failed} of {len(facts())} facts failed")
    return 1
  print(f"all {len(facts())} facts hold")
  return 0
