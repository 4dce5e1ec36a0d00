"""Charts of slices and of a change, as any page about failures draws them: rates against the rest, and a waterfall.

How any chart is drawn is in `cv_quality.reports.drawing`. Importing this module does not import Altair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cv_quality.error_analysis.slice_report import Kind, figure
from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
    Chart,
    Row,
    columns,
    interval_words,
    number_axis,
    over,
    specification,
    tips,
)
from cv_quality.reports.rendering import number, points
from cv_quality.text import SHOWN_DIGITS

if TYPE_CHECKING:
    import altair as alt

LINE_PX = 46
"""Height of a row that has its words above its mark: sentences do not fit beside a chart on a telephone."""
ROUNDED_PLACES = 12
"""Places of a difference of rates; what is left of zero by the arithmetic lies beyond them."""

_RATE_TIPS = {
    "words": "slice",
    "shown": "rate",
    "interval": "95 % interval",
    "counts": "failures / attempts",
    "rest": "rate of the rest",
}
_PART_TIPS = {"words": "part", "shown": "value", "interval": "95 % interval"}


@dataclass(frozen=True, slots=True)
class RateBar:
    """A rate with its interval, its counts, and where there is one the rate of the rest, under its words."""

    words: str
    value: float
    low: float | None
    high: float | None
    counts: str
    rest: float | None = None
    scores: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference, or a part of one, with its 95 % interval."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class WaterfallBar:
    """One bar of a waterfall, from `start` to `end`; a total starts at 0.

    Attributes:
        part: the change with its interval; None for a total.
    """

    words: str
    start: float
    end: float
    tone: str
    part: Estimate | None = None


def slices_chart(
    bars: Sequence[RateBar],
    *,
    id: str,
    title: str = "Slices against the rest",
    axis_title: str = "failures per attempt",
    kind: Kind = "rate",
) -> Chart:
    """Draw each slice's rate with its interval, and the rate of the rest as a tick on the same line.

    Args:
        bars: in their order from above.
        kind: whether values are rates, written in percent, or means of a loss.
    """
    import altair as alt

    rows = bar_rows(bars, kind=kind)
    axis = number_axis(columns(rows, "value", "low", "high", "rest_at"), words=partial(figure, kind=kind))
    x = alt.X("value:Q", title=axis_title, axis=axis)
    base = over(rows).encode(y=line_axis(rows))
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
    layers = alt.layer(gap, bounds, dot, rest.encode(x=alt.X("rest_at:Q"), tooltip=shown), words_above(rows))
    spec = specification(layers, height=30 + LINE_PX * len(bars), alt_text=title)
    told = "; ".join(f"{row['words']} {row['shown']} against {row['rest']}" for row in rows)
    return Chart(id, title, f"{title}: {told}.", spec)


def bar_rows(bars: Sequence[RateBar], *, kind: Kind = "rate") -> list[Row]:
    """Turn bars into rows of a chart; a bar without an interval has one of no width."""
    words = partial(figure, kind=kind)
    return [
        {
            "line": str(index),
            "words": bar.words,
            "value": bar.value,
            "low": bar.value if None in (bar.low, bar.high) else bar.low,
            "high": bar.value if None in (bar.low, bar.high) else bar.high,
            "rest_at": bar.rest,
            "shown": words(bar.value),
            "interval": interval_words(bar.low, bar.high, words=words),
            "counts": bar.counts,
            "rest": words(bar.rest),
            "scores": bar.scores,
        }
        for index, bar in enumerate(bars)
    ]


def line_axis(rows: Sequence[Row]) -> "alt.Y":
    """Make an axis with one line a row and no labels: the words stand above the marks."""
    import altair as alt

    axis = alt.Axis(labels=False, ticks=False, domain=False, grid=False)
    return alt.Y("line:N", sort=[str(row["line"]) for row in rows], title=None, axis=axis)


def words_above(rows: Sequence[Row], *, dy: int = -12) -> "alt.Chart":
    """Draw the words of every row, above its mark and no wider than the chart."""
    import altair as alt

    text = over(rows).mark_text(
        align="left", baseline="bottom", dy=dy, fontSize=12, color="var(--ink)", limit=alt.expr("width")
    )
    placed: alt.Chart = text.encode(y=line_axis(rows), x=alt.value(0), text="words:N")
    return placed


def part_bar(start: float, words: str, part: Estimate) -> WaterfallBar:
    """Make the bar of a part of a change: coloured where its interval leaves out 0.

    Args:
        start: where the bar before it ends.
    """
    is_clear = part.low is not None and part.high is not None and (part.low > 0 or part.high < 0)
    tone = "unclear" if not is_clear else "worse" if part.value > 0 else "better"
    return WaterfallBar(words, start, start + part.value, tone, part)


def waterfall_chart(
    bars: Sequence[WaterfallBar], *, id: str, title: str, axis_title: str = "FRR", kind: Kind = "rate"
) -> Chart:
    """Draw totals and the parts between them, one under the other, with the words above each bar.

    Args:
        bars: in their order from above.
        kind: whether values are rates, written in percent, or means of a loss.
    """
    import altair as alt

    rows = [_waterfall_row(index, bar, kind=kind) for index, bar in enumerate(bars)]
    tones = ("baseline", "build", "worse", "better", "unclear")
    ink = alt.Color(
        "tone:N", scale=alt.Scale(domain=list(tones), range=[f"var(--{tone})" for tone in tones]), legend=None
    )
    reach = _reach(bars)
    axis = number_axis(reach, words=partial(figure, kind=kind))
    x = alt.X("from:Q", title=axis_title, axis=axis, scale=alt.Scale(domain=reach))
    base = over(rows).encode(y=line_axis(rows))
    drawn = base.mark_bar(height=14, opacity=0.85).encode(x=x, x2="to:Q", color=ink, tooltip=tips(_PART_TIPS))
    whiskers = base.mark_rule(strokeWidth=1.6, color="var(--ink)").encode(x=alt.X("low:Q"), x2="high:Q")
    value = base.mark_text(align="left", dx=7, fontSize=12, color="var(--ink)", fontWeight=600)
    value = value.encode(x=alt.X("label_at:Q"), text="shown:N")
    layers = alt.layer(drawn, whiskers, value, words_above(rows, dy=-9))
    spec = specification(layers, height=34 + LINE_PX * len(rows), alt_text=title)
    told = "; ".join(f"{row['words']} {row['shown']}" for row in rows)
    return Chart(id, title, f"{title}: {told}.", spec)


def _reach(bars: Sequence[WaterfallBar]) -> list[float]:
    """The axis from the lowest to the highest end, with room for the words behind the longest bar."""
    ends = [end for bar in bars for end in (bar.start, bar.end, *_whiskers(bar))]
    low, high = min(0.0, *ends), max(ends)
    return [low, high + 0.24 * (high - low) if high > low else 1.0]


def _whiskers(bar: WaterfallBar) -> tuple[float, float]:
    """The ends of the interval; both at the end of a bar that has none."""
    if bar.part is None or bar.part.low is None or bar.part.high is None:
        return bar.end, bar.end
    return bar.start + bar.part.low, bar.start + bar.part.high


def _waterfall_row(index: int, bar: WaterfallBar, *, kind: Kind) -> Row:
    part = bar.part
    low, high = _whiskers(bar)
    return {
        "line": str(index),
        "words": bar.words,
        "from": bar.start,
        "to": bar.end,
        "low": low,
        "high": high,
        "label_at": max(bar.start, bar.end, high),
        "tone": bar.tone,
        "shown": figure(bar.end, kind) if part is None else moved(part.value, kind),
        "interval": interval_words(part.low, part.high, words=partial(moved, kind=kind)) if part else "none",
    }


def moved(value: float | None, kind: Kind, *, digits: int = SHOWN_DIGITS) -> str:
    """Write a difference for people, signed: of rates in percentage points, of losses as it is.

    Args:
        digits: significant digits, where three are too few.

    >>> moved(0.0123, "rate"), moved(-0.25, "loss"), moved(1e-15, "rate")
    ('+1.23 pp', '−0.25', '±0 pp')
    """
    if value is None or kind == "rate":
        return points(None if value is None else round(value, ROUNDED_PLACES), digits=digits)
    text = number(value, digits=digits)
    return text if value < 0 else f"+{text}"
