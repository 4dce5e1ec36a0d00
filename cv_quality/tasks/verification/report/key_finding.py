"""The key finding on top of a report: what stands out, in one sentence that claims no more than the intervals allow.

Only words are made here, from records of `cv_quality.tasks.verification.report.data`. Whether a build may ship is not
decided here.
"""

from collections.abc import Iterable, Sequence

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.key_finding import KeyFinding
from cv_quality.reports.rates import Direction
from cv_quality.tasks.root_causes.report.change import BuildChange
from cv_quality.tasks.verification.report.data import AT_THRESHOLD, UNKNOWN, DimensionRates, Headline, LevelRates
from cv_quality.text import span

_VERBS = {"worse": "rose", "better": "fell"}


def find(headlines: Sequence[Headline], *, dimensions: Iterable[DimensionRates], has_baseline: bool) -> KeyFinding:
    """Say what stands out: the change at the strictest measurable FMR target, and the condition that changed most.

    Args:
        has_baseline: whether there is something to compare with.
    """
    headline = leading(headlines, has_baseline=has_baseline)
    if headline is None:
        reasons = (item.rates.build.reason for item in headlines)
        reason = next((found for found in reasons if found), "no comparison was made")
        return KeyFinding(f"The data do not suffice for a statement: {reason}.", "unknown")
    if not has_baseline:
        value = _with_interval(headline.rates.build)
        return KeyFinding(f"{headline.name} is {value}; there is no baseline build to compare with.", "unknown")
    levels = [level for dimension in dimensions for level in dimension.levels]
    return KeyFinding(f"{_change(headline)}{_where(levels)}.", headline.rates.direction)


def find_recorded_change(change: BuildChange, *, build: str) -> KeyFinding:
    """Say how the FRR that devices recorded changed from the baseline's drops to those of the build."""
    whole = change.recorded[0]
    low, high = whole.change.low, whole.change.high
    direction: Direction = "unknown"
    if low is not None and high is not None:
        direction = "worse" if low > 0 else "better" if high < 0 else "unclear"
    verb = _VERBS.get(direction, "went")
    told = {"unclear": ", which chance may explain", "unknown": ", without an interval to judge the change by"}
    return KeyFinding(
        f"As recorded on the devices, the FRR {verb} from {percent(whole.before)} with {change.baseline} to "
        f"{percent(whole.after)} with {build}{told.get(direction, '')}.",
        direction,
    )


def leading(headlines: Sequence[Headline], *, has_baseline: bool) -> Headline | None:
    """Choose the strictest firm FMR target that every model has, else FNMR at the decision threshold, else None."""
    targets = [item for item in headlines if item.fmr_target is not None and item.is_firm]
    fallback = [item for item in headlines if item.name == AT_THRESHOLD]
    for item in (*reversed(targets), *fallback):
        rates = (item.rates.build, item.rates.baseline) if has_baseline else (item.rates.build,)
        if all(rate is not None and rate.value is not None for rate in rates):
            return item
    return None


def largest_rise(levels: Iterable[LevelRates]) -> LevelRates | None:
    """Choose the level, with enough trials and a rise beyond chance, whose FNMR rose most; None when there is none."""
    risen = [level for level in levels if level.level != UNKNOWN and level.rates.direction == "worse"]
    return max(risen, key=lambda level: (level.rates.delta or 0.0, level.rates.build.denominator), default=None)


def _with_interval(rate: Rate) -> str:
    if not rate.has_interval:
        return f"{percent(rate.value)} ({rate.reason or 'no interval'})"
    return f"{percent(rate.value)} (95 % interval {span(rate.low, rate.high, words=percent)})"


def _change(headline: Headline) -> str:
    before, after = _before_and_after(headline)
    direction = headline.rates.direction
    if direction in _VERBS:
        return f"{headline.name} {_VERBS[direction]} from {before} to {after}"
    if direction == "unclear":
        why = "the 95 % interval of the change holds 0"
        return f"{headline.name} went from {before} to {after}, which chance may explain ({why})"
    return f"{headline.name} went from {before} to {after}, without an interval to judge the change by"


def _before_and_after(item: Headline | LevelRates) -> tuple[str, str]:
    baseline = item.rates.baseline
    return percent(baseline.value if baseline else None), percent(item.rates.build.value)


def _where(levels: list[LevelRates]) -> str:
    worst = largest_rise(levels)
    if worst is None:
        return "; no condition with enough trials rose beyond its interval"
    before, after = _before_and_after(worst)
    place = worst.dimension.level_words(worst.level)
    return f"; the largest rise is at {place}, from {before} to {after} at the decision threshold"
