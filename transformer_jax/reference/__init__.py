"""The paper in plain NumPy, float64 and mostly loops (floor 0; imports only numpy and this folder).

`verify` and the tests compare the fast code with it. It is slow: it has no batches and takes one
sentence pair at a time, each equation written as in the paper. None of it is for training a real
model.
"""
