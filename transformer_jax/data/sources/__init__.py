"""Where pairs of texts come from: one file a source; `catalog` opens the one that the settings name."""
