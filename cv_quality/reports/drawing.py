"""How every chart of a page is drawn: its record, its scales and tooltips, and the one script that draws them all.

Colours are CSS custom properties of the page, so a chart follows light, dark and print without being drawn again. What
a chart shows is said beside its page; those that several pages have are in `cv_quality.reports.curves` and
`cv_quality.reports.slice_charts`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.text import NumberWords, span, told_apart

if TYPE_CHECKING:
    import altair as alt

Row = dict[str, str | float | int | bool | None]
Spec = dict[str, Any]

BUILD_INK, BASELINE_INK, FAINT_INK = "var(--build)", "var(--baseline)", "var(--faint)"
DIAMOND = "M0,-1.35L1.35,0L0,1.35L-1.35,0Z"  # vega's own diamond is much smaller than its circle
DASHES: tuple[tuple[int, int], ...] = ((1, 0), (5, 3), (2, 2), (8, 3))
"""How the curves of one chart are dashed, in their order; a fifth begins anew."""
NOTEBOOK_WIDTH_PX = 720
FINEST_STEP = Decimal("1e-12")
"""Least step of an axis, as a part of its larger end: what is finer, floating-point numbers do not hold."""
STYLES = Path(__file__).parent / "templates"
"""Their style sheets begin with the colours of a light page."""
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
    spec: Spec = field(repr=False)

    def _repr_svg_(self) -> str:
        """Draw the chart for a notebook, without a script, in the colours of a light page."""
        import vl_convert

        own = {"width": NOTEBOOK_WIDTH_PX, "background": "white", "title": {"text": self.title, "anchor": "start"}}
        text = json.dumps(self.spec | own)
        for name, colour in _light_colours().items():
            text = text.replace(f"var({name})", colour)
        return str(vl_convert.vegalite_to_svg(text))


@cache
def _light_colours() -> dict[str, str]:
    roots = [path.read_text(encoding="utf-8").partition("}")[0] for path in sorted(STYLES.glob("*.css"))]
    return dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]+);", "".join(roots)))


@cache
def script() -> str:
    """Bundle Vega, Vega-Lite, vega-embed and the loop that draws every chart into one script."""
    import vl_convert

    return str(vl_convert.javascript_bundle(EMBED))


def tips(fields: Mapping[str, str]) -> "list[alt.Tooltip]":
    """Make tooltip lines: field, which holds text, to its name for people."""
    import altair as alt

    return [alt.Tooltip(f"{field}:N", title=title) for field, title in fields.items()]


def interval_words(low: float | None, high: float | None, *, words: NumberWords = percent) -> str:
    """Write the bounds of an interval for a tooltip.

    Args:
        words: how a bound is written.

    >>> interval_words(0.1, 0.25), interval_words(0.1, None)
    ('10 % to 25 %', 'none')
    """
    return "none" if low is None or high is None else span(low, high, words=words)


def rate_row(rate: Rate) -> Row:
    """Turn a rate into what a chart needs of it: value, bounds, and words for a tooltip."""
    return {
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "shown": percent(rate.value),
        "interval": interval_words(rate.low, rate.high),
        "counts": f"{rate.numerator:,} / {rate.denominator:,}",
    }


def level_axis(order: Sequence[str]) -> "alt.Y":
    """Make an axis with one line a level, named on its left."""
    import altair as alt

    axis = alt.Axis(labelLimit=150, ticks=False, domain=False, labelPadding=8)
    return alt.Y("level:N", sort=list(order), title=None, axis=axis)


def number_axis(
    values: Iterable[float | None], *, words: NumberWords = percent, count: int = 5, **options: Any
) -> "alt.Axis":
    """Make an axis with labels at round numbers, written as everywhere on the page.

    Args:
        values: what is drawn along the axis; those without a place there may be among them.
        words: how a label is written.
        count: of labels, about.
        options: of the axis.
    """
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    ticks = round_numbers(min(known), max(known), count=count) if known else [0.0]
    return _labelled(ticks, words=words, **options)


def log_axis(
    *,
    powers: Sequence[int] = range(-9, 1),
    digits: Sequence[int] = (1, 2, 5),
    words: NumberWords = percent,
    **options: Any,
) -> "alt.Axis":
    """Make an axis with labels at powers of ten, and at 2 and 5 times them; lines nowhere else.

    Args:
        powers: of ten, as far as the axis can reach; above the last there is no label.
        digits: times which powers of ten there are labels; 1 is among them.
        words: how a label is written.
        options: of the axis.
    """
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits if digit == 1 or power < powers[-1]]
    return _labelled(ticks, words=words, labelOverlap="parity", labelSeparation=8, **options)


def round_numbers(low: float, high: float, *, count: int) -> list[float]:
    """Choose numbers that are 1, 2 or 5 times a power of ten apart, the first and last at or beyond the ends.

    Args:
        low, high: the ends.
        count: how many steps there are, about.

    >>> round_numbers(0.0, 0.93, count=5), round_numbers(0.9871, 0.9874, count=3)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.9871, 0.9872, 0.9873, 0.9874])
    """
    if not high > low:
        return [low]
    rough = max(Decimal(repr(high - low)) / count, Decimal(repr(max(abs(low), abs(high)))) * FINEST_STEP)
    power = Decimal(1).scaleb(rough.adjusted())
    step = min((power * digit for digit in (1, 2, 5, 10)), key=lambda step: abs((step / rough).ln()))
    first = (Decimal(repr(low)) / step).to_integral_value(ROUND_FLOOR)
    last = (Decimal(repr(high)) / step).to_integral_value(ROUND_CEILING)
    return [float(step * place) for place in range(int(first), int(last) + 1)]


def _labelled(ticks: Sequence[float], *, words: NumberWords, **options: Any) -> "alt.Axis":
    import altair as alt

    labels = json.dumps(told_apart(ticks, words=words), ensure_ascii=False)
    return alt.Axis(
        values=list(ticks), labelExpr=f"{labels}[indexof({json.dumps(list(ticks))}, datum.value)]", **options
    )


def columns(rows: Iterable[Mapping[str, Any]], *fields: str) -> list[float | None]:
    """List what rows hold in some fields, and the 0 at which axes of rates begin."""
    return [0.0, *(row[field] for row in rows for field in fields)]


def over(rows: Sequence[Mapping[str, Any]]) -> "alt.Chart":
    """Start a chart over rows that travel within the specification, types always said in the encoding."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(rows)))


def specification(chart: Any, *, height: int, alt_text: str) -> Spec:
    """Turn a chart into a specification as wide as its place on the page.

    Args:
        height: of the plot, in pixels.
        alt_text: what it shows, in words.
    """
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
