"""The analysis of a locked study from the lake: its drops, its subjects, its look in the ledger."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from cv_quality.errors import LookError, ProtocolError
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import require_passed
from cv_quality.lake.lake import TableKey
from cv_quality.studies.analysis import StudyAnalysis, analyse_study, plan_look, study_flow
from cv_quality.studies.assignment import read_sheet
from cv_quality.studies.locking import LockedStudy
from cv_quality.studies.looks import read_looks, record_look, require_look
from cv_quality.studies.planning import plan_study
from cv_quality.studies.protocol import METRICS, AnalysisSet, StudyMetric
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES
from cv_quality.tasks.verification.differences import Side
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.study_data import StudyData
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace


def analyse_locked(
    workspace: Workspace,
    locked: LockedStudy,
    *,
    number: int | None,
    by: str,
    now: datetime,
    metrics: Mapping[str, StudyMetric] = METRICS,
) -> tuple[StudyAnalysis, Sequence[str]]:
    """Analyse a study at a look and record the look; the second value are slices found in its data, exploratory.

    Args:
        workspace: with the study's drops measured.
        locked: the study.
        number: of the look; None for the next one, or the last where its data are those that lie there.
        by, now: who looks, and the moment.
        metrics: those that endpoints may be of.

    Raises:
        LookError: the look is not budgeted, out of turn, or before the data.
        ProtocolError: a build is of a task whose studies cannot be analysed, or a scope is unknown.
        GateFailed: a build is not measured.
    """
    protocol, lake = locked.protocol, workspace.lake
    freshness = Freshness(workspace, VERIFICATION)
    before = {drop for drop, _ in locked.lock.drops}
    reference, candidate = protocol.purpose.reference, protocol.purpose.candidate
    for build in (reference, candidate):
        if workspace.registry.entry(build).task != VERIFICATION.name:
            raise ProtocolError(f"{protocol.study}: {build} is no build of verification; compare clips by cvq compare")
    drops = [drop for drop in freshness.own_drops(candidate) if drop not in before]
    others = [drop for drop in freshness.own_drops(reference) if drop not in before] if protocol.arms else drops
    looks = read_looks(lake.store, protocol.study)
    digest = _digest(freshness, {*drops, *others})
    number = number or (len(looks) if looks and looks[-1].data_digest == digest else len(looks) + 1)
    if not drops or not others:
        raise LookError(
            f"{protocol.study}: look {number} comes before the data: no drop of "
            f"{reference if drops else candidate} has arrived since the lock of {locked.lock.locked_at}"
        )
    _require_scored(workspace, reference, candidate, others if protocol.arms else drops, in_arms=bool(protocol.arms))
    entries = {build: workspace.registry.entry(build) for build in (reference, candidate)}
    modality = biometric(workspace.modality(entries[candidate].modality))
    sides = [
        Side(
            model if protocol.arms else candidate,
            model,
            others if model == reference else drops,
            modality.of_build(entries[model]).comparator,
            entries[model].decision_threshold,
        )
        for model in (reference, candidate)
    ]
    data = StudyData(lake, modality, sides[0], sides[1])
    flow, clean = study_flow(protocol, sheet := read_sheet(lake.store, protocol.study), came := data.came(protocol))
    planned = plan_study(protocol, metrics=metrics).subjects
    information = flow.enrolled / planned if planned else 1.0
    require_look(locked, looks, number=number, information=information, data_digest=digest)
    look = plan_look(protocol, looks, number=number, information=information, planned_subjects=planned)
    assigned = frozenset(row.subject_id for row in sheet)
    everyone = frozenset(came) & assigned if sheet else frozenset(came)
    sets: dict[AnalysisSet, frozenset[str]] = {"intention_to_treat": everyone, "per_protocol": clean & everyone}
    found = analyse_study(
        protocol,
        look=look,
        flow=flow,
        sets=sets,
        difference=data.difference,
        is_higher_better=lambda endpoint: metrics[endpoint.metric].is_higher_better,
    )
    record_look(
        lake.store,
        locked,
        by=by,
        now=now,
        number=number,
        information=information,
        alpha_spent=look.alpha_spent,
        data_digest=digest,
        verdict=found.verdict,
    )
    return found, _explored(workspace, candidate)


def _digest(freshness: Freshness, drops: set[str]) -> str:
    """Of the drops that were looked at, by their manifests."""
    lines = [f"{drop} {freshness.deliveries[drop].identity}" for drop in sorted(drops)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _require_scored(
    workspace: Workspace, reference: str, candidate: str, others: Sequence[str], *, in_arms: bool
) -> None:
    require_passed(workspace.lake, "measure_build", TableKey(build=candidate), tables=[])
    if in_arms:
        require_passed(workspace.lake, "measure_build", TableKey(build=reference), tables=[])
        return
    for drop in others:
        require_passed(workspace.lake, "measure", TableKey(build=reference, drop=drop), tables=[])


def _explored(workspace: Workspace, candidate: str) -> Sequence[str]:
    """Confirmed slices of the candidate, in words."""
    key = TableKey(build=candidate)
    if not workspace.lake.has(FAILURE_SLICES, key):
        return ()
    return tuple(workspace.lake.read(FAILURE_SLICES, key).filter(finding="confirmed").sort("rank")["sentence"])
