"""How a page becomes HTML: one template engine for every report, and the script that its policy lets run.

Templates build on `base.html`, which forbids the network and every other script. What a page says is in
`cv_quality.tasks.verification.report.page` and `cv_quality.reports.evaluation_page`.
"""

import base64
import hashlib
import json
import math
from typing import TYPE_CHECKING

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports import drawing
from cv_quality.reports.drawing import Chart
from cv_quality.tasks.verification.report import facts, verdict

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """A template as HTML; every value is escaped, and only the drawing script may run."""
    script = drawing.script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template(template).render(script=script, script_digest=digest, **values)


def number(value: float | None) -> str:
    """A threshold, or a measure without a unit, as people read it.

    >>> number(0.4199999), number(12345.678), number(float("-inf")), number(None)
    ('0.42', '12345.7', '−∞', 'undefined')
    """
    if value is None:
        return "undefined"
    text = f"{abs(value):.6g}" if math.isfinite(value) else "∞"
    return f"−{text}" if value < 0 else text


def points(value: float | None) -> str:
    """A difference of two rates in percentage points, signed.

    >>> points(0.0123), points(-0.5), points(0.0), points(None)
    ('+1.23 pp', '−50 pp', '±0 pp', '—')
    """
    if value is None:
        return "—"
    sign = "±" if value == 0 else ("+" if value > 0 else "−")
    return f"{sign}{100 * abs(value):.3g} pp"


def shown(rate: Rate | None) -> facts.Rate | None:
    """A rate as the table shows it, with the number of independent trials that would be worth as much."""
    if rate is None:
        return None
    counts = [f"{rate.numerator:,} / {rate.denominator:,}"]
    if rate.n_effective is not None:
        counts.append(f"n effective {rate.n_effective:,.0f}")
    return facts.Rate(value=rate.value, low=rate.low, high=rate.high, reason=rate.reason, counts=tuple(counts))


def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cv_quality.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        points=points,
        number=number,
        spec=_spec_text,
        day=lambda value: f"{value:%Y-%m-%d}",
    )
    environment.globals.update(describe=verdict.describe, target=facts.target_text)
    return environment


def _spec_text(chart: Chart) -> str:
    """A specification as JSON that cannot end the script element that holds it."""
    text = json.dumps(chart.spec, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
