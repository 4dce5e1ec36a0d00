"""The numbers of a failure report, read from the lake into frozen records; nothing here draws or writes HTML.

A report looks at one build's drops, scored by two models: the build's own and its baseline's. Curves and histograms are
prepared in `cv_quality.tasks.verification.report.curves`, the quality of the data in `cv_quality.tasks.verification.report.data_quality`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import MissingTable
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.tasks.verification.report.queries import Query, interval_query, operating_point_query
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    COMPARISONS,
    IMPOSTOR_COUNTS,
    INTERVALS,
    OPERATING_POINTS,
)

if TYPE_CHECKING:
    import polars as pl

Direction = Literal["worse", "better", "unclear", "unknown"]

MIN_ERRORS = 5
UNKNOWN = "unknown"
BANDS = frozenset({"illuminance_band", "age_band", "skin_tone_band"})
DIMENSIONS = {
    "illuminance_band": "illuminance in lux",
    "eyewear": "eyewear",
    "covering": "face covering",
    "device_model": "device model",
    "camera_supplier": "camera supplier",
    "age_band": "age group",
    "sex": "sex",
    "skin_tone_band": "skin tone (Monk)",
    "condition_label": "condition label",
}
"""The dimensions a report shows, in its order, with their names for people."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a report is about: a build, the baseline it is held against, and the build's drops."""

    build: str
    baseline: str | None
    drops: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The builds whose models scored the drops, the build itself first."""
        return (self.build, self.baseline) if self.baseline else (self.build,)

    def grid(self, model: str) -> list[TableKey]:
        """The (model, drop) keys of the build's drops."""
        return [TableKey(build=model, drop=drop) for drop in self.drops]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate with its counts and 95 % interval; `value` is null with a `reason` when it is undefined.

    Attributes:
        counts: lines in place of numerator and denominator, where one pair cannot say them (EER).
    """

    value: float | None = None
    numerator: int | None = None
    denominator: int | None = None
    low: float | None = None
    high: float | None = None
    method: str | None = None
    reason: str | None = None
    n_subjects: int | None = None
    n_effective: float | None = None
    counts: tuple[str, ...] = ()

    @property
    def has_interval(self) -> bool:
        return self.low is not None and self.high is not None


@dataclass(frozen=True, slots=True)
class Headline:
    """One number of the summary, for the build and its baseline, with the query that reproduces it.

    Attributes:
        fmr_target: the highest FMR allowed, of an FNMR at a fixed FMR.
        is_firm: False where the FMR target allows fewer than five false matches, so that few pairs set the threshold.
    """

    name: str
    meaning: str
    build: Rate
    baseline: Rate | None
    query: Query
    fmr_target: float | None = None
    is_firm: bool = True

    @property
    def delta(self) -> float | None:
        """Build minus baseline; None when either is undefined."""
        return difference(self.build, self.baseline)

    @property
    def ratio(self) -> float | None:
        """Build over baseline; None when either is undefined or 0."""
        return ratio(self.build, self.baseline)

    @property
    def direction(self) -> Direction:
        return direction(self.build, self.baseline)


@dataclass(frozen=True, slots=True)
class Level:
    """FNMR at one level of one dimension, for the build and its baseline.

    Attributes:
        is_sufficient: whether the level has enough trials to be ranked (see `is_sufficient`).
    """

    dimension: str
    level: str
    build: Rate
    baseline: Rate | None
    is_sufficient: bool

    @property
    def delta(self) -> float | None:
        return difference(self.build, self.baseline)

    @property
    def ratio(self) -> float | None:
        return ratio(self.build, self.baseline)

    @property
    def direction(self) -> Direction:
        return direction(self.build, self.baseline) if self.is_sufficient else "unknown"


@dataclass(frozen=True, slots=True)
class Dimension:
    """All levels of one dimension, in the order of the chart."""

    name: str
    label: str
    levels: tuple[Level, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class Overview:
    """What was evaluated: where, when, and how much of it."""

    sites: tuple[str, ...]
    captured_from: datetime
    captured_until: datetime
    manifests: tuple[tuple[str, str], ...]
    n_subjects: int
    n_attempts: int
    n_genuine: int
    n_impostor: int


def difference(build: Rate, baseline: Rate | None) -> float | None:
    """Build minus baseline; None when either is undefined."""
    if baseline is None or build.value is None or baseline.value is None:
        return None
    return build.value - baseline.value


def ratio(build: Rate, baseline: Rate | None) -> float | None:
    """Build over baseline; None when either is undefined or 0."""
    return build.value / baseline.value if baseline and build.value and baseline.value else None


def direction(build: Rate, baseline: Rate | None) -> Direction:
    """Worse or better only when the two 95 % intervals do not touch; both are error rates, so a rise is worse.

    Disjoint intervals are a stricter demand than a test of the difference at 5 %, and they ignore that both models
    scored the same attempts; the decision belongs to the release policy, this only guides the eye.

    >>> direction(Rate(value=0.06, low=0.05, high=0.07), Rate(value=0.01, low=0.005, high=0.02))
    'worse'
    """
    if difference(build, baseline) is None or baseline is None:
        return "unknown"
    if build.low is None or build.high is None or baseline.low is None or baseline.high is None:
        return "unknown"
    if build.low > baseline.high:
        return "worse"
    return "better" if build.high < baseline.low else "unclear"


def is_sufficient(rate: Rate) -> bool:
    """Whether a rate can be ranked: it has an interval, and at least five errors, expected (`reason` says so) or seen.

    Errors seen count too, because a level that fails far more often than its build does on average has few expected.
    """
    if not rate.has_interval:
        return False
    return rate.reason is None or ((rate.numerator or 0) >= MIN_ERRORS and (rate.n_subjects or 0) > 1)


def read_scope(lake: Lake, *, build: str, baseline: str | None) -> Scope:
    """The build's drops: those whose manifest names it.

    Raises:
        MissingTable: no drop of the build has been taken in.
    """
    drops = tuple(
        str(key.drop)
        for key in lake.keys(DROP_FILES)
        if build in lake.read(DROP_FILES, key, columns=["build_id"])["build_id"].to_list()
    )
    if not drops:
        raise MissingTable(f"{DROP_FILES.name} has no drop of build {build}: parse one of its drops first")
    return Scope(build=build, baseline=baseline, drops=drops)


def read_overview(lake: Lake, *, scope: Scope) -> Overview:
    """Sites, dates and sizes of the evaluation of the build's own model."""
    import polars as pl

    files = lake.scan(DROP_FILES, [TableKey(drop=drop) for drop in scope.drops]).collect()
    grid = scope.grid(scope.build)
    attempts = lake.scan(ATTEMPT_OUTCOMES, grid).select(pl.len(), pl.col("subject_id").n_unique()).collect().row(0)
    genuine = lake.scan(COMPARISONS, grid).filter(mated()).select(pl.len()).collect().item()
    impostor = model_rows(lake, IMPOSTOR_COUNTS, build=scope.build, model=scope.build)["count"].sum()
    identities = files.select("drop_id", "manifest_sha256").unique().sort("drop_id")
    first, last = files.select(pl.col("captured_from").min(), pl.col("captured_until").max()).row(0)
    return Overview(
        sites=tuple(files["site"].unique().sort().to_list()),
        captured_from=first,
        captured_until=last,
        manifests=tuple(identities.iter_rows()),
        n_subjects=attempts[1],
        n_attempts=attempts[0],
        n_genuine=int(genuine),
        n_impostor=int(impostor),
    )


def mated() -> "pl.Expr":
    """Rows of a bona fide subject under the own identity: what FNMR is about; an attack is never mated."""
    import polars as pl

    return pl.col("is_genuine") & (pl.col("presentation") == "bona_fide")


def model_rows(lake: Lake, table: Table, *, build: str, model: str) -> "pl.DataFrame":
    """The rows of a table keyed by build that one model produced."""
    import polars as pl

    return lake.read(table, TableKey(build=build)).filter(pl.col("model_build_id") == model)


def read_headlines(lake: Lake, *, scope: Scope) -> tuple[Headline, ...]:
    """The summary's numbers: FNMR at every FMR target (strictest last), EER, the decision threshold, FTA, FRR, FAR."""
    points = lake.read(OPERATING_POINTS, TableKey(build=scope.build)).sort("fmr_target", descending=True)
    rows = points.to_dicts()
    targets = dict.fromkeys(row["fmr_target"] for row in rows if row["point"] == "fnmr_at_fmr")
    overall = _overall_rates(lake, scope=scope)
    return (
        *(_target_headline(rows, scope=scope, target=target) for target in targets),
        *_fixed_headlines(rows, scope=scope),
        *(_overall_headline(metric, scope=scope, overall=overall) for metric in ("fta", "frr", "far")),
    )


def find_point(
    rows: list[dict[str, Any]], *, model: str, point: str, target: float | None = None
) -> dict[str, Any] | None:
    """The row of one operating point of one model, if it was computed."""
    matches = (
        row for row in rows if row["model_build_id"] == model and row["point"] == point and row["fmr_target"] == target
    )
    return next(matches, None)


def _target_headline(rows: list[dict[str, Any]], *, scope: Scope, target: float) -> Headline:
    points = {model: find_point(rows, model=model, point="fnmr_at_fmr", target=target) for model in scope.models}
    found = {model: _fnmr(row) for model, row in points.items()}
    allowed = min(target * row["n_impostor"] if row else 0.0 for row in points.values())
    return Headline(
        name=f"FNMR at FMR {target_text(target)}",
        meaning=f"genuine comparisons rejected when at most {_one_in(target)} impostor comparisons is accepted",
        build=found[scope.build],
        baseline=found.get(scope.baseline or ""),
        query=operating_point_query(scope.build, models=scope.models, point="fnmr_at_fmr", target=target),
        fmr_target=target,
        is_firm=allowed >= MIN_ERRORS,
    )


def _fixed_headlines(rows: list[dict[str, Any]], *, scope: Scope) -> tuple[Headline, ...]:
    eer = {model: _eer(find_point(rows, model=model, point="eer")) for model in scope.models}
    decided = {model: find_point(rows, model=model, point="decision_threshold") for model in scope.models}
    fnmr = {model: _fnmr(row) for model, row in decided.items()}
    fmr = {model: _fmr(row) for model, row in decided.items()}
    described = (
        ("EER", "where FMR and FNMR cross; a summary, never gated on", eer, "eer"),
        ("FNMR at the decision threshold", "genuine comparisons the build rejects", fnmr, "decision_threshold"),
        ("FMR at the decision threshold", "impostor pairs the build would accept", fmr, "decision_threshold"),
    )
    return tuple(
        Headline(
            name=name,
            meaning=meaning,
            build=found[scope.build],
            baseline=found.get(scope.baseline or ""),
            query=operating_point_query(scope.build, models=scope.models, point=point, target=None),
        )
        for name, meaning, found, point in described
    )


_MEANINGS = {
    "fta": "attempts that gave no usable sample",
    "frr": "genuine attempts that ended without acceptance",
    "far": "zero-effort impostor attempts accepted",
}


def _overall_headline(metric: str, *, scope: Scope, overall: Mapping[tuple[str, str], Rate]) -> Headline:
    missing = Rate(reason="no such attempt was made")
    return Headline(
        name=metric.upper(),
        meaning=_MEANINGS[metric],
        build=overall.get((scope.build, metric), missing),
        baseline=overall.get((scope.baseline, metric), missing) if scope.baseline else None,
        query=interval_query(scope.build, models=scope.models, metric=metric, dimension="all"),
    )


def _overall_rates(lake: Lake, *, scope: Scope) -> dict[tuple[str, str], Rate]:
    rows = lake.read(INTERVALS, TableKey(build=scope.build)).to_dicts()
    return {(row["model_build_id"], row["metric"]): interval_rate(row) for row in rows if row["dimension"] == "all"}


def interval_rate(row: Mapping[str, Any]) -> Rate:
    """A row of `intervals` as a rate."""
    fields = ("value", "numerator", "denominator", "low", "high", "method", "reason", "n_subjects", "n_effective")
    return Rate(**{field: row[field] for field in fields})


def _fnmr(row: Mapping[str, Any] | None) -> Rate:
    return _point_rate(row, name="fnmr", numerator="n_false_non_matches", denominator="n_genuine", method="method")


def _fmr(row: Mapping[str, Any] | None) -> Rate:
    return _point_rate(row, name="fmr", numerator="n_false_matches", denominator="n_impostor", method="fmr_method")


def _point_rate(row: Mapping[str, Any] | None, *, name: str, numerator: str, denominator: str, method: str) -> Rate:
    """One of the two rates of an operating point, from the columns that hold it."""
    if row is None:
        return Rate(reason="this operating point was not computed")
    return Rate(
        value=row[name],
        numerator=row[numerator],
        denominator=row[denominator],
        low=row[f"{name}_low"],
        high=row[f"{name}_high"],
        method=row[method],
        reason=row["reason"],
        n_effective=row[f"{name}_n_effective"],
    )


def _eer(row: Mapping[str, Any] | None) -> Rate:
    if row is None:
        return Rate(reason="this operating point was not computed")
    if row["eer"] is None:
        return Rate(reason=row["reason"])
    return Rate(
        value=row["eer"],
        low=row["eer_low"],
        high=row["eer_high"],
        method=row["method"],
        counts=(
            f"{row['n_false_non_matches']:,} / {row['n_genuine']:,} genuine",
            f"{row['n_false_matches']:,} / {row['n_impostor']:,} impostor",
        ),
    )


def target_text(target: float) -> str:
    """An FMR target as people write it.

    >>> target_text(0.001), target_text(0.025)
    ('1e-3', '0.025')
    """
    mantissa, exponent = f"{target:.12e}".split("e")
    return f"1e{int(exponent)}" if float(mantissa) == 1.0 else f"{target:g}"


def _one_in(target: float) -> str:
    return f"1 in {1 / target:,.0f}"


def read_dimensions(lake: Lake, *, scope: Scope, metric: str = "fnmr") -> tuple[Dimension, ...]:
    """One rate by every dimension that the drops recorded; dimensions never recorded are left out."""
    rows = [row for row in lake.read(INTERVALS, TableKey(build=scope.build)).to_dicts() if row["metric"] == metric]
    found = (_dimension(rows, scope=scope, metric=metric, name=name) for name in DIMENSIONS)
    return tuple(item for item in found if any(level.level != UNKNOWN for level in item.levels))


def _dimension(rows: list[dict[str, Any]], *, scope: Scope, metric: str, name: str) -> Dimension:
    rates = {(row["model_build_id"], row["level"]): interval_rate(row) for row in rows if row["dimension"] == name}
    order = _band_order if name in BANDS else _name_order
    names = sorted({level for _, level in rates}, key=order)
    return Dimension(
        name=name,
        label=DIMENSIONS[name],
        levels=tuple(_level(rates, scope=scope, dimension=name, level=level) for level in names),
        query=interval_query(scope.build, models=scope.models, metric=metric, dimension=name),
    )


def _level(rates: Mapping[tuple[str, str], Rate], *, scope: Scope, dimension: str, level: str) -> Level:
    missing = Rate(reason="no trial at this level")
    found = {model: rates.get((model, level), missing) for model in scope.models}
    return Level(
        dimension=dimension,
        level=level,
        build=found[scope.build],
        baseline=found.get(scope.baseline or ""),
        is_sufficient=any(map(is_sufficient, found.values())) and all(rate.has_interval for rate in found.values()),
    )


def _band_order(level: str) -> tuple[float, str]:
    """By the first number, a band open below before the band that starts there; "unknown" last."""
    number = re.search(r"\d+(?:\.\d+)?", level)
    if number is None:
        return (math.inf, level)
    is_open_below = level[: number.start()].strip(" =") in {"<", "below", "under", "up to"}
    return (float(number[0]) - (0.5 if is_open_below else 0.0), level)


def _name_order(level: str) -> tuple[bool, bool, str]:
    """By name, "none" first, "unknown" last."""
    return (level == UNKNOWN, level != "none", level)
