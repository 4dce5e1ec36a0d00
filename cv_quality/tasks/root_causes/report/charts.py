"""Charts of the root causes of any task: slices against the rest, a slice over the builds, and what changed.

How any chart is drawn is in `cv_quality.reports.drawing`, those of slices and changes in
`cv_quality.reports.slice_charts`. Importing this module does not import Altair.
"""

from collections.abc import Iterator

from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
    Chart,
    Row,
    columns,
    number_axis,
    over,
    rate_row,
    specification,
    tips,
)
from cv_quality.reports.rendering import number
from cv_quality.reports.section import ReportSource
from cv_quality.reports.slice_charts import RateBar, WaterfallBar, part_bar, slices_chart, waterfall_chart
from cv_quality.tasks.root_causes.report.change import BuildChange
from cv_quality.tasks.root_causes.report.records import CauseWords, RootCauses, SliceView, TrendPoint


def cause_charts(found: RootCauses, source: ReportSource) -> Iterator[Chart]:
    """Draw the slices, each over the builds, and the change; one without anything to draw is left out."""
    words = found.words
    if len(found.slices) > 1:
        axis_title = f"failures per {words.trial}"
        yield slices_chart([_bar(view) for view in found.slices], id="chart-slices", axis_title=axis_title)
    for view in found.slices:
        if sum(point.rate.value is not None for point in view.trend) > 1:
            yield trend_chart(view, id=f"chart-trend-{view.rank}", words=words)
    if found.change:
        bars = change_bars(found.change, build=source.scope.build, trial=words.trial)
        title = "From the baseline to the build"
        yield waterfall_chart(bars, id="chart-change", title=title, axis_title=words.rate)


def _tips(words: CauseWords) -> dict[str, str]:
    return {
        "build": "build",
        "shown": "rate",
        "interval": "95 % interval",
        "counts": f"failures / {words.trial}s",
        "n_subjects": f"{words.unit}s",
    }


def _bar(view: SliceView) -> RateBar:
    rate = view.rate
    counts = f"{rate.numerator:,} / {rate.denominator:,}"
    return RateBar(f"{view.rank}. {view.condition}", rate.value or 0.0, rate.low, rate.high, counts, view.rest_rate)


def trend_chart(view: SliceView, *, id: str, words: CauseWords) -> Chart:
    """Draw the slice's rate in every build of the line, the build itself last."""
    import altair as alt

    points = [point for point in view.trend if point.rate.value is not None]
    order = [point.build for point in points]
    rows = [_trend_row(point, is_own=point.build == order[-1]) for point in points]
    ink = alt.Color("is_own:N", scale=alt.Scale(domain=[False, True], range=[BASELINE_INK, BUILD_INK]), legend=None)
    x = alt.X("build:N", sort=order, title=None, axis=alt.Axis(labelAngle=0, ticks=False, labelLimit=110))
    axis = number_axis(columns(rows, "value", "low", "high"), count=4)
    y = alt.Y("value:Q", title=f"failures per {words.trial}", axis=axis, scale=alt.Scale(zero=True))
    base = over(rows).encode(x=x, tooltip=tips(_tips(words)))
    line = base.mark_line(strokeWidth=1.3, color="var(--faint)").encode(y=y)
    bounds = base.mark_rule(strokeWidth=2.4, strokeCap="round").encode(y=alt.Y("low:Q"), y2="high:Q", color=ink)
    dot = base.mark_point(size=80, filled=True, opacity=1).encode(y=y, color=ink)
    title = "Over the builds"
    spec = specification(alt.layer(line, bounds, dot), height=190, alt_text=title)
    told = "; ".join(f"{row['build']} {row['shown']} ({row['counts']})" for row in rows)
    return Chart(id, title, f"Rate of {view.condition} over the builds: {told}.", spec)


def _trend_row(point: TrendPoint, *, is_own: bool) -> Row:
    rate = point.rate
    row = {"build": point.build, **rate_row(rate), "n_subjects": number(rate.n_subjects), "is_own": is_own}
    return row if rate.has_interval else {**row, "low": rate.value, "high": rate.value}


def change_bars(change: BuildChange, *, build: str, trial: str = "attempt") -> tuple[WaterfallBar, ...]:
    """Lay out the bars from the baseline's rate to the build's; every part starts where the one before it ends.

    Args:
        change: what changed.
        build: the build.
        trial: what a row is called.
    """
    if change.recorded:
        return _recorded_bars(change, build=build)
    whole = change.algorithm[0]
    bars: list[WaterfallBar] = []
    if change.data:
        data = change.data[0]
        bars.append(_total(f"{change.baseline} on its own drops", data.before, "baseline"))
        if len(change.data) > 1:
            bars.append(part_bar(bars[-1].end, "data: how often each slice occurs", data.mix))
            bars.append(part_bar(bars[-1].end, "data: how often each slice fails", data.rate))
        else:
            bars.append(part_bar(bars[-1].end, f"data: other {trial}s", data.change))
    bars.append(_total(f"{change.baseline} on the drops of {build}", whole.before, "baseline"))
    for part in change.algorithm[1:] or change.algorithm:
        bars.append(part_bar(bars[-1].end, f"algorithm: {part.condition}", part.change))
    return (*bars, _total(f"{build} on its own drops", whole.after, "build"))


def _recorded_bars(change: BuildChange, *, build: str) -> tuple[WaterfallBar, ...]:
    whole = change.recorded[0]
    bars = [_total(f"{change.baseline} on its own drops", whole.before, "baseline")]
    for part in change.recorded[1:] or change.recorded:
        bars.append(part_bar(bars[-1].end, part.condition, part.change))
    return (*bars, _total(f"{build} on its own drops", whole.after, "build"))


def _total(words: str, value: float | None, tone: str) -> WaterfallBar:
    return WaterfallBar(words, 0.0, value or 0.0, tone)
