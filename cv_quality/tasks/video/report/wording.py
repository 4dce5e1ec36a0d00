"""How the page writes the values of metrics, and their changes."""

from functools import partial

from cv_quality.metrics.results import percent
from cv_quality.reports.rendering import number, points
from cv_quality.tasks.video.metric_names import VIDEO_METRICS_BY_NAME, VideoMetric
from cv_quality.text import SHOWN_DIGITS, span

_PLACES = {name: place for place, name in enumerate(VIDEO_METRICS_BY_NAME)}


def is_percentage(metric: VideoMetric) -> bool:
    """Tell whether values are written in percent: shares of frames, and not measures of overlap as J is."""
    return metric.unit == "share" and metric.how == "rate"


def shown(metric: VideoMetric, value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
    """Write a value with its unit.

    Args:
        metric: whose value it is.
        value: None where it is undefined.
        digits: significant digits, where three are too few.

    >>> shown(VIDEO_METRICS_BY_NAME["dropped"], 0.25), shown(VIDEO_METRICS_BY_NAME["latency_p95_ms"], 51.5)
    ('25 %', '51.5 ms')
    >>> shown(VIDEO_METRICS_BY_NAME["latency_p99_ms"], float("inf")), shown(VIDEO_METRICS_BY_NAME["j"], 0.5852)
    ('∞', '0.585')
    """
    if value is None or is_percentage(metric):
        return percent(value, digits=digits)
    text = number(value, digits=digits)
    return text if metric.unit in ("share", "count") or text == "∞" else f"{text} {metric.unit}"


def title_of(metric: VideoMetric) -> str:
    """Write what a metric is called, at the head of a row or a chart.

    >>> title_of(VIDEO_METRICS_BY_NAME["dropped"]), title_of(VIDEO_METRICS_BY_NAME["miou"])
    ('Dropped', 'mIoU')
    """
    first = metric.label.split(maxsplit=1)[0]
    return f"{metric.label[:1].upper()}{metric.label[1:]}" if first.islower() else metric.label


def moved(metric: VideoMetric, value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
    """Write a change, signed; of percentages in percentage points.

    Args:
        metric: whose change it is.
        value: None where it is undefined.
        digits: significant digits, where three are too few.

    >>> moved(VIDEO_METRICS_BY_NAME["j"], -0.0312), moved(VIDEO_METRICS_BY_NAME["dropped"], 0.25)
    ('−0.0312', '+25 pp')
    """
    if value is None or is_percentage(metric):
        return points(value, digits=digits)
    sign = "±" if value == 0 else "+" if value > 0 else "−"
    return f"{sign}{shown(metric, abs(value), digits=digits)}"


def place(name: str) -> int:
    """Say where a metric stands on the page."""
    return _PLACES.get(name, len(_PLACES))


def words_of(name: str) -> VideoMetric:
    """Find what a metric is called; one that is not known goes by its name."""
    known = VIDEO_METRICS_BY_NAME.get(name)
    return known or VideoMetric(name, name.replace("_", " "), "", "quality", "count", is_higher_better=None)


def bounds(metric: VideoMetric, low: float | None, high: float | None) -> str:
    """Write an interval.

    Args:
        metric: whose it is.
        low, high: its bounds.

    >>> bounds(VIDEO_METRICS_BY_NAME["j"], 0.25, 0.5)
    '0.25 to 0.5'
    """
    return span(low, high, words=partial(shown, metric))


def change_bounds(metric: VideoMetric, low: float | None, high: float | None) -> str:
    """Write the interval of a change.

    Args:
        metric: whose it is.
        low, high: its bounds.

    >>> change_bounds(VIDEO_METRICS_BY_NAME["late"], -0.25, 0.5)
    '−25 pp to +50 pp'
    """
    return span(low, high, words=partial(moved, metric))
