"""Score files that other tools wrote, read into one form.

`reading.read_scores` is the way in and `grouping.group_files` says which files belong together; `detection` tells the
formats apart, and each family of formats has a module. What comes out is a `score_set.ScoreSet`: higher is more alike.
"""
