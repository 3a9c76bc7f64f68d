"""A run's folder: its files, its lock, its TensorBoard events, its versions (floor 2; imports floors 0 and 1)."""
