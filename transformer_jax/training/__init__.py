"""Optimization (Sections 5.2 to 5.4): schedule, loss, update, loop.

Floor 4: it imports floors 0 to 3.
"""
