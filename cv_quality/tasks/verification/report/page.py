"""One self-contained HTML page for a build against its baseline: its sections, under a header with the key finding.

The page asks the network for nothing and its content security policy forbids it to; the same lake gives the same bytes.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cv_quality.reports.first_screen import first_screen
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.provenance import of_build
from cv_quality.reports.rates import method_names
from cv_quality.reports.rendering import write_page
from cv_quality.reports.section import ReportSource, Section, read_sections
from cv_quality.tasks.root_causes.report.change import BuildChange
from cv_quality.tasks.verification.report.briefing import brief_verification
from cv_quality.tasks.verification.report.data import DimensionRates, Headline, read_overview
from cv_quality.tasks.verification.report.key_finding import find, find_recorded_change
from cv_quality.tasks.verification.report.root_causes import STAGE_NAMES
from cv_quality.tasks.verification.report.sections import CONDITIONS, FAILURES, NUMBERS, ROOT_CAUSES, TEMPLATES
from cv_quality.tasks.verification.report.wording import score_words

UNITS = ("subjects", "attempts")


def write_failure_report(source: ReportSource, sections: Sequence[Section[Any]], target: Path) -> ReportSummary:
    """Write the failure report of a build on its drops to `target`.

    Args:
        sections: in the order of the page; those that its briefing reads, conditions and failures are among
            them.

    Raises:
        MissingTable: a stage before this one has not been run for the build, its baseline, or one of its drops.
    """
    scope, content = source.scope, read_sections(sections, source)
    headlines, dimensions = content.of(NUMBERS), content.of(CONDITIONS)
    change: BuildChange | None = getattr(content.data.get(ROOT_CAUSES.id), "change", None)
    finding = find(headlines, dimensions=dimensions, has_baseline=scope.baseline is not None)
    if scope.is_recorded and change:
        finding = find_recorded_change(change, build=scope.build)
    overview, screen = read_overview(source), first_screen(brief_verification(content, source), units=UNITS)
    page = write_page(
        f"{TEMPLATES}/page.html",
        target,
        sections=content.sections,
        found=content.data,
        charts=content.charts,
        scope=scope,
        entry=source.entry,
        modality=source.modality.name,
        warehouse=source.warehouse.name if source.warehouse else None,
        overview=overview,
        before=change.baseline if scope.is_recorded and change else None,
        provenance=of_build(source, manifests=overview.manifests, newest=overview.captured_until),
        finding=finding,
        screen=screen,
        words=score_words(source),
        stages=STAGE_NAMES,
        methods=_methods(headlines, dimensions),
    )
    failures = content.of(FAILURES)
    return ReportSummary(
        build=scope.build,
        baseline=scope.baseline,
        path=target,
        verdict=finding.sentence,
        direction=finding.direction,
        n_charts=len(content.charts) + (screen.chart is not None),
        n_failures=len(failures),
        n_pictures=sum(failure.probe.uri is not None for failure in failures),
        size_bytes=len(page),
        sha256=hashlib.sha256(page).hexdigest(),
    )


def _methods(headlines: Sequence[Headline], dimensions: Sequence[DimensionRates]) -> list[str]:
    headline = [rate for item in headlines for rate in (item.rates.build, item.rates.baseline)]
    levels = [level.rates.build for dimension in dimensions for level in dimension.levels]
    return method_names(rate.method for rate in (*headline, *levels) if rate is not None)
