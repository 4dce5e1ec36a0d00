"""The charts of parity as Vega-Lite specifications: differences and flips by device model, flips by their distance.

The numbers come from `cv_quality.tasks.verification.report.parity`. Importing this module does not import Altair.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cv_quality.metrics.results import percent
from cv_quality.reports.curves import bin_row
from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
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
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.report.parity import Agreement, Parity

if TYPE_CHECKING:
    import altair as alt

MODELS_CHARTED = 24
ROW_PX = 34
_DIFFERENCE_TIPS = {"level": "device model", "span": "difference", "count_words": "attempts", "share_words": "share"}
_MEDIAN_TIPS = {
    "level": "device model",
    "median_words": "median",
    "largest_words": "largest",
    "beyond": "beyond the tolerance",
}
_FLIP_TIPS = {
    "level": "device model",
    "shown": "decisions that flip",
    "interval": "95 % interval",
    "counts": "flips / decisions",
    "n_subjects": "subjects",
}
_DISTANCE_TIPS = {"kind": "flips", "span": "score − threshold", "count_words": "count"}
_KINDS = {"near": "near the threshold", "far": "far from it"}


def parity_charts(found: Parity | None, _source: ReportSource) -> Iterator[Chart]:
    """Draw the section; a chart without anything to draw is left out."""
    if found is None:
        return
    if found.differences:
        yield differences_chart(found)
    if found.whole.flips.numerator:
        yield flips_chart(found)
        yield distances_chart(found)


def differences_chart(found: Parity) -> Chart:
    """Draw the device's score minus the re-inferred one: a strip a device model, the darker the more attempts."""
    import altair as alt

    models = [item for item in found.models if item.n_scores][:MODELS_CHARTED]
    rows = [{"level": item.level, **bin_row(part)} for item in models for part in found.differences[item.level]]
    axis = number_axis(columns(rows, "low", "high"), words=number, count=6)
    x = alt.X("low:Q", bin="binned", title="device score − re-inferred score", scale=alt.Scale(nice=False), axis=axis)
    y = level_axis([item.level for item in models])
    shade = alt.Opacity("share:Q", scale=alt.Scale(type="sqrt", domain=[0, 1], range=[0.12, 1]), legend=None)
    strip = over(rows).mark_bar(height=20, color=BUILD_INK, binSpacing=0)
    strip = strip.encode(x=x, x2="high:Q", y=y, opacity=shade, tooltip=tips(_DIFFERENCE_TIPS))
    medians = over([_median_row(item) for item in models])
    mark = medians.mark_point(shape="stroke", angle=90, size=420, strokeWidth=2, stroke="var(--ink)", opacity=1)
    mark = mark.encode(x=alt.X("median:Q"), y=y, tooltip=tips(_MEDIAN_TIPS))
    title = "Score differences by device model"
    told = "; ".join(
        f"{item.level} median {number(item.median_difference)}, largest {number(item.largest_difference)}, "
        f"{percent(item.share_beyond)} of {item.n_scores:,} beyond {number(found.tolerance)}"
        for item in models
    )
    layers = alt.layer(strip, mark, _tolerance(found))
    spec = specification(layers, height=30 + ROW_PX * len(models), alt_text=title)
    return Chart("chart-parity-differences", title, f"{title}: {told}.", spec)


def flips_chart(found: Parity) -> Chart:
    """Draw the rate of flips of each device model with its interval."""
    import altair as alt

    models = [item for item in found.models if item.flips.value is not None][:MODELS_CHARTED]
    rows = [
        {"level": item.level, **rate_row(item.flips), "n_subjects": number(item.flips.n_subjects)} for item in models
    ]
    axis = number_axis(columns(rows, "value", "low", "high"))
    base = over(rows).encode(y=level_axis([item.level for item in models]), tooltip=tips(_FLIP_TIPS))
    bounds = base.mark_rule(strokeWidth=2.2, strokeCap="round", color=BUILD_INK)
    dot = base.mark_point(size=62, filled=True, opacity=1, color=BUILD_INK)
    x = alt.X("value:Q", title="decisions that flip", axis=axis)
    layers = alt.layer(bounds.encode(x=alt.X("low:Q"), x2="high:Q"), dot.encode(x=x))
    title = "Decision flips by device model"
    told = "; ".join(f"{row['level']} {row['shown']} ({row['counts']})" for row in rows)
    spec = specification(layers, height=30 + ROW_PX * len(models), alt_text=title)
    return Chart("chart-parity-flips", title, f"{title}: {told}.", spec)


def distances_chart(found: Parity) -> Chart:
    """Draw how far from the threshold flips lie: where rounding explains them, and where it does not."""
    import altair as alt

    rows = [{"kind": _KINDS[kind], **bin_row(part)} for kind, parts in found.distances.items() for part in parts]
    axis = number_axis(columns(rows, "low", "high"), words=number, count=6)
    x = alt.X("low:Q", bin="binned", title="re-inferred score − threshold", scale=alt.Scale(nice=False), axis=axis)
    y = alt.Y("count:Q", title="flips", axis=number_axis(columns(rows, "count"), words=number, count=4))
    ink = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(_KINDS.values()), range=[BASELINE_INK, BUILD_INK]),
        legend=alt.Legend(title=None, orient="top", symbolType="square"),
    )
    bars = over(rows).mark_bar(opacity=0.8, binSpacing=1)
    bars = bars.encode(x=x, x2="high:Q", y=y, color=ink, tooltip=tips(_DISTANCE_TIPS))
    title = "Flips by their distance from the threshold"
    told = f"{title}: {found.whole.n_near:,} near it, {found.whole.n_far:,} far from it."
    spec = specification(alt.layer(bars, _tolerance(found)), height=170, alt_text=title)
    return Chart("chart-parity-distances", title, told, spec)


def _median_row(item: Agreement) -> Row:
    return {
        "level": item.level,
        "median": item.median_difference,
        "median_words": number(item.median_difference),
        "largest_words": number(item.largest_difference),
        "beyond": f"{percent(item.share_beyond)}, {item.n_beyond:,} / {item.n_scores:,}",
    }


def _tolerance(found: Parity) -> "alt.Chart":
    """Lines on both sides of 0, between which two scores may differ."""
    import altair as alt

    rows: Sequence[Row] = [
        {"at": sign * found.tolerance, "words": f"{number(found.tolerance)} on either side"} for sign in (-1, 1)
    ]
    lines = over(rows).mark_rule(strokeDash=[4, 3], strokeWidth=1.2, color="var(--muted)")
    drawn: alt.Chart = lines.encode(x=alt.X("at:Q"), tooltip=tips({"words": "tolerance"}))
    return drawn
