"""One self-contained HTML page for a search for slices in any table: the page of `cvq slices --report`.

What was found is in `cv_quality.error_analysis.slice_report`; drawings come from
`cv_quality.reports.slice_charts`. The page shows no row of the table; the same findings give the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cv_quality.error_analysis.slice_report import SliceFinding, SliceReport, figure
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.reports.drawing import Chart
from cv_quality.reports.provenance import Provenance
from cv_quality.reports.rendering import write_page
from cv_quality.reports.slice_charts import RateBar, slices_chart

CHARTED = 30
"""So many slices are drawn, the best first; the table lists all."""


@dataclass(frozen=True, slots=True)
class SliceCard:
    """A confirmed slice with its conditions as text to copy."""

    number: int
    finding: SliceFinding
    condition: str
    counts: str
    sql: str
    polars: str


@dataclass(frozen=True, slots=True)
class SlicesContent:
    """Everything that the template shows."""

    title: str
    findings: SliceReport
    slices: tuple[SliceCard, ...]
    chart: Chart | None
    reading: tuple[str, ...] = ()


def write_slices_report(
    findings: SliceReport, *, title: str, provenance: Provenance, target: Path, reading: Sequence[str] = ()
) -> None:
    """Write the page about one search to `target`, at once or not at all.

    Args:
        title: what was searched, such as the file's name.
        provenance: what made the page.
        reading: what was understood of the file.
    """
    content = read_content(findings, title=title, reading=reading)
    write_page(
        "reports/templates/slices.html",
        target,
        content=content,
        provenance=provenance,
        figure=partial(figure, kind=findings.kind),
        limit=CHARTED,
    )


def read_content(findings: SliceReport, *, title: str, reading: Sequence[str] = ()) -> SlicesContent:
    """Put together everything that the page shows."""
    is_rate = findings.kind == "rate"
    shown = tuple(
        SliceCard(
            number=number,
            finding=finding,
            condition=finding.where.sentence(),
            counts=f"{finding.failures:,.0f} / {finding.trials:,}" if is_rate else f"over {finding.trials:,} rows",
            sql=finding.where.sql(),
            polars=polars_text(finding.where),
        )
        for number, finding in enumerate(findings.slices, 1)
    )
    chart = _chart(shown, findings) if shown else None
    return SlicesContent(title, findings, shown, chart, tuple(reading))


def _chart(shown: tuple[SliceCard, ...], findings: SliceReport) -> Chart:
    bars = [
        RateBar(
            words=f"{item.number}. {item.condition}",
            value=item.finding.rate,
            low=item.finding.low,
            high=item.finding.high,
            counts=item.counts,
            rest=item.finding.rest_rate,
        )
        for item in shown[:CHARTED]
    ]
    axis = f"rate of {findings.outcome}" if findings.kind == "rate" else f"mean of {findings.outcome}"
    return slices_chart(bars, id="chart-slices", axis_title=axis, kind=findings.kind)


def polars_text(where: Slice) -> str:
    """Write a slice as Polars code, to copy into `frame.filter(...)`; it selects the rows that `Slice.expression` does.

    >>> polars_text(Slice((Predicate("lux", "<=", 9.5), Predicate("eyewear", "in", ("glasses", "sunglasses")))))
    "(pl.col('lux') <= 9.5) & pl.col('eyewear').is_in(['glasses', 'sunglasses'])"
    """
    return " & ".join(_condition_text(predicate) for predicate in where.where) or "pl.lit(True)"


def _condition_text(predicate: Predicate) -> str:
    column = f"pl.col({predicate.column!r})"
    if predicate.op == "<=":
        return f"({column} <= {predicate.value!r})"
    if predicate.op == ">":
        # Polars puts NaN above every number, infinity too: an upper end leaves it out.
        return f"{column}.is_between({predicate.value!r}, float('inf'), closed='right')"
    listed = [value for value in predicate.values if value is not None]
    missing = f"{column}.is_null() | {column}.cast(pl.String).str.to_lowercase().eq('nan').fill_null(False)"
    holds = f"{column}.is_in([{', '.join(map(repr, listed))}])"
    if None not in predicate.values:
        return holds
    return f"({missing})" if not listed else f"({holds}.fill_null(False) | {missing})"
