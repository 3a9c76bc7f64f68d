"""Search for the most probable output: greedy and beam search over any model, and n-best lists.

Floor 4: it imports floors 0 to 3.
"""
