"""The first screen of a build's page: a briefing as a reader meets it who has thirty seconds and knows no acronym.

Sentences are those of the briefing (`cv_quality.reports.briefing`), as in every other product; here is only how the
page orders them, which terms it explains, and the chart of the change that it leads with.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.briefing import Briefing, Point, RateChange, Standing
from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
    DIAMOND,
    FAINT_INK,
    Chart,
    Row,
    columns,
    interval_words,
    level_axis,
    number_axis,
    over,
    specification,
    tips,
)
from cv_quality.text import SHOWN_DIGITS, NumberWords, figures

LEAD_CHART = "chart-lead"
ROW_PX = 44
"""Height of a build in the chart of the change."""

Tone = Literal["pass", "fail", "insufficient"]
TONES: Mapping[Standing, Tone] = {
    "pass": "pass",
    "no worse": "pass",
    "fail": "fail",
    "worse": "fail",
    "insufficient": "insufficient",
    "cannot tell": "insufficient",
}


@dataclass(frozen=True, slots=True)
class FirstScreen:
    """What the first screen shows.

    Attributes:
        tone: how the verdict is coloured.
        points: each with what a reader would ask.
        terms: those that the first screen uses, with their meaning.
        chart: of the change that the page leads with; None where no rate of it is known.
        units: what was counted: of whom, and of what.
    """

    briefing: Briefing
    tone: Tone
    points: tuple[tuple[str, Point], ...]
    terms: Mapping[str, str]
    chart: Chart | None
    units: tuple[str, str]


def first_screen(briefing: Briefing, *, units: tuple[str, str]) -> FirstScreen:
    """Order a briefing for the first screen of its page.

    Args:
        units: what was counted: of whom, and of what.
    """
    asked = (
        ("What happens", briefing.impact),
        ("Why", briefing.cause),
        ("What mending it gains", briefing.gain),
        ("Groups of people", briefing.groups),
        ("Data", briefing.quality),
        ("Next step", briefing.next_step),
    )
    points = tuple((label, point) for label, point in asked if point is not None)
    lead = briefing.changes[0] if briefing.changes else None
    chart = lead_chart(lead, build=briefing.build, baseline=briefing.baseline) if lead else None
    said = " ".join((briefing.headline, *(point.text for _, point in points), chart.title if chart else ""))
    terms = {
        term: meaning for term, meaning in briefing.terms.items() if re.search(rf"(?<!\w){re.escape(term)}(?!\w)", said)
    }
    return FirstScreen(briefing, TONES[briefing.standing], points, terms, chart, units)


def lead_chart(change: RateChange, *, build: str, baseline: str | None) -> Chart | None:
    """Draw a figure of the build under that of its baseline, with intervals and what the policy allows.

    Args:
        change: the figure.
        build, baseline: their names.
    """
    words = percent if change.is_rate else figures
    sides = [(baseline, change.pair.baseline, BASELINE_INK), (build, change.pair.build, BUILD_INK)]
    rows = [_row(name, rate, ink, words) for name, rate, ink in sides if name and rate and rate.value is not None]
    if not rows:
        return None
    title = change.name[:1].upper() + change.name[1:]
    told = "; ".join(f"{row['level']}: {row['shown']}, 95 % interval {row['interval']}" for row in rows)
    limit = f"; the policy allows {words(change.limit, digits=SHOWN_DIGITS)}" if change.limit is not None else ""
    spec = specification(_layers(rows, change.limit, words), height=ROW_PX * len(rows), alt_text=title)
    return Chart(LEAD_CHART, title, f"{title}. {told}{limit}.", spec, width=420)


def _row(name: str, rate: Rate, ink: str, words: NumberWords) -> Row:
    return {
        "level": name,
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "shown": words(rate.value, digits=SHOWN_DIGITS),
        "interval": interval_words(rate.low, rate.high, words=words),
        "ink": ink,
        "shape": "circle" if ink == BUILD_INK else DIAMOND,
    }


def _layers(rows: list[Row], limit: float | None, words: NumberWords) -> object:
    import altair as alt

    order = [str(row["level"]) for row in rows]
    axis = number_axis([*columns(rows, "value", "low", "high"), limit], words=words, count=4)
    y = level_axis(order)
    x = alt.X("value:Q", title=None, axis=axis)
    ink = alt.Color("ink:N", scale=None)
    hint = tips({"level": "build", "shown": "value", "interval": "95 % interval"})
    base = over(rows)
    layers = [
        base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", title=None, axis=axis), x2="high:Q", y=y, color=ink),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            x=x, y=y, color=ink, shape=alt.Shape("shape:N", scale=None), tooltip=hint
        ),
        base.mark_text(dy=-13, fontSize=13, fontWeight=600).encode(x=x, y=y, color=ink, text="shown:N"),
    ]
    if limit is not None:
        allowed: Iterable[Row] = [{"limit": limit, "words": f"allowed: {words(limit, digits=SHOWN_DIGITS)}"}]
        line = over(list(allowed)).mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color=FAINT_INK)
        layers.append(line.encode(x=alt.X("limit:Q", axis=axis), tooltip=tips({"words": "policy"})))
    return alt.layer(*layers)
