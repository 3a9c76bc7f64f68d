"""Attention for one sentence: its weights, a page to explore them, and figures."""
