"""The chain, one function a stage: what a run does, with or without an orchestrator.

Each stage asks for the verdicts that it stands on, calls one domain function, and judges what that wrote. The assets
in `cv_quality.pipeline` and the commands in `cv_quality.cli` are thin over these; what a stage computes lives in the
rooms (drops, inference, metrics, failures, reports).
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cv_quality.errors import DropError, GateFailed, ObjectNotFound, RegistryError
from cv_quality.gates.suites import Gate
from cv_quality.gates.verdicts import (
    Verdict,
    cell_gates,
    read_verdict,
    refusal,
    require_passed,
    state_of,
    write_verdict,
)
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store, open_store
from cv_quality.lake.tables import DROP_FILES
from cv_quality.settings import Settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cv_quality.inference.embedder import Embedder
    from cv_quality.inference.registry import ModelRegistry

EXPLAINING: tuple[Gate, ...] = ("slices", "attribution", "clusters", "explanations")
"""The gates of what is said about a build's failures, beyond its rates."""

MAX_PREDECESSORS = 5
"""Builds back that a trend reaches; each costs a few small reads whenever it is asked what is due."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workspace:
    """The stores of one deployment, opened when first used."""

    settings: Settings

    @cached_property
    def landing(self) -> Store:
        return self._store(self.settings.landing)

    @cached_property
    def lake(self) -> Lake:
        return Lake(self._store(self.settings.lake))

    @cached_property
    def registry(self) -> "ModelRegistry":
        from cv_quality.inference.registry import ModelRegistry

        return ModelRegistry(self.settings.registry, s3=self.settings.s3, cache=self.settings.cache)

    @cached_property
    def _embedders(self) -> "dict[str, Embedder]":
        return {}

    def embedder(self, build: str) -> "Embedder":
        """The build's model, loaded once per process."""
        from cv_quality.inference.embedder import load_embedder

        if build not in self._embedders:
            entry = self.registry.entry(build)
            self._embedders[build] = load_embedder(entry, registry=self.registry, threads=self.settings.threads)
        return self._embedders[build]

    def _store(self, uri: str) -> Store:
        return open_store(uri, s3=self.settings.s3, cache=self.settings.cache)


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage did: its numbers, how long it took, and the gate's verdict on what it wrote."""

    stage: str
    key: str
    numbers: dict[str, int | float | str]
    seconds: float
    verdict: Verdict | None = None

    @property
    def passed(self) -> bool:
        return self.verdict is None or self.verdict.passed


def parse(workspace: Workspace, drop: str) -> StageResult:
    """Take a completed drop in: typed rows by kind, frame index, quarantine.

    Raises:
        DropError: the drop as a whole cannot be trusted; nothing of it is written but the verdict that refuses it.
    """
    from cv_quality.drops.ingest import ingest_drop
    from cv_quality.drops.manifest import delivered

    started = time.perf_counter()
    key, delivery = TableKey(drop=drop), delivered(workspace.landing, drop)
    try:
        summary = ingest_drop(
            landing=workspace.landing, lake=workspace.lake, drop_id=drop, threads=workspace.settings.threads
        )
    except DropError as error:
        write_verdict(workspace.lake, refusal("parse", key, error, delivery=delivery))
        raise
    numbers: dict[str, int | float | str] = {
        "rows_in": summary.rows_in,
        "rows_valid": summary.rows_valid,
        "rows_quarantined": summary.rows_quarantined,
        "frames": summary.n_frames,
        **{f"{kind}_events": rows for kind, rows in summary.rows.items()},
    }
    return _judged(workspace, "parse", key, numbers, started, delivery=delivery)


def validate(workspace: Workspace, drop: str) -> StageResult:
    """Keep the events that make sense together; the others go to the quarantine with their reason."""
    from cv_quality.drops.validation import validate_drop

    started = time.perf_counter()
    require_passed(workspace.lake, "parse", TableKey(drop=drop))
    summary = validate_drop(
        landing=workspace.landing,
        lake=workspace.lake,
        drop_id=drop,
        threads=workspace.settings.threads,
        memory_limit=workspace.settings.memory_limit,
    )
    return _judged(workspace, "validate", TableKey(drop=drop), _numbers(summary), started)


def infer(workspace: Workspace, build: str, drop: str) -> StageResult:
    """Run a build's model over the samples of a validated drop."""
    from cv_quality.inference.embed_drop import embed_drop

    started = time.perf_counter()
    require_passed(workspace.lake, "validate", TableKey(drop=drop))
    summary = embed_drop(
        workspace.lake,
        landing=workspace.landing,
        embedder=workspace.embedder(build),
        drop=drop,
        threads=workspace.settings.threads,
    )
    rate = summary.frames / max(time.perf_counter() - started, 1e-9)
    numbers = _numbers(summary) | {"frames_per_second": round(rate, 1)}
    return _judged(workspace, "infer", TableKey(build=build, drop=drop), numbers, started)


def compare(workspace: Workspace, build: str, drop: str) -> StageResult:
    """Score the comparisons that the drop's protocol performs."""
    from cv_quality.metrics.comparisons import compare_drop

    started = time.perf_counter()
    require_passed(workspace.lake, "infer", TableKey(build=build, drop=drop))
    summary = compare_drop(workspace.lake, build=build, drop=drop)
    return _judged(workspace, "compare", TableKey(build=build, drop=drop), _numbers(summary), started)


def ledger(workspace: Workspace, build: str, drop: str) -> StageResult:
    """Give every attempt its one terminal outcome; judged together with the counts, by `count`."""
    from cv_quality.failures.outcomes import attempt_outcomes

    started = time.perf_counter()
    require_passed(workspace.lake, "compare", TableKey(build=build, drop=drop))
    threshold = workspace.registry.entry(build).decision_threshold
    rows = attempt_outcomes(workspace.lake, build=build, decision_threshold=threshold, drop=drop)
    key = TableKey(build=build, drop=drop)
    return StageResult("ledger", str(key), {"attempts": rows}, time.perf_counter() - started)


def count(workspace: Workspace, build: str, drop: str) -> StageResult:
    """Count errors and trials per subject and condition."""
    from cv_quality.metrics.counts import count_metrics

    started = time.perf_counter()
    require_passed(workspace.lake, "compare", TableKey(build=build, drop=drop))
    summary = count_metrics(workspace.lake, build=build, drop=drop)
    return _judged(workspace, "measure", TableKey(build=build, drop=drop), _numbers(summary), started)


def count_impostors(workspace: Workspace, build: str) -> StageResult:
    """Count every cross-subject pair of a build's drops under its own model and its baseline's, new blocks only."""
    from cv_quality.metrics.impostors import count_impostors, write_impostors

    started = time.perf_counter()
    models, drops = _passed_cells(workspace, build, "infer")
    counted = [count_impostors(workspace.lake, build=build, model_build=model, drops=drops) for model in models]
    tail_rows = write_impostors(workspace.lake, counted)
    numbers: dict[str, int | float | str] = {
        "drops": len(drops),
        "pairs": sum(part.counts.n for part in counted),
        "blocks": sum(part.blocks for part in counted),
        "blocks_computed": sum(part.blocks_computed for part in counted),
        "tail_rows": tail_rows,
    }
    templates = _templates_identity(workspace, build)
    return _judged(workspace, "impostors", TableKey(build=build), numbers, started, delivery=templates)


def measure_build(workspace: Workspace, build: str) -> StageResult:
    """Rates with intervals and operating points of a build on its own drops, beside its baseline's."""
    from cv_quality.metrics.measure import measure_build

    started = time.perf_counter()
    models, drops = _passed_cells(workspace, build, "measure")
    _require_counted(workspace, build)
    scores = scores_identity(workspace, build) or ""
    summary = measure_build(workspace.lake, build=build, model_builds=models, drops=drops)
    return _judged(workspace, "measure_build", TableKey(build=build), _numbers(summary), started, delivery=scores)


def _templates_identity(workspace: Workspace, build: str) -> str:
    """A digest of all templates of the build's drops, under each model that scores them."""
    return _digest_of_verdicts(workspace, "infer", _cells(workspace, build))


def _require_counted(workspace: Workspace, build: str) -> None:
    verdict = require_passed(workspace.lake, "impostors", TableKey(build=build))
    if verdict.delivery != _templates_identity(workspace, build):
        raise GateFailed(
            f"the cross-subject pairs of {build} were not counted on the templates that lie in the lake now: "
            "materialize impostor_counts of the build first"
        )


def _passed_cells(workspace: Workspace, build: str, gate: Gate) -> tuple[list[str], list[str]]:
    """The models and drops of a build, each cell of which has passed `gate`."""
    models, drops = scoring_builds(workspace, build), own_drops(workspace, build)
    for drop in drops:
        for model in models:
            require_passed(workspace.lake, gate, TableKey(build=model, drop=drop))
    return models, drops


def find_slices(workspace: Workspace, build: str) -> StageResult:
    """What the build's own attempts fail at: slices, their trend over builds, the outcomes within them, examples."""
    from cv_quality.failures.build_slices import find_build_slices

    started = time.perf_counter()
    evidence = _evidence(workspace, build)
    summary = find_build_slices(
        workspace.lake,
        build=build,
        drops=own_drops(workspace, build),
        models=scoring_builds(workspace, build),
        lineage=lineage(workspace, build),
        threads=workspace.settings.threads,
    )
    return _judged(workspace, "slices", TableKey(build=build), _numbers(summary), started, delivery=evidence)


def attribute_change(workspace: Workspace, build: str) -> StageResult:
    """How much of the change against the baseline each slice accounts for; nothing for a build without one."""
    from cv_quality.failures.build_attribution import attribute_build
    from cv_quality.failures.build_slices import read_slices

    started = time.perf_counter()
    evidence = _searched(workspace, build)
    baseline = workspace.registry.baseline(build)
    summary = attribute_build(
        workspace.lake,
        build=build,
        baseline=baseline,
        drops=own_drops(workspace, build),
        baseline_drops=lineage(workspace, build).get(str(baseline), []),
        slices=read_slices(workspace.lake, build),
    )
    return _judged(workspace, "attribution", TableKey(build=build), _numbers(summary), started, delivery=evidence)


def cluster_failures(workspace: Workspace, build: str) -> StageResult:
    """Failures that lie together in an embedding, described by what their metadata share, or shown as undescribed."""
    from cv_quality.failures.build_clusters import cluster_build

    started = time.perf_counter()
    evidence = _evidence(workspace, build)
    summary = cluster_build(
        workspace.lake,
        build=build,
        drops=own_drops(workspace, build),
        landing=workspace.landing,
        backbone=workspace.settings.backbone,
        threads=workspace.settings.threads,
    )
    return _judged(workspace, "clusters", TableKey(build=build), _numbers(summary), started, delivery=evidence)


def explain_failures(workspace: Workspace, build: str) -> StageResult:
    """Where the model looks in each slice's failures, and what one changed condition does to their scores."""
    from cv_quality.failures.build_slices import read_slices
    from cv_quality.failures.explanations import explain_build
    from cv_quality.simulation.rerender import rerenderer

    started = time.perf_counter()
    evidence = _searched(workspace, build)
    summary = explain_build(
        workspace.lake,
        landing=workspace.landing,
        entry=workspace.registry.entry(build),
        registry=workspace.registry,
        build=build,
        drops=own_drops(workspace, build),
        slices=read_slices(workspace.lake, build),
        rerender=rerenderer(workspace.landing),
        threads=workspace.settings.threads,
    )
    return _judged(workspace, "explanations", TableKey(build=build), _numbers(summary), started, delivery=evidence)


def publish_marts(workspace: Workspace) -> StageResult:
    """Build the metric tables from the lake, test them, and swap the warehouse file.

    Raises:
        WarehouseError: a test failed, and the old file stays; `failed` names the tables and tests.
    """
    from cv_quality.lake.warehouse import build_warehouse

    settings = workspace.settings
    summary = build_warehouse(lake=workspace.lake, target=settings.warehouse, memory_limit=settings.memory_limit)
    numbers: dict[str, int | float | str] = {"tables": len(summary.models), "tests": len(summary.tests)}
    return StageResult("marts", "warehouse", numbers, summary.seconds)


def report(workspace: Workspace, build: str) -> StageResult:
    """Write the failure report of a build against its baseline.

    Raises:
        RegistryError: no such build.
        GateFailed: the build is not measured, searched and explained, or its drops have changed since.
    """
    from cv_quality.reports.page import write_failure_report

    started = time.perf_counter()
    entry = workspace.registry.entry(build)
    evidence = _explained(workspace, build)
    target = report_path(workspace, build)
    summary = write_failure_report(
        lake=workspace.lake,
        landing=workspace.landing,
        registry_entry=entry,
        baseline=workspace.registry.baseline(build),
        build=build,
        target=target,
        warehouse=workspace.settings.warehouse,
    )
    workspace.lake.store.write_bytes(f"reported/{build}", evidence.encode())
    numbers = _numbers(summary) | {"path": str(target)}
    return StageResult("report", build, numbers, time.perf_counter() - started)


def _measured(workspace: Workspace, build: str) -> None:
    """Refuse unless the build's rates stand on the scores that lie in the lake now."""
    verdict = require_passed(workspace.lake, "measure_build", TableKey(build=build))
    if verdict.delivery != scores_identity(workspace, build):
        raise GateFailed(
            f"gate 'measure_build' judged {build} on other scores than those of its drops now: score what is due "
            "(`cvq status` shows it), then measure the build again"
        )


def _evidence(workspace: Workspace, build: str) -> str:
    """What the build's failures can be explained from now: its measured scores, and those of the builds before it."""
    _measured(workspace, build)
    evidence = evidence_identity(workspace, build)
    assert evidence is not None, "a build whose rates stand on its scores of now has scores"
    return evidence


def _searched(workspace: Workspace, build: str) -> str:
    """The evidence of now, which the build's slices must have been found in."""
    evidence = _evidence(workspace, build)
    _require_evidence(workspace, build, evidence, gates=("slices",))
    return evidence


def _explained(workspace: Workspace, build: str) -> str:
    """The evidence of now, which all that is said about the build's failures must stand on."""
    evidence = _evidence(workspace, build)
    _require_evidence(workspace, build, evidence, gates=EXPLAINING)
    return evidence


def _require_evidence(workspace: Workspace, build: str, evidence: str, *, gates: Sequence[Gate]) -> None:
    for gate in gates:
        if require_passed(workspace.lake, gate, TableKey(build=build)).delivery != evidence:
            raise GateFailed(
                f"gate {gate!r} judged {build} on other scores than lie in the lake now, its own or those "
                "of a build that it follows: materialize failure_slices of the build and what follows from it again"
            )


def evidence_identity(workspace: Workspace, build: str) -> str | None:
    """What a report of the build would stand on: its scores, and those of its lineage; None until its own passed."""
    scores = scores_identity(workspace, build)
    if scores is None:
        return None
    cells = [(model, drop) for model, drops in lineage(workspace, build).items() for drop in drops]
    return f"{build}@{digest_of([scores, _digest_of_verdicts(workspace, 'measure', cells)])}"


def lineage(workspace: Workspace, build: str) -> dict[str, list[str]]:
    """The builds that a build follows, the nearest first, each with its own drops.

    A build before whose own drops are not all scored by itself is left out: what it lacks would pass for a trend.
    """
    drops = drop_builds(workspace)
    found: dict[str, list[str]] = {}
    for model in _predecessors(workspace, build):
        own = sorted(drop for drop, recorded_with in drops.items() if recorded_with == model)
        if own and all(state_of(workspace.lake, cell_gates(model, drop)) == "passed" for drop in own):
            found[model] = own
    return found


def _predecessors(workspace: Workspace, build: str) -> Iterator[str]:
    """The builds that `build` follows, up to the first that the registry cannot read, or to the limit."""
    before, seen = workspace.registry.baseline(build), {build}
    while before is not None and before not in seen and len(seen) <= MAX_PREDECESSORS:
        yield before
        seen.add(before)
        try:
            before = workspace.registry.baseline(before)
        except RegistryError as error:
            logger.warning("%s: the history of %s ends before it", error, build)
            return


def scores_identity(workspace: Workspace, build: str) -> str | None:
    """What the rates of the build would stand on: a digest of all its cells' verdicts; None until all have passed."""
    cells = _cells(workspace, build)
    if not cells or any(state_of(workspace.lake, cell_gates(*cell)) != "passed" for cell in cells):
        return None
    return f"{build}@{_digest_of_verdicts(workspace, 'measure', cells)}"


def _cells(workspace: Workspace, build: str) -> list[tuple[str, str]]:
    """(model build, drop) of every cell that a build's numbers stand on."""
    models = scoring_builds(workspace, build)
    return [(model, drop) for drop in own_drops(workspace, build) for model in models]


def _digest_of_verdicts(workspace: Workspace, gate: Gate, cells: Sequence[tuple[str, str]]) -> str:
    verdicts = [read_verdict(workspace.lake, gate, TableKey(build=model, drop=drop)) for model, drop in cells]
    return digest_of([verdict.judged for verdict in verdicts if verdict])


def reported_identity(workspace: Workspace, build: str) -> str | None:
    """What the build's last report stood on; None when there is none."""
    return _recorded(workspace, f"reported/{build}")


def _recorded(workspace: Workspace, key: str) -> str | None:
    try:
        return workspace.lake.store.read_bytes(key).decode()
    except ObjectNotFound:
        return None


def digest_of(value: object) -> str:
    """A short digest of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def report_path(workspace: Workspace, build: str) -> Path:
    return workspace.settings.reports / f"{build}.html"


def own_drops(workspace: Workspace, build: str) -> list[str]:
    """The drops in the lake that were recorded with `build`, sorted."""
    return sorted(drop for drop, own in drop_builds(workspace).items() if own == build)


def drop_builds(workspace: Workspace) -> dict[str, str]:
    """Each parsed drop's own build."""
    lake = workspace.lake
    builds = {key.drop: lake.read(DROP_FILES, key, columns=["build_id"])["build_id"] for key in lake.keys(DROP_FILES)}
    return {drop: str(ids[0]) for drop, ids in builds.items() if drop and len(ids)}


def scoring_builds(workspace: Workspace, build: str) -> list[str]:
    """Whose models score the drops of `build`: its own, then its baseline's."""
    baseline = workspace.registry.baseline(build)
    return [build] if baseline is None else [build, baseline]


def _judged(
    workspace: Workspace,
    gate: Gate,
    key: TableKey,
    numbers: dict[str, int | float | str],
    started: float,
    *,
    delivery: str = "",
) -> StageResult:
    from cv_quality.gates.runner import run_gate

    settings = workspace.settings
    verdict = run_gate(
        workspace.lake,
        gate,
        key,
        threads=settings.threads,
        memory_limit=settings.memory_limit,
        delivery=delivery,
    )
    return StageResult(gate, str(key), numbers, time.perf_counter() - started, verdict)


def _numbers(summary: "DataclassInstance") -> dict[str, int | float | str]:
    """The plain numbers of a summary dataclass, nested ones by dotted name."""
    return dict(_flat(asdict(summary)))


def _flat(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, int | float | str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat({str(key): item for key, item in value.items()}, f"{prefix}{name}.")
        elif isinstance(value, int | float | str):
            yield f"{prefix}{name}", value
