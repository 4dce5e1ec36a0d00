"""What an evaluation of score files comes to, in one sentence a set, said no more surely than the intervals allow.

Only words are made here. The numbers are those of `cv_quality.scores.evaluation`.
"""

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.rates import target_text
from cv_quality.reports.rendering import number
from cv_quality.scores.evaluation import CrossingPoint, Evaluation, Point, Status
from cv_quality.text import span

REVERSED = 0.5
"""An EER above this is that of scores whose sign is wrong."""


def leading(evaluation: Evaluation) -> Point | None:
    """Choose the point that is spoken of: at the threshold that was given, else at the strictest target there is.

    Targets that rest on too few errors come last; None where every target is undefined.
    """
    return evaluation.fixed or firm(evaluation) or _strictest(evaluation, "insufficient")


def firm(evaluation: Evaluation) -> Point | None:
    """Choose the point at the strictest target that rests on enough errors; groups and qualities are judged there."""
    return _strictest(evaluation, "ok")


def _strictest(evaluation: Evaluation, status: Status) -> Point | None:
    found = [point for point in evaluation.operating_points if point.status == status]
    return min(found, key=_target, default=None)


def sentence(evaluation: Evaluation) -> str:
    """Say what was found, without the name of the set and the final stop."""
    if evaluation.eer.value > REVERSED:
        return (
            f"the scores look reversed: EER {percent(evaluation.eer.value)}, so that no rate means what it says until "
            f"their polarity is declared"
        )
    point = leading(evaluation)
    if point is None:
        return f"EER {_with_interval(evaluation.eer, evaluation)}; {_beyond(evaluation)}"
    parts = [_at(point, evaluation), _reliance(point), "" if point is evaluation.fixed else _beyond(evaluation)]
    return "; ".join(part for part in parts if part)


def _at(point: Point, evaluation: Evaluation) -> str:
    """The rates at one point; the FMR is repeated where its threshold, and not the FMR, was given."""
    assert point.fnmr is not None
    assert point.fmr is not None
    fnmr = f"FNMR {_with_interval(point.fnmr, evaluation)}"
    if point.fmr_target is None:
        where = f"at the threshold {number(point.threshold)} that was given"
        return f"{fnmr} and FMR {_with_interval(point.fmr, evaluation)} {where}"
    return f"{fnmr} at FMR {target_text(point.fmr_target)}"


def _with_interval(rate: Rate | CrossingPoint, evaluation: Evaluation) -> str:
    if rate.low is None or rate.high is None:
        return f"{percent(rate.value)} (no interval)"
    assumed = ", if comparisons are independent" if evaluation.n_subjects is None else ""
    return f"{percent(rate.value)} (95 % interval {span(rate.low, rate.high, words=percent)}{assumed})"


def _reliance(point: Point) -> str:
    if point.reason is None:
        return ""
    weak = [name for name, rate in (("FMR", point.fmr), ("FNMR", point.fnmr)) if rate is not None and rate.reason]
    which = " and the ".join(weak) if point.fmr_target is None else "FNMR"
    return f"do not rely on the {which}: {point.reason.removeprefix('insufficient: ')}"


def _beyond(evaluation: Evaluation) -> str:
    """Whether more was asked than can be said."""
    point = leading(evaluation)
    said = 1.0 if point is None or point.fmr_target is None else point.fmr_target
    stricter = [target for target in map(_target, evaluation.operating_points) if target < said]
    if not stricter:
        return ""
    return f"for FMR {target_text(max(stricter))}{' and below' if len(stricter) > 1 else ''} the scores do not suffice"


def _target(point: Point) -> float:
    return 1.0 if point.fmr_target is None else point.fmr_target
