"""The charts of a video build's page as Vega-Lite specifications.

How any chart is drawn is in `cv_quality.reports.drawing`. Importing this module does not import Altair.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
    FAINT_INK,
    Chart,
    Row,
    columns,
    interval_words,
    number_axis,
    over,
    specification,
    tips,
)
from cv_quality.reports.rendering import number
from cv_quality.reports.section import ReportSource
from cv_quality.reports.slice_charts import LINE_PX, line_axis, words_above
from cv_quality.tasks.video.metric_names import HEADLINE
from cv_quality.tasks.video.report.data import MetricRow, Screen, ScreenLoss, VideoNumbers
from cv_quality.tasks.video.report.heat import Heat
from cv_quality.tasks.video.report.key_finding import leading
from cv_quality.tasks.video.report.timeline import ClipTimeline, TimelinePoint
from cv_quality.tasks.video.report.wording import moved, shown, title_of

if TYPE_CHECKING:
    import altair as alt

CLIPS_CHARTED = 24
"""Clips of one chart: where more changed, half of them are the largest regressions, half the largest improvements."""
CHANGES_CHARTED = 3
"""Metrics whose changes by clip are drawn, besides the first."""
BAR_PX = 22
HEADROOM = 1.2
"""Above the longest latency and the deadline, for frames without a result."""
HEAT_INKS = {
    "nominal": "var(--better)",
    "fair": "var(--impostor)",
    "serious": "var(--build)",
    "critical": "var(--worse)",
}
WAIT_INK = "var(--ink)"
Y_PX = 34
"""Width of the labels beside charts that stand above one another, so that their time lines up."""
_CHANGE_TIPS = {"clip": "clip", "drop": "drop", "before": "baseline", "after": "build", "shown": "change"}
_SCREEN_TIPS = {"words": "results, latencies", "part": "part", "shown": "loss", "interval": "95 % interval"}
_HEAT_TIPS = {"bin": "temperature in °C", "name": "shown", "shown": "value", "n": "frames", "n_clips": "clips"}


def number_charts(found: VideoNumbers, _source: ReportSource) -> Iterator[Chart]:
    """Draw the changes by clip of the metric that the finding is about, and of others that changed for sure."""
    first = leading(found)
    kept = (row for row in found.rows if row.name in HEADLINE and row.name != "loss" and row.change)
    settled = [row for row in kept if row.change and row.change.verdict in ("improved", "regressed")]
    rows = [row for row in [first, *settled] if row is not None and row.clips]
    for row in list(dict.fromkeys(rows))[: CHANGES_CHARTED + 1]:
        yield change_chart(row)


def change_chart(row: MetricRow) -> Chart:
    """Draw how much each clip changed, regressions above improvements."""
    import altair as alt

    clips, cut = list(row.clips), ""
    if len(clips) > CLIPS_CHARTED:
        cut = f": the {CLIPS_CHARTED // 2} worst and the {CLIPS_CHARTED // 2} best changes of {len(clips)}"
        clips = [*clips[: CLIPS_CHARTED // 2], *clips[-CLIPS_CHARTED // 2 :]]
    metric = row.metric
    rows: list[Row] = [
        {
            "level": f"{clip.drop_id}/{clip.stream_id}",
            "clip": clip.stream_id,
            "drop": clip.drop_id,
            "change": clip.change,
            "before": shown(metric, clip.before),
            "after": shown(metric, clip.after),
            "shown": moved(metric, clip.change),
            "tone": "worse" if (clip.change < 0) == (metric.is_higher_better is not False) else "better",
        }
        for clip in clips
        if math.isfinite(clip.change)
    ]
    names = {str(item["level"]): str(item["clip"]) for item in rows}
    axis = alt.Axis(
        labelLimit=170, ticks=False, domain=False, labelPadding=8, grid=False, labelExpr=_names_expression(names)
    )
    y = alt.Y("level:N", sort=list(names), title=None, axis=axis)
    x = alt.X(
        "change:Q",
        title=f"{metric.label}: build − baseline",
        axis=number_axis(columns(rows, "change"), words=partial(_moved, row)),
    )
    ink = alt.Color(
        "tone:N", scale=alt.Scale(domain=["worse", "better"], range=["var(--worse)", "var(--better)"]), legend=None
    )
    bars = over(rows).mark_bar(height=13, opacity=0.85).encode(x=x, y=y, color=ink, tooltip=tips(_CHANGE_TIPS))
    zero = over([{"change": 0}]).mark_rule(color="var(--ink)", strokeWidth=1).encode(x="change:Q")
    title = f"{title_of(metric)} by clip{cut}"
    spec = specification(alt.layer(bars, zero), height=20 + BAR_PX * len(rows), alt_text=title)
    told = "; ".join(f"{item['clip']} {item['shown']}" for item in rows)
    return Chart(
        f"chart-change-{row.name.replace('_', '-')}", title, f"{title}, change since the baseline: {told}.", spec
    )


def _moved(row: MetricRow, value: float | None, *, digits: int) -> str:
    return moved(row.metric, value, digits=digits)


def _names_expression(names: dict[str, str]) -> str:
    import json

    keys, shown_names = (json.dumps(list(items), ensure_ascii=False) for items in (names, names.values()))
    return f"{shown_names}[indexof({keys}, datum.value)]"


def screen_charts(found: Screen, source: ReportSource) -> Iterator[Chart]:
    """Draw the loss on the screen, split into the algorithm's and that of lateness."""
    if not found.losses:
        return
    import altair as alt

    rows = [row for place, item in enumerate(found.losses) for row in _screen_rows(place, item, source.scope.build)]
    lines = [row for row in rows if row["part"] == "lateness"]
    scale = alt.Scale(
        domain=["algorithm, build", "algorithm, baseline", "lateness"], range=[BUILD_INK, BASELINE_INK, FAINT_INK]
    )
    axis = number_axis(columns(rows, "from", "to", "low", "high"), words=number)
    x = alt.X("from:Q", title="loss on the screen", axis=axis)
    base = over(rows).encode(y=line_axis(lines))
    bars = base.mark_bar(height=14, opacity=0.9).encode(
        x=x, x2="to:Q", color=alt.Color("tone:N", scale=scale, legend=None), tooltip=tips(_SCREEN_TIPS)
    )
    whiskers = over(lines).mark_rule(strokeWidth=1.6, color="var(--ink)")
    whiskers = whiskers.encode(y=line_axis(lines), x=alt.X("low:Q"), x2="high:Q")
    text = over(lines).mark_text(align="left", dx=7, fontSize=12, fontWeight=600, color="var(--ink)")
    text = text.encode(y=line_axis(lines), x=alt.X("label_at:Q"), text="total:N")
    title = "Loss on the screen"
    layers = alt.layer(bars, whiskers, text, words_above(lines, dy=-9))
    spec = specification(layers, height=34 + LINE_PX * len(lines), alt_text=title)
    told = "; ".join(f"{item.model}, {item.replay}: {number(item.loss)}" for item in found.losses)
    yield Chart("chart-screen", title, f"{title}: {told}.", spec)


def _screen_rows(place: int, item: ScreenLoss, build: str) -> list[Row]:
    low, high = (
        item.loss if bound is None else item.algorithm + bound for bound in (item.lateness_low, item.lateness_high)
    )
    shared: Row = {
        "line": str(place),
        "words": f"{item.model}: {item.replay}",
        "low": low,
        "high": high,
        "label_at": max(item.loss, item.algorithm, high),
        "total": number(item.loss),
    }
    owner = "build" if item.model == build else "baseline"
    bounds = interval_words(item.lateness_low, item.lateness_high, words=number)
    return [
        {
            **shared,
            "part": "algorithm",
            "tone": f"algorithm, {owner}",
            "from": 0.0,
            "to": item.algorithm,
            "shown": number(item.algorithm),
            "interval": "none",
        },
        {
            **shared,
            "part": "lateness",
            "tone": "lateness",
            "from": item.algorithm,
            "to": item.loss,
            "shown": number(item.lateness),
            "interval": bounds,
        },
    ]


def timeline_charts(found: Iterable[ClipTimeline], source: ReportSource) -> Iterator[Chart]:
    """Draw quality and latency of each clip over the same time."""
    for place, clip in enumerate(found, 1):
        if clip.quality:
            yield quality_chart(clip, source, id=f"chart-quality-{place}")
        if clip.latency or clip.dropped:
            yield latency_over_time(clip, source, id=f"chart-waits-{place}")


def _time_axis(clip: ClipTimeline) -> "alt.X":
    import altair as alt

    ends = [point.at for points in (*clip.quality.values(), clip.latency) for point in points]
    ends += [*clip.dropped, *(end for span in clip.thermal for end in (span.start, span.end))]
    domain = [min(ends, default=0.0), max(ends, default=1.0)]
    title = "time in the clip in s" if clip.in_seconds else "number of the frame"
    return alt.X(
        "at:Q",
        title=title,
        scale=alt.Scale(domain=domain, nice=False),
        axis=number_axis(domain, words=number, count=8, grid=False),
    )


def _failing_layer(clip: ClipTimeline, build: str, *, height: int) -> "alt.Chart":
    """Bands over the build's failing spans, as high as the chart."""
    import altair as alt

    rows: list[Row] = [
        {
            "at": span.start,
            "until": span.end,
            "frames": f"{span.first} to {span.last}",
            "loss": number(span.mean_loss) if span.mean_loss is not None else "none",
        }
        for span in clip.spans.get(build, ())
    ]
    shades = over(rows).mark_rect(color="var(--worse)", opacity=0.13)
    placed: alt.Chart = shades.encode(
        x=_time_axis(clip),
        x2="until:Q",
        y=alt.value(0),
        y2=alt.value(height),
        tooltip=tips({"frames": "failing frames", "loss": "mean loss"}),
    )
    return placed


def _lines(name: str, points: Sequence[TimelinePoint], *, kind: str) -> list[Row]:
    return [
        {
            "model": name,
            "at": point.at,
            "value": point.value,
            "segment": f"{name} {point.segment}",
            "time": number(point.at),
            "shown": number(point.value),
            "kind": kind,
        }
        for point in points
    ]


def quality_chart(clip: ClipTimeline, source: ReportSource, *, id: str) -> Chart:
    """Draw the quality of every frame, under each model."""
    import altair as alt

    models, height = list(source.scope.models), 190
    rows = [row for model, points in clip.quality.items() for row in _lines(model, points, kind="quality")]
    scale = alt.Scale(domain=models, range=[BUILD_INK, BASELINE_INK][: len(models)])
    y = alt.Y(
        "value:Q",
        title=clip.quality_name,
        scale=alt.Scale(domain=[0, 1], nice=False),
        axis=number_axis([0.0, 1.0], words=number, minExtent=Y_PX, maxExtent=Y_PX),
    )
    line = (
        over(rows)
        .mark_line(strokeWidth=1.6, interpolate="linear")
        .encode(
            x=_time_axis(clip),
            y=y,
            color=alt.Color("model:N", scale=scale, legend=None),
            strokeDash=alt.StrokeDash("model:N", scale=alt.Scale(domain=models, range=[[1, 0], [5, 3]]), legend=None),
            detail="segment:N",
            tooltip=tips({"model": "model", "time": "at", "shown": clip.quality_name}),
        )
    )
    title = f"{clip.quality_name} of {clip.stream_id} over time"
    layers = alt.layer(_failing_layer(clip, source.scope.build, height=height), line)
    spec = specification(layers, height=height, alt_text=title)
    n = len(clip.spans.get(source.scope.build, ()))
    lows = (f"{model} falls to {number(min(p.value for p in points))}" for model, points in clip.quality.items())
    told = f"{title}: {'; '.join(lows)}; {n} failing {'span' if n == 1 else 'spans'} marked."
    return Chart(id, title, told, spec)


def latency_over_time(clip: ClipTimeline, source: ReportSource, *, id: str) -> Chart:
    """Draw the latency of every result with the deadline, frames without a result, and the thermal state as a band."""
    import altair as alt

    height, band = 150, 9
    rows, x = _lines(source.scope.build, clip.latency, kind="latency"), _time_axis(clip)
    top = [0.0, *(point.value for point in clip.latency), clip.deadline_ms or 0.0]
    scale = alt.Scale(domain=[0, HEADROOM * max(top) or 1.0], nice=False)
    y = alt.Y(
        "value:Q",
        title="latency in ms",
        axis=number_axis(top, words=number, count=4, minExtent=Y_PX, maxExtent=Y_PX),
        scale=scale,
    )
    line = over(rows).mark_line(strokeWidth=1.4, color=WAIT_INK)
    line = line.encode(x=x, y=y, detail="segment:N", tooltip=tips({"time": "at", "shown": "latency in ms"}))
    layers: list[Any] = [_failing_layer(clip, source.scope.build, height=height), line]
    if clip.deadline_ms is not None:
        rule = over([{"value": clip.deadline_ms, "words": f"{number(clip.deadline_ms)} ms"}])
        deadline = rule.mark_rule(strokeDash=[5, 4], strokeWidth=1.3, color="var(--worse)")
        layers.append(deadline.encode(y=alt.Y("value:Q"), tooltip=tips({"words": "deadline"})))
    drops: list[Row] = [{"at": at, "words": number(at)} for at in clip.dropped]
    marks = over(drops).mark_point(shape="cross", angle=45, size=55, filled=True, color="var(--worse)", opacity=1)
    layers.append(marks.encode(x=x, y=alt.value(5), tooltip=tips({"words": "no result at"})))
    heat: list[Row] = [{"at": span.start, "until": span.end, "state": span.state} for span in clip.thermal]
    inks = alt.Scale(domain=list(HEAT_INKS), range=list(HEAT_INKS.values()))
    bands = (
        over(heat)
        .mark_rect(opacity=0.75)
        .encode(
            x=x,
            x2="until:Q",
            y=alt.value(height - band),
            y2=alt.value(height),
            color=alt.Color("state:N", scale=inks, legend=None),
            tooltip=tips({"state": "thermal state"}),
        )
    )
    layers.append(bands)
    title = f"Latency of {clip.stream_id} over time"
    spec = specification(alt.layer(*layers), height=height, alt_text=title)
    longest = number(max((point.value for point in clip.latency), default=None))
    states = ", ".join(dict.fromkeys(span.state for span in clip.thermal)) or "no thermal state logged"
    told = f"{title}: at most {longest} ms, {len(clip.dropped)} frames without a result; {states}."
    return Chart(id, title, told, spec)


def heat_charts(found: Heat, _source: ReportSource) -> Iterator[Chart]:
    """Draw latency, and the rate of results, over temperature."""
    waits: list[Row] = [
        _heat_row(item.low, item.high, name, value, n=item.n, n_clips=item.n_clips)
        for item in found.bins
        for name, value in (("p50", item.p50_ms), ("p95", item.p95_ms))
        if value is not None
    ]
    rates: list[Row] = [
        _heat_row(item.low, item.high, "results/s", item.rate_hz, n=item.n, n_clips=item.n_clips)
        for item in found.bins
        if item.rate_hz is not None
    ]
    if len(found.bins) > 1 and waits:
        yield _heat_chart(waits, id="chart-heat-waits", title="Latency over temperature", axis="latency in ms")
    if len(found.bins) > 1 and rates:
        yield _heat_chart(
            rates, id="chart-heat-rate", title="Results per second over temperature", axis="results per s"
        )


def _heat_row(low: float, high: float, name: str, value: float, *, n: int, n_clips: int) -> Row:
    return {
        "at": (low + high) / 2,
        "bin": f"{number(low)} to {number(high)}",
        "name": name,
        "value": value,
        "shown": number(value),
        "n": number(n),
        "n_clips": number(n_clips),
    }


def _heat_chart(rows: Sequence[Row], *, id: str, title: str, axis: str) -> Chart:
    import altair as alt

    names = list(dict.fromkeys(str(row["name"]) for row in rows))
    at = [float(str(row["at"])) for row in rows]
    legend = alt.Legend(title=None, orient="top")
    scale = alt.Scale(domain=names, range=[BUILD_INK, "var(--impostor)"][: len(names)])
    y = alt.Y("value:Q", title=axis, axis=number_axis(columns(rows, "value"), words=number), scale=alt.Scale(zero=True))
    x = alt.X(
        "at:Q", title="temperature in °C", scale=alt.Scale(zero=False), axis=number_axis(at, words=number, grid=False)
    )
    base = over(rows).encode(x=x, y=y, color=alt.Color("name:N", scale=scale, legend=legend))
    dots = base.mark_point(size=60, filled=True, opacity=1).encode(tooltip=tips(_HEAT_TIPS))
    spec = specification(alt.layer(base.mark_line(strokeWidth=2), dots), height=220, alt_text=title)
    told = "; ".join(f"{row['name']} {row['shown']} at {row['bin']} °C" for row in rows)
    return Chart(id, title, f"{title}: {told}.", spec)
