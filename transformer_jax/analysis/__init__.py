"""What there is to know about a model besides its score (floor 6; imports floors 0 to 5).

`cost` has the closed formulas, `table3` the paper's table of variations, `paper_facts` the list that `verify` checks.
"""
