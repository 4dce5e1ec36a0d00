"""A stage as a value, and a task as its stages.

Everything about order, gates, assets, checks, jobs, the warehouse and the documentation of stages follows from these
declarations. Whether a stage is due is asked of `cv_quality.freshness`, it is run by `cv_quality.runner`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cv_quality.errors import StageError
from cv_quality.gates.rules import Rule, Suite, suite
from cv_quality.gates.verdicts import Verdict
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.modality import Modality, of_modality
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cv_quality.freshness import Freshness, StageContext
    from cv_quality.reports.briefing import Briefing
    from cv_quality.reports.history import TaskHistory
    from cv_quality.reports.section import PageContent, ReportSource, Section
    from cv_quality.reports.trials import Trials
    from cv_quality.tasks.root_causes.stages import Populations

PhaseName = Literal["ingest", "score", "measure", "explain", "report", "maps"]
Numbers = Mapping[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Phase:
    """Stages that are done together for all keys before the next phase begins.

    Attributes:
        key: what its stages are keyed by.
        label: what a progress bar says.
        job: name of the job that it is planned with; phases of one job share a run.
        about: what the job does, for people.
        reads_warehouse: whether the metric tables are published before it.
        again: phases that are done again after it, in the same run.
    """

    name: PhaseName
    key: Literal["drop", "build_drop", "build"]
    label: str
    job: str
    about: str
    reads_warehouse: bool = False
    again: tuple[PhaseName, ...] = ()


_REPORT_BUILD = "Counts to impostor pairs, intervals, root causes, metric tables and the build's failure report."
_DRAW_MAPS = "Maps and changed conditions of a reported build's failures, then its metric tables and its page again."

PHASES: dict[PhaseName, Phase] = {
    phase.name: phase
    for phase in (
        Phase("ingest", "drop", "take drops in", "ingest_drop", "A completed drop to validated tables."),
        Phase(
            "score",
            "build_drop",
            "score builds on drops",
            "evaluate_build_on_drop",
            "One build's model on one validated drop: model outputs, scores, outcomes, counts.",
        ),
        Phase("measure", "build", "measure builds", "report_build", _REPORT_BUILD),
        Phase("explain", "build", "explain failures", "report_build", _REPORT_BUILD),
        Phase("report", "build", "report builds", "report_build", _REPORT_BUILD, reads_warehouse=True),
        Phase("maps", "build", "draw maps of failures", "draw_maps", _DRAW_MAPS, again=("report",)),
    )
}
"""Every phase, in the order in which they are done: a page does not wait for its maps, and is made again with them."""


def phases_of(job: str) -> tuple[Phase, ...]:
    """List the phases that a job runs, in order, with those that it does again."""
    own = [phase for phase in PHASES.values() if phase.job == job]
    return (*own, *(PHASES[name] for phase in own for name in phase.again))


JOBS = tuple(dict.fromkeys(phase.job for phase in PHASES.values()))
INGEST_JOB = PHASES["ingest"].job
REPORT_JOB = PHASES["report"].job

PUBLISH = "publish metric tables"
"""What a progress bar says of the warehouse."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One step of a task's chain.

    Attributes:
        name: also that of its gate.
        reads: tables of earlier stages.
        reads_if_there: tables that it does without until they are there, and is due again then.
        writes: tables that it, and no other stage of the task, writes; none for a stage that ends outside of the lake.
        unjudged: those whose rows a later stage puts to what the tables declare.
        run: does the work for one key, and returns its numbers.
        rules: what its gate asks beyond the declarations of the tables written.
        modality_rules: what it asks of one modality besides.
        description: what it does, for people.
        gate: what its gate asks, for people.
        reads_predecessors: whether it also reads these tables of the builds that a build follows.
        source: identity of what it reads from outside of the lake, for a stage that reads no table; empty when nothing
            lies there.
        source_files: digest of how the files behind `source` lie there, for a key that was refused.
        elsewhere: identity of what it reads beside its key's tables.
        kinds: what the UI shows as its technology.
        asset: name of its asset, for a stage that writes no table.
        result: the file that such a stage leaves for a key's build.
        picture: a PNG of what it made.
    """

    name: str
    phase: PhaseName
    reads: tuple[Table, ...]
    writes: tuple[Table, ...]
    run: "Callable[[StageContext], Numbers | DataclassInstance]"
    rules: tuple[Rule, ...] = ()
    modality_rules: Callable[[Modality], tuple[Rule, ...]] = lambda _: ()
    description: str = ""
    gate: str = ""
    reads_predecessors: bool = False
    unjudged: tuple[Table, ...] = ()
    source: Callable[[Workspace, TableKey], str] | None = None
    reads_if_there: tuple[Table, ...] = ()
    elsewhere: "Callable[[Freshness, TableKey], str] | None" = None
    source_files: Callable[[Workspace, TableKey], str] = lambda _workspace, _key: ""
    kinds: frozenset[str] = frozenset({"parquet"})
    asset: str = ""
    result: Callable[[Workspace, str], Path] | None = None
    picture: "Callable[[StageContext], bytes] | None" = None

    @property
    def key(self) -> Literal["drop", "build_drop", "build"]:
        return PHASES[self.phase].key

    @property
    def assets(self) -> tuple[str, ...]:
        """Names of the assets that it makes, the one with the gate's check first."""
        return tuple(dict.fromkeys(asset_of(table) for table in self.writes)) or (self.asset,)

    def suite(self, modality: Modality) -> Suite:
        """Make the suite that its gate judges, for samples of a modality."""
        writes, reads = ([of_modality(table, modality) for table in tables] for tables in (self.writes, self.reads))
        unjudged = {table.name for table in self.unjudged}
        rules = (*self.rules, *self.modality_rules(modality))
        return suite(self.name, writes=writes, reads=reads, rules=rules, unjudged=unjudged)


def asset_of(table: Table) -> str:
    """Name the asset that shows a table."""
    return table.asset or table.name


@dataclass(frozen=True)
class Task:
    """What is measured: its stages in the order in which they run, and the modalities that it takes.

    Attributes:
        title: for people.
        stages: in the order of the data.
        sections: of the page about a build, in its order.
        brief: makes a build's briefing of what they read.
        history: reads what is known of several builds of a modality together, the oldest first.
        trials: reads the trials of a build one by one.
        populations: in which the slices of a build are searched.
    """

    name: str
    title: str
    modalities: tuple[Modality, ...]
    stages: tuple[Stage, ...]
    sections: "tuple[Section[Any], ...]" = ()
    brief: "Callable[[PageContent, ReportSource], Briefing] | None" = None
    history: "Callable[[Workspace, Sequence[str], Modality], TaskHistory] | None" = None
    trials: "Callable[[ReportSource], Trials] | None" = None
    populations: "Populations | None" = None

    def __post_init__(self) -> None:
        """Check that the stages make a chain.

        Raises:
            StageError: two stages share a name or write one table, or one reads a table that no stage writes, or that
                only a later one does; or a modality is another task's.
            SchemaError: a condition of a modality is a column of a table already.
        """
        writers: dict[str, Stage] = {}
        for place, stage in enumerate(self.stages):
            if any(other.name == stage.name for other in self.stages[:place]):
                raise StageError(f"task {self.name}: two stages are called {stage.name!r}; name each once")
            for table in stage.writes:
                if table.name in writers:
                    raise StageError(
                        f"task {self.name}: stages {writers[table.name].name!r} and {stage.name!r} both write "
                        f"{table.name}; a table has one writer"
                    )
                writers[table.name] = stage
        self._check_reads(writers)
        for modality in self.modalities:
            if modality.task != self.name:
                raise StageError(f"task {self.name}: modality {modality.name!r} is evaluated by task {modality.task!r}")
            for table in self.tables:
                of_modality(table, modality)

    def _check_reads(self, writers: Mapping[str, Stage]) -> None:
        order = {stage.name: place for place, stage in enumerate(self.stages)}
        for stage in self.stages:
            for table in (*stage.reads, *stage.reads_if_there):
                writer = writers.get(table.name)
                if writer is None:
                    raise StageError(
                        f"task {self.name}: stage {stage.name!r} reads {table.name}, which no stage writes; "
                        f"declare its writer, or read one of {', '.join(sorted(writers))}"
                    )
                if table in stage.reads and order[writer.name] >= order[stage.name]:
                    raise StageError(
                        f"task {self.name}: stage {stage.name!r} reads {table.name} of {writer.name!r}, which comes "
                        "after it; put the writer first, or take the table out if each reads of the other"
                    )

    @cached_property
    def writers(self) -> dict[str, Stage]:
        """Who writes each table, by its name."""
        return {table.name: stage for stage in self.stages for table in stage.writes}

    @cached_property
    def writers_read(self) -> dict[str, tuple[tuple[Stage, ...], tuple[Stage, ...]]]:
        """Who writes what each stage needs, and what it reads if it is there, by the stage's name."""

        def of(tables: Sequence[Table]) -> tuple[Stage, ...]:
            return tuple(dict.fromkeys(self.writers[table.name] for table in tables))

        return {stage.name: (of(stage.reads), of(stage.reads_if_there)) for stage in self.stages}

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for stage in self.stages for table in stage.writes)

    def stage(self, name: str) -> Stage:
        """Find the stage called `name`.

        Raises:
            StageError: the task has none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise StageError(f"task {self.name} has no stage {name!r}, only {', '.join(s.name for s in self.stages)}")

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs that have a stage to run, in the order of the data."""
        return tuple(job for job in JOBS if self.planned_with(job))

    def of_job(self, job: str) -> tuple[Stage, ...]:
        """List the stages that a job runs, in its order."""
        return tuple(stage for phase in phases_of(job) for stage in self.of_phase(phase.name))

    def planned_with(self, job: str) -> tuple[Stage, ...]:
        """List the stages for which a job is due: all that it runs but those that it only does again."""
        return tuple(stage for stage in self.of_job(job) if PHASES[stage.phase].job == job)

    def of_phase(self, *phases: PhaseName) -> tuple[Stage, ...]:
        return tuple(stage for stage in self.stages if stage.phase in phases)


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
