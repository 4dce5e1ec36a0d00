"""One self-contained HTML page for a change between two tables: the page of `cvq attribute --report`.

How a change is split is in `cv_quality.error_analysis.attribution`; drawings come from
`cv_quality.reports.slice_charts`. The page shows no row of the tables; the same attribution gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cv_quality.error_analysis.attribution import AttributedPart, Attribution, Contribution
from cv_quality.error_analysis.slice_report import figure
from cv_quality.reports.drawing import Chart
from cv_quality.reports.provenance import Provenance
from cv_quality.reports.rendering import write_page
from cv_quality.reports.slice_charts import Estimate, WaterfallBar, moved, part_bar, waterfall_chart


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part of the change as the table shows it; counts are failures and rows, or rows alone for a loss."""

    condition: str
    before: float | None
    after: float | None
    counts: tuple[str, str]
    mix: Estimate
    rate: Estimate
    change: Estimate
    reason: str | None


@dataclass(frozen=True, slots=True)
class AttributionContent:
    """Everything that the template shows; the last row is the whole."""

    title: str
    attribution: Attribution
    rows: tuple[PartRow, ...]
    chart: Chart
    reading: tuple[str, ...] = ()


def write_attribution_report(
    attribution: Attribution, *, title: str, provenance: Provenance, target: Path, reading: Sequence[str] = ()
) -> None:
    """Write the page about one change to `target`, at once or not at all.

    Args:
        title: what was compared, such as the files' names.
        provenance: what made the page.
        reading: what was understood of the file.
    """
    content = read_content(attribution, title=title, reading=reading)
    write_page(
        "reports/templates/attribution.html",
        target,
        content=content,
        provenance=provenance,
        figure=partial(figure, kind=attribution.kind),
        moved=partial(moved, kind=attribution.kind),
    )


def read_content(attribution: Attribution, *, title: str, reading: Sequence[str] = ()) -> AttributionContent:
    """Put together everything that the page shows."""
    kind, name = attribution.kind, "From before to after"
    axis = f"{'rate' if kind == 'rate' else 'mean'} of {attribution.outcome}"
    chart = waterfall_chart(steps(attribution), id="chart-change", title=name, axis_title=axis, kind=kind)
    return AttributionContent(title, attribution, _rows(attribution), chart, tuple(reading))


def steps(found: Attribution) -> tuple[WaterfallBar, ...]:
    """Lay out the bars from the rate before over the mix of all parts, and each part's own rate, to the rate after."""
    bars = [WaterfallBar("before", 0.0, found.rate_before, "baseline")]
    bars.append(part_bar(bars[-1].end, "how often each part occurs", _part(found, "mix")))
    for part in found.parts:
        bars.append(part_bar(bars[-1].end, f"how often it fails: {part.condition}", _part(part, "rate")))
    return (*bars, WaterfallBar("after", 0.0, found.rate_after, "build"))


def _part(found: Contribution, name: str) -> Estimate:
    return Estimate(*(getattr(found, f"{name}{end}") for end in ("", "_low", "_high")))


def _rows(found: Attribution) -> tuple[PartRow, ...]:
    named: list[tuple[str, AttributedPart | Attribution, int, int]] = [
        *((part.condition, part, part.rows_before, part.rows_after) for part in found.parts),
        ("all rows", found, found.n_before, found.n_after),
    ]
    return tuple(
        PartRow(
            condition=condition,
            before=item.rate_before,
            after=item.rate_after,
            counts=(_counts(item.failures_before, before, found), _counts(item.failures_after, after, found)),
            mix=_part(item, "mix"),
            rate=_part(item, "rate"),
            change=_part(item, "change"),
            reason=item.reason,
        )
        for condition, item, before, after in named
    )


def _counts(failures: float, rows: int, found: Attribution) -> str:
    return f"{failures:,.0f} / {rows:,}" if found.kind == "rate" else f"{rows:,} rows"
