"""The checks that a stage's output must pass before the next stage may start.

`suites` says what is expected, as data; `runner` asks Great Expectations; `verdicts` records the answer in the lake
and refuses a stage whose gate has not passed on exactly the data at hand.
"""
