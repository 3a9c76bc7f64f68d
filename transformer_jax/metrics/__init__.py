"""Scores of text against references (floor 2): may import `config` and `errors`; no jax.

`bleu` has sacreBLEU, the paper's tokenized BLEU, and multi-bleu on tokens; `labeled_f1` has the F1
of labeled brackets by EVALB's rules.
"""
