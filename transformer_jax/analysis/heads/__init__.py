"""Measures the contribution of heads, and closes one at a time, then more and more of them."""
