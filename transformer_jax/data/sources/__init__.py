"""Sources of text pairs, each in a file; `catalog` opens the one that the settings name."""
