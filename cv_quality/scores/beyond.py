"""Thresholds for FMRs that the comparisons of a score set are too few to show, extrapolated and marked as such.

The tail of the impostor scores is fitted by `cv_quality.metrics.extremes` and looked at by
`cv_quality.metrics.tail_checks`; here both are asked for a score set and put into units of its files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cv_quality.metrics.extremes import EXCEEDANCES_NEEDED, Extrapolation, default_exceedances, fit_tail
from cv_quality.metrics.results import Result
from cv_quality.metrics.tail_checks import StabilityPoint, goodness_of_fit, judge, stability
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.sureness import Sureness

STABILITY_REPLICATES = 200


@dataclass(frozen=True, slots=True)
class BeyondPoint(Result):
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
class Beyond(Result):
    """What the fitted tail says of FMRs beyond the comparisons made: an extrapolation, never a count.

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
    points: tuple[BeyondPoint, ...]
    stability: tuple[ShapePoint, ...]
    method: str
    note: str


def beyond(scores: ScoreSet, sure: Sureness, *, targets: Sequence[float], replicates: int, seed: int) -> Beyond | None:
    """Extrapolate the thresholds of the targets below 1 / N; None without one, or with too few comparisons."""
    targets = [target for target in targets if target * sure.impostor.n < 1]
    if not targets or default_exceedances(sure.impostor.n) < EXCEEDANCES_NEEDED:
        return None
    listed, trials, subjects = sure.impostors()
    tail = fit_tail(listed, trials=trials, subjects=subjects, replicates=replicates, seed=seed)
    shapes = stability(
        listed, trials=trials, subjects=subjects, fmr=min(targets), replicates=STABILITY_REPLICATES, seed=seed
    )
    verdict = judge(tail, shapes, goodness=goodness_of_fit(tail, seed=seed))
    answers = [(target, tail.threshold_at(target)) for target in targets]
    return Beyond(
        begins_at=scores.in_file_units(tail.threshold),
        exceedances=tail.exceedances,
        shape=tail.shape,
        end_point=None if tail.end_point is None else scores.in_file_units(tail.end_point),
        is_stable=verdict.is_stable,
        doubts=verdict.reasons,
        points=tuple(_point(scores, target, answer) for target, answer in answers),
        stability=tuple(_shape(scores, point) for point in shapes),
        method=next((answer.method for _, answer in answers if answer.method), "nothing was fitted"),
        note=answers[0][1].note,
    )


def _point(scores: ScoreSet, target: float, answer: Extrapolation) -> BeyondPoint:
    return BeyondPoint(target, *_in_file_units(scores, answer), answer.reason)


def _shape(scores: ScoreSet, point: StabilityPoint) -> ShapePoint:
    return ShapePoint(point.exceedances, point.shape, point.shape_error, *_in_file_units(scores, point.extrapolated))


def _in_file_units(scores: ScoreSet, answer: Extrapolation) -> tuple[float | None, float | None, float | None]:
    """Value, low and high as the files would write them."""
    value = None if answer.value is None else scores.in_file_units(answer.value)
    bounds = (answer.high, answer.low) if scores.is_negated else (answer.low, answer.high)
    low, high = (None if bound is None else scores.in_file_units(bound) for bound in bounds)
    return value, low, high
