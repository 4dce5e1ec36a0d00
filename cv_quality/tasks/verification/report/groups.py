"""Rates by groups of people for the failure report: at one threshold for all, held against all together.

Read from the lake as they were measured; what the rule of 25 % says is decided in `cv_quality.metrics.differentials`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cv_quality.lake.lake import Lake
from cv_quality.tasks.verification.report.facts import DIMENSIONS, Rate, Scope, interval_rate, model_rows
from cv_quality.tasks.verification.report.queries import Query, differentials_query
from cv_quality.tasks.verification.tables import DIFFERENTIALS

NAMES = {"fnmr": "FNMR", "fmr": "FMR", "fta": "FTA"}


@dataclass(frozen=True, slots=True)
class GroupRate:
    """One rate of one group, or the FMR between two, for the build and its baseline.

    Attributes:
        ratio, ratio_low, ratio_high: the build's rate over that of all; None where it is not held against the rule.
        verdict: "pass", "fail" or "insufficient" by the rule of 25 %; None where it is not held against it.
    """

    name: str
    build: Rate
    baseline: Rate | None
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


def read_groups(lake: Lake, *, scope: Scope) -> tuple[Attribute, ...]:
    """Every attribute of which at least two groups are known."""
    found = {
        model: {_key(row): row for row in model_rows(lake, DIFFERENTIALS, build=scope.build, model=model).to_dicts()}
        for model in scope.models
    }
    own = found[scope.build]
    return tuple(
        Attribute(
            label=DIMENSIONS[attribute],
            rates=tuple(_rate(key, found, scope=scope) for key in _ordered(own) if key[0] == attribute),
            query=differentials_query(scope.build, models=scope.models, attribute=attribute),
        )
        for attribute in sorted({key[0] for key in own})
    )


Key = tuple[str, str, str, str]


def _key(row: Mapping[str, Any]) -> Key:
    return row["attribute"], row["metric"], row["level"], row["other_level"]


def _ordered(keys: Iterable[Key]) -> list[Key]:
    """FNMR first, FMR within groups before FMR between them, FTA last; unknown groups behind the others."""
    order = {"fnmr": 0, "fmr": 1, "fta": 2}
    return sorted(keys, key=lambda key: (order[key[1]], key[2] != key[3], "unknown" in key, key[2:]))


def _rate(key: Key, found: Mapping[str, Mapping[Key, Mapping[str, Any]]], *, scope: Scope) -> GroupRate:
    _, metric, level, other = key
    row = found[scope.build][key]
    before = found.get(scope.baseline or "", {}).get(key)
    return GroupRate(
        name=f"{NAMES[metric]}, {level}" if level == other else f"{NAMES[metric]}, {level} against {other}",
        build=interval_rate(row),
        baseline=interval_rate(before) if before else None,
        ratio=row["ratio"],
        ratio_low=row["ratio_low"],
        ratio_high=row["ratio_high"],
        verdict=row["verdict"],
    )
