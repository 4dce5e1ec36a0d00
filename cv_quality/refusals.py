"""Why something is not done: what a gate refused or what it waits for, by which rule, which rows, and what to do.

Read from recorded verdicts and the quarantine alone. What is left to do is planned in `cv_quality.planning`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from cv_quality.drops.tables import QUARANTINE_PARSE, QUARANTINE_VALIDATE
from cv_quality.errors import RegistryError, UnknownKey, near
from cv_quality.freshness import Freshness, Node, State, uncollected
from cv_quality.gates.verdicts import Verdict, read_failure, read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.planning import DropState, drop_states
from cv_quality.stage import Stage, Task
from cv_quality.tasks import TASKS
from cv_quality.workspace import Workspace

EXAMPLES_A_REASON = 3
"""Rejected rows that are given of each reason; `cvq quarantine` lists them all."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row of the quarantine: where it stood, and why it was rejected."""

    file: str
    line: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a stage stands for a key.

    Attributes:
        reasons: the broken rules, or what is waited for, as sentences; none where it has passed.
        n_rejected: rows in the quarantine, by reason.
        rejected: the first few of each reason.
        remedy: what to do about it.
        headline: what only a person can mend, in short: the first rule broken with the rows rejected, or the error.
    """

    stage: str
    key: TableKey
    state: State
    reasons: tuple[str, ...] = ()
    n_rejected: tuple[tuple[str, int], ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    remedy: str = ""
    headline: str = ""


def hindrances(workspace: Workspace, tasks: Sequence[Task] = TASKS) -> list[Standing]:
    """List all that only a person can mend, in the order of the data: refusals, failed attempts, unknown builds."""
    return [item for task in tasks for item in Overview(workspace, task).hindrances()]


def standings(workspace: Workspace, name: str, tasks: Sequence[Task] = TASKS) -> list[Standing]:
    """Tell where every stage stands for a drop, a build, or a build on a drop, in the order of the data.

    Args:
        name: of a drop or of a build, or `BUILD/DROP`; Dagster's `BUILD|DROP` too.

    Raises:
        UnknownKey: no drop and no build is called so; the near names are given.
    """
    overviews = [Overview(workspace, task) for task in tasks]
    wanted = name.replace("|", "/").split("/")
    known = {*workspace.registry.build_ids(), *(name for overview in overviews for name in overview.names())}
    for part in wanted[:2]:
        if part not in known or len(wanted) > 2:
            raise UnknownKey(f"{name!r} is no drop, no build and no BUILD/DROP: {near(part, known)}")
    return [
        overview.standing(stage, key)
        for overview in overviews
        for stage, key in overview.nodes()
        if overview.is_about(key, wanted)
    ]


@dataclass(frozen=True)
class Overview:
    """What there is of one task, from one look at the lake."""

    workspace: Workspace
    task: Task

    @cached_property
    def freshness(self) -> Freshness:
        return Freshness(self.workspace, self.task)

    @cached_property
    @uncollected()
    def states(self) -> list[DropState]:
        """Where each drop stands that has arrived or lies in the lake."""
        return list(drop_states(self.freshness))

    @cached_property
    def drops(self) -> dict[str, str | None]:
        """Every drop that has arrived or lies in the lake, with its build once that is known."""
        return {state.drop: state.build for state in self.states}

    @cached_property
    def new_deliveries(self) -> dict[str, State]:
        """Drops of which another delivery has arrived than the one in the lake, with how that stands."""
        stages = self.task.of_phase("ingest")
        return {
            state.drop: state.validated
            for state in self.states
            if state.validated != self.freshness.furthest(stages, TableKey(drop=state.drop))
        }

    @cached_property
    def unscorable(self) -> dict[str, str]:
        """Builds that have drops, but that the registry does not know, with what it says."""
        found = {}
        for build in self.freshness.builds:
            try:
                self.freshness.models(build)
            except RegistryError as error:
                found[build] = str(error)
        return found

    @uncollected()
    def hindrances(self) -> list[Standing]:
        """List all that only a person can mend, in the order of the data."""
        left = (node for node in self.nodes() if self.state(*node) != "passed")
        return [item for node in left if (item := self.standing(*node)).headline]

    def names(self) -> Iterator[str]:
        yield from self.drops
        yield from self.freshness.builds

    def nodes(self) -> Iterator[Node]:
        """Every stage with every key that it is to be done for, in the order of the data."""
        for drop, build in self.drops.items():
            yield from ((stage, TableKey(drop=drop)) for stage in self.task.of_phase("ingest"))
            if build:
                models = [build] if build in self.unscorable else self.freshness.models(build)
                scored = self.task.of_phase("score")
                yield from ((stage, TableKey(build=model, drop=drop)) for model in models for stage in scored)
        for build in sorted(self.freshness.builds):
            reported = self.task.of_phase("measure", "explain", "report")
            yield from ((stage, TableKey(build=build)) for stage in reported if build not in self.unscorable)

    def is_about(self, key: TableKey, wanted: Sequence[str]) -> bool:
        """Tell whether a key is that of a drop or a build wanted, or belongs to it."""
        if len(wanted) == 2:
            build, drop = wanted
            return key.drop == drop and key.build in (None, build)
        (name,) = wanted
        own = self.drops.get(str(key.drop))
        return name in (key.drop, key.build, own) or (key.drop is None and key.build == self.drops.get(name, ""))

    def state(self, stage: Stage, key: TableKey) -> State:
        """Tell where a stage stands for what lies in the landing area and the lake now."""
        if stage.key == "drop" and str(key.drop) in self.new_deliveries:
            return self.new_deliveries[str(key.drop)] if stage.source else "waiting"
        return self.freshness.state(stage, key)

    def standing(self, stage: Stage, key: TableKey) -> Standing:
        state = self.state(stage, key)
        if state == "refused":
            return _refused(self.workspace, stage, key)
        if state == "passed":
            return Standing(stage.name, key, state)
        if state == "due":
            return self._due(stage, key)
        before = [f"{writer.name} of {own}" for writer, own in self._blockers(stage, key)]
        return Standing(stage.name, key, state, tuple(before) or ("the rest of the delivery",))

    def _due(self, stage: Stage, key: TableKey) -> Standing:
        unknown, failure = self.unscorable.get(str(key.build)), read_failure(self.workspace.lake, stage.name, key)
        if unknown:
            remedy = "add the build to the model registry, or correct its entry, then `cvq run`"
            return Standing(stage.name, key, "waiting", (unknown,), remedy=remedy, headline=unknown)
        if failure and failure.identity == self.freshness.identity(stage, key):
            remedy = "mend what the error names, then `cvq run`, which tries it each time"
            return Standing(stage.name, key, "due", (failure.error,), remedy=remedy, headline=failure.error)
        return Standing(stage.name, key, "due", remedy="`cvq run`")

    def _blockers(self, stage: Stage, key: TableKey) -> list[Node]:
        """What is refused or due, and keeps a stage waiting."""
        found: dict[Node, None] = {}
        for node in self.freshness.inputs(stage, key):
            state = self.state(*node)
            if state != "passed":
                found |= dict.fromkeys((state == "waiting" and self._blockers(*node)) or [node])
        return list(found)


def _refused(workspace: Workspace, stage: Stage, key: TableKey) -> Standing:
    verdict = read_verdict(workspace.lake, stage.name, key)
    failures = verdict.failures if verdict else ()
    rows = _rejected(workspace, stage, key, verdict) if verdict else {}
    counts = tuple(sorted(((reason, len(found)) for reason, found in rows.items()), key=lambda item: -item[1]))
    more = [f"and {len(failures) - 1} more"] if len(failures) > 1 else []
    rejected = (
        [f"rejected: {', '.join(f'{n:,} {reason}' for reason, n in counts[:EXAMPLES_A_REASON])}"] if counts else []
    )
    return Standing(
        stage.name,
        key,
        "refused",
        reasons=tuple(item.sentence for item in failures),
        n_rejected=counts,
        rejected=tuple(row for reason, _ in counts for row in rows[reason][:EXAMPLES_A_REASON]),
        remedy=_remedy(workspace, key),
        headline="; ".join([*(item.headline for item in failures[:1]), *more, *rejected]),
    )


def _rejected(workspace: Workspace, stage: Stage, key: TableKey, verdict: Verdict) -> dict[str, list[RejectedRow]]:
    """Read the rows that the judged delivery has in the stage's quarantine, by reason."""
    found: dict[str, list[RejectedRow]] = {}
    columns = ("source_file", "source_line", "reason", "detail")
    for table in (QUARANTINE_PARSE, QUARANTINE_VALIDATE):
        if table in stage.writes and workspace.lake.object_key(table, key) in verdict.judged:
            rows = workspace.lake.read(table, key, columns=columns).select(columns)
            for row in rows.iter_rows():
                found.setdefault(str(row[2]), []).append(RejectedRow(*row))
    return found


def _remedy(workspace: Workspace, key: TableKey) -> str:
    """Say what a person can do about a refusal; what a gate refused is judged again when its input changes."""
    if key.build is None:
        where = f"{workspace.landing.uri}/{key.drop}"
        return f"correct the drop and deliver it again with a new manifest to {where}, then `cvq run`"
    if key.drop is None:
        return "correct the build's drops, then `cvq run`; or mend what the rule names, and materialize it in `cvq ui`"
    again = f"`cvq backfill --build {key.build} --drop {key.drop}`"
    return (
        f"correct the model or its entry in {workspace.registry.uri}, then {again}; or correct the drop, then `cvq run`"
    )
