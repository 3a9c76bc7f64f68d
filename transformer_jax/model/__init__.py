"""The Transformer of Section 3 as Linen modules (floor 3; imports floors 0 to 2)."""
