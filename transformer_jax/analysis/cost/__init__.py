"""Cost of attention and of whole models: parameters, operations, memory, time (Tables 1, 2)."""
