"""How every chart of a page is drawn: its record, its scales and tooltips, and the one script that draws them all.

Colours are CSS custom properties of the page, so a chart follows light, dark and print without being drawn again. What
the charts show is said in `cv_quality.tasks.verification.report.charts` and `cv_quality.reports.evaluation_charts`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

Row = dict[str, str | float | int | bool | None]
Spec = dict[str, Any]

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# vega's expressions are interpreted (`ast`), so that the page can forbid eval in its content security policy.
EMBED = """
const options = {mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: {theme: "custom"}};
for (const spec of document.querySelectorAll("script[data-chart]")) {
  const target = document.getElementById(spec.dataset.chart);
  vegaEmbed(target, JSON.parse(spec.textContent), options).catch((error) => {
    target.textContent = "This chart could not be drawn: " + error.message;
    console.error(error);
  });
}
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => window.dispatchEvent(new Event("resize")));
}
"""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the page: its element id, what it shows in words, and its specification."""

    id: str
    title: str
    alt: str
    spec: Spec


@cache
def script() -> str:
    """Vega, Vega-Lite, vega-embed and the loop that draws every chart, as one script without outside references."""
    import vl_convert

    return str(vl_convert.javascript_bundle(EMBED))


def tips(fields: Mapping[str, tuple[str, str]]) -> "list[alt.Tooltip]":
    """Tooltip lines: field with its type, to its name for people and its number format."""
    import altair as alt

    return [
        alt.Tooltip(field, title=title, format=form) if form else alt.Tooltip(field, title=title)
        for field, (title, form) in fields.items()
    ]


def level_axis(order: Sequence[str]) -> "alt.Y":
    import altair as alt

    axis = alt.Axis(labelLimit=150, ticks=False, domain=False, labelPadding=8)
    return alt.Y("level:N", sort=list(order), title=None, axis=axis)


def log_axis() -> "alt.Axis":
    """Labels at powers of ten, and at 2 and 5 times them; lines nowhere else."""
    import altair as alt

    values = [float(f"{digit}e{power}") for power in range(-9, 1) for digit in (1, 2, 5) if digit == 1 or power < 0]
    return alt.Axis(values=values, format="~%", labelOverlap="parity", labelSeparation=8)


def over(rows: Sequence[Mapping[str, Any]]) -> "alt.Chart":
    """A chart over rows that travel within the specification, types always said in the encoding."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(rows)))


def specification(chart: Any, *, height: int, alt_text: str) -> Spec:
    spec: Spec = chart.properties(width="container", height=height, description=alt_text).to_dict()
    spec.pop("$schema", None)
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"] = _CONFIG
    return spec


_CONFIG: Spec = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--rule)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelFlush": False,
    },
    "axisY": {"grid": True},
    "legend": {"labelColor": "var(--ink)", "labelFontSize": 11.5, "symbolSize": 70, "offset": 4},
    "text": {"font": FONT},
}
