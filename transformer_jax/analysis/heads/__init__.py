"""Measures the contribution of heads, and closes them one at a time and in growing numbers."""
