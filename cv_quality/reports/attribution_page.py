"""One self-contained HTML page for a change between two tables: the page of `cvq attribute --report`.

How a change is split is in `cv_quality.error_analysis.attribution`; drawings come from `cv_quality.tasks.verification.report.root_cause_charts`. The
page shows no row of the tables; the same attribution gives the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

from cv_quality.error_analysis.attribution import Attribution, Contribution
from cv_quality.error_analysis.slice_report import figure
from cv_quality.lake.store import atomic_path
from cv_quality.reports import rendering
from cv_quality.reports.drawing import Chart
from cv_quality.tasks.verification.report.change import Part
from cv_quality.tasks.verification.report.root_cause_charts import Step, moved, part_step, waterfall_chart


@dataclass(frozen=True, slots=True)
class Row:
    """A part of the change as the table shows it; counts are failures and rows, or rows alone for a loss."""

    condition: str
    before: float | None
    after: float | None
    counts: tuple[str, str]
    mix: Part
    rate: Part
    change: Part
    reason: str | None


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that the template shows; the last row is the whole."""

    title: str
    attribution: Attribution
    rows: tuple[Row, ...]
    chart: Chart


def write_attribution_report(attribution: Attribution, *, title: str, target: Path) -> None:
    """Write the page about one change to `target`, at once or not at all.

    Args:
        title: what was compared, such as the files' names.
    """
    content = read_content(attribution, title=title)
    html = rendering.render("attribution.html", content=content, figure=figure, moved=moved)
    with atomic_path(target) as temporary:
        temporary.write_bytes(html.encode())


def read_content(attribution: Attribution, *, title: str) -> Content:
    """Everything the page shows."""
    return Content(title=title, attribution=attribution, rows=_rows(attribution), chart=_chart(attribution))


def _chart(found: Attribution) -> Chart:
    axis = f"rate of {found.outcome}" if found.kind == "rate" else f"mean of {found.outcome}"
    return waterfall_chart(
        steps(found), id="chart-change", title="From before to after", axis_title=axis, kind=found.kind
    )


def steps(found: Attribution) -> tuple[Step, ...]:
    """From the rate before over the mix of all parts, and each part's own rate, to the rate after."""
    bars = [Step("before", 0.0, found.rate_before, "baseline")]
    bars.append(part_step(bars[-1].end, "how often each part occurs", _part(found, "mix")))
    for part in found.parts:
        bars.append(part_step(bars[-1].end, f"how often it fails: {part.condition}", _part(part, "rate")))
    return (*bars, Step("after", 0.0, found.rate_after, "build"))


def _part(found: Contribution, name: str) -> Part:
    return Part(*(getattr(found, f"{name}{end}") for end in ("", "_low", "_high")))


def _rows(found: Attribution) -> tuple[Row, ...]:
    parts = [
        Row(
            condition=part.condition,
            before=part.rate_before,
            after=part.rate_after,
            counts=(
                _counts(part.failures_before, part.rows_before, found),
                _counts(part.failures_after, part.rows_after, found),
            ),
            mix=_part(part, "mix"),
            rate=_part(part, "rate"),
            change=_part(part, "change"),
            reason=part.reason,
        )
        for part in found.parts
    ]
    whole = Row(
        condition="all rows",
        before=found.rate_before,
        after=found.rate_after,
        counts=(
            _counts(found.failures_before, found.n_before, found),
            _counts(found.failures_after, found.n_after, found),
        ),
        mix=_part(found, "mix"),
        rate=_part(found, "rate"),
        change=_part(found, "change"),
        reason=found.reason,
    )
    return (*parts, whole)


def _counts(failures: float, rows: int, found: Attribution) -> str:
    return f"{failures:,.0f} / {rows:,}" if found.kind == "rate" else f"{rows:,} rows"
