"""Report data of verification that is read from the lake into frozen records: sizes, operating points, conditions.

Nothing here draws or writes HTML. Curves and histograms are prepared in `cv_quality.tasks.verification.report.curves`,
the quality of the data in `cv_quality.reports.data_quality`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cv_quality.drops.tables import DROP_FILES
from cv_quality.lake.lake import TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.modality import Dimension
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import Change, RatePair, is_sufficient, read_rate, target_text, undefined
from cv_quality.reports.scope import Scope, model_rows
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.differences import FMR_AT_THRESHOLD
from cv_quality.tasks.verification.dimensions import counted_dimensions
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    COMPARISONS,
    DIFFERENCES,
    IMPOSTOR_COUNTS,
    INTERVALS,
    OPERATING_POINTS,
    UNDECIDED,
)

if TYPE_CHECKING:
    import polars as pl

UNKNOWN = "unknown"
AT_THRESHOLD, AT_THRESHOLD_FMR = "FNMR at the decision threshold", "FMR at the decision threshold"

Row = Mapping[str, Any]
Changes = Mapping[tuple[str, float | None, str, str], Change]


@dataclass(frozen=True, slots=True)
class Headline:
    """One number of the summary, with the query that reproduces it.

    Attributes:
        fmr_target: the highest FMR allowed, of an FNMR at a fixed FMR.
        is_firm: False where there are too few comparisons or subjects for the FMR target, as the rate's reason says.
        counts: lines of counts by model, where one numerator and denominator cannot say them (EER).
    """

    name: str
    meaning: str
    rates: RatePair
    query: Query
    fmr_target: float | None = None
    is_firm: bool = True
    counts: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class LevelRates:
    """FNMR at one level of a dimension; ranked where the level has enough trials (see `is_sufficient`).

    Attributes:
        fta: attempts of the level without a usable sample, which the FNMR leaves out, of all its attempts.
    """

    dimension: Dimension
    level: str
    rates: RatePair
    fta: Rate | None = None


@dataclass(frozen=True, slots=True)
class DimensionRates:
    """FNMR and FTA at all levels of one dimension, in the order of the chart."""

    dimension: Dimension
    levels: tuple[LevelRates, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class Overview:
    """What was evaluated: where, when, and how much of it.

    Attributes:
        n_undecided: attempts whose end is not known.
    """

    sites: tuple[str, ...]
    captured_from: datetime
    captured_until: datetime
    manifests: tuple[tuple[str, str], ...]
    n_subjects: int
    n_attempts: int
    n_genuine: int
    n_impostor: int
    n_undecided: int


def read_overview(source: ReportSource) -> Overview:
    """Read sites, dates and sizes of the evaluation of the build's own model."""
    import polars as pl

    lake, scope = source.lake, source.scope
    files = lake.scan(DROP_FILES, [TableKey(drop=drop) for drop in scope.drops]).collect()
    grid = scope.grid(scope.build)
    attempts = lake.scan(ATTEMPT_OUTCOMES, grid).select(pl.len(), pl.col("subject_id").n_unique()).collect().row(0)
    genuine = lake.scan(COMPARISONS, grid).filter(mated()).select(pl.len()).collect().item()
    counted = model_rows(lake, IMPOSTOR_COUNTS, build=scope.build, model=scope.build)
    impostor = counted.drop_nulls("bin")["count"].sum()
    if scope.is_recorded:
        impostor = lake.scan(COMPARISONS, grid).filter(nonmated()).select(pl.len()).collect().item()
    undecided = lake.scan(ATTEMPT_OUTCOMES, grid).filter(outcome=UNDECIDED).select(pl.len()).collect().item()
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
        n_undecided=int(undecided),
    )


def mated() -> "pl.Expr":
    """Select scored rows of a subject under the own identity: what FNMR is about; an attack is never mated."""
    import polars as pl

    return pl.col("is_genuine") & (pl.col("presentation") == "bona_fide") & pl.col("score").is_not_null()


def nonmated() -> "pl.Expr":
    """Select scored rows of a bona fide subject under somebody else's identity."""
    import polars as pl

    return ~pl.col("is_genuine") & (pl.col("presentation") == "bona_fide") & pl.col("score").is_not_null()


def read_headlines(source: ReportSource) -> tuple[Headline, ...]:
    """Read FNMR at every FMR target (strictest last), EER, both rates at the decision threshold, FTA, FRR and FAR.

    Of a build as recorded there is no pair that nobody attempted: what stands are the rates of decisions.
    """
    lake, scope = source.lake, source.scope
    points = lake.read(OPERATING_POINTS, TableKey(build=scope.build)).sort("fmr_target", descending=True).to_dicts()
    targets = dict.fromkeys(row["fmr_target"] for row in points if row["point"] == "fnmr_at_fmr")
    overall = {
        (row["model_build_id"], row["metric"]): read_rate(row)
        for row in lake.read(INTERVALS, TableKey(build=scope.build)).to_dicts()
        if row["dimension"] == "all"
    }
    missing = undefined("no such attempt was made")
    changes = read_changes(source)
    at_points = (
        ()
        if scope.is_recorded
        else (
            *(_target_headline(points, changes, scope=scope, target=target) for target in targets),
            *_fixed_headlines(points, changes, scope=scope),
        )
    )
    meanings = {metric: (metric.upper(), meaning) for metric, meaning in _MEANINGS.items()}
    return (
        *at_points,
        *(
            Headline(
                name=name,
                meaning=meaning,
                rates=pair_of(
                    {model: overall.get((model, metric), missing) for model in scope.models},
                    scope=scope,
                    change=changes.get((metric, None, WHOLE, WHOLE)),
                ),
                query=interval_query(scope, metric=metric, dimension="all"),
            )
            for metric, (name, meaning) in ((_DECIDED if scope.is_recorded else {}) | meanings).items()
        ),
    )


def read_changes(source: ReportSource) -> Changes:
    """Read the differences from the baseline, by metric, FMR target, dimension and level."""
    rows = source.lake.read(DIFFERENCES, TableKey(build=source.scope.build)).to_dicts()
    return {
        (row["metric"], row["fmr_target"], row["dimension"], row["level"]): Change(row["low"], row["high"])
        for row in rows
        if row["baseline_build_id"] == source.scope.baseline
    }


def find_point(rows: Sequence[Row], *, model: str, point: str, target: float | None = None) -> Row | None:
    """Find one operating point of one model, if it was computed.

    Args:
        rows: of `operating_points`.
        target: the highest FMR allowed, for "fnmr_at_fmr".
    """
    wanted = (model, point, target)
    return next((row for row in rows if (row["model_build_id"], row["point"], row["fmr_target"]) == wanted), None)


def pair_of(
    found: Mapping[str, Rate], *, scope: Scope, is_ranked: bool = True, change: Change | None = None
) -> RatePair:
    """Put the rates of a scope's models side by side.

    Args:
        found: by model; the build's own is there.
        is_ranked, change: as `RatePair` has them.
    """
    return RatePair(found[scope.build], found.get(scope.baseline or ""), is_ranked, change)


def _target_headline(rows: Sequence[Row], changes: Changes, *, scope: Scope, target: float) -> Headline:
    points = {model: find_point(rows, model=model, point="fnmr_at_fmr", target=target) for model in scope.models}
    rates = {model: point_rate(row, "fnmr") for model, row in points.items()}
    change = changes.get(("fnmr_at_fmr", target, WHOLE, WHOLE))
    is_firm = all(rate.reason is None for rate in rates.values() if rate.value is not None)
    return Headline(
        name=f"FNMR at FMR {target_text(target)}",
        meaning=f"genuine comparisons rejected when at most 1 in {1 / target:,.0f} impostor comparisons is accepted",
        rates=pair_of(rates, scope=scope, is_ranked=is_firm, change=change),
        query=_point_query(scope, "fnmr_at_fmr", target),
        fmr_target=target,
        is_firm=is_firm,
    )


def _fixed_headlines(rows: Sequence[Row], changes: Changes, *, scope: Scope) -> tuple[Headline, ...]:
    described = (
        ("EER", "where FMR and FNMR cross; a summary, never gated on", "eer", "eer", "eer"),
        (AT_THRESHOLD, "genuine comparisons the build rejects", "fnmr", "decision_threshold", "fnmr"),
        (AT_THRESHOLD_FMR, "impostor pairs the build would accept", "fmr", "decision_threshold", FMR_AT_THRESHOLD),
    )
    found = []
    for name, meaning, rate, point, metric in described:
        points = {model: find_point(rows, model=model, point=point) for model in scope.models}
        counts = {
            model: (
                f"{row['n_false_non_matches']:,} / {row['n_genuine']:,} genuine",
                f"{row['n_false_matches']:,} / {row['n_impostor']:,} impostor",
            )
            for model, row in points.items()
            if rate == "eer" and row is not None and row["eer"] is not None
        }
        change = changes.get((metric, None, WHOLE, WHOLE))
        rates = pair_of({model: point_rate(row, rate) for model, row in points.items()}, scope=scope, change=change)
        found.append(Headline(name, meaning, rates, _point_query(scope, point, None), counts=counts))
    return tuple(found)


def _point_query(scope: Scope, point: str, target: float | None) -> Query:
    where = {"model_build_id": scope.models, "point": point, "fmr_target": target}
    return rows_query(OPERATING_POINTS, build=scope.build, where=where)


_DECIDED = {
    "fnmr": (AT_THRESHOLD, "genuine attempts that reached the matcher and were rejected, as the devices decided"),
    "fmr": (AT_THRESHOLD_FMR, "impostor attempts that were made, reached the matcher and were accepted"),
}
_MEANINGS = {
    "fta": "attempts that gave no usable sample",
    "frr": "genuine attempts that ended without acceptance",
    "far": "zero-effort impostor attempts accepted",
}


def interval_query(scope: Scope, *, metric: str | tuple[str, ...], dimension: str) -> Query:
    """Write the query of rates with its interval at every level of a dimension, for each model.

    Args:
        metric: the rates, or the only one.
        dimension: name of the column of levels, or "all".
    """
    return rows_query(
        INTERVALS,
        build=scope.build,
        where={"model_build_id": scope.models, "metric": metric, "dimension": dimension},
    )


_COUNTS = {
    "fnmr": ("n_false_non_matches", "n_genuine", "method"),
    "fmr": ("n_false_matches", "n_impostor", "fmr_method"),
    "eer": ("n_false_non_matches", "n_genuine", "method"),
}
"""Numerator, denominator and method of the rates of an operating point."""


def point_rate(row: Row | None, name: str) -> Rate:
    """Read one of the rates of an operating point, from the columns that hold it."""
    if row is None:
        return undefined("this operating point was not computed")
    if row[name] is None:
        return undefined(row["reason"])
    numerator, denominator, method = _COUNTS[name]
    bounds = {"low": f"{name}_low", "high": f"{name}_high", "n_effective": f"{name}_n_effective"}
    return read_rate(row, value=name, numerator=numerator, denominator=denominator, method=method, **bounds)


def read_dimensions(source: ReportSource) -> tuple[DimensionRates, ...]:
    """Read FNMR and FTA by every dimension that the drops recorded; dimensions never recorded are left out."""
    rows = source.lake.read(INTERVALS, TableKey(build=source.scope.build)).to_dicts()
    changes = read_changes(source)
    found = (
        _dimension(rows, changes, dimension, scope=source.scope) for dimension in counted_dimensions(source.modality)
    )
    return tuple(item for item in found if any(level.level != UNKNOWN for level in item.levels))


def _dimension(rows: Sequence[Row], changes: Changes, dimension: Dimension, *, scope: Scope) -> DimensionRates:
    name = dimension.level_column
    own = [row for row in rows if row["dimension"] == name]
    found, acquired = (
        {(row["model_build_id"], row["level"]): read_rate(row) for row in own if row["metric"] == metric}
        for metric in ("fnmr", "fta")
    )
    levels = []
    for level in sorted({level for _, level in (*found, *acquired)}, key=level_order(dimension)):
        rates = {model: found.get((model, level), undefined("no trial at this level")) for model in scope.models}
        ranked = any(map(is_sufficient, rates.values())) and all(rate.has_interval for rate in rates.values())
        change, fta = changes.get(("fnmr", None, name, level)), acquired.get((scope.build, level))
        pair = pair_of(rates, scope=scope, is_ranked=ranked, change=change)
        levels.append(LevelRates(dimension, level, pair, fta))
    return DimensionRates(dimension, tuple(levels), interval_query(scope, metric=("fnmr", "fta"), dimension=name))


def level_order(dimension: Dimension) -> Callable[[str], tuple[bool, int, bool, str]]:
    """Make a sort key of a dimension's levels: as declared, others by name, "none" before and "unknown" behind them."""
    order = {level: place for place, level in enumerate(dimension.levels)}
    return lambda level: (level == UNKNOWN, order.get(level, len(order)), level != "none", level)
