"""The charts of an evaluation of score files as Vega-Lite specifications, and the bins that they need.

The DET curve is that of `cv_quality.reports.curves`; how any chart is drawn is in `cv_quality.reports.drawing`. Charts
hold aggregated numbers only, and scores in units of the files. Importing this module does not import Altair.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.differentials import Differentials
from cv_quality.metrics.quality import ErrorVersusReject
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.curves import HistogramBin, bin_row, filled_bins
from cv_quality.reports.drawing import (
    DASHES,
    FAINT_INK,
    Chart,
    Row,
    columns,
    level_axis,
    log_axis,
    number_axis,
    over,
    rate_row,
    specification,
    tips,
)
from cv_quality.reports.rates import target_text
from cv_quality.reports.rendering import number
from cv_quality.scores.evaluation import Evaluation
from cv_quality.scores.extrapolation import ShapePoint, TailExtrapolation
from cv_quality.scores.score_set import ScoreSet
from cv_quality.text import span

if TYPE_CHECKING:
    import altair as alt

Scores = NDArray[np.floating]

BINS = 128
INKS = tuple(f"var(--series-{index})" for index in range(1, 8))
CORE, FAR = 0.999, 10.0
"""Scores beyond the middle 99.8 % of both classes are left out where they would widen the axis more than tenfold."""
STEPS_DRAWN = 300
LEAST_KEPT = 30
"""An error-versus-reject curve is drawn while at least so many comparisons are kept."""
HEIGHT, LABEL_PX = 330, 14
MOST_POWERS = 12
"""So many powers of ten of scores have labels on an axis."""

_BIN_TIPS = {
    "kind": "comparisons",
    "span": "scores",
    "count_words": "count",
    "share_words": "share",
}
_MARK_TIPS = {"name": "operating point", "threshold_words": "threshold"}
_REJECT_TIPS = {
    "rejected_words": "rejected",
    "fnmr_words": "FNMR of what is kept",
    "counts": "non-matches / kept",
    "quality_words": "lowest quality kept",
}
_GROUP_TIPS = {
    "level": "group",
    "shown": "rate",
    "interval": "95 % interval",
    "counts": "errors / comparisons",
}
_STABILITY_TIPS = {
    "exceedances_words": "scores in the tail",
    "value_words": "value",
    "interval": "95 % interval",
}


@dataclass(frozen=True, slots=True)
class Series:
    """How one score set is told from the others in a chart of several."""

    name: str
    ink: str
    dash: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """The scores of one set in equal bins, in units of the files.

    Attributes:
        low, high: what the axis shows.
        n_infinite, n_beyond: scores that are not drawn, as they are infinite, or too far from all others.
    """

    genuine: tuple[HistogramBin, ...]
    impostor: tuple[HistogramBin, ...]
    low: float
    high: float
    n_infinite: int
    n_beyond: int


def series(names: Sequence[str]) -> tuple[Series, ...]:
    """Choose a colour and a dash for each name, in their order; 28 differ."""
    dashes = [" ".join(map(str, dash)) if index else "" for index, dash in enumerate(DASHES)]
    return tuple(Series(name, INKS[index % len(INKS)], dashes[index % len(dashes)]) for index, name in enumerate(names))


def histogram(scores: ScoreSet) -> Histogram | None:
    """Bin genuine and impostor scores equally in up to 128 bins; None where no finite scores can be told apart.

    Scores that are all whole numbers, or decimals of up to three places, get bins that each hold as many of them:
    other bins would show a comb that is not there.
    """
    both = [-side if scores.is_negated else side for side in (scores.genuine, scores.impostor)]
    finite = [side[np.isfinite(side)] for side in both]
    if not sum(map(len, finite)):
        return None
    low, high = _extent([side for side in finite if len(side)])
    edges = _edges(low, high, grid=_grid(finite, low=low, high=high))
    if not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
        return None
    genuine, impostor = (np.histogram(side, edges)[0] for side in finite)
    n_finite = sum(map(len, finite))
    return Histogram(
        genuine=filled_bins(edges, genuine, total=len(both[0])),
        impostor=filled_bins(edges, impostor, total=len(both[1])),
        low=float(edges[0]),
        high=float(edges[-1]),
        n_infinite=sum(map(len, both)) - n_finite,
        n_beyond=n_finite - int(genuine.sum() + impostor.sum()),
    )


def _extent(sides: Sequence[Scores]) -> tuple[float, float]:
    """From the lowest to the highest score, unless a few of them lie far off."""
    low, high = float(min(side.min() for side in sides)), float(max(side.max() for side in sides))
    core_low = float(min(np.quantile(side, 1 - CORE) for side in sides))
    core_high = float(max(np.quantile(side, CORE) for side in sides))
    core = core_high - core_low
    if core <= 0 or high - low <= FAR * core:
        return low, high
    return max(low, core_low - core), min(high, core_high + core)


def _grid(sides: Sequence[Scores], *, low: float, high: float) -> float | None:
    """The step of scores that are whole numbers, tenths, hundredths or thousandths; None where bins cannot show it."""
    for places in range(4):
        step = 10.0**-places
        if (high - low) / step > 16 * BINS:
            return None
        if all(_is_on_grid(side[:1000], places) for side in sides) and all(_is_on_grid(s, places) for s in sides):
            return step
    return None


def _is_on_grid(scores: Scores, places: int) -> bool:
    scaled = scores.astype(np.float64) * 10**places
    return bool((np.abs(scaled - np.rint(scaled)) < 1e-3).all())


def _edges(low: float, high: float, *, grid: float | None) -> NDArray[np.float64]:
    if grid is not None:
        first, last = round(low / grid), round(high / grid)
        each = max(math.ceil((last - first + 1) / BINS), 1)
        return (np.arange(first, last + each + 1, each, dtype=np.float64) - 0.5) * grid
    if low == high:
        low, high = low - 0.5, high + 0.5
    return low + (high - low) * np.arange(BINS + 1, dtype=np.float64) / BINS


def histogram_chart(bins: Histogram, evaluation: Evaluation, *, id: str, classes: tuple[str, str]) -> Chart:
    """Draw shares of genuine and impostor scores, and where the operating points have their thresholds.

    The vertical axis is a square root, because the errors are in the thin tails.

    Args:
        classes: what genuine and impostor comparisons are called.
    """
    import altair as alt

    kinds = dict(zip(classes, (bins.genuine, bins.impostor), strict=True))
    rows = [{"kind": kind, **bin_row(item)} for kind, items in kinds.items() for item in items]
    marks = threshold_marks(evaluation, low=bins.low, high=bins.high)
    tallest = max(item.share for items in kinds.values() for item in items)
    top = tallest / (1 - (len(marks) * LABEL_PX + 4) / HEIGHT) ** 2  # room for the names of marks above the bars
    sign = {">=": "≥", "<=": "≤"}[evaluation.accept_when]
    x = alt.X(
        "low:Q",
        bin="binned",
        title=f"score, accept {sign} threshold",
        scale=alt.Scale(domain=[_rounded(bins.low), _rounded(bins.high)], nice=False),
        axis=number_axis([bins.low, bins.high], words=number, count=7, grid=False),
    )
    y = alt.Y(
        "share:Q",
        title="share of the class",
        scale=alt.Scale(type="sqrt", domain=[0, top], nice=False),
        axis=number_axis([0.0, top]),
        stack=None,
    )
    ink = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(classes), range=["var(--genuine)", "var(--impostor)"]),
        legend=alt.Legend(title=None, orient="top", symbolType="square"),
    )
    bars = over(rows).mark_bar(opacity=0.62, binSpacing=0)
    bars = bars.encode(x=x, x2="high:Q", y=y, color=ink, tooltip=tips(_BIN_TIPS))
    title = "Scores"
    spec = specification(alt.layer(bars, *_mark_layers(marks, top=top)), height=HEIGHT, alt_text=title)
    shown = "; ".join(f"{mark['name']} at {mark['threshold_words']}" for mark in marks) or "none"
    words = f"Shares of {classes[0]} and {classes[1]} scores from {span(bins.low, bins.high, words=number)}."
    return Chart(id, title, f"{words} Thresholds: {shown}.", spec)


def threshold_marks(evaluation: Evaluation, *, low: float, high: float) -> list[Row]:
    """Choose the thresholds that lie between two scores, each with its name and the line on which that is written.

    Names stand on the side with more room. The threshold that is farthest from there has the top line, and its rule is
    the longest, so that no rule crosses a name.

    Args:
        low, high: the ends of the axis.
    """
    points = [*evaluation.operating_points, *([evaluation.fixed] if evaluation.fixed else [])]
    named = [
        (point.threshold, "given" if point.fmr_target is None else target_text(point.fmr_target))
        for point in points
        if point.threshold is not None
    ]
    inside = sorted((threshold, name) for threshold, name in named if low <= threshold <= high)
    if not inside:
        return []
    is_right = high - inside[-1][0] >= inside[0][0] - low
    ordered = inside if is_right else inside[::-1]
    return [
        {
            "threshold": threshold,
            "threshold_words": number(threshold),
            "name": name,
            "line": line,
            "is_right": is_right,
        }
        for line, (threshold, name) in enumerate(ordered)
    ]


def _mark_layers(marks: Sequence[Row], *, top: float) -> "list[alt.Chart]":
    """Rules from the axis up to the name of each threshold."""
    import altair as alt

    if not marks:
        return []
    rows = [{**mark, "share": _height_of(float(str(mark["line"])), top=top)} for mark in marks]
    side = 1 if marks[0]["is_right"] else -1
    base = over(rows).encode(x=alt.X("threshold:Q"), y=alt.Y("share:Q"), tooltip=tips(_MARK_TIPS))
    rule = base.mark_rule(strokeWidth=1.2, color="var(--ink)").encode(y2=alt.datum(0))
    text = base.mark_text(
        align="left" if side > 0 else "right", dx=4 * side, baseline="top", fontSize=11, color="var(--ink)"
    )
    return [rule, text.encode(text="name:N")]


def _height_of(line: float, *, top: float) -> float:
    """The share that a square-root axis up to `top` shows at the upper edge of a line of names."""
    return float(top * (1 - line * LABEL_PX / HEIGHT) ** 2)


def _rounded(edge: float) -> float:
    """An edge without the last digits of the score that it was."""
    return float(f"{edge:.9g}")


def reject_chart(curve: ErrorVersusReject, *, id: str) -> Chart | None:
    """Draw FNMR of what is kept against the share rejected for its quality; None with too few comparisons."""
    import altair as alt

    rows = _reject_rows(curve)
    if not rows:
        return None
    last = float(str(rows[-1]["rejected"]))
    x = alt.X(
        "rejected:Q",
        title="share rejected, worst quality first",
        scale=alt.Scale(domain=[0, last], nice=False),
        axis=number_axis([0.0, last], count=6, grid=False),
    )
    y = alt.Y("fnmr:Q", title="FNMR of what is kept", axis=number_axis(columns(rows, "fnmr")))
    line = over(rows).mark_line(strokeWidth=2.2, interpolate="step-after", color="var(--genuine)").encode(x=x, y=y)
    hover = over(rows).mark_point(size=60, opacity=0).encode(x=x, y=y, tooltip=tips(_REJECT_TIPS))
    ends = [{"rejected": share, "fnmr": float(curve.fnmr[0])} for share in (0.0, last)]
    flat = over(ends).mark_line(strokeDash=[4, 3], strokeWidth=1.3, color="var(--muted)").encode(x=x, y=y)
    title = "Error versus reject"
    spec = specification(alt.layer(flat, line, hover), height=220, alt_text=title)
    start, end = rows[0]["fnmr_words"], rows[-1]["fnmr_words"]
    words = f"{title}: FNMR {start} with nothing rejected, {end} at {percent(last)} rejected."
    return Chart(id, title, words, spec)


def _reject_rows(curve: ErrorVersusReject) -> list[Row]:
    """Steps evenly spread over the shares, up to the last that keeps enough comparisons."""
    n = int(np.searchsorted(-curve.n_comparisons, -LEAST_KEPT, side="right"))
    if n < 2:
        return []
    wanted = np.linspace(0.0, curve.rejected[n - 1], STEPS_DRAWN)
    steps = np.unique(np.searchsorted(curve.rejected[:n], wanted, side="right") - 1)
    return [
        {
            "rejected": float(curve.rejected[step]),
            "fnmr": float(curve.fnmr[step]),
            "counts": f"{curve.n_errors[step]:,} / {curve.n_comparisons[step]:,}",
            "rejected_words": percent(float(curve.rejected[step])),
            "fnmr_words": percent(float(curve.fnmr[step])),
            "quality_words": number(float(curve.quality_kept[step])),
        }
        for step in steps
    ]


def stability_charts(tail: TailExtrapolation, *, id: str) -> tuple[Chart, ...]:
    """Draw how shape and extrapolated threshold depend on how many scores are taken for the tail: flat is good.

    The shape has bars of two standard errors; a quantity without two points is left out.
    """
    lowest = target_text(min(point.fmr_target for point in tail.points))
    shapes = [_shape_row(point) for point in tail.stability]
    thresholds = [_stability_row(point.exceedances, point.threshold, point.low, point.high) for point in tail.stability]
    charts = (
        _stability_chart(tail, shapes, id=f"{id}-shape", name="shape of the tail"),
        _stability_chart(tail, thresholds, id=f"{id}-threshold", name=f"threshold at FMR {lowest}"),
    )
    return tuple(chart for chart in charts if chart is not None)


def _stability_chart(tail: TailExtrapolation, points: Sequence[Row], *, id: str, name: str) -> Chart | None:
    import altair as alt

    rows = [row for row in points if row["value"] is not None]
    if len(rows) < 2:
        return None
    x = alt.X(
        "exceedances:Q",
        title="scores in the tail",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=log_axis(powers=range(MOST_POWERS), words=number, grid=False),
    )
    drawn = columns(rows, "value", "low", "high")[1:]
    y = alt.Y("value:Q", title=name, scale=alt.Scale(zero=False), axis=number_axis(drawn, words=number))
    base = over(rows).encode(x=x, tooltip=tips(_STABILITY_TIPS))
    bounds = base.mark_rule(strokeWidth=2, color="var(--genuine)").encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(strokeWidth=1.2, color="var(--genuine)").encode(y=y)
    dot = base.mark_point(size=55, filled=True, opacity=1, color="var(--genuine)").encode(y=y)
    chosen = over([{"exceedances": tail.exceedances}]).mark_rule(strokeDash=[4, 3], color="var(--muted)").encode(x=x)
    title = f"Stability: {name}"
    spec = specification(alt.layer(chosen, bounds, line, dot), height=190, alt_text=title)
    shown = "; ".join(f"{row['value_words']} over {row['exceedances_words']} scores" for row in rows)
    return Chart(id, title, f"{title}: {shown}.", spec)


def _shape_row(point: ShapePoint) -> Row:
    if point.shape is None or point.shape_error is None:
        return _stability_row(point.exceedances, None, None, None)
    error = 2 * point.shape_error
    return _stability_row(point.exceedances, point.shape, point.shape - error, point.shape + error)


def _stability_row(exceedances: int, value: float | None, low: float | None, high: float | None) -> Row:
    """Bars need both ends: one without an upper bound ends at its value."""
    return {
        "exceedances": exceedances,
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
        "interval": span(low, high, words=number),
        "value_words": number(value),
        "exceedances_words": number(exceedances),
    }


def group_charts(found: Differentials, *, id: str) -> tuple[Chart, ...]:
    """Draw FMR within each group, and FNMR of each, with intervals; groups that are not ranked are grey."""
    fmr = {group.group: group.fmr for group in found.groups if group.fmr is not None}
    fnmr = {group.group: group.fnmr for group in found.groups}
    return (
        _group_chart(fmr, found.overall.fmr_within, id=f"{id}-fmr", name="FMR within each group"),
        _group_chart(fnmr, found.overall.fnmr, id=f"{id}-fnmr", name="FNMR of each group"),
    )


def _group_chart(rates: Mapping[str, Rate], overall: Rate, *, id: str, name: str) -> Chart:
    import altair as alt

    rows = [
        {"level": group, "tone": "ranked" if rate.reason is None else "not ranked", **rate_row(rate)}
        for group, rate in rates.items()
    ]
    ink = alt.Color(
        "tone:N", scale=alt.Scale(domain=["ranked", "not ranked"], range=["var(--genuine)", FAINT_INK]), legend=None
    )
    base = over(rows).encode(y=level_axis(list(rates)), color=ink, tooltip=tips(_GROUP_TIPS))
    x = alt.X("value:Q", title=name, axis=number_axis([*columns(rows, "value", "low", "high"), overall.value]))
    rule = base.mark_rule(strokeWidth=2.2, strokeCap="round").encode(x=alt.X("low:Q"), x2="high:Q")
    dot = base.mark_point(size=62, filled=True, opacity=1).encode(x=x)
    all_groups = over([{"value": overall.value}]).mark_rule(strokeDash=[4, 3], color="var(--muted)").encode(x=x)
    spec = specification(alt.layer(all_groups, rule, dot), height=26 + 26 * len(rows), alt_text=name)
    shown = "; ".join(f"{group} {percent(rate.value)}" for group, rate in rates.items())
    return Chart(id, name, f"{name}: {shown}; all together {percent(overall.value)}.", spec)
