"""The charts of slices and of a change as Vega-Lite specifications.

The numbers come from `cv_quality.tasks.verification.report.root_causes`, `cv_quality.tasks.verification.report.change` and `cv_quality.error_analysis.slice_report`; how any
chart is drawn is in `cv_quality.reports.drawing`. Importing this module does not import Altair.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cv_quality.error_analysis.slice_report import Kind, figure
from cv_quality.metrics.results import percent
from cv_quality.reports.drawing import Chart, Row, level_axis, over, specification, tips
from cv_quality.reports.rendering import points
from cv_quality.tasks.verification.report.change import Change, ChangePart, Part
from cv_quality.tasks.verification.report.charts import BASELINE_INK, BUILD_INK
from cv_quality.tasks.verification.report.facts import Rate
from cv_quality.tasks.verification.report.root_causes import STAGE_NAMES, Endings, SaliencyMap, SliceView, Why

if TYPE_CHECKING:
    import altair as alt

STAGE_INKS = {stage: f"var(--stage-{index})" for index, stage in enumerate(STAGE_NAMES, 1)}
MAP_CELLS = 28
"""A map is drawn with at most so many cells a side; smaller pixels are averaged."""
MAP_FLOOR = 0.04
"""Cells weaker than this part of the strongest are left out."""
MAP_SIDE_PX = 200
LINE_PX = 46
"""Height of a row that has its words above its mark: sentences do not fit beside a chart on a telephone."""

_RATE_TIPS = {
    "words:N": ("slice", ""),
    "shown:N": ("rate", ""),
    "interval:N": ("95 % interval", ""),
    "counts:N": ("failures / attempts", ""),
    "rest:N": ("rate of the rest", ""),
}
_TREND_TIPS = {
    "build:N": ("build", ""),
    "shown:N": ("rate", ""),
    "interval:N": ("95 % interval", ""),
    "counts:N": ("failures / attempts", ""),
    "n_subjects:Q": ("subjects", ","),
}
_ENDING_TIPS = {
    "level:N": ("attempts", ""),
    "stage:N": ("ended", ""),
    "share:Q": ("share", ".3~%"),
    "counts:N": ("of genuine attempts", ""),
}
_ACCEPTED_TIPS = {
    "words:N": ("change", ""),
    "shown:N": ("accepted now", ""),
    "interval:N": ("95 % interval", ""),
    "counts:N": ("accepted / failures run again", ""),
    "scores:N": ("mean score", ""),
}
_STEP_TIPS = {"words:N": ("part", ""), "shown:N": ("value", ""), "interval:N": ("95 % interval", "")}
_MAP_TIPS = {"row:Q": ("row", ""), "column:Q": ("column", ""), "value:Q": ("relative weight", ".2f")}


@dataclass(frozen=True, slots=True)
class Bar:
    """A rate with its interval, its counts, and where there is one the rate of the rest, under its words."""

    words: str
    value: float
    low: float | None
    high: float | None
    counts: str
    rest: float | None = None
    scores: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One bar of a waterfall, from `start` to `end`; a total starts at 0.

    Attributes:
        part: the change with its interval; None for a total.
    """

    words: str
    start: float
    end: float
    tone: str
    part: Part | None = None


def why_charts(why: Why, *, build: str) -> tuple[Chart, ...]:
    """Every chart of the section; one without anything to draw is left out."""
    per_slice = (chart for view in why.slices for chart in _slice_charts(view))
    several = (slices_chart([_bar(view) for view in why.slices], id="chart-slices"),) if len(why.slices) > 1 else ()
    change = (change_chart(why.change, id="chart-change", build=build),) if why.change else ()
    return (*several, *per_slice, *change)


def _slice_charts(view: SliceView) -> Iterator[Chart]:
    rank = view.rank
    if sum(point.rate.value is not None for point in view.trend) > 1:
        yield trend_chart(view, id=f"chart-trend-{rank}")
    if view.endings:
        yield endings_chart(view.endings, id=f"chart-endings-{rank}")
    if view.counterfactuals:
        yield counterfactuals_chart(view, id=f"chart-changes-{rank}")
    for item in view.maps:
        if item.is_shown:
            yield map_chart(item, id=f"chart-map-{rank}-{item.method.replace('_', '-')}")


def _bar(view: SliceView) -> Bar:
    counts = f"{view.rate.numerator or 0:,} / {view.rate.denominator or 0:,}"
    words = f"{view.rank}. {view.condition}"
    return Bar(words, view.rate.value or 0.0, view.rate.low, view.rate.high, counts, view.rest_rate)


def slices_chart(
    bars: Sequence[Bar], *, id: str, title: str = "Slices against the rest", axis_title: str = "", kind: Kind = "rate"
) -> Chart:
    """Each slice's rate with its interval, and the rate of the rest as a tick on the same line."""
    import altair as alt

    rows = [_bar_row(index, bar, kind=kind) for index, bar in enumerate(bars)]
    x = alt.X("value:Q", title=axis_title or "failures per attempt", axis=alt.Axis(**_format(kind), tickCount=5))
    base = over(rows).encode(y=_line_axis(len(bars)))
    shown = tips(_RATE_TIPS)
    gap = base.mark_rule(strokeWidth=1.5, strokeDash=[2, 3], color="var(--faint)").encode(
        x=alt.X("rest_at:Q"), x2="value:Q"
    )
    bounds = base.mark_rule(strokeWidth=2.4, strokeCap="round", color=BUILD_INK)
    bounds = bounds.encode(x=alt.X("low:Q"), x2="high:Q", tooltip=shown)
    dot = base.mark_point(size=80, filled=True, opacity=1, color=BUILD_INK).encode(x=x, tooltip=shown)
    rest = base.mark_point(
        size=90, filled=True, opacity=1, shape="stroke", angle=90, strokeWidth=2.4, stroke=BASELINE_INK
    )
    layers = alt.layer(gap, bounds, dot, rest.encode(x=alt.X("rest_at:Q"), tooltip=shown), _lines(rows))
    spec = specification(layers, height=30 + LINE_PX * len(bars), alt_text=title)
    told = "; ".join(f"{row['words']} {row['shown']} against {row['rest']}" for row in rows)
    return Chart(id, title, f"{title}: {told}.", spec)


def _format(kind: Kind) -> dict[str, Any]:
    return {"format": "~%"} if kind == "rate" else {}


def _bar_row(index: int, bar: Bar, *, kind: Kind = "rate") -> Row:
    def words(value: float | None) -> str:
        return "undefined" if value is None else figure(value, kind)

    has_interval = bar.low is not None and bar.high is not None
    return {
        "line": str(index),
        "words": bar.words,
        "value": bar.value,
        "low": bar.low if has_interval else bar.value,
        "high": bar.high if has_interval else bar.value,
        "rest_at": bar.rest,
        "shown": words(bar.value),
        "interval": f"{words(bar.low)} to {words(bar.high)}" if has_interval else "none",
        "counts": bar.counts,
        "rest": words(bar.rest),
        "scores": bar.scores,
    }


def _line_axis(n: int) -> "alt.Y":
    """One line a row, without labels: the words stand above the marks."""
    import altair as alt

    axis = alt.Axis(labels=False, ticks=False, domain=False, grid=False)
    return alt.Y("line:N", sort=[str(index) for index in range(n)], title=None, axis=axis)


def _lines(rows: Sequence[Row], *, dy: int = -12) -> "alt.Chart":
    """The words of every row, above its mark and no wider than the chart."""
    import altair as alt

    text = over(rows).mark_text(
        align="left", baseline="bottom", dy=dy, fontSize=12, color="var(--ink)", limit=alt.expr("width")
    )
    placed: alt.Chart = text.encode(y=_line_axis(len(rows)), x=alt.value(0), text="words:N")
    return placed


def trend_chart(view: SliceView, *, id: str) -> Chart:
    """The slice's rate in every build of the line, the build itself last."""
    import altair as alt

    points = [point for point in view.trend if point.rate.value is not None]
    rows = [_trend_row(point.build, point.rate) for point in points]
    order = [point.build for point in points]
    ink = alt.Color("is_own:N", scale=alt.Scale(domain=[False, True], range=[BASELINE_INK, BUILD_INK]), legend=None)
    for row in rows:
        row["is_own"] = row["build"] == order[-1]
    x = alt.X("build:N", sort=order, title=None, axis=alt.Axis(labelAngle=0, ticks=False, labelLimit=110))
    y = alt.Y(
        "value:Q", title="failures per attempt", axis=alt.Axis(format="~%", tickCount=4), scale=alt.Scale(zero=True)
    )
    base = over(rows).encode(x=x, tooltip=tips(_TREND_TIPS))
    line = base.mark_line(strokeWidth=1.3, color="var(--faint)").encode(y=y)
    bounds = base.mark_rule(strokeWidth=2.4, strokeCap="round").encode(y=alt.Y("low:Q"), y2="high:Q", color=ink)
    dot = base.mark_point(size=80, filled=True, opacity=1).encode(y=y, color=ink)
    title = "Over the builds"
    spec = specification(alt.layer(line, bounds, dot), height=190, alt_text=title)
    told = "; ".join(f"{row['build']} {row['shown']} ({row['counts']})" for row in rows)
    return Chart(id, title, f"Rate of {view.condition} over the builds: {told}.", spec)


def _trend_row(build: str, rate: Rate) -> Row:
    has_interval = rate.has_interval
    return {
        "build": build,
        "value": rate.value,
        "low": rate.low if has_interval else rate.value,
        "high": rate.high if has_interval else rate.value,
        "shown": percent(rate.value),
        "interval": f"{percent(rate.low)} to {percent(rate.high)}" if has_interval else "none",
        "counts": f"{rate.numerator or 0:,} / {rate.denominator or 0:,}",
        "n_subjects": rate.n_subjects,
    }


def endings_chart(endings: Sequence[Endings], *, id: str) -> Chart:
    """Which stage ended the attempts that were not accepted: stacked, so that a bar is as long as its FRR."""
    import altair as alt

    names = [endings_name(item) for item in endings]
    rows = [row for item in endings for row in _ending_rows(item)]
    totals: list[Row] = [
        {"level": endings_name(item), "share": item.frr, "text": percent(item.frr)}
        for item in endings
        if item.frr is not None
    ]
    drawn = [stage for stage, name in STAGE_NAMES.items() if any(row["stage"] == name for row in rows)]
    ink = alt.Color(
        "stage:N",
        scale=alt.Scale(domain=[STAGE_NAMES[stage] for stage in drawn], range=[STAGE_INKS[stage] for stage in drawn]),
        legend=alt.Legend(title=None, orient="top", symbolType="square", columns=3),
    )
    top = max((item.frr or 0.0 for item in endings), default=0.0) * 1.32 or 1.0
    scale = alt.Scale(domain=[0, min(top, 1.32)], nice=False)
    x = alt.X(
        "share:Q", title="share of genuine attempts", stack=True, scale=scale, axis=alt.Axis(format="~%", tickCount=4)
    )
    y = level_axis(names)
    bars = over(rows).mark_bar(height=18).encode(x=x, y=y, color=ink, order="order:Q", tooltip=tips(_ENDING_TIPS))
    text = over(totals).mark_text(align="left", dx=6, fontSize=12, color="var(--ink)")
    layers = alt.layer(bars, text.encode(x=alt.X("share:Q"), y=y, text="text:N"))
    title = "Where attempts end"
    spec = specification(layers, height=30 + 32 * len(names), alt_text=title)
    told = "; ".join(_ending_words(item) for item in endings)
    return Chart(id, title, f"{title}: {told}.", spec)


def endings_name(item: Endings) -> str:
    return f"{'slice' if item.is_slice else 'all'}, {item.model}"


def _ending_rows(item: Endings) -> list[Row]:
    return [
        {
            "level": endings_name(item),
            "stage": name,
            "order": index,
            "share": item.counts[stage] / item.n_genuine,
            "counts": f"{item.counts[stage]:,} / {item.n_genuine:,}",
        }
        for index, (stage, name) in enumerate(STAGE_NAMES.items())
        if item.counts.get(stage) and item.n_genuine
    ]


def _ending_words(item: Endings) -> str:
    parts = [f"{name} {item.counts[stage]:,}" for stage, name in STAGE_NAMES.items() if item.counts.get(stage)]
    return f"{endings_name(item)}: {', '.join(parts) or 'no failure'} of {item.n_genuine:,}, FRR {percent(item.frr)}"


def counterfactuals_chart(view: SliceView, *, id: str) -> Chart:
    """How many of the failures are accepted once one condition is changed, a bar with its interval for each change."""
    import altair as alt

    bars = [
        Bar(
            words=item.change,
            value=item.accepted.value or 0.0,
            low=item.accepted.low,
            high=item.accepted.high,
            counts=f"{item.n_accepted:,} / {item.n_attempts:,}",
            scores=f"{score(item.score_before)} before, {score(item.score_after)} after",
        )
        for item in view.counterfactuals
    ]
    rows = [_bar_row(index, bar) for index, bar in enumerate(bars)]
    shown = tips(_ACCEPTED_TIPS)
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("value:Q", title="accepted now", scale=scale, axis=alt.Axis(format="~%", tickCount=5))
    base = over(rows).encode(y=_line_axis(len(bars)))
    bar_ = base.mark_bar(height=12, color="var(--better)", opacity=0.75).encode(x=x, tooltip=shown)
    bounds = base.mark_rule(strokeWidth=1.8, color="var(--ink)").encode(x=alt.X("low:Q"), x2="high:Q", tooltip=shown)
    title = "With one condition changed"
    spec = specification(alt.layer(bar_, bounds, _lines(rows)), height=30 + LINE_PX * len(bars), alt_text=title)
    told = "; ".join(f"{row['words']} {row['shown']} ({row['counts']})" for row in rows)
    return Chart(id, title, f"Failures accepted with one condition changed: {told}.", spec)


def score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}".replace("-", "−")


def map_chart(item: SaliencyMap, *, id: str) -> Chart:
    """A saliency map in aligned coordinates: the stronger, the darker; the two colours are the two signs."""
    import altair as alt

    rows, height, width = _map_rows(item)
    low, high = "var(--baseline)", "var(--build)"
    axis = None
    x = alt.X("column:O", axis=axis, scale=alt.Scale(domain=list(range(width)), padding=0))
    y = alt.Y("row:O", axis=axis, scale=alt.Scale(domain=list(range(height)), padding=0))
    ink = alt.Color("value:Q", scale=alt.Scale(type="threshold", domain=[0], range=[low, high]), legend=None)
    strength = alt.Opacity("value:Q", scale=alt.Scale(domain=[-1, 0, 1], range=[1, 0, 1]), legend=None)
    cells = over(rows).mark_rect().encode(x=x, y=y, color=ink, opacity=strength, tooltip=tips(_MAP_TIPS))
    title = {"integrated_gradients": "Integrated gradients", "occlusion": "Occlusion"}.get(item.method, item.method)
    spec = specification(cells, height=round(MAP_SIDE_PX * height / width), alt_text=title)
    strongest = max(rows, key=lambda row: abs(float(str(row["value"]))), default=None)
    where = f"strongest in row {strongest['row']}, column {strongest['column']}" if strongest else "empty"
    return Chart(id, title, f"{title}, {height} by {width} cells of the aligned face, {where}.", spec)


def _map_rows(item: SaliencyMap) -> tuple[list[Row], int, int]:
    """The map in at most MAP_CELLS cells a side, over its strongest; weak cells are left out."""
    values = np.asarray(item.cells, dtype=np.float64)
    for axis in (0, 1):
        edges = np.linspace(0, values.shape[axis], min(MAP_CELLS, values.shape[axis]) + 1).astype(int)[:-1]
        sizes = np.diff([*edges, values.shape[axis]])
        shape = (-1, 1) if axis == 0 else (1, -1)
        values = np.add.reduceat(values, edges, axis=axis) / sizes.reshape(shape)
    values = values / (float(np.abs(values).max()) or 1.0)
    rows: list[Row] = [
        {"row": int(row), "column": int(column), "value": round(float(values[row, column]), 2)}
        for row, column in np.argwhere(np.abs(values) >= MAP_FLOOR)
    ]
    return rows, values.shape[0], values.shape[1]


def change_chart(change: Change, *, id: str, build: str) -> Chart:
    """From the baseline's FRR to the build's, part by part; whiskers are 95 % intervals of the parts."""
    return waterfall_chart(change_steps(change, build=build), id=id, title="From the baseline to the build")


def change_steps(change: Change, *, build: str) -> tuple[Step, ...]:
    """The bars of the waterfall; every part starts where the one before it ends."""
    whole = change.algorithm[0]
    steps: list[Step] = []
    if change.data:
        data = change.data[0]
        steps.append(_total(f"{change.baseline} on its own drops", data.before, "baseline"))
        steps += _data_steps(steps[-1].end, data, has_slices=len(change.data) > 1)
    steps.append(_total(f"{change.baseline} on the drops of {build}", whole.before, "baseline"))
    for part in change.algorithm[1:] or change.algorithm:
        steps.append(part_step(steps[-1].end, f"algorithm: {part.condition}", part.change))
    return (*steps, _total(f"{build} on its own drops", whole.after, "build"))


def _data_steps(start: float, data: ChangePart, *, has_slices: bool) -> list[Step]:
    if not has_slices:
        return [part_step(start, "data: other attempts", data.change)]
    mix = part_step(start, "data: how often each slice occurs", data.mix)
    return [mix, part_step(mix.end, "data: how often each slice fails", data.rate)]


def _total(words: str, value: float | None, tone: str) -> Step:
    return Step(words, 0.0, value or 0.0, tone)


def part_step(start: float, words: str, part: Part) -> Step:
    """The bar of a part: coloured where its interval leaves out 0."""
    tone = "unclear" if not part.is_clear else "worse" if part.value > 0 else "better"
    return Step(words, start, start + part.value, tone, part)


def waterfall_chart(
    steps: Sequence[Step], *, id: str, title: str, axis_title: str = "FRR", kind: Kind = "rate"
) -> Chart:
    """Totals and the parts between them, one under the other, with the words above each bar."""
    import altair as alt

    rows = [_step_row(index, step, kind=kind) for index, step in enumerate(steps)]
    tones = ("baseline", "build", "worse", "better", "unclear")
    ink = alt.Color(
        "tone:N", scale=alt.Scale(domain=list(tones), range=[f"var(--{tone})" for tone in tones]), legend=None
    )
    x = alt.X(
        "from:Q", title=axis_title, axis=alt.Axis(**_format(kind), tickCount=5), scale=alt.Scale(domain=_reach(steps))
    )
    base = over(rows).encode(y=_line_axis(len(rows)))
    bars = base.mark_bar(height=14, opacity=0.85).encode(x=x, x2="to:Q", color=ink, tooltip=tips(_STEP_TIPS))
    whiskers = base.mark_rule(strokeWidth=1.6, color="var(--ink)").encode(x=alt.X("low:Q"), x2="high:Q")
    value = base.mark_text(align="left", dx=7, fontSize=12, color="var(--ink)", fontWeight=600)
    value = value.encode(x=alt.X("label_at:Q"), text="shown:N")
    layers = alt.layer(bars, whiskers, value, _lines(rows, dy=-9))
    spec = specification(layers, height=34 + LINE_PX * len(rows), alt_text=title)
    told = "; ".join(f"{row['words']} {row['shown']}" for row in rows)
    return Chart(id, title, f"{title}: {told}.", spec)


def _reach(steps: Sequence[Step]) -> list[float]:
    """The axis from the lowest to the highest end, with room for the words behind the longest bar."""
    ends = [end for step in steps for end in _extent(step)]
    low, high = min(0.0, *ends), max(ends)
    return [low, high + 0.24 * (high - low) if high > low else 1.0]


def _extent(step: Step) -> tuple[float, ...]:
    part = step.part
    if part is None or part.low is None or part.high is None:
        return (step.start, step.end)
    return (step.start, step.end, step.start + part.low, step.start + part.high)


def _step_row(index: int, step: Step, *, kind: Kind) -> Row:
    part = step.part
    has_interval = part is not None and part.low is not None and part.high is not None
    low = step.start + part.low if has_interval and part is not None and part.low is not None else step.end
    high = step.start + part.high if has_interval and part is not None and part.high is not None else step.end
    return {
        "line": str(index),
        "words": step.words,
        "from": step.start,
        "to": step.end,
        "low": low,
        "high": high,
        "label_at": max(step.start, step.end, high),
        "tone": step.tone,
        "shown": figure(step.end, kind) if part is None else moved(part.value, kind),
        "interval": f"{moved(part.low, kind)} to {moved(part.high, kind)}" if part and has_interval else "none",
    }


def moved(value: float | None, kind: Kind) -> str:
    """A difference for people, signed: of rates in percentage points, of losses as it is.

    >>> moved(0.0123, "rate"), moved(-0.25, "loss"), moved(1e-9, "rate")
    ('+1.23 pp', '−0.25', '±0 pp')
    """
    if value is None or kind == "rate":
        return points(None if value is None else round(value, 5))
    return f"{value:+.4g}".replace("-", "−")
