"""The paper in plain NumPy, float64 and mostly loops (floor 0; imports nothing but numpy and its own folder).

This is the truth that `verify` and the tests hold the fast code to: slow, without batches, one sentence pair at a
time, each equation where the paper has it. Nothing here is for training a real model.
"""
