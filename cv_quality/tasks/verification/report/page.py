"""One self-contained HTML page for a build against its baseline; the way into this room.

Here the parts are put together and written: numbers from `facts`, drawings from `charts`, pictures from `thumbnails`.
The page asks the network for nothing and its content security policy forbids it to; the same lake gives the same bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cv_quality.drops.manifest import SCHEMA_VERSION
from cv_quality.inference.registry import BuildEntry
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store, atomic_path
from cv_quality.reports import rendering
from cv_quality.reports.drawing import Chart
from cv_quality.tasks.verification.report import charts, curves, facts, verdict
from cv_quality.tasks.verification.report.curves import DetPoint, Latency, Parity, Scores
from cv_quality.tasks.verification.report.data_quality import DataQuality, read_data_quality
from cv_quality.tasks.verification.report.facts import Dimension, Headline, Overview, Scope
from cv_quality.tasks.verification.report.groups import Attribute, read_groups
from cv_quality.tasks.verification.report.queries import Query, latency_query, parity_query, quarantine_query
from cv_quality.tasks.verification.report.root_cause_charts import why_charts
from cv_quality.tasks.verification.report.root_causes import STAGE_NAMES, Why, read_why
from cv_quality.tasks.verification.report.thumbnails import Failure, read_failures
from cv_quality.tasks.verification.report.verdict import Finding
from cv_quality.tasks.verification.tables import OPERATING_POINTS

LATENCY_DIMENSIONS = {"device_model": "device model", "thermal_state": "thermal state"}


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
    direction: facts.Direction
    n_charts: int
    n_failures: int
    n_pictures: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LatencyGroup:
    """Latency by one dimension, with its query."""

    label: str
    groups: tuple[Latency, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that the template shows; `undrawn` names the models without a point on the DET curve."""

    scope: Scope
    entry: BuildEntry
    overview: Overview
    finding: Finding
    headlines: tuple[Headline, ...]
    dimensions: tuple[Dimension, ...]
    groups: tuple[Attribute, ...]
    why: Why
    failures: tuple[Failure, ...]
    latency: tuple[LatencyGroup, ...]
    parity: Parity | None
    quality: DataQuality
    charts: Mapping[str, Chart]
    undrawn: tuple[str, ...]
    parity_query: Query
    quarantine_query: Query
    warehouse: str | None


def write_failure_report(
    *,
    lake: Lake,
    landing: Store,
    registry_entry: BuildEntry,
    baseline: str | None,
    build: str,
    target: Path,
    warehouse: Path | None,
) -> ReportSummary:
    """Write the failure report of `build` against `baseline` on the build's drops to `target`.

    Args:
        landing: where the drops' frames are; read only for subjects who consented.
        registry_entry: the build's own entry: digest and decision threshold.
        baseline: the build whose model scored the same drops too, or None.
        warehouse: the DuckDB file that the queries on the page name; None leaves only the queries on Parquet.

    Raises:
        MissingTable: a stage before this one has not been run for the build, its baseline, or one of its drops.
    """
    content = read_content(
        lake, landing=landing, entry=registry_entry, baseline=baseline, build=build, warehouse=warehouse
    )
    data = render(content).encode()
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)
    return ReportSummary(
        build=build,
        baseline=baseline,
        path=target,
        verdict=content.finding.sentence,
        direction=content.finding.direction,
        n_charts=len(content.charts),
        n_failures=len(content.failures),
        n_pictures=sum(failure.probe.uri is not None for failure in content.failures),
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def read_content(
    lake: Lake, *, landing: Store, entry: BuildEntry, baseline: str | None, build: str, warehouse: Path | None
) -> Content:
    """Everything the page shows, read from the lake and (pictures only) the landing area."""
    scope = facts.read_scope(lake, build=build, baseline=baseline)
    headlines = facts.read_headlines(lake, scope=scope)
    dimensions = facts.read_dimensions(lake, scope=scope)
    latency = _latency(lake, scope=scope)
    parity = curves.read_parity(lake, scope=scope, threshold=entry.decision_threshold)
    why = read_why(lake, landing=landing, scope=scope)
    scores = {model: curves.read_scores(lake, scope=scope, model=model) for model in scope.models}
    det = {model: curves.read_det_curve(lake, scope=scope, model=model) for model in scope.models}
    drawn = (
        *_score_charts(lake, scope=scope, threshold=entry.decision_threshold, det=det, scores=scores),
        *(charts.dimension_chart(dimension, scope=scope) for dimension in dimensions),
        *why_charts(why, build=build),
        *_latency_charts(latency),
        *((charts.parity_chart(parity),) if parity else ()),
    )
    return Content(
        scope=scope,
        entry=entry,
        overview=facts.read_overview(lake, scope=scope),
        finding=verdict.find(headlines, dimensions=dimensions, has_baseline=baseline is not None),
        headlines=headlines,
        dimensions=dimensions,
        groups=read_groups(lake, scope=scope),
        why=why,
        failures=read_failures(lake, landing=landing, scope=scope),
        latency=tuple(latency.values()),
        parity=parity,
        quality=read_data_quality(lake, scope=scope),
        charts={chart.id: chart for chart in drawn},
        undrawn=tuple(model for model, points in det.items() if not points),
        parity_query=parity_query(build),
        quarantine_query=quarantine_query(scope.drops),
        warehouse=warehouse.name if warehouse else None,
    )


def render(content: Content) -> str:
    """The page as HTML; every value is escaped by the template engine."""
    return rendering.render(
        "report.html", content=content, schema_version=SCHEMA_VERSION, methods=_methods(content), stages=STAGE_NAMES
    )


def _methods(content: Content) -> list[str]:
    """The interval methods behind the numbers on the page."""
    headline = [rate for item in content.headlines for rate in (item.build, item.baseline)]
    levels = [level.build for dimension in content.dimensions for level in dimension.levels]
    methods = (rate.method for rate in (*headline, *levels) if rate is not None and rate.method)
    parts = (part.strip() for method in methods for part in method.split(";"))
    return sorted({part.partition(", design effect")[0] for part in parts})


def _score_charts(
    lake: Lake, *, scope: Scope, threshold: float, det: Mapping[str, Sequence[DetPoint]], scores: Mapping[str, Scores]
) -> tuple[Chart, ...]:
    """DET curve and histograms; a chart without a point to draw is left out."""
    bins = {model: curves.histograms(found) for model, found in scores.items()}
    det_chart = charts.det_chart(det, decided=_decided(lake, scope=scope), inks=charts.inks(scope))
    score_chart = charts.histogram_chart(bins, threshold=threshold, scope=scope)
    has_scores = any(items for kinds in bins.values() for items in kinds.values())
    return (*((det_chart,) if any(det.values()) else ()), *((score_chart,) if has_scores else ()))


def _decided(lake: Lake, *, scope: Scope) -> dict[str, DetPoint]:
    """Where each model stands at its decision threshold; a rate of 0 has no place on a logarithmic axis."""
    rows = lake.read(OPERATING_POINTS, TableKey(build=scope.build)).to_dicts()
    found = {model: facts.find_point(rows, model=model, point="decision_threshold") for model in scope.models}
    return {
        model: DetPoint(threshold=row["threshold"], fmr=row["fmr"], fnmr=row["fnmr"])
        for model, row in found.items()
        if row is not None and row["fmr"] and row["fnmr"]
    }


def _latency(lake: Lake, *, scope: Scope) -> dict[str, LatencyGroup]:
    found = {
        name: LatencyGroup(
            label=label,
            groups=curves.read_latency(lake, scope=scope, dimension=name),
            query=latency_query(scope.build, drops=scope.drops, dimension=name),
        )
        for name, label in LATENCY_DIMENSIONS.items()
    }
    return {name: group for name, group in found.items() if group.groups}


def _latency_charts(latency: Mapping[str, LatencyGroup]) -> tuple[Chart, ...]:
    return tuple(
        charts.latency_chart(group.groups, label=group.label, name=name)
        for name, group in latency.items()
        if any(item.p50_ms is not None for item in group.groups)
    )
