"""The charts of a build's root causes and of its change as Vega-Lite specifications.

The numbers come from `cv_quality.tasks.verification.report.root_causes` and its `change`; charts that other pages share
are in `cv_quality.reports.slice_charts`. Importing this module does not import Altair.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from cv_quality.metrics.results import percent
from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
    Chart,
    Row,
    level_axis,
    number_axis,
    over,
    specification,
    tips,
)
from cv_quality.reports.rendering import number
from cv_quality.reports.section import ReportSource
from cv_quality.reports.slice_charts import (
    LINE_PX,
    RateBar,
    bar_rows,
    line_axis,
    words_above,
)
from cv_quality.tasks.root_causes.report.charts import cause_charts
from cv_quality.tasks.root_causes.report.records import Endings, RootCauses, SaliencyMap, SliceView
from cv_quality.tasks.verification.report.root_causes import STAGE_NAMES

STAGE_INKS = {stage: f"var(--stage-{index})" for index, stage in enumerate(STAGE_NAMES, 1)}
MAP_CELLS = 28
"""A map is drawn with at most so many cells a side; smaller pixels are averaged."""
MAP_FLOOR = 0.04
"""Cells weaker than this part of the strongest are left out."""
MAP_SIDE_PX = 200
_ENDING_TIPS = {
    "level": "attempts",
    "stage": "ended",
    "share_words": "share",
    "counts": "of genuine attempts",
}
_ACCEPTED_TIPS = {
    "words": "change",
    "shown": "accepted now",
    "interval": "95 % interval",
    "counts": "accepted / failures run again",
    "scores": "mean score",
}
_MAP_TIPS = {"row": "row", "column": "column", "weight": "relative weight"}


def root_cause_charts(found: RootCauses, source: ReportSource) -> Iterator[Chart]:
    """Draw every chart of the section; one without anything to draw is left out."""
    yield from cause_charts(found, source)
    for view in found.slices:
        yield from _slice_charts(view, sample=source.modality.name)


def _slice_charts(view: SliceView, *, sample: str) -> Iterator[Chart]:
    rank = view.rank
    if view.endings:
        yield endings_chart(view.endings, id=f"chart-endings-{rank}")
    if view.counterfactuals:
        yield counterfactuals_chart(view, id=f"chart-changes-{rank}")
    for item in view.maps:
        if item.is_shown:
            yield map_chart(item, id=f"chart-map-{rank}-{item.method.replace('_', '-')}", sample=sample)


def endings_chart(endings: Sequence[Endings], *, id: str) -> Chart:
    """Draw which stage ended the attempts that were not accepted: stacked, so that a bar is as long as its FRR."""
    import altair as alt

    names = [item.name for item in endings]
    rows = [row for item in endings for row in _ending_rows(item)]
    totals: list[Row] = [
        {"level": item.name, "share": item.frr, "text": percent(item.frr)} for item in endings if item.frr is not None
    ]
    drawn = [stage for stage, name in STAGE_NAMES.items() if any(row["stage"] == name for row in rows)]
    ink = alt.Color(
        "stage:N",
        scale=alt.Scale(domain=[STAGE_NAMES[stage] for stage in drawn], range=[STAGE_INKS[stage] for stage in drawn]),
        legend=alt.Legend(title=None, orient="top", symbolType="square", columns=3),
    )
    top = min(max((item.frr or 0.0 for item in endings), default=0.0) * 1.32 or 1.0, 1.32)
    scale, axis = alt.Scale(domain=[0, top], nice=False), number_axis([0.0, min(top, 1.0)], count=4)
    x = alt.X("share:Q", title="share of genuine attempts", stack=True, scale=scale, axis=axis)
    y = level_axis(names)
    bars = over(rows).mark_bar(height=18).encode(x=x, y=y, color=ink, order="order:Q", tooltip=tips(_ENDING_TIPS))
    text = over(totals).mark_text(align="left", dx=6, fontSize=12, color="var(--ink)")
    layers = alt.layer(bars, text.encode(x=alt.X("share:Q"), y=y, text="text:N"))
    title = "Where attempts end"
    spec = specification(layers, height=30 + 32 * len(names), alt_text=title)
    told = "; ".join(_ending_words(item) for item in endings)
    return Chart(id, title, f"{title}: {told}.", spec)


def _ending_rows(item: Endings) -> list[Row]:
    return [
        {
            "level": item.name,
            "stage": name,
            "order": index,
            "share": item.counts[stage] / item.n_genuine,
            "share_words": percent(item.counts[stage] / item.n_genuine),
            "counts": f"{item.counts[stage]:,} / {item.n_genuine:,}",
        }
        for index, (stage, name) in enumerate(STAGE_NAMES.items())
        if item.counts.get(stage) and item.n_genuine
    ]


def _ending_words(item: Endings) -> str:
    parts = [f"{name} {item.counts[stage]:,}" for stage, name in STAGE_NAMES.items() if item.counts.get(stage)]
    return f"{item.name}: {', '.join(parts) or 'no failure'} of {item.n_genuine:,}, FRR {percent(item.frr)}"


def counterfactuals_chart(view: SliceView, *, id: str) -> Chart:
    """Draw how many of the failures are accepted once one condition is changed, a bar with its interval for each."""
    import altair as alt

    rows = bar_rows(
        [
            RateBar(
                words=item.change,
                value=item.accepted.value or 0.0,
                low=item.accepted.low,
                high=item.accepted.high,
                counts=f"{item.n_accepted:,} / {item.n_attempts:,}",
                scores=f"{number(item.score_before)} before, {number(item.score_after)} after",
            )
            for item in view.counterfactuals
        ]
    )
    shown = tips(_ACCEPTED_TIPS)
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("value:Q", title="accepted now", scale=scale, axis=number_axis([0.0, 1.0]))
    base = over(rows).encode(y=line_axis(rows))
    bars = base.mark_bar(height=12, color="var(--better)", opacity=0.75).encode(x=x, tooltip=shown)
    bounds = base.mark_rule(strokeWidth=1.8, color="var(--ink)").encode(x=alt.X("low:Q"), x2="high:Q", tooltip=shown)
    title = "With one condition changed"
    spec = specification(alt.layer(bars, bounds, words_above(rows)), height=30 + LINE_PX * len(rows), alt_text=title)
    told = "; ".join(f"{row['words']} {row['shown']} ({row['counts']})" for row in rows)
    return Chart(id, title, f"Failures accepted with one condition changed: {told}.", spec)


def map_chart(item: SaliencyMap, *, id: str, sample: str) -> Chart:
    """Draw a saliency map in aligned coordinates: the stronger, the darker; the two colours are the two signs.

    Args:
        sample: what the map lies over.
    """
    import altair as alt

    rows, height, width = _map_rows(item)
    x = alt.X("column:O", axis=None, scale=alt.Scale(domain=list(range(width)), padding=0))
    y = alt.Y("row:O", axis=None, scale=alt.Scale(domain=list(range(height)), padding=0))
    scale = alt.Scale(type="threshold", domain=[0], range=[BASELINE_INK, BUILD_INK])
    ink = alt.Color("value:Q", scale=scale, legend=None)
    strength = alt.Opacity("value:Q", scale=alt.Scale(domain=[-1, 0, 1], range=[1, 0, 1]), legend=None)
    cells = over(rows).mark_rect().encode(x=x, y=y, color=ink, opacity=strength, tooltip=tips(_MAP_TIPS))
    title = {"integrated_gradients": "Integrated gradients", "occlusion": "Occlusion"}.get(item.method, item.method)
    spec = specification(cells, height=round(MAP_SIDE_PX * height / width), alt_text=title)
    strongest = max(rows, key=lambda row: abs(float(str(row["value"]))), default=None)
    where = f"strongest in row {strongest['row']}, column {strongest['column']}" if strongest else "empty"
    words = f"{title}, {height} by {width} cells of the aligned {sample}, {where}."
    return Chart(id, title, words, spec, width=MAP_SIDE_PX)


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
        {
            "row": int(row),
            "column": int(column),
            "value": (value := round(float(values[row, column]), 2)),
            "weight": number(value),
        }
        for row, column in np.argwhere(np.abs(values) >= MAP_FLOOR)
    ]
    return rows, values.shape[0], values.shape[1]
