"""Search for the most probable output (floor 4): greedy and beam search over any model, n-best lists in input order."""
