"""Score files that other tools wrote, read into one form.

Start at `reading.read_scores`; `grouping.group_files` says which files belong together, `detection` tells the formats
apart, and each family of formats has a module. The result is a `score_set.ScoreSet`, in which higher is more alike;
`evaluation` gives its rates. Genuine comparisons are the mated ones of ISO/IEC 2382-37, impostor the non-mated ones.
"""
