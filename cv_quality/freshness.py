"""Whether a stage has been done on what lies in the lake now: due, refused or passed, by walking what it reads.

The identity of what a stage reads is a digest over the verdicts of its writers, so asking costs a few small objects
however large the tables are. A verdict holds for the files that it judged: one that is gone, cut or changed since makes
its writer due. What to do about it is planned in `cv_quality.planning`.
"""

import gc
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from cv_quality.builds import drop_builds, drop_description, modality_of, predecessors, recorded
from cv_quality.drops.manifest import CompletedDrop, completed_drops
from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import GateFailed, ObjectNotFound
from cv_quality.gates.verdicts import Record, key_for, lies_as_judged, object_key, require_passed
from cv_quality.lake.lake import Lake, Survey, TableKey
from cv_quality.lake.store import info_of
from cv_quality.modality import Modality, of_modality
from cv_quality.stage import Stage, Task
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from cv_quality.drops.consent import Refusals
    from cv_quality.inference.registry import BuildEntry

State = Literal["waiting", "due", "refused", "passed"]
"""Waiting for what it reads; to be done; done and refused by its gate; done and passed."""

Node = tuple[Stage, TableKey]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a stage reads for a key: its identity, and what marks each file, which tells that one was written again."""

    identity: str
    files: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Registered:
    """How a build is evaluated: as its devices recorded it or by its model, and its decision threshold."""

    is_recorded: bool
    decision_threshold: float | None


class Freshness:
    """Answers about the stages of one task, from one look at the lake: every folder is listed at most once.

    Attributes:
        survey: what lies in the lake.
        landing: what lies in the landing area.
    """

    def __init__(self, workspace: Workspace, task: Task) -> None:
        self.workspace = workspace
        self.task = task
        self.survey = Survey(workspace.lake.store)
        self.landing = Survey(workspace.landing)
        self._records: dict[tuple[str, TableKey], Record | None] = {}
        self._states: dict[tuple[str, TableKey], State] = {}
        self._baselines: dict[str, str | None] = {}
        self._registered: dict[str, Registered] = {}
        self._history: dict[str, dict[str, list[str]]] = {}
        self._inputs_of: dict[tuple[str, TableKey], _Inputs] = {}

    @cached_property
    def drops(self) -> dict[str, str]:
        """Each parsed drop of the task, with its own build."""
        modalities = [modality.name for modality in self.task.modalities]
        return drop_builds(self.workspace, modalities=modalities, survey=self.survey)

    @cached_property
    def builds(self) -> dict[str, list[str]]:
        """Each build of the task's drops, with its own drops, sorted."""
        found: dict[str, list[str]] = {}
        for drop, build in sorted(self.drops.items()):
            found.setdefault(build, []).append(drop)
        return found

    @cached_property
    def refusals(self) -> "Refusals":
        """Who of the subjects of the lake, and which of its clips, must not be shown."""
        from cv_quality.drops.consent import Refusals

        return Refusals(self.workspace.lake, self.survey, kept=self.workspace.consents)

    @cached_property
    def deliveries(self) -> dict[str, CompletedDrop]:
        """Every completed drop of the landing area, sorted."""
        kept = self.workspace.deliveries
        found = completed_drops(self.workspace.landing, survey=self.landing, kept=kept)
        kept.save(self.landing)
        return {drop.drop_id: drop for drop in found}

    def own_drops(self, build: str) -> list[str]:
        return self.builds.get(build, [])

    def models(self, build: str) -> list[str]:
        """List the builds whose models score the drops of a build: itself, then its baseline.

        A build evaluated as recorded has no model, nor has its baseline: nothing but itself tells of its drops.

        Raises:
            RegistryError: the registry does not know the build, or the one that it follows.
        """
        baseline = self._baseline(build)
        return [build] if baseline is None or self.registered(build).is_recorded else [build, baseline]

    def registered(self, build: str) -> "Registered":
        """What the registry says of how a build is evaluated; asked once.

        Raises:
            RegistryError: the registry does not know the build, or cannot read its entry.
        """
        if build not in self._registered:
            registry = self.workspace.registry
            self._registered[build] = Registered(registry.is_recorded(build), registry.entry(build).decision_threshold)
        return self._registered[build]

    def predecessors(self, build: str) -> list[str]:
        """List the builds that a build follows, the nearest first.

        Raises:
            RegistryError: the registry does not know the build, or the one that it follows.
        """
        return list(predecessors(self._baseline, build))

    def _baseline(self, build: str) -> str | None:
        """The build that one follows; asked of the registry once."""
        if build not in self._baselines:
            self._baselines[build] = self.workspace.registry.baseline(build)
        return self._baselines[build]

    def cells(self, build: str) -> list[TableKey]:
        """List every (model, drop) that a build's numbers are made of."""
        return [TableKey(build=model, drop=drop) for drop in self.own_drops(build) for model in self.models(build)]

    def history(self, build: str) -> dict[str, list[str]]:
        """Find the builds that a build follows, the nearest first, each with its own drops.

        A build before whose own drops are not all scored by itself is left out: what it lacks would pass for a trend.
        """
        if build in self._history:
            return self._history[build]
        scored = self.task.of_phase("score")
        found = self._history.setdefault(build, {})
        for model in self.predecessors(build):
            own = self.own_drops(model)
            keys = [TableKey(build=model, drop=drop) for drop in own]
            if own and all(self.state(stage, key) == "passed" for key in keys for stage in scored):
                found[model] = own
        return found

    def inputs(self, stage: Stage, key: TableKey) -> list[Node]:
        """List the stages that wrote what a stage reads for a key, each with its own key."""
        return [(inputs.writer, own) for inputs in self._inputs(stage, key) for own in inputs.keys]

    def _inputs(self, stage: Stage, key: TableKey) -> "list[_Inputs]":
        needed, optional = self.task.writers_read[stage.name]
        found = [inputs for writer in needed for inputs in self._inputs_from(writer, stage, key)]
        if not optional:
            return found
        there = [inputs for writer in optional for inputs in self._inputs_from(writer, stage, key)]
        nodes = [(inputs.writer, own) for inputs in there for own in inputs.keys]
        return found + [self._of_key(*node) for node in nodes if self.state(*node) == "passed"]

    def _inputs_from(self, writer: Stage, stage: Stage, key: TableKey) -> "list[_Inputs]":
        if writer.key == stage.key:
            return [self._of_key(writer, key)]
        if writer.key == "drop" and stage.key == "build_drop":
            return [self._of_key(writer, TableKey(drop=key.drop))]
        build = str(key.build)
        before = self.history(build) if stage.reads_predecessors else ()
        return [self._of_build(writer, build), *(self._of_build(writer, model, is_before=True) for model in before)]

    def _of_key(self, writer: Stage, key: TableKey) -> "_Inputs":
        known = self._inputs_of.get((writer.name, key))
        if known is None:
            known = self._inputs_of[writer.name, key] = _Inputs(self, writer, [key])
        return known

    def _of_build(self, writer: Stage, build: str, *, is_before: bool = False) -> "_Inputs":
        """What is read for a build's own drops; of a build before only what its own model made of them."""
        name = f"{writer.name} before" if is_before else f"{writer.name} of all"
        known = self._inputs_of.get((name, TableKey(build=build)))
        if known is None:
            drops = self.own_drops(build)
            if writer.key == "drop":
                keys = [TableKey(drop=drop) for drop in drops]
            else:
                keys = [TableKey(build=build, drop=drop) for drop in drops] if is_before else self.cells(build)
            known = self._inputs_of[name, TableKey(build=build)] = _Inputs(self, writer, keys)
        return known

    def state(self, stage: Stage, key: TableKey) -> State:
        """Tell where a stage stands for a key."""
        known = self._states.get((stage.name, key))
        if known is None:
            inputs = self._inputs(stage, key)
            is_empty = not stage.source and not any(item.keys for item in inputs)
            if is_empty or not all(item.have_passed() for item in inputs):
                known = "waiting"
            elif not (
                (record := self.record(stage, key))
                and self._is_current(record, stage, key, inputs)
                and self._is_untouched(record, stage, key)
            ):
                known = "due"
            else:
                known = "passed" if record.passed else "refused"
            self._states[stage.name, key] = known
        return known

    def furthest(self, stages: Sequence[Stage], key: TableKey) -> State:
        """Find the state of the first of these stages that has not passed; "passed" when all have."""
        states = (self.state(stage, key) for stage in stages)
        return next((state for state in states if state != "passed"), "passed")

    def _is_current(self, record: Record, stage: Stage, key: TableKey, inputs: "list[_Inputs]") -> bool:
        """Tell whether a result still holds.

        What was taken in stays as it is: whether another delivery has arrived since is planning's question. A result
        from before stages recorded what they read holds where the files looked into are the ones judged, and the tables
        written have the columns of today.
        """
        if stage.source:
            return True
        if record.delivery:
            return record.delivery == self._identity(key, inputs, stage)
        judged = [self.record(item.writer, own) for item in inputs for own in item.keys]
        known = {name: digest for item in judged if item for name, digest in item.judged.items()}
        if any(known.get(name, digest) != digest for name, digest in record.judged.items()):
            return False
        lake, modality = self.workspace.lake, modality_of(self.workspace, key)
        return all(lake.has_columns(of_modality(table, modality), key_for(table, key)) for table in stage.writes)

    def _is_untouched(self, record: Record, stage: Stage, key: TableKey) -> bool:
        """Tell whether what a stage wrote lies there as it was judged; of a drop that could not be read nothing was."""
        if not stage.writes or not (record.passed or record.judged):
            return True
        lake = self.workspace.lake
        names = [lake.object_key(table, key_for(table, key)) for table in stage.writes]
        return lies_as_judged(lake, self.survey, object_key(stage.name, key), record, names)

    def identity(self, stage: Stage, key: TableKey) -> str:
        """Identify what the stage would be made of now."""
        if stage.source:
            return stage.source(self.workspace, key)
        return self._identity(key, self._inputs(stage, key), stage)

    def is_overtaken(self, stage: Stage, key: TableKey) -> bool:
        """Tell whether another delivery lies there than the one that was taken in."""
        record = self.record(stage, key)
        now = stage.source(self.workspace, key) if stage.source else ""
        return bool(now) and (record is None or record.delivery != now)

    def is_due(self, stages: Sequence[Stage], key: TableKey) -> bool:
        """Tell whether a run of these stages has something to do, and all that they read of others has passed."""
        return self.furthest(stages, key) == "due" and all(
            self.state(*node) == "passed" for node in self._outside(stages, key)
        )

    def work_identity(self, stages: Sequence[Stage], key: TableKey) -> str:
        """Identify what a run of several stages for a key would be made of: all that they read of others."""
        outside = (_Inputs(self, writer, [own]) for writer, own in self._outside(stages, key))
        return self._identity(key, outside, *stages)

    def _outside(self, stages: Sequence[Stage], key: TableKey) -> list[Node]:
        """What several stages read that none of them writes."""
        names = {stage.name for stage in stages}
        nodes = (node for stage in stages for node in self.inputs(stage, key) if node[0].name not in names)
        return list(dict.fromkeys(nodes))

    def _identity(self, key: TableKey, inputs: "Iterable[_Inputs]", *stages: Stage) -> str:
        text = f"[{', '.join([text for item in inputs if (text := item.text())])}]"
        text += "".join([stage.elsewhere(self, key) for stage in stages if stage.elsewhere])
        return f"{key}@{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def record(self, stage: Stage, key: TableKey) -> Record | None:
        """Read the gate's verdict, or for a stage without tables what its last result was made of."""
        known, workspace = (stage.name, key), self.workspace
        if known not in self._records:
            is_gate = bool(stage.writes)
            read = recorded(workspace, self.survey, *known) if is_gate else _read_identity(workspace, stage, key)
            self._records[known] = read
        return self._records[known]

    def about(self, key: TableKey) -> dict[str, str]:
        """What is known of a drop, from the last verdict on it or from its tables: its build and modality."""
        record = self.record(self.task.writers[DROP_FILES.name], key)
        return record.about if record and record.about else drop_description(self.workspace, key)

    def reading(self, stage: Stage, key: TableKey) -> Reading:
        """Tell what a stage reads for a key, as it lies there now."""
        return Reading(self.identity(stage, key), dict(self._marks(stage, key)))

    def _marks(self, stage: Stage, key: TableKey) -> Iterator[tuple[str, object]]:
        read = {table.name for table in stage.reads}
        for writer, own in self.inputs(stage, key):
            for table in writer.writes:
                if table.name in read:
                    name = self.workspace.lake.object_key(table, key_for(table, own))
                    info = self.survey.info(name)
                    yield name, info and info.mark

    def require(self, stage: Stage, key: TableKey) -> Reading:
        """Require that all that a stage reads has passed and is untouched since; returns what it reads.

        Raises:
            GateFailed: the gate of something that it reads never ran, failed, or judged other data than lie there now.
        """
        read = {table.name for table in (*stage.reads, *stage.reads_if_there)}
        inputs = self.inputs(stage, key)
        for writer, own in inputs:
            tables = [table for table in writer.writes if table.name in read]
            require_passed(self.workspace.lake, writer.name, own, tables=tables)
        for node in inputs:
            if self.state(*node) != "passed":
                due, where = self._first_due(*node)
                raise GateFailed(
                    f"gate {node[0].name!r} judged other data for {node[1]} than what lies in the lake: stage "
                    f"{due.name!r} is due for {where}; `cvq run` does that and what follows from it"
                )
        return self.reading(stage, key)

    def _first_due(self, stage: Stage, key: TableKey) -> Node:
        """The earliest stage that keeps this one from having passed."""
        before = (node for node in self.inputs(stage, key) if self.state(*node) != "passed")
        return next((self._first_due(*node) for node in before), (stage, key))


class _Inputs:
    """What a stage reads of another, for all keys together: asked again for each stage that reads the same."""

    __slots__ = ("_freshness", "_have_passed", "_text", "keys", "writer")

    def __init__(self, freshness: Freshness, writer: Stage, keys: list[TableKey]) -> None:
        self._freshness = freshness
        self.writer = writer
        self.keys = keys
        self._have_passed: bool | None = None
        self._text: str | None = None

    def have_passed(self) -> bool:
        if self._have_passed is None:
            self._have_passed = all(self._freshness.state(self.writer, key) == "passed" for key in self.keys)
        return self._have_passed

    def text(self) -> str:
        """Join what the verdicts judged, as identities hold it."""
        if self._text is None:
            records = (self._freshness.record(self.writer, key) for key in self.keys)
            self._text = ", ".join([record.text for record in records if record])
        return self._text


@contextmanager
def uncollected() -> Iterator[None]:
    """Look without Python's cyclic collector, which would walk all that a large lake's look holds, over and over.

    A look makes no cycles; it costs a quarter less.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(frozen=True)
class StageContext:
    """One key of a stage as it runs: the stores, and what the key stands for."""

    freshness: Freshness
    key: TableKey

    @property
    def workspace(self) -> Workspace:
        return self.freshness.workspace

    @property
    def lake(self) -> Lake:
        return self.workspace.lake

    @property
    def threads(self) -> int:
        return self.workspace.settings.threads

    @property
    def build(self) -> str:
        """The build whose numbers are made, or whose model runs."""
        return str(self.key.build)

    @property
    def drop(self) -> str:
        return str(self.key.drop)

    @property
    def drops(self) -> list[str]:
        """The build's own drops, sorted."""
        return self.freshness.own_drops(self.build)

    @property
    def models(self) -> list[str]:
        """Whose models score the build's drops: its own, then its baseline's."""
        return self.freshness.models(self.build)

    @property
    def history(self) -> dict[str, list[str]]:
        """The scored builds that the build follows, the nearest first, each with its own drops."""
        return self.freshness.history(self.build)

    @cached_property
    def modality(self) -> Modality:
        return modality_of(self.workspace, self.key)

    @cached_property
    def entry(self) -> "BuildEntry":
        """The build's entry of the registry."""
        return self.workspace.registry.entry(self.build)


def remember(workspace: Workspace, stage: Stage, key: TableKey, identity: str) -> None:
    """Remember what the result of a stage without tables was made of, and which file it is.

    Args:
        workspace: to write to.
        stage, key: what was done.
        identity: of what it read.
    """
    made = {"identity": identity, "result": _result_digest(workspace, stage, key)}
    workspace.lake.store.write_bytes(f"made/{stage.name}/{key}", json.dumps(made).encode())


def _read_identity(workspace: Workspace, stage: Stage, key: TableKey) -> Record | None:
    """Read what was remembered; nothing where the file is not the one that was left."""
    with suppress(ObjectNotFound, ValueError, TypeError, KeyError):
        made = json.loads(workspace.lake.store.read_bytes(f"made/{stage.name}/{key}"))
        if made["result"] == _result_digest(workspace, stage, key):
            return Record(passed=True, delivery=str(made["identity"]))
    return None


def _result_digest(workspace: Workspace, stage: Stage, key: TableKey) -> str:
    if stage.result is None:
        return ""
    path = stage.result(workspace, str(key.build))
    try:
        info = info_of(str(path), path.stat())
        return workspace.results.value(info, lambda: hashlib.sha256(path.read_bytes()).hexdigest())
    except FileNotFoundError:
        return "absent"
