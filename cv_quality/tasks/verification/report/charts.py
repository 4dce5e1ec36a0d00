"""The charts of a failure report as Vega-Lite specifications; those of root causes are in `root_cause_charts`.

Charts hold aggregated numbers only (see `cv_quality.tasks.verification.report.curves`); how any chart is drawn is in
`cv_quality.reports.drawing`. Importing this module does not import Altair.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.curves import bin_row, det_chart
from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
    DIAMOND,
    FAINT_INK,
    Chart,
    Row,
    columns,
    level_axis,
    number_axis,
    over,
    rate_row,
    specification,
    tips,
)
from cv_quality.reports.rendering import number
from cv_quality.reports.scope import Scope
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.report.curves import ScoreCurves
from cv_quality.tasks.verification.report.data import DimensionRates, LevelRates
from cv_quality.tasks.verification.report.latency import LatencyGroups
from cv_quality.tasks.verification.report.wording import score_words

if TYPE_CHECKING:
    import altair as alt

LEVELS_CHARTED = 24
TOO_FEW = "too few trials"

_BIN_TIPS = {
    "model": "model",
    "kind": "comparisons",
    "span": "scores",
    "count_words": "count",
    "share_words": "share",
}
_LEVEL_TIPS = {
    "model": "model",
    "level": "level",
    "shown": "FNMR",
    "interval": "95 % interval",
    "counts": "rejected / genuine",
    "n_subjects": "subjects",
    "standing": "trials",
}
_ACQUIRED_TIPS = {
    "level": "level",
    "shown": "FTA",
    "interval": "95 % interval",
    "counts": "without a usable sample / attempts",
}
_LATENCY_TIPS = {
    "level": "level",
    "percentile": "percentile",
    "latency_words": "latency in ms",
    "n": "attempts",
}


def score_charts(found: ScoreCurves, source: ReportSource) -> Iterator[Chart]:
    """Draw the DET curve and the histograms; a chart without a point to draw is left out."""
    if any(found.det.values()):
        yield det_chart(found.det, decided=found.decided, inks=inks(source.scope))
    if any(items for kinds in found.bins.values() for items in kinds.values()):
        yield histogram_chart(found, source)


def histogram_chart(found: ScoreCurves, source: ReportSource) -> Chart:
    """Draw shares of genuine and impostor scores: the build filled, the baseline as a dashed outline.

    The vertical axis is a square root, because the failures are in the thin tails.
    """
    import altair as alt

    build, threshold, words = source.scope.build, source.entry.decision_threshold, score_words(source)
    rows = [
        {"model": model, "kind": kind, **bin_row(item)}
        for model, kinds in found.bins.items()
        for kind, items in kinds.items()
        for item in items
    ]
    ends = [min(float(str(row["low"])) for row in rows), max(float(str(row["high"])) for row in rows)]
    own, before = ([row for row in rows if (row["model"] == build) is is_own] for is_own in (True, False))
    x = alt.X(
        "low:Q",
        bin="binned",
        title=f"score ({words.name})",
        scale=alt.Scale(domain=ends, nice=False),
        axis=number_axis(ends, words=number, count=7, grid=False),
    )
    scale = alt.Scale(type="sqrt")
    y = alt.Y("share:Q", title="share of the class", scale=scale, axis=number_axis(columns(rows, "share")), stack=None)
    ink = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=["genuine", "impostor"], range=["var(--genuine)", "var(--impostor)"]),
        legend=alt.Legend(
            title=None, orient="top", columns=1, symbolType="square", labelLimit=0, labelExpr=_kind_words(found)
        ),
    )
    bars = over(own).mark_bar(opacity=0.62, binSpacing=0)
    filled = bars.encode(x=x, x2="high:Q", y=y, color=ink, tooltip=tips(_BIN_TIPS))
    line = over(before).mark_line(interpolate="step-after", strokeDash=[4, 2], strokeWidth=1.3)
    outline = line.encode(x=alt.X("low:Q"), y=y, color=ink)
    marks, lies = list["alt.LayerChart | alt.FacetChart"](), "no decision threshold is declared"
    if threshold is not None:
        marks = [_threshold_mark(threshold, text=f"accept {words.sign} {threshold:g}", is_left=not words.is_similarity)]
        lies = f"the decision threshold lies at {threshold:g}"
    layers = alt.layer(filled, *([outline] if before else []), *marks)
    title = "Scores of genuine and impostor comparisons"
    told = f"{title}: shares by score for {build}; {lies}."
    return Chart("chart-scores", title, told, specification(layers, height=330, alt_text=title))


def _kind_words(found: ScoreCurves) -> str:
    """The names of the two classes, as an expression of Vega: that of impostors with their degrees of freedom."""
    if found.freedom is None:
        return "datum.label"
    return f"datum.label == 'impostor' ? 'impostor, {found.freedom[0]:,.0f} degrees of freedom' : datum.label"


def _threshold_mark(threshold: float, *, text: str, is_left: bool) -> "alt.LayerChart | alt.FacetChart":
    """A vertical line at the decision threshold, with its name on top, on the side of genuine scores."""
    import altair as alt

    chart = over([{"threshold": threshold, "text": text, "words": f"{threshold:g}"}])
    x, ink = alt.X("threshold:Q"), "var(--ink)"
    rule = chart.mark_rule(strokeWidth=1.5, color=ink).encode(x=x, tooltip=tips({"words": "threshold"}))
    label = chart.mark_text(
        align="right" if is_left else "left", dx=-5 if is_left else 5, baseline="top", fontSize=11, color=ink
    )
    return alt.layer(rule, label.encode(x=x, y=alt.value(2), text="text:N"))


def dimension_charts(found: Iterable[DimensionRates], source: ReportSource) -> Iterator[Chart]:
    """Draw every dimension."""
    return (dimension_chart(item, scope=source.scope) for item in found)


def dimension_chart(found: DimensionRates, *, scope: Scope) -> Chart:
    """Draw FNMR with its interval at each level: a dot and a line for the build, another for the baseline.

    An open square is the build's FTA there: attempts without a usable sample, which no comparison counts.
    Levels with too few trials are grey. Not every level is drawn (see `charted_levels`); the table has all.
    """
    import altair as alt

    levels, label = charted_levels(found.levels), found.dimension.level_label
    ink = alt.Color(
        "tone:N",
        scale=alt.Scale(domain=[*scope.models, TOO_FEW], range=[*inks(scope).values(), FAINT_INK]),
        legend=None,
    )
    rows = [
        _level_row(model, rate, level=level)
        for level in levels
        for model, rate in zip(scope.models, (level.rates.build, level.rates.baseline), strict=False)
        if rate is not None
    ]
    base = over(rows).encode(
        y=level_axis([level.level for level in levels]),
        yOffset=alt.YOffset("model:N", sort=list(scope.models)),
        color=ink,
        tooltip=tips({**_LEVEL_TIPS, "level": label}),
    )
    missed = [{"level": item.level, **rate_row(item.fta)} for item in levels if item.fta and item.fta.numerator]
    axis = number_axis(columns([*rows, *missed], "value", "low", "high"))
    x = alt.X("value:Q", title="FNMR at the decision threshold", axis=axis)
    rule = base.mark_rule(strokeWidth=2.2, strokeCap="round").encode(x=alt.X("low:Q"), x2="high:Q")
    shapes = alt.Scale(domain=list(scope.models), range=["circle", DIAMOND][: len(scope.models)])
    # Shape repeats what colour says, for readers who cannot tell the colours apart.
    shape = alt.Shape("model:N", scale=shapes, legend=None)
    dot = base.mark_point(size=62, filled=True, opacity=1).encode(x=x, shape=shape)
    square = over(missed).mark_point(size=58, filled=False, shape="square", strokeWidth=1.6, color=BUILD_INK)
    square = square.encode(y=level_axis([level.level for level in levels]), x=x, tooltip=tips(_ACQUIRED_TIPS))
    title = f"FNMR by {label}"
    words = f"{title}: {'; '.join(map(_level_words, levels))}."
    layers = alt.layer(rule, dot, *([square] if missed else []))
    spec = specification(layers, height=26 + len(levels) * (32 if scope.baseline else 24), alt_text=title)
    return Chart(f"chart-{found.dimension.level_column.replace('_', '-')}", title, words, spec)


def _level_words(level: LevelRates) -> str:
    rate, fta = level.rates.build, level.fta
    missed = f", FTA {percent(fta.value)} of {fta.denominator:,} attempts" if fta and fta.numerator else ""
    return f"{level.level} {percent(rate.value)} of {rate.denominator:,}{missed}"


def _level_row(model: str, rate: Rate, *, level: LevelRates) -> Row:
    is_ranked = level.rates.is_ranked
    return {
        "model": model,
        "level": level.level,
        "tone": model if is_ranked else TOO_FEW,
        **rate_row(rate),
        "n_subjects": number(rate.n_subjects),
        "standing": "enough to rank" if is_ranked else rate.reason or "too few to rank",
    }


def charted_levels(levels: Sequence[LevelRates]) -> Sequence[LevelRates]:
    """Choose all levels in their order, or where there are more the 24 with the highest FNMR, those ranked first."""
    if len(levels) <= LEVELS_CHARTED:
        return levels
    worst = sorted(levels, key=lambda item: (not item.rates.is_ranked, -(item.rates.build.value or 0.0), item.level))
    return worst[:LEVELS_CHARTED]


def latency_charts(found: Iterable[LatencyGroups], _source: ReportSource) -> Iterator[Chart]:
    """Draw latency as far as the devices logged it."""
    for item in found:
        if any(group.p50_ms is not None for group in item.groups):
            yield latency_chart(item)


def latency_chart(found: LatencyGroups) -> Chart:
    """Draw median, 95th and 99th percentile of each group on one line, as far as there are enough attempts."""
    import altair as alt

    rows: list[Row] = [
        {
            "level": group.level,
            "percentile": percentile,
            "latency_ms": value,
            "latency_words": number(value),
            "n": number(group.n),
        }
        for group in found.groups
        for percentile, value in (("p50", group.p50_ms), ("p95", group.p95_ms), ("p99", group.p99_ms))
        if value is not None
    ]
    names, legend = ["p50", "p95", "p99"], alt.Legend(title=None, orient="top")
    colours = alt.Scale(domain=names, range=["var(--build)", "var(--impostor)", "var(--baseline)"])
    shapes = alt.Scale(domain=names, range=["circle", "square", "triangle-up"])
    axis = number_axis(columns(rows, "latency_ms"), words=number, count=6)
    x = alt.X("latency_ms:Q", title="latency on the device in ms", axis=axis)
    base = over(rows).encode(x=x, y=level_axis([group.level for group in found.groups]))
    ends = base.mark_line(strokeWidth=2, color="var(--rule)").encode(detail="level:N")
    dots = base.mark_point(size=70, filled=True, opacity=1).encode(
        color=alt.Color("percentile:N", scale=colours, legend=legend),
        shape=alt.Shape("percentile:N", scale=shapes, legend=legend),
        tooltip=tips(_LATENCY_TIPS),
    )
    title = f"Latency by {found.dimension.label}"
    medians = [(group.level, group.p50_ms) for group in found.groups]
    told = (f"{level}: {'too few attempts' if ms is None else f'median {number(ms)} ms'}" for level, ms in medians)
    spec = specification(alt.layer(ends, dots), height=40 + 30 * len(found.groups), alt_text=title)
    id = f"chart-latency-{found.dimension.name.replace('_', '-')}"
    return Chart(id, title, f"{title}. {'; '.join(told)}.", spec)


def inks(scope: Scope) -> dict[str, str]:
    """Choose the colour of each model."""
    return dict(zip(scope.models, (BUILD_INK, BASELINE_INK), strict=False))
