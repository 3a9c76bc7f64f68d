"""The paper in plain NumPy, float64 and mostly loops (floor 0; imports only numpy and this folder).

This is the truth that `verify` and the tests compare the fast code with: slow, without batches, one
sentence pair at a time, each equation where the paper has it. None of it is for training a real
model.
"""
