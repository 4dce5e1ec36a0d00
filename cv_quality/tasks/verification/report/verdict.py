"""The one sentence on top of a report: what stands out, said no more surely than the intervals allow.

Only words are made here, from records of `cv_quality.tasks.verification.report.facts`. Whether a build may ship is not decided here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cv_quality.metrics.results import percent
from cv_quality.tasks.verification.report.facts import DIMENSIONS, UNKNOWN, Dimension, Direction, Headline, Level, Rate

_PLACES = {
    "illuminance_band": "illuminance {} lux",
    "skin_tone_band": "Monk skin tone {}",
    "condition_label": "condition {}",
}
_VERBS = {"worse": "rose", "better": "fell"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The sentence, and which way it points."""

    sentence: str
    direction: Direction


def find(headlines: Iterable[Headline], *, dimensions: Iterable[Dimension], has_baseline: bool) -> Finding:
    """What stands out: the change at the strictest measurable FMR target, and the condition that changed most."""
    known = list(headlines)
    headline = leading(known, has_baseline=has_baseline)
    if headline is None:
        return Finding(_nothing_measurable(known), "unknown")
    if not has_baseline:
        return Finding(
            f"{headline.name} is {_with_interval(headline.build)}; there is no baseline build to compare with.",
            "unknown",
        )
    levels = [level for dimension in dimensions for level in dimension.levels]
    return Finding(f"{_change(headline)}{_where(levels)}.", headline.direction)


def leading(headlines: Iterable[Headline], *, has_baseline: bool) -> Headline | None:
    """The strictest firm FMR target that every model has, else FNMR at the decision threshold, else None."""
    known = list(headlines)
    targets = [item for item in known if item.fmr_target is not None and item.is_firm]
    fallback = [item for item in known if item.name == "FNMR at the decision threshold"]
    return next(
        (item for item in (*reversed(targets), *fallback) if _is_measured(item, has_baseline=has_baseline)), None
    )


def largest_rise(levels: Iterable[Level]) -> Level | None:
    """The level, with enough trials and disjoint intervals, whose FNMR rose most; None when there is none."""
    known = [level for level in levels if level.level != UNKNOWN]
    risen = [level for level in known if level.direction == "worse" and level.delta is not None]
    return max(risen, key=lambda level: (level.delta or 0.0, level.build.denominator or 0), default=None)


def _is_measured(headline: Headline, *, has_baseline: bool) -> bool:
    rates = (headline.build, headline.baseline) if has_baseline else (headline.build,)
    return all(rate is not None and rate.value is not None for rate in rates)


def _nothing_measurable(headlines: list[Headline]) -> str:
    reason = next((item.build.reason for item in headlines if item.build.reason), "no comparison was made")
    return f"The data do not suffice for a statement: {reason}."


def _with_interval(rate: Rate) -> str:
    if rate.low is None or rate.high is None:
        return f"{percent(rate.value)} ({rate.reason or 'no interval'})"
    return f"{percent(rate.value)} (95 % interval {percent(rate.low)} to {percent(rate.high)})"


def _change(headline: Headline) -> str:
    assert headline.baseline is not None
    before, after = percent(headline.baseline.value), percent(headline.build.value)
    if headline.direction in _VERBS:
        return f"{headline.name} {_VERBS[headline.direction]} from {before} to {after}"
    if headline.direction == "unclear":
        return f"{headline.name} went from {before} to {after}, which chance may explain (the 95 % intervals overlap)"
    return f"{headline.name} went from {before} to {after}, without an interval to judge the change by"


def _where(levels: list[Level]) -> str:
    worst = largest_rise(levels)
    if worst is None:
        return "; no condition with enough trials rose beyond its interval"
    before, after = percent(worst.baseline.value if worst.baseline else None), percent(worst.build.value)
    return f"; the largest rise is at {describe(worst)}, from {before} to {after} at the decision threshold"


def describe(level: Level) -> str:
    """A level in words.

    >>> describe(Level("illuminance_band", "<10", Rate(), None, is_sufficient=True))
    'illuminance below 10 lux'
    """
    value = level.level.replace(">=", "at least ").replace("<", "below ")
    return _PLACES.get(level.dimension, f"{DIMENSIONS[level.dimension]} {{}}").replace("{}", value)
