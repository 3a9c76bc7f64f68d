"""Sources of text pairs, one a file; `catalog` opens the one that the settings name."""
