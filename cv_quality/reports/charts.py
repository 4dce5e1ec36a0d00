"""The charts of a report as Vega-Lite specifications, and the one script that draws all of them.

Colours are CSS custom properties of the page, so a chart follows light, dark and print without being drawn again.
Charts hold aggregated numbers only (see `cv_quality.reports.curves`); importing this module does not import Altair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from cv_quality.reports.curves import DetPoint, HistogramBin, Latency, Parity
from cv_quality.reports.facts import Dimension, Level, Rate, Scope

if TYPE_CHECKING:
    import altair as alt

Row = dict[str, str | float | int | bool | None]
Spec = dict[str, Any]

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LEVELS_CHARTED = 24
BUILD_INK, BASELINE_INK, FAINT_INK = "var(--build)", "var(--baseline)", "var(--faint)"
DIAMOND = "M0,-1.35L1.35,0L0,1.35L-1.35,0Z"  # vega's own diamond is much smaller than its circle

TOO_FEW = "too few trials"
_DET_TIPS = {
    "model:N": ("model", ""),
    "fmr:Q": ("FMR", ".3~e"),
    "fnmr:Q": ("FNMR", ".3~%"),
    "threshold:Q": ("threshold", ".4f"),
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

# vega's expressions are interpreted (`ast`), so that the page can forbid eval in its content security policy.
EMBED = """
const options = {mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: {theme: "custom"}};
for (const spec of document.querySelectorAll("script[data-chart]")) {
  const target = document.getElementById(spec.dataset.chart);
  vegaEmbed(target, JSON.parse(spec.textContent), options).catch((error) => {
    target.textContent = "This chart could not be drawn: " + error.message;
    console.error(error);
  });
}
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => window.dispatchEvent(new Event("resize")));
}
"""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the page: its element id, what it shows in words, and its specification."""

    id: str
    title: str
    alt: str
    spec: Spec


@cache
def script() -> str:
    """Vega, Vega-Lite, vega-embed and the loop that draws every chart, as one script without outside references."""
    import vl_convert

    return str(vl_convert.javascript_bundle(EMBED))


def det_chart(curves: Mapping[str, Sequence[DetPoint]], *, decided: Mapping[str, DetPoint], scope: Scope) -> Chart:
    """FNMR against FMR on log axes, one line a model, with each model's decision threshold marked.

    Args:
        decided: where each model stands at its decision threshold; models with a rate of 0 there have none.
    """
    import altair as alt

    ink = _ink(scope)
    x = alt.X("fmr:Q", scale=alt.Scale(type="log", nice=False), title="FMR", axis=_log_axis())
    y = alt.Y("fnmr:Q", scale=alt.Scale(type="log", nice=False), title="FNMR", axis=_log_axis())
    rows: list[Row] = [{"model": model, **_det_row(point)} for model, points in curves.items() for point in points]
    marked: list[Row] = [{"model": model, **_det_row(point)} for model, point in decided.items()]
    dash = alt.StrokeDash("model:N", scale=alt.Scale(domain=list(scope.models), range=[[1, 0], [5, 3]]), legend=None)
    line = (
        _chart(rows).mark_line(strokeWidth=2.2, interpolate="step-after").encode(x=x, y=y, color=ink, strokeDash=dash)
    )
    hover = _chart(rows).mark_point(size=60, opacity=0).encode(x=x, y=y, tooltip=_tips(_DET_TIPS))
    points = _chart(marked).mark_point(size=95, filled=True, opacity=1, stroke="var(--card)", strokeWidth=1.5)
    mark = points.encode(x=x, y=y, color=ink, shape=_shape(scope), tooltip=_tips(_DET_TIPS))
    title = "Detection error trade-off"
    return Chart(
        "chart-det", title, _det_words(curves, scope), _spec(alt.layer(line, hover, mark), height=330, alt_text=title)
    )


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
    y = alt.Y("share:Q", title="share of the class", scale=scale, axis=axis)
    ink = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=["genuine", "impostor"], range=["var(--genuine)", "var(--impostor)"]),
        legend=alt.Legend(title=None, orient="top-left", symbolType="square"),
    )
    bars = _chart(own).mark_bar(opacity=0.62, binSpacing=0)
    filled = bars.encode(x=x, x2="high:Q", y=y, color=ink, tooltip=_tips(_BIN_TIPS))
    line = _chart(before).mark_line(interpolate="step-after", strokeDash=[4, 2], strokeWidth=1.3)
    layers = alt.layer(filled, line.encode(x=alt.X("low:Q"), y=y, color=ink), _threshold_mark(threshold))
    title = "Scores of genuine and impostor comparisons"
    words = f"{title}: shares by score for {scope.build}; the decision threshold lies at {threshold:g}."
    return Chart("chart-scores", title, words, _spec(layers, height=330, alt_text=title))


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

    chart = _chart([{"threshold": threshold, "text": f"accept ≥ {threshold:g}"}])
    x, ink = alt.X("threshold:Q"), "var(--ink)"
    rule = chart.mark_rule(strokeWidth=1.5, color=ink).encode(x=x, tooltip=_tips({"threshold:Q": ("threshold", "")}))
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
        scale=alt.Scale(domain=[*scope.models, TOO_FEW], range=[*_inks(scope), FAINT_INK]),
        legend=None,
    )
    base = _chart(_level_rows(levels, scope=scope)).encode(
        y=_level_axis([level.level for level in levels]),
        yOffset=alt.YOffset("model:N", sort=list(scope.models)),
        color=ink,
        tooltip=_tips({**_LEVEL_TIPS, "level:N": (dimension.label, "")}),
    )
    x = alt.X("value:Q", title="FNMR at the decision threshold", axis=alt.Axis(format="~%", tickCount=5))
    rule = base.mark_rule(strokeWidth=2.2, strokeCap="round").encode(x=alt.X("low:Q"), x2="high:Q")
    dot = base.mark_point(size=62, filled=True, opacity=1).encode(x=x, shape=_shape(scope))
    height = 26 + len(levels) * (32 if scope.baseline else 24)
    title = f"FNMR by {dimension.label}"
    words = f"{title}: {'; '.join(f'{level.level} {_words(level.build)}' for level in levels)}."
    spec = _spec(alt.layer(rule, dot), height=height, alt_text=title)
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
    base = _chart(rows).encode(x=x, y=_level_axis([group.level for group in groups]))
    ends = base.mark_line(strokeWidth=2, color="var(--rule)").encode(detail="level:N")
    dots = base.mark_point(size=70, filled=True, opacity=1).encode(
        color=alt.Color("percentile:N", scale=colours, legend=legend),
        shape=alt.Shape("percentile:N", scale=shapes, legend=legend),
        tooltip=_tips(_LATENCY_TIPS),
    )
    title = f"Latency by {label}"
    known = "; ".join(f"{group.level}: {_latency_words(group)}" for group in groups)
    spec = _spec(alt.layer(ends, dots), height=40 + 30 * len(groups), alt_text=title)
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
        _chart(rows)
        .mark_bar(color="var(--build)", opacity=0.75, binSpacing=1)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("count:Q", title="comparisons", scale=alt.Scale(type="sqrt"), axis=alt.Axis(tickCount=4)),
            tooltip=_tips(_PARITY_TIPS),
        )
    )
    title = "Device score against re-inference"
    words = f"{title}: mean absolute difference {parity.mean_difference:.2g} over {parity.n:,} comparisons."
    return Chart("chart-parity", title, words, _spec(bars, height=200, alt_text=title))


def _tips(fields: Mapping[str, tuple[str, str]]) -> "list[alt.Tooltip]":
    """Tooltip lines: field with its type, to its name for people and its number format."""
    import altair as alt

    return [
        alt.Tooltip(field, title=title, format=form) if form else alt.Tooltip(field, title=title)
        for field, (title, form) in fields.items()
    ]


def _level_axis(order: Sequence[str]) -> "alt.Y":
    import altair as alt

    axis = alt.Axis(labelLimit=150, ticks=False, domain=False, labelPadding=8)
    return alt.Y("level:N", sort=list(order), title=None, axis=axis)


def _chart(rows: Sequence[Mapping[str, Any]]) -> "alt.Chart":
    """A chart over rows that travel within the specification, types always said in the encoding."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(rows)))


def _spec(chart: Any, *, height: int, alt_text: str) -> Spec:
    spec: Spec = chart.properties(width="container", height=height, description=alt_text).to_dict()
    spec.pop("$schema", None)
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"] = _CONFIG
    return spec


_CONFIG: Spec = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--rule)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelFlush": False,
    },
    "axisY": {"grid": True},
    "legend": {"labelColor": "var(--ink)", "labelFontSize": 11.5, "symbolSize": 70, "offset": 4},
    "text": {"font": FONT},
}


def _inks(scope: Scope) -> list[str]:
    return [BUILD_INK, BASELINE_INK][: len(scope.models)]


def _ink(scope: Scope) -> "alt.Color":
    import altair as alt

    return alt.Color("model:N", scale=alt.Scale(domain=list(scope.models), range=_inks(scope)), legend=None)


def _shape(scope: Scope) -> "alt.Shape":
    """Shape repeats what colour says, for readers who cannot tell the colours apart."""
    import altair as alt

    range_ = ["circle", DIAMOND][: len(scope.models)]
    return alt.Shape("model:N", scale=alt.Scale(domain=list(scope.models), range=range_), legend=None)


def _log_axis() -> "alt.Axis":
    """Labels at powers of ten, and at 2 and 5 times them; lines nowhere else."""
    import altair as alt

    values = [float(f"{digit}e{power}") for power in range(-9, 1) for digit in (1, 2, 5) if digit == 1 or power < 0]
    return alt.Axis(values=values, format="~%", labelOverlap="parity", labelSeparation=8)


def _det_row(point: DetPoint) -> Row:
    return {"fmr": point.fmr, "fnmr": point.fnmr, "threshold": point.threshold}


def _det_words(curves: Mapping[str, Sequence[DetPoint]], scope: Scope) -> str:
    drawn = [
        f"{model} from FMR {points[0].fmr:.2g} to {points[-1].fmr:.2g}" for model, points in curves.items() if points
    ]
    return f"FNMR against FMR on logarithmic axes for {' and '.join(scope.models)}: {'; '.join(drawn) or 'no curve'}."


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
    from cv_quality.reports.verdict import percent

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
    from cv_quality.reports.verdict import percent

    return f"{percent(rate.value)} of {rate.denominator or 0:,}"


def _latency_words(group: Latency) -> str:
    return f"median {group.p50_ms:,.0f} ms" if group.p50_ms is not None else "too few attempts"
