"""The page about a watched build: what is known of each claim, and the capital of the bets against it over time.

What is shown is computed in `cv_quality.studies.monitoring`. The same state gives the same bytes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cv_quality.reports.drawing import (
    BUILD_INK,
    FAINT_INK,
    Chart,
    Row,
    log_axis,
    over,
    specification,
    tips,
)
from cv_quality.reports.provenance import Provenance, package_version
from cv_quality.reports.rendering import number, write_page
from cv_quality.studies.monitoring import Monitored, WatchedRate, claim_words, claimed
from cv_quality.studies.records import sha256_of, written

DRAWN = 12
"""So many claims are drawn, those first against which most speaks."""
HEIGHT, LINE = 300, 15
"""Of the chart, and of a line of text in it, in pixels."""
FLOOR, CEILING = 1e-3, 1e9
"""Capital beyond these is drawn at them."""


def write_monitor_page(found: Monitored, *, made_by: str, target: Path) -> None:
    """Write the page to `target`, at once or not at all.

    Args:
        found: what is known.
        made_by: the command, as it can be given again.
    """
    newest = datetime.fromisoformat(found.arrivals[-1].day).replace(tzinfo=UTC)
    declaration = (f"what is claimed of {found.plan.build}", sha256_of(written(found.plan)))
    write_page(
        "reports/templates/monitor.html",
        target,
        found=found,
        claims=list(zip(found.ordered, found.sentences, strict=True)),
        chart=capital_chart(found),
        drawn=DRAWN,
        words=claim_words,
        provenance=Provenance(made_by, package_version(), newest, (declaration,)),
    )


def capital_chart(found: Monitored) -> Chart:
    """Draw the e-value of each claim after every look, on a logarithmic scale, with the line of an alarm.

    Claims that raise an alarm, or else the first, stand out and are named.
    """
    import altair as alt

    shown = [claimed(rate) for rate in found.ordered[:DRAWN]]
    named = {claim_words(rate) for rate in found.ordered[:DRAWN] if rate.is_alarm} or {claim_words(found.ordered[0])}
    line_at = len(found.now) / found.plan.alpha
    rows = [_row(rate, found.days[rate.look]) for rate in found.rates if claimed(rate) in shown]
    rows = [{**row, "is_named": row["claim"] in named} for row in rows]
    values = [line_at, *(float(str(row["e_value"])) for row in rows)]
    ends = min(0.1, *values), 2 * max(values)
    scale = alt.Scale(type="log", nice=False, domain=list(ends))
    x = alt.X("day:T", title="day", axis=alt.Axis(format="%d %b", labelOverlap=True, grid=False))
    y = alt.Y("e_value:Q", scale=scale, title="e-value", axis=log_axis(powers=range(-3, 11), digits=(1,), words=number))
    ink = alt.when("datum.is_named").then(alt.value(BUILD_INK)).otherwise(alt.value(FAINT_INK))
    lines = over(rows).mark_line(strokeWidth=2, interpolate="step-after")
    lines = lines.encode(x=x, y=y, detail="claim:N", color=ink)
    names = {"claim": "claim", "day": "day", "shown": "e-value", "rate": "rate", "state": "state"}
    dots = over(rows).mark_point(size=50, filled=True, opacity=0.9)
    limit = over([{"e_value": line_at, "words": f"one alone alarms from {number(line_at)}"}])
    line = limit.mark_rule(strokeWidth=1.5, strokeDash=[5, 3], color=FAINT_INK).encode(y=y)
    told = limit.mark_text(align="left", dx=4, dy=-7, color="var(--muted)").encode(x=alt.value(0), y=y, text="words:N")
    labels = over(_labels([row for row in rows if row["is_named"]], ends))
    texts = labels.mark_text(align="right", dx=-8, dy=-9, color=BUILD_INK).encode(x=x, y=y, text="claim:N")
    layers = alt.layer(line, told, lines, dots.encode(x=x, y=y, color=ink, tooltip=tips(names)), texts)
    title = "Evidence against each claim, look by look"
    words = "; ".join(found.sentences[:DRAWN])
    return Chart("chart-capital", title, f"{title}: {words}.", specification(layers, height=HEIGHT, alt_text=title))


def _labels(rows: Sequence[Row], ends: tuple[float, float]) -> list[Row]:
    """The last row of each claim, from above, each at least a line of text below the one before."""
    last = {str(row["claim"]): row for row in rows}
    gap = (ends[1] / ends[0]) ** (LINE / HEIGHT)
    found: list[Row] = []
    for row in sorted(last.values(), key=lambda row: -float(str(row["e_value"]))):
        below = float(str(found[-1]["e_value"])) / gap if found else ends[1]
        found.append({**row, "e_value": min(float(str(row["e_value"])), below)})
    return found


def _row(rate: WatchedRate, day: str) -> Row:
    return {
        "claim": claim_words(rate),
        "day": day,
        "e_value": min(max(rate.e_value, FLOOR), CEILING),
        "shown": number(rate.e_value),
        "rate": f"{number(rate.value)} against {number(rate.reference)}",
        "state": rate.state,
    }
