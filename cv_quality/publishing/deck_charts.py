"""The charts of the deck: native and editable, every rate with its interval as error bars.

A rate's words stand in the name of its category, as everywhere else, so that no product prints other digits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.publishing.deck_template import BASELINE_INK, BUILD_INK, LIMIT_INK, MUTED
from cv_quality.publishing.wording import finite, readable, shortened
from cv_quality.reports.drawing import round_numbers
from cv_quality.text import SHOWN_DIGITS, NumberWords

if TYPE_CHECKING:
    from pptx.chart.chart import Chart
    from pptx.chart.data import CategoryChartData
    from pptx.shapes.placeholder import ChartPlaceholder

LETTERS_OF_NAME, LETTERS_OF_TITLE = 34, 60
MOST_CATEGORIES = 12
_FINEST_AXIS = 1e-5


@dataclass(frozen=True, slots=True)
class Bar:
    """One rate of a chart.

    Attributes:
        rate: None for a limit, which has no interval.
        limit: the value of a limit.
        ink: its colour.
        words: how its value is written.
    """

    name: str
    rate: Rate | None
    limit: float | None = None
    ink: str = BUILD_INK
    words: NumberWords = percent

    @property
    def value(self) -> float | None:
        """How long the bar is; None where it has no place on an axis."""
        return finite(self.rate.value if self.rate is not None else self.limit)

    @property
    def label(self) -> str:
        """The name with the value, as text."""
        return label_of(self.name, self.rate.value if self.rate is not None else self.limit, words=self.words)


def label_of(name: str, value: float | None, *, words: NumberWords = percent) -> str:
    """Write the name of a category with its value.

    Args:
        value: of a rate.
        words: how it is written.
    """
    return readable(f"{shortened(name, LETTERS_OF_NAME)}: {words(value, digits=SHOWN_DIGITS)}")


def draw_bars(place: "ChartPlaceholder", bars: Sequence[Bar], *, series: str, alt: str, is_rate: bool = True) -> None:
    """Draw rates as bars beside each other, the first on top.

    Args:
        bars: each with its own colour.
        series: what is drawn, as the workbook calls it.
        alt: what the chart shows, in words.
        is_rate: whether the axis is in percent.
    """
    chart = _inserted(place, _data([bar.label for bar in bars], {series: [bar.value for bar in bars]}), alt=alt)
    plot = chart.plots[0]
    plot.gap_width = 60
    for point, bar in enumerate(bars):
        _fill(plot.series[0].points[point], bar.ink)
    _add_error_bars(plot.series[0], [bar.rate for bar in bars])
    _style(chart, [bar.rate for bar in bars], [bar.value for bar in bars], is_rate=is_rate)
    chart.has_legend = False
    _style_title(chart, series)


def draw_pairs(
    place: "ChartPlaceholder",
    names: Sequence[str],
    sides: Mapping[str, Sequence[Rate | None]],
    *,
    title: str,
    alt: str,
) -> None:
    """Draw the rates of several groups, each for the build and for its baseline.

    Args:
        names: of the groups.
        sides: rates by group, by what the legend calls them, the build first.
        title: what is drawn.
        alt: what the chart shows, in words.
    """
    values = {name: [rate.value if rate else None for rate in rates] for name, rates in sides.items()}
    own = next(iter(sides.values()))
    labels = [label_of(name, rate.value if rate else None) for name, rate in zip(names, own, strict=True)]
    chart = _inserted(place, _data(labels, values), alt=alt)
    plot = chart.plots[0]
    plot.gap_width, plot.overlap = 50, -5
    for series, rates, ink in zip(plot.series, sides.values(), (BUILD_INK, BASELINE_INK), strict=False):
        _fill(series, ink)
        _add_error_bars(series, rates)
    rates = [rate for side in sides.values() for rate in side]
    _style(chart, rates, [rate.value for rate in rates if rate is not None])
    chart.has_legend = len(sides) > 1
    if chart.has_legend:
        _style_legend(chart)
    _style_title(chart, title)


def _data(labels: Sequence[str], values: dict[str, list[float | None]]) -> "CategoryChartData":
    from pptx.chart.data import CategoryChartData

    data = CategoryChartData(number_format="General")
    data.categories = labels
    for name, row in values.items():
        data.add_series(readable(shortened(name, LETTERS_OF_NAME)), row)
    return data


def _inserted(place: "ChartPlaceholder", data: "CategoryChartData", *, alt: str) -> "Chart":
    from pptx.enum.chart import XL_CHART_TYPE

    frame: Any = place.insert_chart(XL_CHART_TYPE.BAR_CLUSTERED, data)
    frame._element.nvGraphicFramePr.cNvPr.set("descr", readable(alt))
    chart: Chart = frame.chart
    return chart


def _fill(target: Any, ink: str) -> None:
    from pptx.dml.color import RGBColor

    target.format.fill.solid()
    target.format.fill.fore_color.rgb = RGBColor.from_string(ink)
    if hasattr(target, "invert_if_negative"):
        target.invert_if_negative = False


def _style(
    chart: "Chart", rates: Sequence[Rate | None], values: Sequence[float | None], *, is_rate: bool = True
) -> None:
    """Write the axes of a chart: from 0 to the highest bound; the first category on top."""
    from pptx.dml.color import RGBColor
    from pptx.enum.chart import XL_TICK_LABEL_POSITION, XL_TICK_MARK
    from pptx.util import Pt

    known = (*values, *(finite(rate.high) for rate in rates if rate is not None))
    ends = [value for value in known if value is not None]
    marks = round_numbers(0.0, max(*ends, _FINEST_AXIS), count=3) if ends else [0.0, 1.0]
    axis, names = chart.value_axis, chart.category_axis
    axis.minimum_scale, axis.maximum_scale = 0.0, min(marks[-1], 1.0) if is_rate else marks[-1]
    axis.major_unit = marks[1] - marks[0]
    axis.tick_labels.number_format = _percent_format(marks[1]) if is_rate else "General"
    axis.tick_labels.number_format_is_linked = False
    axis.major_gridlines.format.line.color.rgb = RGBColor.from_string("E3E5E8")
    axis.format.line.fill.background()
    axis.major_tick_mark = names.major_tick_mark = XL_TICK_MARK.NONE
    names.reverse_order = True
    axis.tick_label_position = XL_TICK_LABEL_POSITION.HIGH
    names.format.line.color.rgb = RGBColor.from_string(LIMIT_INK)
    axis.tick_labels.font.size, names.tick_labels.font.size = Pt(11), Pt(12 if len(names_of(chart)) <= 6 else 10)
    axis.tick_labels.font.color.rgb = RGBColor.from_string(MUTED)


def names_of(chart: "Chart") -> list[str]:
    """List the names of a chart's categories."""
    return list(chart.plots[0].categories)


def _percent_format(step: float) -> str:
    """Write the number format at which the marks of an axis differ."""
    decimals = next((n for n in range(8) if round(100 * step, n) == round(100 * step, 9)), 8)
    return f"0.{'0' * decimals}\\ %" if decimals else "0\\ %"


def _style_title(chart: "Chart", text: str) -> None:
    from pptx.dml.color import RGBColor
    from pptx.util import Pt

    frame = chart.chart_title.text_frame
    frame.text = readable(f"{shortened(text, LETTERS_OF_TITLE)}, with 95 % intervals")
    font = frame.paragraphs[0].font
    font.size, font.bold, font.color.rgb = Pt(12), False, RGBColor.from_string(MUTED)


def _style_legend(chart: "Chart") -> None:
    from pptx.enum.chart import XL_LEGEND_POSITION
    from pptx.util import Pt

    chart.legend.position, chart.legend.include_in_layout = XL_LEGEND_POSITION.TOP, False
    chart.legend.font.size = Pt(12)


def _add_error_bars(series: Any, rates: Sequence[Rate | None]) -> None:
    """Put the interval of each rate onto its bar; the format wants them before the categories."""
    from pptx.oxml import parse_xml
    from pptx.oxml.ns import nsdecls, qn

    plus = [_reach(rate, is_up=True) for rate in rates]
    minus = [_reach(rate, is_up=False) for rate in rates]
    bars = parse_xml(
        f'<c:errBars {nsdecls("c", "a")}><c:errBarType val="both"/><c:errValType val="cust"/>'
        f'<c:noEndCap val="0"/><c:plus>{_numbers(plus)}</c:plus><c:minus>{_numbers(minus)}</c:minus>'
        '<c:spPr><a:ln w="19050"><a:solidFill><a:srgbClr val="1C1F24"/></a:solidFill></a:ln></c:spPr></c:errBars>'
    )
    series._element.find(qn("c:cat")).addprevious(bars)


def _reach(rate: Rate | None, *, is_up: bool) -> float | None:
    """How far an interval reaches from its value; None for what has none."""
    value, end = (None, None) if rate is None else (finite(rate.value), finite(rate.high if is_up else rate.low))
    return None if value is None or end is None else abs(end - value)


def _numbers(values: Sequence[float | None]) -> str:
    known = "".join(
        f'<c:pt idx="{place}"><c:v>{value!r}</c:v></c:pt>' for place, value in enumerate(values) if value is not None
    )
    return f'<c:numLit><c:formatCode>General</c:formatCode><c:ptCount val="{len(values)}"/>{known}</c:numLit>'
