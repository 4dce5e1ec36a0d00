"""The population of an outcome of a build as its search saw it, for whatever looks at slices afterwards.

Populations are declared with the stages of a task (`cv_quality.tasks.root_causes.stages`); how slices were found in
them is in `cv_quality.tasks.root_causes.slices`.
"""

from cv_quality.error_analysis.population import Population
from cv_quality.errors import GateFailed, SliceError, StageError, near
from cv_quality.freshness import Freshness
from cv_quality.lake.lake import TableKey
from cv_quality.stage import Task
from cv_quality.tasks.root_causes.tables import SLICE_SEARCHES
from cv_quality.workspace import Workspace

STAGE = "slices"


def searched_population(workspace: Workspace, task: Task, build: str, outcome: str) -> Population:
    """Read the population of an outcome, as it was searched.

    Args:
        workspace, task, build: read from, of the task, for the build.
        outcome: that was searched.

    Raises:
        GateFailed: the build's slices are not there, or not of what lies in the lake now.
        SliceError: the outcome was not searched.
        StageError: the task searches no slices.
    """
    if task.populations is None:
        raise StageError(f"task {task.name!r} searches no slices, so {build} has no population")
    key = TableKey(build=build)
    state = Freshness(workspace, task).state(task.stage(STAGE), key)
    if state != "passed":
        raise GateFailed(f"the slices of {build} are {state}: `cvq run` makes what is due, `cvq why {build}` says more")
    searched = workspace.lake.read(SLICE_SEARCHES, key, columns=["outcome"])["outcome"].to_list()
    if outcome not in searched:
        raise SliceError(f"outcome {outcome!r} of {build} was not searched: {near(outcome, searched)}")
    primary = task.populations.primary(workspace, build, build)
    if outcome == primary.outcome.name:
        return primary
    others = task.populations.others(workspace, build, primary)
    return next(population for population in others if population.outcome.name == outcome)
