"""Runs: one file per verb, a run's folder, and `build`, which puts the parts together (floor 5; imports floors 0 to 4)."""
