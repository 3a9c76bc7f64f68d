"""A run's folder: its files, lock, TensorBoard events, versions (floor 2; imports floors 0, 1)."""
