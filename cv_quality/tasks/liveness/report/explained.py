"""The sections of a liveness build's page that its frames give: why attacks pass, and whether devices agree."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cv_quality.lake.lake import TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.reports.drawing import Chart
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import read_rate
from cv_quality.reports.section import ReportSource, Section
from cv_quality.tasks.liveness.populations import PASSED
from cv_quality.tasks.root_causes.report.records import ChangedCondition, SaliencyMap
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES
from cv_quality.tasks.verification.report.root_cause_charts import map_chart
from cv_quality.tasks.verification.report.root_causes import changed_conditions, saliency_map
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS, PARITY

TEMPLATES = "tasks/liveness/report/templates"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExplainedSlice:
    """A confirmed slice of the attacks that pass: its maps, and what finds its attacks."""

    rank: int
    sentence: str
    maps: tuple[SaliencyMap, ...]
    changes: tuple[ChangedCondition, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class Explained:
    """What the frames say of the slices.

    Attributes:
        about: why nothing is explained; empty where something is.
        slices: those explained, by rank.
    """

    about: str
    slices: tuple[ExplainedSlice, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceAgreement:
    """How far devices agree with the lab: over all presentations that a device answered, or those of one model.

    Attributes:
        flips: decisions that the other takes otherwise.
        n_scores, n_beyond: presentations that both scored; of them, whose scores differ by more than is allowed.
        n_device_only, n_lab_only: flips that only the device, or only the lab, takes for bona fide.
        n_far: flips that rounding does not explain.
    """

    level: str
    flips: Rate
    n_scores: int
    n_beyond: int
    n_device_only: int
    n_lab_only: int
    n_far: int


@dataclass(frozen=True, slots=True)
class Agreements:
    """The section of parity; no lines where nothing is compared."""

    lines: tuple[DeviceAgreement, ...]
    query: Query


def read_explained(source: ReportSource) -> Explained:
    """Read maps and counterfactuals of the build's slices."""
    build, pairs = source.scope.build, source.explained_pairs
    if source.scope.is_recorded:
        return Explained("As recorded on the devices: no model was run, so that its score cannot be explained.")
    if pairs is None:
        return Explained("Maps and changed conditions are not there yet: this page is written anew when they are.")
    if not pairs:
        return Explained("Maps and changed conditions are left out (CVQ_EXPLAINED_PAIRS is 0).")
    key = TableKey(build=build)
    maps, changes = (source.lake.read(table, key).to_dicts() for table in (EXPLANATIONS, COUNTERFACTUALS))
    found = source.lake.read(FAILURE_SLICES, key).filter(outcome=PASSED.name, finding="confirmed")
    sentences = dict(found.select("rank", "sentence").iter_rows())
    ranks = sorted({int(row["rank"]) for row in (*maps, *changes)})
    if not ranks:
        return Explained("No slice of the attacks that pass is confirmed, so that there is nothing to explain.")
    return Explained(
        "",
        tuple(
            ExplainedSlice(
                rank,
                str(sentences[rank]),
                tuple(saliency_map(row) for row in maps if row["rank"] == rank),
                changed_conditions(row for row in changes if row["rank"] == rank),
                rows_query(COUNTERFACTUALS, build=build, where={"rank": rank}, order=("value DESC",)),
            )
            for rank in ranks
        ),
    )


def map_charts(found: Explained, source: ReportSource) -> Iterable[Chart]:  # noqa: ARG001 - as sections are drawn
    """Draw the maps that may be shown."""
    for item in found.slices:
        for shown in item.maps:
            if shown.is_shown:
                name = shown.method.replace("_", "-")
                yield map_chart(shown, id=f"chart-map-{item.rank}-{name}", sample="presentation")


def read_agreements(source: ReportSource) -> Agreements:
    """Read how far devices agree with the lab's models."""
    build = source.scope.build
    rows = source.lake.read(PARITY, TableKey(build=build)).filter(dimension="all").to_dicts()
    rows += source.lake.read(PARITY, TableKey(build=build)).filter(dimension="device_model").sort("level").to_dicts()
    query = rows_query(PARITY, build=build, where={"dimension": ("all", "device_model")}, order=("dimension", "level"))
    return Agreements(tuple(_agreement(row) for row in rows), query)


def _agreement(row: Row) -> DeviceAgreement:
    return DeviceAgreement(
        level="all devices" if row["dimension"] == "all" else str(row["level"]),
        flips=read_rate(row),
        n_scores=int(row["n_scores"]),
        n_beyond=int(row["n_beyond"]),
        n_device_only=int(row["n_device_only"]),
        n_lab_only=int(row["n_reinferred_only"]),
        n_far=int(row["n_far"]),
    )


EXPLAINED = Section(
    "frames", "Why they pass, from the frames", read_explained, f"{TEMPLATES}/explained.html", map_charts, link="Frames"
)
AGREEMENT = Section("parity", "Devices and lab", read_agreements, f"{TEMPLATES}/agreement.html", link="Parity")
