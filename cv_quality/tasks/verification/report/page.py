"""One self-contained HTML page for a build against its baseline: its sections, under a header with the key finding.

The page asks the network for nothing and its content security policy forbids it to; the same lake gives the same bytes.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cv_quality.reports.provenance import Provenance, package_version
from cv_quality.reports.rates import Direction, method_names
from cv_quality.reports.rendering import write_page
from cv_quality.reports.section import ReportSource, Section, read_sections
from cv_quality.tasks.verification.report.change import BuildChange
from cv_quality.tasks.verification.report.data import DimensionRates, Headline, Overview, read_overview
from cv_quality.tasks.verification.report.key_finding import find, find_recorded_change
from cv_quality.tasks.verification.report.root_causes import STAGE_NAMES
from cv_quality.tasks.verification.report.sections import CONDITIONS, FAILURES, NUMBERS, ROOT_CAUSES, TEMPLATES
from cv_quality.tasks.verification.report.wording import score_words


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What was written, for whoever asked for it.

    Attributes:
        verdict: the sentence on top of the page.
        n_pictures: failures shown with an image; the others of `n_failures` have a placeholder.
        sha256: digest of the page; equal for equal lakes.
    """

    build: str
    baseline: str | None
    path: Path
    verdict: str
    direction: Direction
    n_charts: int
    n_failures: int
    n_pictures: int
    size_bytes: int
    sha256: str


def write_failure_report(source: ReportSource, sections: Sequence[Section[Any]], target: Path) -> ReportSummary:
    """Write the failure report of a build on its drops to `target`.

    Args:
        sections: in the order of the page; those of numbers, conditions and failures are among them.

    Raises:
        MissingTable: a stage before this one has not been run for the build, its baseline, or one of its drops.
    """
    scope, content = source.scope, read_sections(sections, source)
    headlines, dimensions = content.of(NUMBERS), content.of(CONDITIONS)
    change: BuildChange | None = getattr(content.data.get(ROOT_CAUSES.id), "change", None)
    finding = find(headlines, dimensions=dimensions, has_baseline=scope.baseline is not None)
    if scope.is_recorded and change:
        finding = find_recorded_change(change, build=scope.build)
    overview = read_overview(source)
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
        provenance=_provenance(source, overview),
        finding=finding,
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
        n_charts=len(content.charts),
        n_failures=len(failures),
        n_pictures=sum(failure.probe.uri is not None for failure in failures),
        size_bytes=len(page),
        sha256=hashlib.sha256(page).hexdigest(),
    )


def _provenance(source: ReportSource, overview: Overview) -> Provenance:
    models = [(f"model of {source.scope.build}", source.entry.sha256)] if source.entry.sha256 else []
    entries = [
        (f"registry entry of {build}", hashlib.sha256(data).hexdigest()) for build, data in source.entry_files.items()
    ]
    manifests = [(f"manifest of {drop}", digest) for drop, digest in overview.manifests]
    made_by = shlex.join(["cvq", "report", source.scope.build])
    return Provenance(made_by, package_version(), overview.captured_until, (*models, *entries, *manifests))


def _methods(headlines: Sequence[Headline], dimensions: Sequence[DimensionRates]) -> list[str]:
    headline = [rate for item in headlines for rate in (item.rates.build, item.rates.baseline)]
    levels = [level.rates.build for dimension in dimensions for level in dimension.levels]
    return method_names(rate.method for rate in (*headline, *levels) if rate is not None)
