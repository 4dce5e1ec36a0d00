"""The charts of a failure report as Vega-Lite specifications.

Charts hold aggregated numbers only (see `cv_quality.tasks.verification.report.curves`); how any chart is drawn is in
`cv_quality.reports.drawing`. Importing this module does not import Altair.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cv_quality.metrics.results import percent
from cv_quality.reports.drawing import Chart, Row, level_axis, log_axis, over, specification, tips
from cv_quality.tasks.verification.report.curves import DetPoint, HistogramBin, Latency, Parity
from cv_quality.tasks.verification.report.facts import Dimension, Level, Rate, Scope

if TYPE_CHECKING:
    import altair as alt

LEVELS_CHARTED = 24
BUILD_INK, BASELINE_INK, FAINT_INK = "var(--build)", "var(--baseline)", "var(--faint)"
DIAMOND = "M0,-1.35L1.35,0L0,1.35L-1.35,0Z"  # vega's own diamond is much smaller than its circle
DASHES: tuple[tuple[int, int], ...] = ((1, 0), (5, 3), (2, 2), (8, 3))
"""How the curves of one chart are dashed, in their order; a fifth begins anew."""

TOO_FEW = "too few trials"
BAND_FLOOR = 0.1
"""A band that reaches down to 0 has no place on a logarithmic axis: it is drawn to this share of its curve."""

_DET_TIPS = {
    "fmr:Q": ("FMR", ".3~e"),
    "fnmr:Q": ("FNMR", ".3~%"),
    "interval:N": ("95 % interval", ""),
    "threshold:Q": ("threshold", ".5~g"),
}
_BIN_TIPS = {
    "model:N": ("model", ""),
    "kind:N": ("comparisons", ""),
    "low:Q": ("score from", ".3f"),
    "count:Q": ("count", ","),
    "share:Q": ("share", ".3~%"),
}
_LEVEL_TIPS = {
    "model:N": ("model", ""),
    "level:N": ("level", ""),
    "shown:N": ("FNMR", ""),
    "interval:N": ("95 % interval", ""),
    "counts:N": ("rejected / genuine", ""),
    "n_subjects:Q": ("subjects", ","),
    "standing:N": ("trials", ""),
}
_LATENCY_TIPS = {
    "level:N": ("level", ""),
    "percentile:N": ("percentile", ""),
    "latency_ms:Q": ("latency in ms", ",.1f"),
    "n:Q": ("attempts", ","),
}
_PARITY_TIPS = {"low:Q": ("from", ".3~g"), "high:Q": ("to", ".3~g"), "count:Q": ("comparisons", ",")}


def det_chart(
    curves: Mapping[str, Sequence[DetPoint]],
    *,
    decided: Mapping[str, DetPoint],
    inks: Mapping[str, str],
    noun: str = "model",
) -> Chart:
    """FNMR against FMR on log axes, one line a curve with its 95 % band, and one point of each marked.

    Args:
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
    shown = tips({"model:N": (noun, ""), **_DET_TIPS})
    hover = over(rows).mark_point(size=60, opacity=0).encode(x=x, y=y, tooltip=shown)
    points = over(marked).mark_point(size=95, filled=True, opacity=1, stroke="var(--card)", strokeWidth=1.5)
    shape = alt.Shape("model:N", scale=alt.Scale(domain=names, range=["circle", DIAMOND]), legend=None)
    mark = points.encode(x=x, y=y, color=ink, shape=shape, tooltip=shown)
    layers = (*((band,) if banded else ()), line, hover, *((mark,) if marked else ()))
    title = "Detection error trade-off"
    spec = specification(alt.layer(*layers), height=330, alt_text=title)
    return Chart("chart-det", title, _det_words(curves), spec)


def histogram_chart(
    bins: Mapping[str, Mapping[str, Sequence[HistogramBin]]], *, threshold: float, scope: Scope
) -> Chart:
    """Shares of genuine and impostor scores: the build filled, the baseline as a dashed outline.

    The vertical axis is a square root, because the failures are in the thin tails.

    Args:
        bins: by model, then by "genuine" and "impostor".
        threshold: the build's decision threshold, drawn as a vertical line.
    """
    import altair as alt

    rows = _histogram_rows(bins)
    own, before = ([row for row in rows if (row["model"] == scope.build) is is_own] for is_own in (True, False))
    x = alt.X(
        "low:Q",
        bin="binned",
        title="score (cosine)",
        scale=alt.Scale(domain=_extent(rows), nice=False),
        axis=alt.Axis(grid=False, tickCount=7, format="~g"),
    )
    scale, axis = alt.Scale(type="sqrt"), alt.Axis(format="~%", tickCount=5)
    y = alt.Y("share:Q", title="share of the class", scale=scale, axis=axis, stack=None)
    ink = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=["genuine", "impostor"], range=["var(--genuine)", "var(--impostor)"]),
        legend=alt.Legend(title=None, orient="top-left", symbolType="square"),
    )
    bars = over(own).mark_bar(opacity=0.62, binSpacing=0)
    filled = bars.encode(x=x, x2="high:Q", y=y, color=ink, tooltip=tips(_BIN_TIPS))
    line = over(before).mark_line(interpolate="step-after", strokeDash=[4, 2], strokeWidth=1.3)
    layers = alt.layer(filled, line.encode(x=alt.X("low:Q"), y=y, color=ink), _threshold_mark(threshold))
    title = "Scores of genuine and impostor comparisons"
    words = f"{title}: shares by score for {scope.build}; the decision threshold lies at {threshold:g}."
    return Chart("chart-scores", title, words, specification(layers, height=330, alt_text=title))


def _histogram_rows(bins: Mapping[str, Mapping[str, Sequence[HistogramBin]]]) -> list[dict[str, Any]]:
    return [
        _bin_row(item, model=model, kind=kind)
        for model, kinds in bins.items()
        for kind, items in kinds.items()
        for item in items
    ]


def _extent(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [min((row["low"] for row in rows), default=-1.0), max((row["high"] for row in rows), default=1.0)]


def _threshold_mark(threshold: float) -> "alt.LayerChart | alt.FacetChart":
    """A vertical line at the decision threshold, with its name on top."""
    import altair as alt

    chart = over([{"threshold": threshold, "text": f"accept ≥ {threshold:g}"}])
    x, ink = alt.X("threshold:Q"), "var(--ink)"
    rule = chart.mark_rule(strokeWidth=1.5, color=ink).encode(x=x, tooltip=tips({"threshold:Q": ("threshold", "")}))
    label = chart.mark_text(align="left", dx=5, baseline="top", fontSize=11, color=ink)
    return alt.layer(rule, label.encode(x=x, y=alt.value(2), text="text:N"))


def dimension_chart(dimension: Dimension, *, scope: Scope) -> Chart:
    """FNMR with its interval at each level: a dot and a line for the build, another for the baseline.

    Levels with too few trials are grey. Not every level is drawn (see `charted_levels`); the table has all.
    """
    import altair as alt

    levels = charted_levels(dimension)
    ink = alt.Color(
        "tone:N",
        scale=alt.Scale(domain=[*scope.models, TOO_FEW], range=[*inks(scope).values(), FAINT_INK]),
        legend=None,
    )
    base = over(_level_rows(levels, scope=scope)).encode(
        y=level_axis([level.level for level in levels]),
        yOffset=alt.YOffset("model:N", sort=list(scope.models)),
        color=ink,
        tooltip=tips({**_LEVEL_TIPS, "level:N": (dimension.label, "")}),
    )
    x = alt.X("value:Q", title="FNMR at the decision threshold", axis=alt.Axis(format="~%", tickCount=5))
    rule = base.mark_rule(strokeWidth=2.2, strokeCap="round").encode(x=alt.X("low:Q"), x2="high:Q")
    dot = base.mark_point(size=62, filled=True, opacity=1).encode(x=x, shape=_shape(scope))
    height = 26 + len(levels) * (32 if scope.baseline else 24)
    title = f"FNMR by {dimension.label}"
    words = f"{title}: {'; '.join(f'{level.level} {_words(level.build)}' for level in levels)}."
    spec = specification(alt.layer(rule, dot), height=height, alt_text=title)
    return Chart(f"chart-{dimension.name.replace('_', '-')}", title, words, spec)


def _level_rows(levels: Sequence[Level], *, scope: Scope) -> list[Row]:
    return [
        _level_row(model, rate, level=level.level, is_sufficient=level.is_sufficient)
        for level in levels
        for model, rate in zip(scope.models, (level.build, level.baseline), strict=False)
        if rate is not None
    ]


def charted_levels(dimension: Dimension) -> tuple[Level, ...]:
    """All levels in their order, or the 24 with the highest FNMR where there are more; rankable ones go first."""
    if len(dimension.levels) <= LEVELS_CHARTED:
        return dimension.levels
    worst = sorted(
        dimension.levels, key=lambda level: (not level.is_sufficient, -(level.build.value or 0.0), level.level)
    )
    return tuple(worst[:LEVELS_CHARTED])


def latency_chart(groups: Sequence[Latency], *, label: str, name: str) -> Chart:
    """Median, 95th and 99th percentile of each group on one line; percentiles without enough attempts are left out."""
    import altair as alt

    rows: list[Row] = [
        {"level": group.level, "percentile": percentile, "latency_ms": value, "n": group.n}
        for group in groups
        for percentile, value in (("p50", group.p50_ms), ("p95", group.p95_ms), ("p99", group.p99_ms))
        if value is not None
    ]
    names, legend = ["p50", "p95", "p99"], alt.Legend(title=None, orient="top")
    colours = alt.Scale(domain=names, range=["var(--build)", "var(--impostor)", "var(--baseline)"])
    shapes = alt.Scale(domain=names, range=["circle", "square", "triangle-up"])
    x = alt.X("latency_ms:Q", title="latency on the device in ms", axis=alt.Axis(tickCount=6))
    base = over(rows).encode(x=x, y=level_axis([group.level for group in groups]))
    ends = base.mark_line(strokeWidth=2, color="var(--rule)").encode(detail="level:N")
    dots = base.mark_point(size=70, filled=True, opacity=1).encode(
        color=alt.Color("percentile:N", scale=colours, legend=legend),
        shape=alt.Shape("percentile:N", scale=shapes, legend=legend),
        tooltip=tips(_LATENCY_TIPS),
    )
    title = f"Latency by {label}"
    known = "; ".join(f"{group.level}: {_latency_words(group)}" for group in groups)
    spec = specification(alt.layer(ends, dots), height=40 + 30 * len(groups), alt_text=title)
    return Chart(f"chart-latency-{name.replace('_', '-')}", title, f"{title}. {known}.", spec)


def parity_chart(parity: Parity) -> Chart:
    """Distribution of device score minus re-inferred score."""
    import altair as alt

    rows = [_bin_row(item, model="", kind="") for item in parity.bins]
    x = alt.X(
        "low:Q",
        bin="binned",
        title="device score − re-inferred score",
        scale=alt.Scale(nice=False),
        axis=alt.Axis(tickCount=5),
    )
    bars = (
        over(rows)
        .mark_bar(color="var(--build)", opacity=0.75, binSpacing=1)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("count:Q", title="comparisons", scale=alt.Scale(type="sqrt"), axis=alt.Axis(tickCount=4)),
            tooltip=tips(_PARITY_TIPS),
        )
    )
    title = "Device score against re-inference"
    words = f"{title}: mean absolute difference {parity.mean_difference:.2g} over {parity.n:,} comparisons."
    return Chart("chart-parity", title, words, specification(bars, height=200, alt_text=title))


def inks(scope: Scope) -> dict[str, str]:
    """The colour of each model."""
    return dict(zip(scope.models, (BUILD_INK, BASELINE_INK), strict=False))


def _shape(scope: Scope) -> "alt.Shape":
    """Shape repeats what colour says, for readers who cannot tell the colours apart."""
    import altair as alt

    range_ = ["circle", DIAMOND][: len(scope.models)]
    return alt.Shape("model:N", scale=alt.Scale(domain=list(scope.models), range=range_), legend=None)


def _det_row(model: str, point: DetPoint) -> Row:
    band = None if point.low is None else f"{percent(point.low)} to {percent(point.high)}"
    low = None if point.low is None else max(point.low, point.fnmr * BAND_FLOOR)
    return {
        "model": model,
        "fmr": point.fmr,
        "fnmr": point.fnmr,
        "threshold": point.threshold if math.isfinite(point.threshold) else None,
        "low": low,
        "high": point.high,
        "interval": band or "none",
    }


def _det_words(curves: Mapping[str, Sequence[DetPoint]]) -> str:
    drawn = [
        f"{model} from FMR {points[0].fmr:.2g} to {points[-1].fmr:.2g}" for model, points in curves.items() if points
    ]
    return f"FNMR against FMR on logarithmic axes for {' and '.join(curves)}: {'; '.join(drawn) or 'no curve'}."


def _bin_row(item: HistogramBin, *, model: str, kind: str) -> dict[str, Any]:
    return {
        "model": model,
        "kind": kind,
        "low": item.low,
        "high": item.high,
        "count": item.count,
        "share": float(f"{item.share:.6g}"),
    }


def _level_row(model: str, rate: Rate, *, level: str, is_sufficient: bool) -> Row:
    return {
        "model": model,
        "level": level,
        "tone": model if is_sufficient else TOO_FEW,
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "shown": percent(rate.value),
        "interval": f"{percent(rate.low)} to {percent(rate.high)}" if rate.has_interval else "none",
        "counts": f"{rate.numerator or 0:,} / {rate.denominator or 0:,}",
        "n_subjects": rate.n_subjects,
        "standing": "enough to rank" if is_sufficient else rate.reason or "too few to rank",
    }


def _words(rate: Rate) -> str:
    return f"{percent(rate.value)} of {rate.denominator or 0:,}"


def _latency_words(group: Latency) -> str:
    return f"median {group.p50_ms:,.0f} ms" if group.p50_ms is not None else "too few attempts"
