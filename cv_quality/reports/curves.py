"""Curves and histograms that any page about scores draws: their records, and the detection error trade-off.

Histograms themselves are drawn beside their pages. Importing this module does not import Altair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.metrics.results import percent
from cv_quality.reports.drawing import DASHES, DIAMOND, Chart, Row, interval_words, log_axis, over, specification, tips
from cv_quality.reports.rendering import number
from cv_quality.text import span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BAND_FLOOR = 0.1
"""A band that reaches down to 0 has no place on a logarithmic axis: it is drawn to this share of its curve."""

_DET_TIPS = {
    "fmr_words": "FMR",
    "fnmr_words": "FNMR",
    "interval": "95 % interval",
    "threshold_words": "threshold",
}


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


def filled_bins(
    edges: "NDArray[np.float64]", counts: "NDArray[np.int64]", *, total: int | None = None
) -> tuple[HistogramBin, ...]:
    """Keep the bins that hold something.

    Args:
        edges, counts: of all bins, shapes (n + 1,) and (n,).
        total: what shares are of; by default all that lies in a bin.
    """
    of = int(counts.sum()) if total is None else total
    return tuple(
        HistogramBin(low=float(low), high=float(high), count=int(count), share=int(count) / of)
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    )


def bin_row(item: HistogramBin) -> Row:
    """Turn a bin into a row of a chart, its edges without the last digits of the scores that they were."""
    low, high = (float(f"{edge:.9g}") for edge in (item.low, item.high))
    return {
        "low": low,
        "high": high,
        "count": item.count,
        "share": float(f"{item.share:.6g}"),
        "span": span(low, high, words=number),
        "count_words": number(item.count),
        "share_words": percent(item.share),
    }


def det_chart(
    curves: Mapping[str, Sequence[DetPoint]],
    *,
    decided: Mapping[str, DetPoint],
    inks: Mapping[str, str],
    noun: str = "model",
) -> Chart:
    """Draw FNMR against FMR on log axes, one line a curve with its 95 % band, and one point of each marked.

    Args:
        curves: points by name, without those at which a rate is 0.
        decided: the point that is marked, such as that at the decision threshold; one with a rate of 0 has none.
        inks: colour of every curve, in the order of the drawing.
        noun: what a curve is of.
    """
    import altair as alt

    names = list(inks)
    ink = alt.Color("model:N", scale=alt.Scale(domain=names, range=list(inks.values())), legend=None)
    x = alt.X("fmr:Q", scale=alt.Scale(type="log", nice=False), title="FMR", axis=log_axis())
    y = alt.Y("fnmr:Q", scale=alt.Scale(type="log", nice=False), title="FNMR", axis=log_axis())
    rows = [_det_row(model, point) for model, points in curves.items() for point in points]
    marked = [_det_row(model, point) for model, point in decided.items()]
    banded = [row for row in rows if row["low"] is not None]
    faint = max(min(0.16, 0.4 / len(names)), 0.05)  # the bands of many curves lie over each other
    area = over(banded).mark_area(opacity=faint, interpolate="step-after")
    band = area.encode(x=x, y="low:Q", y2="high:Q", color=ink)
    dashes = alt.Scale(domain=names, range=[list(dash) for dash in DASHES])
    line = over(rows).mark_line(strokeWidth=2.2, interpolate="step-after")
    line = line.encode(x=x, y=y, color=ink, strokeDash=alt.StrokeDash("model:N", scale=dashes, legend=None))
    shown = tips({"model": noun, **_DET_TIPS})
    hover = over(rows).mark_point(size=60, opacity=0).encode(x=x, y=y, tooltip=shown)
    points = over(marked).mark_point(size=95, filled=True, opacity=1, stroke="var(--card)", strokeWidth=1.5)
    shape = alt.Shape("model:N", scale=alt.Scale(domain=names, range=["circle", DIAMOND]), legend=None)
    mark = points.encode(x=x, y=y, color=ink, shape=shape, tooltip=shown)
    layers = (*((band,) if banded else ()), line, hover, *((mark,) if marked else ()))
    title = "Detection error trade-off"
    spec = specification(alt.layer(*layers), height=330, alt_text=title)
    told = [
        f"{name} from FMR {span(line[0].fmr, line[-1].fmr, words=percent)}" for name, line in curves.items() if line
    ]
    words = f"FNMR against FMR on logarithmic axes for {' and '.join(curves)}: {'; '.join(told) or 'no curve'}."
    return Chart("chart-det", title, words, spec)


def _det_row(model: str, point: DetPoint) -> Row:
    return {
        "model": model,
        "fmr": point.fmr,
        "fnmr": point.fnmr,
        "fmr_words": percent(point.fmr),
        "fnmr_words": percent(point.fnmr),
        "threshold_words": number(point.threshold),
        "low": None if point.low is None else max(point.low, point.fnmr * BAND_FLOOR),
        "high": point.high,
        "interval": interval_words(point.low, point.high),
    }
