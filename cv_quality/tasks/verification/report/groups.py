"""Rates by groups of people for the failure report: at one threshold for all, held against all together.

Read from the lake as they were measured; what the rule of 25 % says is decided in `cv_quality.metrics.differentials`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import RatePair, read_rate
from cv_quality.reports.scope import Scope, model_rows
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.dimensions import counted_dimensions
from cv_quality.tasks.verification.tables import DIFFERENTIALS
from cv_quality.text import figures

METRICS = ("fnmr", "fmr", "fta")
"""The rates in the order of the page."""
KEY = ("attribute", "metric", "level", "other_level")
Key = tuple[str, str, str, str]
_RULE_WORDS = {"fail": "fail", "pass": "pass", "insufficient": "cannot be told for want of data"}


@dataclass(frozen=True, slots=True)
class GroupRate:
    """One rate of one group, or the FMR between two.

    Attributes:
        ratio, ratio_low, ratio_high: the build's rate over that of all; None where it is not held against the rule.
        verdict: "pass", "fail" or "insufficient" by the rule of 25 %; None where it is not held against it.
    """

    name: str
    rates: RatePair
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    verdict: str | None


@dataclass(frozen=True, slots=True)
class Attribute:
    """The groups of one attribute, with the query that reproduces the rates."""

    label: str
    rates: tuple[GroupRate, ...]
    query: Query

    @property
    def line(self) -> str:
        """How its groups fare against the rule of 25 %, and which fares worst, in a line."""
        judged = [rate for rate in self.rates if rate.verdict is not None]
        if not judged:
            return "not held against all: no rate of its groups can be"
        worst = max((rate for rate in judged if rate.verdict == "fail"), key=lambda rate: rate.ratio or 0, default=None)
        counts = Counter(rate.verdict for rate in judged)
        told = [f"{counts[verdict]} {words}" for verdict, words in _RULE_WORDS.items() if counts[verdict]]
        highest = f"; the worst is {worst.name}, {figures(worst.ratio)} times all" if worst else ""
        return f"of {len(judged)} figures {', '.join(told)}{highest}"


def read_groups(source: ReportSource) -> tuple[Attribute, ...]:
    """Read every attribute of which at least two groups are known."""
    scope = source.scope
    rows = {model: model_rows(source.lake, DIFFERENTIALS, build=scope.build, model=model) for model in scope.models}
    found = {model: own.rows_by_key(KEY, named=True, include_key=True, unique=True) for model, own in rows.items()}
    own = found[scope.build]
    labels = {item.level_column: item.level_label for item in counted_dimensions(source.modality)}
    return tuple(
        Attribute(
            label=labels[attribute],
            rates=tuple(_rate(key, found, scope=scope) for key in _ordered(own) if key[0] == attribute),
            query=rows_query(
                DIFFERENTIALS, build=scope.build, where={"model_build_id": scope.models, "attribute": attribute}
            ),
        )
        for attribute in sorted({key[0] for key in own})
    )


def _ordered(keys: Iterable[Key]) -> list[Key]:
    """FMR within groups before FMR between them, unknown groups behind the others."""
    return sorted(keys, key=lambda key: (METRICS.index(key[1]), key[2] != key[3], "unknown" in key, key[2:]))


def _rate(key: Key, found: Mapping[str, Mapping[Key, Mapping[str, Any]]], *, scope: Scope) -> GroupRate:
    _, metric, level, other = key
    row, before = found[scope.build][key], found.get(scope.baseline or "", {}).get(key)
    return GroupRate(
        name=f"{metric.upper()}, {level}" if level == other else f"{metric.upper()}, {level} against {other}",
        rates=RatePair(read_rate(row), read_rate(before) if before else None),
        **{name: row[name] for name in ("ratio", "ratio_low", "ratio_high", "verdict")},
    )
