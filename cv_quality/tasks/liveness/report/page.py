"""One self-contained HTML page for a liveness build: its sections, under a header with what gets through.

The page asks the network for nothing; the same lake gives the same bytes.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cv_quality.drops.tables import DROP_FILES
from cv_quality.lake.lake import TableKey
from cv_quality.metrics.results import percent
from cv_quality.reports.first_screen import first_screen
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.provenance import of_build
from cv_quality.reports.rates import method_names
from cv_quality.reports.rendering import write_page
from cv_quality.reports.section import ReportSource, Section, read_sections
from cv_quality.tasks.liveness.report.briefing import brief_liveness
from cv_quality.tasks.liveness.report.root_causes import ENDINGS
from cv_quality.tasks.liveness.report.sections import NUMBERS, TEMPLATES, LivenessNumbers
from cv_quality.text import span

UNITS = ("subjects", "presentations")


def write_liveness_report(source: ReportSource, sections: Sequence[Section[Any]], target: Path) -> ReportSummary:
    """Write the page of a liveness build on its drops to `target`.

    Args:
        source: what it is made from.
        sections: in the order of the page; those that its briefing reads are among them.
        target: the file.

    Raises:
        MissingTable: a stage before this one has not been run for the build.
    """
    import polars as pl

    content, scope = read_sections(sections, source), source.scope
    numbers = content.of(NUMBERS)
    files = source.lake.scan(DROP_FILES, [TableKey(drop=drop) for drop in scope.drops]).collect()
    first, last = files.select(pl.col("captured_from").min(), pl.col("captured_until").max()).row(0)
    manifests = tuple(files.select("drop_id", "manifest_sha256").unique().sort("drop_id").iter_rows())
    finding = finding_of(numbers)
    screen = first_screen(brief_liveness(content, source), units=UNITS)
    page = write_page(
        f"{TEMPLATES}/page.html",
        target,
        sections=content.sections,
        found=content.data,
        charts=content.charts,
        scope=scope,
        entry=source.entry,
        numbers=numbers,
        finding=finding,
        screen=screen,
        stages=ENDINGS,
        modality=source.modality.name,
        sites=files["site"].unique().sort().to_list(),
        captured=(first, last),
        warehouse=source.warehouse.name if source.warehouse else None,
        provenance=of_build(source, manifests=manifests, newest=last),
        methods=method_names(line.rate.method for line in numbers.lines),
    )
    return ReportSummary(
        build=scope.build,
        baseline=None,
        path=target,
        verdict=finding,
        direction="unknown",
        n_charts=len(content.charts) + (screen.chart is not None),
        n_failures=0,
        n_pictures=0,
        size_bytes=len(page),
        sha256=hashlib.sha256(page).hexdigest(),
    )


def finding_of(numbers: LivenessNumbers) -> str:
    """Say which species gets through most, how sure that is, and what it costs people."""
    worst, people = numbers.worst, next(iter(numbers.of("bpcer")), None)
    cost = (
        "" if people is None or people.rate.value is None else f"; {percent(people.rate.value)} of people are rejected"
    )
    if worst is None:
        return f"No attack got a response{cost}."
    rate = worst.rate
    sure = f" ({span(rate.low, rate.high, words=percent)})" if rate.low is not None and rate.high is not None else ""
    few = f"; {rate.reason}" if rate.reason else ""
    return (
        f"The worst species, {worst.species}, is taken for bona fide in {percent(rate.value)}{sure} of its "
        f"presentations{cost}{few}."
    )
