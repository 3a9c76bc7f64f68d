"""What each head looks at: maps, figures, the explorer page."""
