"""Studies of a model beyond its score (floor 6; imports floors 0 to 5).

Folders, named like their commands: `cost` counts and measures what heads cost, `heads` what each
head contributes, `attention` draws attention for a sentence, `ablation` trains tables of runs, and
`verify` checks the paper's figures. Files that they share: `table3` has the paper's table of
variations as data, `timing` times compiled functions, `plots` and
`markdown` are the looks of figures and tables.
"""
