"""What the charts draw, aggregated so that a page never holds more than a few hundred points of each.

Score distributions, latency and parity are computed here from the lake, the DET curve is read as it was measured; how
they look is the business of `cv_quality.tasks.verification.report.charts`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.lake.lake import Lake
from cv_quality.tasks.verification.dimensions import dimensions_of
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.report.facts import MIN_ERRORS, Scope, mated, model_rows
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, COMPARISONS, DET_CURVE, IMPOSTOR_COUNTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 65_536
HISTOGRAM_BINS = 128
PARITY_BINS = 41


@dataclass(frozen=True, slots=True)
class Scores:
    """All scores of one model on the drops: genuine ones ascending, impostor counts by bin of width 2/65536 from -1."""

    genuine: "NDArray[np.float64]"
    impostor: "NDArray[np.int64]"


@dataclass(frozen=True, slots=True)
class DetPoint:
    """Both error rates at one threshold, with the 95 % band of the FNMR at that FMR where it is known."""

    threshold: float
    fmr: float
    fnmr: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """Comparisons with low <= score < high, counted and as a share of their class."""

    low: float
    high: float
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in ms of one group; None where fewer than five attempts lie beyond the percentile."""

    dimension: str
    level: str
    n: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Parity:
    """Device score minus re-inferred score, over comparisons where both come from the same build."""

    n: int
    mean_difference: float
    largest_difference: float
    n_flipped: int
    bins: tuple[HistogramBin, ...]


def read_scores(lake: Lake, *, scope: Scope, model: str) -> Scores:
    """Every score of one model over the build's drops."""
    import numpy as np
    import polars as pl

    genuine = lake.scan(COMPARISONS, scope.grid(model)).filter(mated()).select("score").collect()
    counts = model_rows(lake, IMPOSTOR_COUNTS, build=scope.build, model=model)
    impostor = np.zeros(BINS, dtype=np.int64)
    impostor[counts["bin"].to_numpy()] = counts["count"].to_numpy()
    return Scores(genuine=np.sort(genuine["score"].cast(pl.Float64).to_numpy()), impostor=impostor)


def read_det_curve(lake: Lake, *, scope: Scope, model: str) -> tuple[DetPoint, ...]:
    """The measured curve of one model; points where a rate is 0 are left out, as both axes are logarithmic."""
    rows = model_rows(lake, DET_CURVE, build=scope.build, model=model)
    rows = rows.filter((rows["fmr"] > 0) & (rows["fnmr"] > 0)).sort("fmr_target", descending=True)
    return tuple(DetPoint(*row) for row in rows.select("threshold", "fmr", "fnmr", "fnmr_low", "fnmr_high").iter_rows())


def histograms(scores: Scores, *, bins: int = HISTOGRAM_BINS) -> dict[str, tuple[HistogramBin, ...]]:
    """Genuine and impostor scores in equal bins over [-1, 1]; empty bins are left out."""
    import numpy as np

    edges = np.linspace(-1.0, 1.0, bins + 1)
    genuine = np.histogram(scores.genuine, edges)[0]
    impostor = scores.impostor.reshape(bins, -1).sum(axis=1)
    return {"genuine": filled_bins(edges, genuine), "impostor": filled_bins(edges, impostor)}


def filled_bins(
    edges: "NDArray[np.float64]", counts: "NDArray[np.int64]", *, total: int | None = None
) -> tuple[HistogramBin, ...]:
    """Bins that hold something, with their share of `total`, or else of all that lies in a bin."""
    of = int(counts.sum()) if total is None else total
    return tuple(
        HistogramBin(low=float(low), high=float(high), count=int(count), share=int(count) / of)
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    )


def read_latency(lake: Lake, *, scope: Scope, dimension: str) -> tuple[Latency, ...]:
    """Latency in the devices' logs by one column of the attempts, over the attempts that have both."""
    import polars as pl

    latency = pl.col("device_latency_ms")
    rows = (
        lake.scan(ATTEMPT_OUTCOMES, scope.grid(scope.build))
        .filter(latency.is_not_null() & pl.col(dimension).is_not_null())
        .group_by(dimension)
        .agg(pl.len().alias("n"), *(latency.quantile(q, "linear").alias(str(q)) for q in (0.5, 0.95, 0.99)))
        .collect()
    )
    return tuple(
        Latency(
            dimension=dimension,
            level=row[dimension],
            n=row["n"],
            p50_ms=_supported(row["0.5"], n=row["n"], quantile=0.5),
            p95_ms=_supported(row["0.95"], n=row["n"], quantile=0.95),
            p99_ms=_supported(row["0.99"], n=row["n"], quantile=0.99),
        )
        for row in sorted(rows.to_dicts(), key=lambda row: _declared_order(dimension, row[dimension]))
    )


def _declared_order(dimension: str, level: str) -> tuple[int, str]:
    """Levels as they are declared ("nominal" before "fair"), others by name."""
    levels = next(item.column.levels for item in dimensions_of(FACE) if item.name == dimension)
    return (levels.index(level) if level in levels else len(levels), level)


def _supported(value: float, *, n: int, quantile: float) -> float | None:
    return value if n * (1 - quantile) >= MIN_ERRORS - 1e-9 else None


def read_parity(lake: Lake, *, scope: Scope, threshold: float) -> Parity | None:
    """How far the device's scores are from the lab's on the same build; None when no device score was logged.

    Args:
        threshold: the build's decision threshold; a comparison is flipped when only one of its scores reaches it.
    """
    import numpy as np
    import polars as pl

    rows = (
        lake.scan(COMPARISONS, scope.grid(scope.build))
        .filter(pl.col("is_parity_expected") & pl.col("device_score").is_not_null())
        .select("score", "device_score")
        .collect()
    )
    if rows.is_empty():
        return None
    score, device = rows["score"].to_numpy(), rows["device_score"].to_numpy()
    difference = device - score
    reach = max(float(np.abs(difference).max()), 1e-6)
    edges = np.linspace(-reach, reach, PARITY_BINS + 1)
    return Parity(
        n=rows.height,
        mean_difference=float(np.abs(difference).mean()),
        largest_difference=float(np.abs(difference).max()),
        n_flipped=int(((score >= threshold) != (device >= threshold)).sum()),
        bins=filled_bins(edges, np.histogram(difference, edges)[0]),
    )
