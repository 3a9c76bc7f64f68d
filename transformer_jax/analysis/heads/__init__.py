"""The contribution of single heads: measured, then closed one at a time and in growing numbers."""
