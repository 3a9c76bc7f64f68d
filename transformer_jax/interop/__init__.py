"""Runs in other systems' formats, and other systems' models as runs.

Floor 6; imports floors 0 to 5.
"""
