"""Power of a study as a pilot's own scores have it: its subjects are resampled, thresholds estimated anew each time.

Nothing is assumed of the shape of scores, of how subjects differ or of how alike the builds err; a pilot of few
subjects knows little of all three, and the plan by formula stands beside it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.rates import exact_bounds
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import CrossTrials
from cv_quality.studies.comparison import compare_fnmr_at_fmr

Codes = NDArray[np.int64]
TAIL = 8
"""So many times the false matches allowed are resampled: beyond that no threshold of a resampled study lies."""
FEWEST_TAIL = 2_000
FEWEST_SUBJECTS = 20
"""Of a pilot: fewer are no sample of how subjects differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPower(Result):
    """The share of resampled studies that pass, where the builds do not differ.

    Attributes:
        subjects: of each study.
        margin: below which the bound of the difference must lie.
        power: the share; low and high bound it at 95 %.
        runs: studies.
        undecided: of them, those without a bound, which do not pass.
        pilot_subjects: that were resampled.
        pilot_difference: of the pilot itself, candidate less reference: taken off, so that the truth is no difference.
    """

    subjects: int
    margin: float
    power: float
    low: float
    high: float
    runs: int
    undecided: int
    pilot_subjects: int
    pilot_difference: float


def simulated_power(
    reference: ClusteredScores,
    candidate: ClusteredScores,
    *,
    fmr: float,
    margin: float,
    subjects: int,
    alpha: float,
    runs: int = 500,
    seed: int = 0,
) -> SimulatedPower:
    """Simulate how often a study of two builds on the same subjects passes, by resampling the subjects of a pilot.

    A drawn subject brings his genuine comparisons under both builds and his comparisons with every other one drawn; two
    draws of one subject are not compared, and the FMR allowed is lowered by their share of the trials.

    Args:
        reference, candidate: scores of the pilot under both builds, with one code for one subject.
        fmr: at which FNMR is compared, the threshold of each build estimated in every study.
        margin: above 0.
        subjects: of a study.
        alpha: one-sided.
        runs: studies.
        seed: of the draws.

    Raises:
        MetricError: the builds count other subjects, the pilot has too few, its own difference is undefined, or its
            impostor comparisons are no complete sets.
    """
    if not margin > 0 or subjects < 2 or runs < 1:
        raise MetricError(f"expected a margin above 0, 2 subjects and a run, found {margin:g}, {subjects}, {runs}")
    people = np.flatnonzero((reference.attempts > 0) & (candidate.attempts > 0))
    if reference.trials.n_subjects != candidate.trials.n_subjects:
        raise MetricError("expected the subjects of both builds under one numbering")
    if len(people) < FEWEST_SUBJECTS:
        raise MetricError(f"a pilot of {len(people)} subjects is too small to resample, {FEWEST_SUBJECTS} are needed")
    known = compare_fnmr_at_fmr(reference, candidate, fmr=fmr).value
    if known is None:
        raise MetricError(f"the pilot has no FNMR at FMR {fmr:g} of both builds: it has too few impostor comparisons")
    both = [highest(side, max(int(TAIL * fmr * side.trials.n), FEWEST_TAIL)) for side in (reference, candidate)]
    rng, passed, undecided = np.random.default_rng(seed), 0, 0
    for _ in range(runs):
        drawn = people[rng.integers(0, len(people), subjects)]
        sides = [resampled(side, drawn) for side in both]
        allowed = fmr * (1 - _between_copies(reference, drawn))
        found = compare_fnmr_at_fmr(sides[0], sides[1], fmr=allowed)
        bounds = found.bounds(1 - 2 * alpha)
        undecided += bounds is None
        passed += bounds is not None and bounds[1] - known < margin
    low, high = exact_bounds(passed, runs, 0.025)
    return SimulatedPower(
        subjects=subjects,
        margin=margin,
        power=passed / runs,
        low=low,
        high=high,
        runs=runs,
        undecided=undecided,
        pilot_subjects=len(people),
        pilot_difference=known,
    )


def highest(scores: ClusteredScores, count: int) -> ClusteredScores:
    """Keep the highest impostor scores alone, at least so many, and all that are equal to the lowest of them."""
    if count >= len(scores.impostor):
        return scores
    kept = scores.count_matches(float(scores.impostor[count - 1]))
    tail = (scores.one[:kept], scores.other[:kept], scores.impostor[:kept])
    return ClusteredScores.of(scores.genuine, scores.people, tail, scores.trials)


def resampled(scores: ClusteredScores, drawn: Codes) -> ClusteredScores:
    """Put together the scores of a study of drawn subjects, each draw a subject of its own.

    Args:
        scores: of a pilot.
        drawn: code of each draw, shape (subjects,).

    Raises:
        MetricError: the impostor comparisons of the pilot are no complete sets.
    """
    order = np.argsort(scores.people, kind="stable")
    counts = scores.attempts[drawn]
    starts = (np.cumsum(scores.attempts) - scores.attempts)[drawn]
    genuine = scores.genuine[order[np.repeat(starts, counts) + _within(counts)]]
    places, copies = np.argsort(drawn, kind="stable"), np.bincount(drawn, minlength=scores.trials.n_subjects)
    first = np.cumsum(copies) - copies
    one, other = scores.one, scores.other
    times = np.where(one == other, 0, copies[one] * copies[other])
    row, inner = np.repeat(np.arange(len(times)), times), _within(times)
    tail = (
        places[first[one[row]] + inner // copies[other[row]]],
        places[first[other[row]] + inner % copies[other[row]]],
        scores.impostor[row],
    )
    trials = _drawn_trials(scores, drawn)
    return ClusteredScores.of(genuine, np.repeat(np.arange(len(drawn)), counts), tail, trials)


def _within(counts: Codes) -> Codes:
    """Number the members of groups of these sizes, from 0 in each."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def _drawn_trials(scores: ClusteredScores, drawn: Codes) -> CrossTrials:
    """The trials of drawn subjects; two draws of one subject count as two subjects.

    Raises:
        MetricError: those of the pilot are no complete sets.
    """
    trials = scores.trials
    if not isinstance(trials, CrossTrials):
        raise MetricError("expected impostor comparisons of complete sets to resample, found listed ones")
    within = np.zeros(len(drawn), np.int64)
    return CrossTrials(trials.scale, trials.left[:, drawn], trials.right[:, drawn], within)


def _between_copies(scores: ClusteredScores, drawn: Codes) -> float:
    """The share of a drawn study's trials that would be between two draws of one subject."""
    trials, every = _drawn_trials(scores, np.arange(scores.trials.n_subjects)), _drawn_trials(scores, drawn)
    copies = np.bincount(drawn, minlength=trials.n_subjects)
    met = trials.scale @ (trials.left * trials.right)
    between = float((copies * (copies - 1) // 2) @ met)
    return between / every.n
