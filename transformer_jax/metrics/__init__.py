"""Scores of text against references (floor 2): may import `config` and `errors`; no jax.

`bleu` holds sacreBLEU, the paper's tokenised BLEU and multi-bleu on tokens.
"""
