"""Rates of groups against counting pair by pair, and bounds of ratios against resampling people within their groups."""

import numpy as np
import pytest
from scipy import special

from cv_quality.metrics.differentials import differentials
from cv_quality.metrics.trials import CrossTrials, ListedTrials

SIZES = {"a": 40, "b": 70, "c": 90}
GROUPS = np.repeat(list(SIZES), list(SIZES.values()))
PEOPLE, ATTEMPTS, FRAMES = GROUPS.size, 6, 2


def test_every_cell_is_what_counting_pair_by_pair_gives() -> None:
    rng = np.random.default_rng(1)
    one, other = (side.ravel() for side in np.meshgrid(np.arange(PEOPLE), np.arange(PEOPLE)))
    one, other = (np.repeat(side[one != other], FRAMES) for side in (one, other))
    scores = rng.normal(size=one.size)
    found = [
        differentials(
            groups=GROUPS,
            threshold=2.0,
            genuine=(rng.normal(3, 1, PEOPLE), np.arange(PEOPLE)),
            impostor=(scores, one, other),
            trials=trials,
        )
        for trials in (
            ListedTrials.of(one, other),
            CrossTrials.enrolled(np.ones(PEOPLE, int), np.full(PEOPLE, FRAMES)),
        )
    ]
    for pair, listed in zip(found[0].pairs, found[1].pairs, strict=True):
        is_in = (GROUPS[one] == pair.group_a) & (GROUPS[other] == pair.group_b)
        is_in |= (GROUPS[other] == pair.group_a) & (GROUPS[one] == pair.group_b)
        assert (pair.fmr.numerator, pair.fmr.denominator) == (int((scores[is_in] >= 2).sum()), int(is_in.sum()))
        assert (pair.fmr.low, pair.fmr.high) == pytest.approx((listed.fmr.low, listed.fmr.high))
    for row in found[0].groups:
        is_in = (GROUPS[one] == row.group) | (GROUPS[other] == row.group)
        assert row.fmr_involving.numerator == int((scores[is_in] >= 2).sum())
        assert row.fmr_involving.denominator == int(is_in.sum())


def test_the_bounds_of_a_ratio_are_as_wide_as_resampling_people_makes_them() -> None:
    rng = np.random.default_rng(2)
    missed = rng.uniform(size=(ATTEMPTS, PEOPLE)) < rng.beta(0.6, 5.4, PEOPLE)
    found = differentials(
        groups=GROUPS,
        threshold=0.5,
        genuine=(np.where(missed, 0.1, 0.9).ravel(), np.tile(np.arange(PEOPLE), ATTEMPTS)),
        impostor=([0.9], [0], [1]),
        trials=CrossTrials.all_pairs(np.ones(PEOPLE, int)),
        floor=0.5,
    )
    errors = missed.sum(axis=0)
    members = [np.flatnonzero(name == GROUPS) for name in SIZES]
    drawn = [[errors[rng.choice(own, own.size)].sum() / own.size for own in members] for _ in range(4_000)]
    rates = np.array(drawn)
    ratios = np.log(rates / (rates @ list(SIZES.values()) / PEOPLE)[:, None])
    checks = [check for check in found.checks if check.rate == "fnmr"]
    for check, resampled, size in zip(checks, ratios.std(axis=0), SIZES.values(), strict=True):
        assert check.low is not None
        assert check.high is not None
        deviation = np.log(check.high / check.low) / 2 / special.stdtrit(size, 0.975)
        assert deviation == pytest.approx(resampled, rel=0.12)
