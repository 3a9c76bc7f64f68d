"""Parameters, operations, memory and time of attention and of whole models (Tables 1 and 2)."""
