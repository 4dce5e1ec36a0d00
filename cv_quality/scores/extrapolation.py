"""Extrapolation of thresholds to FMRs that the comparisons of a score set are too few to show, marked as such.

The tail of the impostor scores is fitted by `cv_quality.metrics.extremes` and checked by
`cv_quality.metrics.tail_checks`; here both are done for a score set, in units of its files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cv_quality.metrics.extremes import EXCEEDANCES_NEEDED, Extrapolation, default_exceedances, fit_tail
from cv_quality.metrics.results import Result
from cv_quality.metrics.tail_checks import goodness_of_fit, judge, stability
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.uncertainty import Uncertainty

STABILITY_REPLICATES = 200


@dataclass(frozen=True, slots=True)
class ExtrapolatedPoint(Result):
    """The extrapolated threshold of one FMR; `threshold` is None with a `reason`.

    Attributes:
        threshold, low, high: in units of the files.
    """

    fmr_target: float
    threshold: float | None
    low: float | None
    high: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ShapePoint(Result):
    """The fit over one number of exceedances: its shape, and the threshold that it gives for the lowest target."""

    exceedances: int
    shape: float | None
    shape_error: float | None
    threshold: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class TailExtrapolation(Result):
    """Thresholds at FMRs below 1 / N by the fitted tail: an extrapolation, never a count.

    Attributes:
        begins_at: the score over which the tail was fitted, in units of the files.
        shape, end_point: of the fitted tail; the end point is the last score it allows, in units of the files.
        is_stable: whether the fit passes its checks; None where that cannot be said.
        doubts: what speaks against the fit.
    """

    begins_at: float
    exceedances: int
    shape: float | None
    end_point: float | None
    is_stable: bool | None
    doubts: tuple[str, ...]
    points: tuple[ExtrapolatedPoint, ...]
    stability: tuple[ShapePoint, ...]
    method: str
    note: str


def extrapolate(
    scores: ScoreSet, uncertainty: Uncertainty, *, targets: Sequence[float], replicates: int, seed: int
) -> TailExtrapolation | None:
    """Extrapolate the thresholds of the targets below 1 / N; None without one, or with too few comparisons.

    Args:
        scores: the score set.
        uncertainty: whose impostor scores are fitted.
        targets: FMRs; those that can be counted are left out.
        replicates: of the subject bootstrap, where subjects are known.
        seed: of everything random.
    """
    targets = [target for target in targets if target * uncertainty.impostor.n < 1]
    if not targets or default_exceedances(uncertainty.impostor.n) < EXCEEDANCES_NEEDED:
        return None
    listed, trials, subjects = uncertainty.impostors()
    tail = fit_tail(listed, trials=trials, subjects=subjects, replicates=replicates, seed=seed)
    shapes = stability(
        listed, trials=trials, subjects=subjects, fmr=min(targets), replicates=STABILITY_REPLICATES, seed=seed
    )
    verdict = judge(tail, shapes, goodness=goodness_of_fit(tail, seed=seed))
    answers = [tail.threshold_at(target) for target in targets]
    return TailExtrapolation(
        begins_at=scores.in_file_units(tail.threshold),
        exceedances=tail.exceedances,
        shape=tail.shape,
        end_point=None if tail.end_point is None else scores.in_file_units(tail.end_point),
        is_stable=verdict.is_stable,
        doubts=verdict.reasons,
        points=tuple(
            ExtrapolatedPoint(target, *_in_file_units(scores, answer), answer.reason)
            for target, answer in zip(targets, answers, strict=True)
        ),
        stability=tuple(
            ShapePoint(point.exceedances, point.shape, point.shape_error, *_in_file_units(scores, point.extrapolated))
            for point in shapes
        ),
        method=next((answer.method for answer in answers if answer.method), "nothing was fitted"),
        note=answers[0].note,
    )


def _in_file_units(scores: ScoreSet, answer: Extrapolation) -> tuple[float | None, float | None, float | None]:
    """Convert value, low and high to units of the files."""
    value = None if answer.value is None else scores.in_file_units(answer.value)
    bounds = (answer.high, answer.low) if scores.is_negated else (answer.low, answer.high)
    low, high = (None if bound is None else scores.in_file_units(bound) for bound in bounds)
    return value, low, high
