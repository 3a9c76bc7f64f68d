"""Tasks (floor 3; no jax): text to tokens, tokens to text, and the score of an answer.

`task` has the protocol `Task` and the answer type `Output`; `translation` and `parsing` are the two
tasks. A task does not know the model: `runs` generates the tokens.
"""
