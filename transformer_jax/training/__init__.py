"""Optimisation (Sections 5.2 to 5.4): schedule, loss, update, loop (floor 4; imports floors 0 to 3)."""
