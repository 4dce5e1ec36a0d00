"""How a page becomes HTML: one template engine for every report, and the script that its policy lets run.

Templates lie beside what they show and are named by their path in the package. They build on
`reports/templates/base.html`, which forbids the network and every other script.
"""

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cv_quality.lake.store import atomic_path
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import area_words, percent
from cv_quality.reports import drawing
from cv_quality.reports.drawing import Chart
from cv_quality.reports.rates import target_text
from cv_quality.text import SHOWN_DIGITS, figures, span, visible_lines

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def write_page(template: str, target: Path, **values: object) -> bytes:
    """Write a template as HTML to `target`, at once or not at all; returns what was written.

    Every value is escaped, characters that are not seen are shown, and only the drawing script may run.

    Args:
        template: path of its file in the package.
        values: what the template shows, by name.
    """
    script = drawing.script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template(template).render(script=script, script_digest=digest, **values).encode()
    with atomic_path(target) as temporary:
        temporary.write_bytes(page)
    return page


def number(value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
    """Write a count, a threshold, or a measure without a unit, as people read it.

    Args:
        digits: significant digits, where three are too few.

    >>> number(0.4199999), number(12345.678), number(float("-inf")), number(None)
    ('0.42', '12,300', '−∞', 'undefined')
    """
    text = figures(value, digits=digits)
    return f"−{text[1:]}" if text.startswith("-") else text


def points(value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
    """Write a difference of two rates in percentage points, signed.

    Args:
        digits: significant digits, where three are too few.

    >>> points(0.0123), points(-0.5), points(0.0), points(None)
    ('+1.23 pp', '−50 pp', '±0 pp', '—')
    """
    return "—" if value is None else f"{_sign(value)}{figures(100 * abs(value), digits=digits)} pp"


def signed(value: float | None) -> str:
    """Write a difference in its own unit, signed.

    >>> signed(0.0123), signed(-0.5), signed(0.0), signed(None)
    ('+0.0123', '−0.5', '±0', '—')
    """
    return "—" if value is None else f"{_sign(value)}{figures(abs(value))}"


def _sign(value: float) -> str:
    return "±" if value == 0 else "+" if value > 0 else "−"


def count_lines(rate: Rate, *, with_rank: bool = False) -> list[str]:
    """Write the counts of a rate with the number of independent trials that would be worth as much.

    Args:
        with_rank: whether a line says so where the rate is too uncertain to be ranked.
    """
    lines = [f"{rate.numerator:,} / {rate.denominator:,}"]
    if rate.n_effective is not None:
        lines.append(f"n effective {figures(rate.n_effective)}")
    return [*lines, "too few errors to rank"] if with_rank and rate.reason is not None else lines


def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cv_quality", "."),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        points=points,
        signed=signed,
        number=number,
        area=area_words,
        count_lines=count_lines,
        target=target_text,
        spec=_spec_text,
        still=_still,
        coded=_coded,
        day=lambda value: f"{value:%Y-%m-%d}",
        moment=lambda value: f"{value:%Y-%m-%d %H:%M} UTC",
    )
    environment.globals.update(span=span, percent=percent, points=points, number=number)
    return environment


def _shown(value: object) -> object:
    """Show characters of a text that are not seen, but for markup of our own; the engine escapes the rest."""
    return visible_lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _all_visible(value: object) -> object:
    if isinstance(value, str):
        return visible_lines(value)
    if isinstance(value, dict):
        return {_all_visible(key): _all_visible(item) for key, item in value.items()}
    return [_all_visible(item) for item in value] if isinstance(value, list | tuple) else value


def _coded(text: str) -> "Markup":
    """A sentence in which commands stand between backticks, as markup."""
    from markupsafe import Markup, escape

    parts = [escape(visible_lines(part)) for part in text.split("`")]
    markup = (Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts))
    return Markup("").join(markup)


def _still(chart: Chart) -> "Markup":
    from markupsafe import Markup

    return Markup(drawing.still(replace(chart, spec={name: _all_visible(value) for name, value in chart.spec.items()})))


def _spec_text(chart: Chart) -> str:
    """A specification as JSON that cannot end the script element that holds it."""
    text = json.dumps(
        _all_visible(chart.spec), separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
