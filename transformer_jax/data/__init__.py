"""Text to padded batches of tokens, in numpy (floor 2; imports floors 0 and 1; no jax)."""
