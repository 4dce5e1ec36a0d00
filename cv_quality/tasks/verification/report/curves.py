"""Scores of a build, aggregated so that a page never holds more than a few hundred points of each chart.

Histograms are made here from the lake, the DET curve is read as it was measured; how they look is in
`cv_quality.tasks.verification.report.charts`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.lake.lake import TableKey
from cv_quality.metrics.score_bins import BINS, BINS_PER_UNIT, bin_of
from cv_quality.reports.curves import DetPoint, HistogramBin, filled_bins
from cv_quality.reports.scope import model_rows
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.modality import Comparator
from cv_quality.tasks.verification.report.data import find_point, mated, nonmated
from cv_quality.tasks.verification.report.instances import claim_of, impostor_freedom, rule_of
from cv_quality.tasks.verification.report.wording import comparator_of
from cv_quality.tasks.verification.tables import COMPARISONS, DET_CURVE, IMPOSTOR_COUNTS, OPERATING_POINTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HISTOGRAM_BINS = 128


@dataclass(frozen=True, slots=True)
class Scores:
    """All scores of one model on the drops: genuine ones as they are, impostor ones counted by bin of their scale."""

    genuine: "NDArray[np.float64]"
    impostor: "NDArray[np.int64]"


@dataclass(frozen=True, slots=True)
class ScoreCurves:
    """How well the two classes are told apart, by model.

    Attributes:
        det: points of the curve; those where a rate is 0 are left out, as both axes are logarithmic.
        decided: the point at the decision threshold, where it has a place on such axes.
        bins: histograms, by "genuine" and "impostor".
        n_impostor: cross-subject pairs; of a build as recorded impostor attempts with a score.
        claim: what the build's scores rest on, in words; empty where its comparator says it all.
        freedom: degrees of freedom of the build's impostors, with their 95 % bounds; None where there are none.
    """

    det: Mapping[str, tuple[DetPoint, ...]]
    decided: Mapping[str, DetPoint]
    bins: Mapping[str, Mapping[str, tuple[HistogramBin, ...]]]
    n_impostor: int
    claim: str = ""
    freedom: tuple[float, float | None, float | None] | None = None

    @property
    def undrawn(self) -> list[str]:
        """The models without a point on the curve."""
        return [model for model, points in self.det.items() if not points]


def read_score_curves(source: ReportSource) -> ScoreCurves:
    """Read the DET curve and the scores of every model over the build's drops."""
    scope = source.scope
    rows = source.lake.read(OPERATING_POINTS, TableKey(build=scope.build)).to_dicts()
    decided = {model: find_point(rows, model=model, point="decision_threshold") for model in scope.models}
    scores = {model: read_scores(source, model) for model in scope.models}
    return ScoreCurves(
        det={model: _read_det_curve(source, model) for model in scope.models},
        decided={
            model: DetPoint(threshold=row["threshold"], fmr=row["fmr"], fnmr=row["fnmr"])
            for model, row in decided.items()
            if row is not None and row["fmr"] and row["fnmr"]
        },
        bins=histograms(scores, comparator_of(source)),
        n_impostor=int(scores[scope.build].impostor.sum()),
        claim=claim_of(rule) if (rule := rule_of(source)) else "",
        freedom=impostor_freedom(source),
    )


def read_scores(source: ReportSource, model: str) -> Scores:
    """Read every score of one model over the build's drops."""
    import numpy as np
    import polars as pl

    genuine = source.lake.scan(COMPARISONS, source.scope.grid(model)).filter(mated()).select("score").collect()
    if source.scope.is_recorded:
        return Scores(genuine=genuine["score"].to_numpy(), impostor=_attempted_impostors(source, model))
    counts = model_rows(source.lake, IMPOSTOR_COUNTS, build=source.scope.build, model=model).drop_nulls("bin")
    impostor = np.zeros(BINS, dtype=np.int64)
    impostor[counts["bin"].to_numpy()] = counts["count"].to_numpy()
    return Scores(genuine=genuine["score"].cast(pl.Float64).to_numpy(), impostor=impostor)


def _attempted_impostors(source: ReportSource, model: str) -> "NDArray[np.int64]":
    """Count the scores of the impostor attempts that were made by bin of their scale."""
    import numpy as np

    comparator = comparator_of(source)
    rows = source.lake.scan(COMPARISONS, source.scope.grid(model)).filter(nonmated()).select("score").collect()
    bins = bin_of(comparator.oriented(rows["score"].to_numpy()), comparator.scale)
    return np.bincount(bins, minlength=BINS)


def _read_det_curve(source: ReportSource, model: str) -> tuple[DetPoint, ...]:
    rows = model_rows(source.lake, DET_CURVE, build=source.scope.build, model=model)
    rows = rows.filter((rows["fmr"] > 0) & (rows["fnmr"] > 0)).sort("fmr_target", descending=True)
    return tuple(DetPoint(*row) for row in rows.select("threshold", "fmr", "fnmr", "fnmr_low", "fnmr_high").iter_rows())


def histograms(
    scores: Mapping[str, Scores], comparator: Comparator, *, bins: int = HISTOGRAM_BINS
) -> dict[str, dict[str, tuple[HistogramBin, ...]]]:
    """Bin genuine and impostor scores equally over the axis of the comparator; empty bins are left out.

    Args:
        scores: by model.
        comparator: whose scores they are.
        bins: over the axis.
    """
    import numpy as np

    middles = comparator.oriented(comparator.scale.score_at((np.arange(BINS) + 0.5) / BINS_PER_UNIT - 1.0))
    drawn = [side for item in scores.values() for side in (item.genuine, middles[item.impostor > 0])]
    edges = np.linspace(*score_axis(comparator, drawn), bins + 1)
    return {
        model: {
            "genuine": filled_bins(edges, np.histogram(item.genuine, edges)[0]),
            "impostor": filled_bins(edges, np.histogram(middles, edges, weights=item.impostor)[0]),
        }
        for model, item in scores.items()
    }


def score_axis(comparator: Comparator, drawn: "Iterable[NDArray[np.float64]]") -> tuple[float, float]:
    """Choose the ends of an axis of scores: the range of the comparator, cut where the scores end if it is infinite."""
    ends = [end for side in drawn if side.size for end in (float(side.min()), float(side.max()))]
    low, high = comparator.score_range
    low = low if math.isfinite(low) else min(ends, default=min(high, 1.0) - 1.0)
    high = high if math.isfinite(high) else max(ends, default=low)
    return low, high if high > low else low + 1.0
