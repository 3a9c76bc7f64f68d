"""Tables of runs that differ in a few settings (Table 3)."""
