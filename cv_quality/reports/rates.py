"""Rates as pages show them: beside those of the baseline, with the direction of the change, and what can be ranked.

A rate itself is `cv_quality.metrics.rates.Rate`; numbers are written for people in `cv_quality.reports.rendering`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from cv_quality.metrics.rates import NO_TRIAL, Rate

Direction = Literal["worse", "better", "unclear", "unknown"]

MIN_ERRORS = 5
_ESTIMATES = ("design effect", "degrees of freedom", "raised to", "correlation", "scaled by", "taken to end")
"""What parts of a method's text are about that were estimated for one rate."""


@dataclass(frozen=True, slots=True)
class Change:
    """The 95 % bounds of a rate less that of the baseline, paired by subject; None where the data cannot tell.

    Attributes:
        value: the difference itself, where it is not that of the two rates: a mean over pairs, as of clips.
    """

    low: float | None
    high: float | None
    value: float | None = None

    @property
    def direction(self) -> Direction:
        """Worse or better only where the interval excludes 0; a rise of an error rate is worse."""
        if self.low is None or self.high is None:
            return "unknown"
        return "worse" if self.low > 0 else "better" if self.high < 0 else "unclear"


@dataclass(frozen=True, slots=True)
class RatePair:
    """An error rate of a build, and of its baseline where there is one.

    Attributes:
        is_ranked: False where the trials are too few to judge a change by.
        change: bounds of the difference; None without a baseline.
    """

    build: Rate
    baseline: Rate | None
    is_ranked: bool = True
    change: Change | None = None

    @property
    def delta(self) -> float | None:
        """Build minus baseline, as it was paired; None when either is undefined."""
        if self.baseline is None or self.build.value is None or self.baseline.value is None:
            return None
        if self.change is not None and self.change.value is not None:
            return self.change.value
        return self.build.value - self.baseline.value

    @property
    def ratio(self) -> float | None:
        """Build over baseline; None when either is undefined or 0."""
        build, baseline = self.build.value, self.baseline.value if self.baseline else None
        return build / baseline if build and baseline else None

    @property
    def direction(self) -> Direction:
        """Worse or better only where the difference's interval excludes 0; a rise of an error rate is worse.

        Whether a change is small enough to ship belongs to the release policy; this only guides the eye.
        """
        if not self.is_ranked or self.delta is None or self.change is None:
            return "unknown"
        return self.change.direction


def is_sufficient(rate: Rate) -> bool:
    """Tell whether a rate can be ranked: with an interval, and five errors expected (`reason` says so) or seen.

    Errors seen count too, because a level that fails far more often than its build does on average has few expected.
    """
    return rate.has_interval and (rate.reason is None or (rate.numerator >= MIN_ERRORS and (rate.n_subjects or 0) > 1))


def undefined(reason: str) -> Rate:
    """Make a rate without a value."""
    return replace(NO_TRIAL, reason=reason)


def read_rate(row: Mapping[str, Any], **columns: str) -> Rate:
    """Read a rate from a row with the columns `cv_quality.lake.columns.RATE`.

    Args:
        columns: where a field of the rate stands, if not under its own name; a field without a column is None, and so
            is one that is null, but for counts.

    >>> read_rate({"n": 4, "errors": 1, "fnmr": 0.25}, value="fnmr", numerator="errors", denominator="n").value
    0.25
    """
    found: dict[str, Any] = {field.name: row.get(columns.get(field.name, field.name)) for field in fields(Rate)}
    return Rate(**{**found, "numerator": found["numerator"] or 0, "denominator": found["denominator"] or 0})


def target_text(target: float) -> str:
    """Write an FMR target as people do.

    >>> target_text(0.001), target_text(0.025)
    ('1e-3', '0.025')
    """
    mantissa, exponent = f"{target:.12e}".split("e")
    return f"1e{int(exponent)}" if float(mantissa) == 1.0 else f"{target:g}"


def method_names(methods: Iterable[str | None]) -> list[str]:
    """List the interval methods behind rates, each once: without what was estimated on the way, and without reasons.

    >>> method_names(["combined (MOVER), 95 %, correlation -0.02", None, "combined (MOVER), 95 %, correlation -0.11"])
    ['combined (MOVER), 95 %']
    """
    parts = {part.strip() for method in methods for part in (method or "").split(";")}
    kept = (part.split(", ") for part in parts if part and not part.startswith("insufficient"))
    plain = {", ".join(words for words in part if not any(name in words for name in _ESTIMATES)) for part in kept}
    return sorted({re.sub(r"at [\d.e+]+ effective", "at the effective", name) for name in plain})
