"""What is learned: text in, tokens out, tokens in, text out, score. Nothing is generated here (floor 3; no jax)."""
