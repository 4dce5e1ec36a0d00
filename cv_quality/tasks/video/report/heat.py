"""Latency and the rate of results over the temperature of the device, in bins; nothing is drawn here."""

from dataclasses import dataclass

from cv_quality.reports.drawing import round_numbers
from cv_quality.reports.queries import Query, any_of, literal
from cv_quality.reports.rates import MIN_ERRORS
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.report.data import LevelTable, frame_scores, read_levels

BINS = 12
"""Bins of temperature, about."""
LATENCY_METRICS = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "deadline_misses", "dropped")


@dataclass(frozen=True, slots=True)
class HeatBin:
    """Frames within one bin of temperature.

    Attributes:
        low, high: of the bin, in °C.
        n: frames, those without a result included.
        p50_ms, p95_ms: of the latency, a frame without a result being infinite; None where that is what they are, or
            where fewer than five frames lie beyond them.
        rate_hz: results per second; None where captures are not logged.
    """

    low: float
    high: float
    n: int
    n_clips: int
    p50_ms: float | None
    p95_ms: float | None
    rate_hz: float | None

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class Heat:
    """How latency goes with heat.

    Attributes:
        bins: by temperature; none where no frame has one.
        states: metrics by thermal state.
    """

    bins: tuple[HeatBin, ...]
    states: LevelTable
    query: Query


def read_heat(source: ReportSource) -> Heat:
    """Read latency and the rate of results of the build's drops over temperature and thermal state."""
    states = read_levels(source, dimension="thermal_state", metrics=LATENCY_METRICS)
    order = {name: place for place, name in enumerate(_thermal_levels(source))}
    levels = tuple(sorted(states.levels, key=lambda item: (order.get(item.level, len(order)), item.level)))
    states = LevelTable(states.metrics, levels, states.query)
    return Heat(_read_bins(source), states, _query(source))


def _thermal_levels(source: ReportSource) -> tuple[str, ...]:
    return next((item.levels for item in source.modality.conditions if item.name == "thermal_state"), ())


def _read_bins(source: ReportSource) -> tuple[HeatBin, ...]:
    import polars as pl

    clip = ("drop_id", "stream_id")
    after = pl.col("capture_ms").shift(-1).over(clip, order_by="frame_number") - pl.col("capture_ms")
    rows = (
        frame_scores(source, source.scope.build)
        .with_columns(period_ms=after)
        .filter(pl.col("temperature_c").is_not_null() & (pl.col("latency_ms").is_not_null() | pl.col("is_dropped")))
        .select(*clip, "temperature_c", "latency_ms", "period_ms")
        .collect()
    )
    if rows.is_empty():
        return ()
    coldest, hottest = rows["temperature_c"].min(), rows["temperature_c"].max()
    edges = round_numbers(float(coldest), float(hottest), count=BINS)  # type: ignore[arg-type]
    width = edges[1] - edges[0] if len(edges) > 1 else 1.0
    place = ((pl.col("temperature_c") - edges[0]) / width).floor().clip(0, max(len(edges) - 2, 0))
    waits = pl.col("latency_ms").fill_null(float("inf"))
    is_spaced = pl.col("period_ms").is_not_null()
    binned = (
        rows.with_columns(place=place.cast(pl.Int64))
        .group_by("place")
        .agg(
            pl.len().alias("n"),
            pl.struct(clip).n_unique().alias("n_clips"),
            waits.quantile(0.5, "higher").alias("p50"),
            waits.quantile(0.95, "higher").alias("p95"),
            (1_000 * (pl.col("latency_ms").is_not_null() & is_spaced).sum() / pl.col("period_ms").sum()).alias("rate"),
        )
        .sort("place")
    )
    return tuple(
        HeatBin(
            low=edges[0] + row["place"] * width,
            high=edges[0] + (row["place"] + 1) * width,
            n=row["n"],
            n_clips=row["n_clips"],
            p50_ms=_supported(row["p50"], row["n"], 0.5),
            p95_ms=_supported(row["p95"], row["n"], 0.95),
            rate_hz=round(row["rate"], 6) if row["rate"] is not None and 0 <= row["rate"] < float("inf") else None,
        )
        for row in binned.to_dicts()
    )


def _supported(value: float, n: int, quantile: float) -> float | None:
    return value if value < float("inf") and n * (1 - quantile) >= MIN_ERRORS - 1e-9 else None


def _query(source: ReportSource) -> Query:
    scope = source.scope
    return Query(
        warehouse=None,
        lake="SELECT floor(temperature_c) AS temperature_c, count(*) AS n,\n"
        "       quantile_disc(coalesce(latency_ms, 'inf'::DOUBLE), [0.5, 0.95]) AS p50_p95_ms\n"
        f"FROM read_parquet({literal(f'frame_scores/{scope.build}/*.parquet')})\n"
        f"WHERE drop_id IN {any_of(scope.drops)} AND temperature_c IS NOT NULL\n"
        "  AND (latency_ms IS NOT NULL OR is_dropped)\nGROUP BY ALL ORDER BY ALL;",
    )
