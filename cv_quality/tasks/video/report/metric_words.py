"""How the page calls a metric, and how its values are written."""

from dataclasses import dataclass
from typing import Literal

from cv_quality.metrics.results import percent
from cv_quality.reports.rendering import number
from cv_quality.text import SHOWN_DIGITS

Unit = Literal["", "%", "ms", "dB", "s", "px", "Hz"]


@dataclass(frozen=True, slots=True)
class MetricWords:
    """What a metric is called, what it means, and the unit of its values; "%" of shares, which lie between 0 and 1."""

    title: str
    meaning: str = ""
    unit: Unit = ""

    def shown(self, value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
        """Write a value with its unit.

        >>> MetricWords("late", unit="%").shown(0.25), MetricWords("p95", unit="ms").shown(51.5)
        ('25 %', '51.5 ms')
        """
        if value is None or self.unit == "%":
            return percent(value, digits=digits)
        return f"{number(value, digits=digits)} {self.unit}".rstrip()

    def moved(self, value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
        """Write a change, signed; of shares in percentage points.

        >>> MetricWords("J").moved(-0.0312), MetricWords("late", unit="%").moved(0.25), MetricWords("J").moved(0.0)
        ('−0.0312', '+25 pp', '±0')
        """
        if value is None:
            return "—"
        scaled = 100 * value if self.unit == "%" else value
        sign = "±" if scaled == 0 else "+" if scaled > 0 else "−"
        return f"{sign}{number(abs(scaled), digits=digits)} {'pp' if self.unit == '%' else self.unit}".rstrip()
