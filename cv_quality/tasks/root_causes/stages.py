"""The stages of root causes, for any task: it says what its populations are, and these say why they fail.

What each stage does is in `slices`, `attribution` and `clusters` beside this module.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.errors import SettingsError, near
from cv_quality.freshness import Freshness, StageContext
from cv_quality.gates.rules import Rule
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.stage import Stage
from cv_quality.tasks.root_causes import tables
from cv_quality.tasks.root_causes.rules import CLUSTERS_RULES, attribution_rules, slices_rules
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from cv_quality.tasks.root_causes.attribution import AttributionSummary
    from cv_quality.tasks.root_causes.clusters import ClusterSummary, Embedding
    from cv_quality.tasks.root_causes.slices import SliceSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Populations:
    """Where a task's populations come from.

    Attributes:
        outcome: the primary one.
        primary: its population of a build's own drops, under a model: `primary(workspace, build, model)`.
        reads: tables that it is made of.
        others: populations of other outcomes that are searched too, given the primary one of the build's own model.
        others_read: further tables that they are made of.
        embed: vectors of the primary population of a build's own model.
        embed_reads: further tables that they are made of.
    """

    outcome: Outcome
    primary: Callable[[Workspace, str, str], Population]
    reads: tuple[Table, ...]
    others: Callable[[Workspace, str, Population], Iterable[Population]]
    others_read: tuple[Table, ...] = ()
    embed: "Callable[[StageContext, Population], Embedding]"
    embed_reads: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTables:
    """Tables of a task's own that its `slices` stage writes once slices are found.

    Attributes:
        writes, run: the tables, and what writes them.
        rules, gate: what the gate asks of them, and the same for people, after what is asked of slices.
    """

    writes: tuple[Table, ...]
    run: Callable[[StageContext], object]
    rules: tuple[Rule, ...] = ()
    gate: str = ""


def root_cause_stages(populations: Populations, own: SliceTables | None = None) -> tuple[Stage, Stage, Stage]:
    """Make the stages of a task that find slices, attribute the change against a baseline, and cluster failures."""
    outcome = populations.outcome
    slices = Stage(
        name="slices",
        phase="explain",
        reads=(*populations.others_read, *populations.reads),
        writes=(
            tables.SLICE_SEARCHES,
            tables.FAILURE_SLICES,
            tables.SLICE_TRENDS,
            *(own.writes if own else ()),
            tables.EXAMPLES,
        ),
        run=partial(_slices, populations, own),
        elsewhere=_excluded,
        rules=(*slices_rules(outcome), *(own.rules if own else ())),
        reads_predecessors=True,
        description=f"What the build's {outcome.trial}s fail at: confirmed slices, what only looks bad, trends, "
        "examples.",
        gate="the primary outcome was searched; a confirmed slice fails more often than the rest, at the search's "
        "level after Holm; its rate is its failures over its rows and lies in its interval; examples are of "
        f"confirmed slices{own.gate if own else ''}",
    )
    attribution = Stage(
        name="attribution",
        phase="explain",
        reads=(*populations.reads, tables.FAILURE_SLICES),
        writes=(tables.CHANGE_ATTRIBUTION,),
        run=partial(_attribution, populations),
        rules=attribution_rules(outcome),
        reads_predecessors=True,
        description=f"The change of the {outcome.rate} against the baseline, slice by slice: more such "
        f"{outcome.trial}s, or more of them fail.",
        gate="mix + rate = change; the slices and the rest add up to the whole change, and their rows to all "
        "rows; every part is a confirmed slice; a missing bound says why",
    )
    clusters = Stage(
        name="clusters",
        phase="explain",
        reads=(*populations.embed_reads, *populations.reads, tables.FAILURE_SLICES),
        writes=(tables.FAILURE_CLUSTERS,),
        run=partial(_clusters, populations),
        elsewhere=_excluded,
        rules=CLUSTERS_RULES,
        description="Failures that lie together in an embedding, with the conditions that they share, if they share "
        "any.",
        gate="a confirmed cluster fails more often than the rest; a described one has its description; no failure "
        "counts in two clusters",
    )
    return slices, attribution, clusters


def _excluded(freshness: Freshness, key: TableKey) -> str:  # noqa: ARG001 - as the stage calls it
    """Which conditions are not searched: others make what is found due."""
    return ",".join(freshness.workspace.settings.excluded_conditions)


def _require_known(excluded: Sequence[str], workspace: Workspace, searched: Sequence[Population]) -> None:
    """Refuse a name that is no condition of any modality, and no column of what is searched."""
    dimensions = [
        *(item for modality in workspace.modalities.values() for item in modality.conditions),
        *(item for population in searched for item in population.dimensions),
    ]
    known = {name for item in dimensions for name in (item.name, item.level_column)}
    known |= {name for population in searched for name in population.columns}
    for name in excluded:
        if name not in known:
            raise SettingsError(f"CVQ_EXCLUDED_CONDITIONS names {name!r}, which is no condition: {near(name, known)}")


def _slices(populations: Populations, own: SliceTables | None, context: StageContext) -> "SliceSummary":
    from cv_quality.tasks.root_causes.slices import find_build_slices

    build, primary = context.build, partial(populations.primary, context.workspace)
    first = primary(build, build)
    searched = [first, *populations.others(context.workspace, build, first)]
    excluded = context.workspace.settings.excluded_conditions
    _require_known(excluded, context.workspace, searched)
    summary = find_build_slices(
        context.lake,
        build=build,
        populations=[population.excluding(excluded) for population in searched],
        before=((name, primary(name, name)) for name in context.history),
        threads=context.threads,
    )
    if own:
        own.run(context)
    return summary


def _attribution(populations: Populations, context: StageContext) -> "AttributionSummary":
    from cv_quality.tasks.root_causes.attribution import ComparedPopulations, attribute_build
    from cv_quality.tasks.root_causes.slices import read_slices

    build, primary, change = context.build, partial(populations.primary, context.workspace), None
    baseline = context.workspace.registry.baseline(build)
    if baseline is not None:
        before = primary(baseline, baseline) if baseline in context.history else None
        between = primary(build, baseline) if baseline in context.models else None
        change = ComparedPopulations(baseline, before, between=between, after=primary(build, build))
    slices = read_slices(context.lake, build, populations.outcome.name)
    return attribute_build(context.lake, build=build, change=change, slices=slices)


def _clusters(populations: Populations, context: StageContext) -> "ClusterSummary":
    from cv_quality.tasks.root_causes.clusters import cluster_build
    from cv_quality.tasks.root_causes.slices import read_slices

    population = populations.primary(context.workspace, context.build, context.build)
    population = population.excluding(context.workspace.settings.excluded_conditions)
    embedding, n = populations.embed(context, population), population.rows.height
    slices = read_slices(context.lake, context.build, populations.outcome.name)
    write = partial(cluster_build, context.lake, build=context.build, embedding=embedding, n_attempts=n)
    return write(slices=slices, threads=context.threads)
