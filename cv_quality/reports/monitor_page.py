"""The page about a watched build: what is known of each claim, and the capital of the bets against it over time.

What is shown is computed in `cv_quality.studies.monitoring`. The same state gives the same bytes.
"""

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
    """Draw the e-value of each claim after every look, on a logarithmic scale, with the line of an alarm."""
    import altair as alt

    shown = [claimed(rate) for rate in found.ordered[:DRAWN]]
    line_at = len(found.now) / found.plan.alpha
    rows = [_row(rate, found.days[rate.look]) for rate in found.rates if claimed(rate) in shown]
    values = [line_at, *(float(str(row["e_value"])) for row in rows)]
    scale = alt.Scale(type="log", nice=False, domain=[min(0.1, *values), 2 * max(values)])
    axis = log_axis(powers=range(-3, 11), words=number)
    x = alt.X("day:T", title="day", axis=alt.Axis(format="%d %b", labelOverlap=True))
    y = alt.Y("e_value:Q", scale=scale, title="e-value", axis=axis)
    lines = over(rows).mark_line(strokeWidth=2, interpolate="step-after", color=BUILD_INK)
    lines = lines.encode(x=x, y=y, detail="claim:N")
    names = {"claim": "claim", "day": "day", "shown": "e-value", "rate": "rate", "state": "state"}
    dots = over(rows).mark_point(size=50, filled=True, color=BUILD_INK, opacity=0.9)
    limit = over([{"e_value": line_at}]).mark_rule(strokeWidth=1.5, strokeDash=[5, 3], color=FAINT_INK)
    first = [row for row in rows if row["claim"] == claim_words(found.ordered[0])][-1:]
    label = over(first).mark_text(align="right", dx=-8, dy=-9, color=BUILD_INK).encode(x=x, y=y, text="claim:N")
    line = limit.encode(y=alt.Y("e_value:Q", scale=scale))
    layers = alt.layer(line, lines, dots.encode(x=x, y=y, tooltip=tips(names)), label)
    title = "Evidence against each claim, look by look"
    told = "; ".join(found.sentences[:DRAWN])
    return Chart("chart-capital", title, f"{title}: {told}.", specification(layers, height=300, alt_text=title))


def _row(rate: WatchedRate, day: str) -> Row:
    return {
        "claim": claim_words(rate),
        "day": day,
        "e_value": min(max(rate.e_value, FLOOR), CEILING),
        "shown": number(rate.e_value),
        "rate": f"{number(rate.value)} against {number(rate.reference)}",
        "state": rate.state,
    }
