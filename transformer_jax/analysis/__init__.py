"""Studies of a model beyond its score (floor 6; imports floors 0 to 5).

The folders are named like their commands. `cost` counts and measures the cost of heads. `heads`
measures the contribution of each head. `attention` shows attention for a sentence. `ablation`
trains tables of runs. `verify` checks the paper's figures. `results` keeps scored runs and makes
tables of them.

They share `table3` (the paper's table of variations as data), `timing` (times compiled functions),
`plots` and `markdown` (the style of figures and tables).
"""
