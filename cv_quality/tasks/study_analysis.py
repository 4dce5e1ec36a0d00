"""The analysis of a locked study from the lake: its drops, its subjects, its look in the ledger."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import LookError, ProtocolError
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import require_passed
from cv_quality.lake.lake import TableKey
from cv_quality.stage import Task
from cv_quality.studies.analysis import Participation, StudyAnalysis, StudyFlow, analyse_study, plan_look, study_flow
from cv_quality.studies.assignment import read_sheet
from cv_quality.studies.comparison import Difference
from cv_quality.studies.locking import LockedStudy
from cv_quality.studies.looks import read_looks, record_look, require_look
from cv_quality.studies.planning import plan_study
from cv_quality.studies.protocol import METRICS, AnalysisSet, StudyEndpoint, StudyMetric, StudyProtocol
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES
from cv_quality.tasks.verification.differences import Side
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.study_data import StudyData
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.tasks.video.study_data import FilmedSide, VideoStudyData
from cv_quality.tasks.video.task import VIDEO
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
    freshness = Freshness(workspace, _task(workspace, protocol))
    drops, others = _arrived(freshness, locked)
    looks = read_looks(lake.store, protocol.study)
    digest = _digest(freshness, {*drops, *others})
    number = number or (len(looks) if looks and looks[-1].data_digest == digest else len(looks) + 1)
    if not drops or not others:
        missing = protocol.purpose.reference if drops else protocol.purpose.candidate
        raise LookError(
            f"{protocol.study}: look {number} comes before the data: no drop of {missing} has arrived since the lock "
            f"of {locked.lock.locked_at}"
        )
    _require_scored(workspace, _GATES[freshness.task.name], protocol, others)
    data = _data(workspace, freshness.task, protocol, drops=drops, others=others)
    flow, sets = _sets(workspace, protocol, data.came(protocol))
    planned = plan_study(protocol, metrics=metrics).subjects
    information = flow.enrolled / planned if planned else 1.0
    require_look(locked, looks, number=number, information=information, data_digest=digest)
    look = plan_look(protocol, looks, number=number, information=information, planned_subjects=planned)
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
    return found, _explored(workspace, protocol.purpose.candidate)


def _arrived(freshness: Freshness, locked: LockedStudy) -> tuple[list[str], list[str]]:
    """The drops since the lock that the candidate and the reference are judged on, of a paired study the same."""
    before = {drop for drop, _ in locked.lock.drops}
    purpose = locked.protocol.purpose
    own = purpose.candidate, purpose.reference if locked.protocol.arms else purpose.candidate
    drops, others = ([drop for drop in freshness.own_drops(build) if drop not in before] for build in own)
    return drops, others


def _sets(
    workspace: Workspace, protocol: StudyProtocol, came: Mapping[str, Participation]
) -> tuple[StudyFlow, dict[AnalysisSet, frozenset[str]]]:
    """Who came how far, and who is in which analysis set: of those who came, where there is a sheet those on it."""
    sheet = read_sheet(workspace.lake.store, protocol.study)
    flow, clean = study_flow(protocol, sheet, came)
    assigned = frozenset(row.subject_id for row in sheet)
    everyone = frozenset(came) & assigned if sheet else frozenset(came)
    return flow, {"intention_to_treat": everyone, "per_protocol": clean & everyone}


class StudySource(Protocol):
    """What a study asks of the lake: who came, and how both builds differ in an endpoint on some of them."""

    def came(self, protocol: StudyProtocol) -> dict[str, Participation]: ...
    def difference(self, endpoint: StudyEndpoint, subjects: frozenset[str]) -> Difference: ...


_GATES = {VERIFICATION.name: ("measure_build", "measure"), VIDEO.name: ("measure_video", "score_frames")}
"""The gates of a build, and of a drop under a model, that must have passed, by task."""


def _task(workspace: Workspace, protocol: StudyProtocol) -> Task:
    """The task of both builds, in which what the study samples must be told apart."""
    builds = (protocol.purpose.reference, protocol.purpose.candidate)
    names = {build: workspace.registry.entry(build).task for build in builds}
    known = {task.name: task for task in (VERIFICATION, VIDEO)}
    task = known.get(names[builds[1]])
    if task is None or len(set(names.values())) > 1:
        said = ", ".join(f"{build} of {name}" for build, name in names.items())
        raise ProtocolError(f"{protocol.study}: expected two builds of {' or of '.join(known)}, found {said}")
    if protocol.population.unit == "clip" and task is not VIDEO:
        raise ProtocolError(f"{protocol.study}: population.unit: only studies of video sample clips")
    return task


def _data(
    workspace: Workspace, task: Task, protocol: StudyProtocol, *, drops: Sequence[str], others: Sequence[str]
) -> StudySource:
    reference, candidate = protocol.purpose.reference, protocol.purpose.candidate
    of_side = {reference: (reference if protocol.arms else candidate, others), candidate: (candidate, drops)}
    if task is VIDEO:
        one, other = (FilmedSide(build, model, own) for model, (build, own) in of_side.items())
        return VideoStudyData(workspace.lake, protocol.population.unit, one, other)
    entries = {build: workspace.registry.entry(build) for build in of_side}
    modality = biometric(workspace.modality(entries[candidate].modality))
    sides = [
        Side(build, model, own, modality.of_build(entries[model]).comparator, entries[model].decision_threshold)
        for model, (build, own) in of_side.items()
    ]
    return StudyData(workspace.lake, modality, sides[0], sides[1])


def _digest(freshness: Freshness, drops: set[str]) -> str:
    """Of the drops that were looked at, by the manifests of the deliveries that were taken in."""
    first = freshness.task.writers[DROP_FILES.name]
    records = {drop: freshness.record(first, TableKey(drop=drop)) for drop in sorted(drops)}
    lines = [f"{drop} {record.delivery if record else ''}" for drop, record in records.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _require_scored(
    workspace: Workspace, gates: tuple[str, str], protocol: StudyProtocol, others: Sequence[str]
) -> None:
    """Require both builds' gates: of the reference, that of its build or that of each drop that it scored."""
    reference, candidate = protocol.purpose.reference, protocol.purpose.candidate
    of_build, of_drop = gates
    require_passed(workspace.lake, of_build, TableKey(build=candidate), tables=[])
    if protocol.arms:
        require_passed(workspace.lake, of_build, TableKey(build=reference), tables=[])
        return
    for drop in others:
        require_passed(workspace.lake, of_drop, TableKey(build=reference, drop=drop), tables=[])


def _explored(workspace: Workspace, candidate: str) -> Sequence[str]:
    """Confirmed slices of the candidate, in words."""
    key = TableKey(build=candidate)
    if not workspace.lake.has(FAILURE_SLICES, key):
        return ()
    return tuple(workspace.lake.read(FAILURE_SLICES, key).filter(finding="confirmed").sort("rank")["sentence"])
