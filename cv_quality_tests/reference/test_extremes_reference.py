"""Extrapolation on real scores: what some of the people promise must be what all of them show."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.metrics.extremes import TailFit, fit_tail
from cv_quality.metrics.trials import CrossTrials

Shared = Callable[[str], Path]
Floats = NDArray[np.float64]
PEOPLE, CHOSEN = 517, 220


def bssr1(folder: Path, name: str) -> Floats:
    """Rows are enrolments, columns probes, in the same order of people."""
    with (folder / f"{name}.csv").open() as file:
        rows = list(csv.reader(file))
    return np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])


def tail_of_some(scores: Floats, seed: int) -> TailFit:
    """The tail of the comparisons among 220 people drawn by the seed: fewer than a fifth of all."""
    chosen = np.zeros(PEOPLE, int)
    chosen[np.random.default_rng(seed).permutation(PEOPLE)[:CHOSEN]] = 1
    one, other = np.nonzero(np.outer(chosen, chosen) - np.diag(chosen))
    trials = CrossTrials.enrolled(chosen, chosen)
    return fit_tail(
        scores[one, other], trials=trials, subjects=(one, other), exceedances=150, replicates=200, seed=seed
    )


@pytest.mark.parametrize("name", ["face-C", "face-G"])
def test_thresholds_from_some_people_hold_those_that_all_people_show(shared_data: Shared, name: str) -> None:
    scores = bssr1(shared_data("scores_nist_bssr1_set1"), name)
    every = np.sort(scores[~np.eye(PEOPLE, dtype=bool)])
    held = []
    for seed in range(8):
        tail = tail_of_some(scores, seed)
        for matches in (4, 8):
            rate = matches / every.size
            at = tail.threshold_at(rate)
            assert at.low is not None
            assert at.high is not None
            held.append(at.low <= every[-matches] <= at.high)
            assert at.is_extrapolation == (rate * tail.n < 1)
    assert np.mean(held) > 0.85


def test_whole_numbers_as_scores_are_refused(shared_data: Shared) -> None:
    scores = bssr1(shared_data("scores_nist_bssr1_set1"), "finger-left")
    reason = tail_of_some(scores, 0).reason
    assert reason is not None
    assert reason.startswith("discrete scores")
