"""`python -m transformer_jax COMMAND [flags]`."""

from transformer_jax.cli.main import main

if __name__ == "__main__":
  main()
