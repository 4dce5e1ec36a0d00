"""Does all that is left to do, in one process and without an orchestrator.

What is left is asked of `cv_quality.planning`, each step is a function of `cv_quality.stages`; Dagster runs the same
steps as assets (`cv_quality.pipeline`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cv_quality import planning, stages
from cv_quality.errors import CvQualityError, StoreError
from cv_quality.planning import Work
from cv_quality.stages import StageResult, Workspace

Step = Callable[[Workspace, Work], StageResult]

DROP_STEPS: tuple[Step, ...] = (
    lambda workspace, work: stages.parse(workspace, str(work.key.drop)),
    lambda workspace, work: stages.validate(workspace, str(work.key.drop)),
)
CELL_STEPS: tuple[Step, ...] = (
    lambda workspace, work: stages.infer(workspace, str(work.key.build), str(work.key.drop)),
    lambda workspace, work: stages.compare(workspace, str(work.key.build), str(work.key.drop)),
    lambda workspace, work: stages.ledger(workspace, str(work.key.build), str(work.key.drop)),
    lambda workspace, work: stages.count(workspace, str(work.key.build), str(work.key.drop)),
)
MEASURE_STEPS: tuple[Step, ...] = (
    lambda workspace, work: stages.count_impostors(workspace, str(work.key.build)),
    lambda workspace, work: stages.measure_build(workspace, str(work.key.build)),
)
EXPLAIN_STEPS: tuple[Step, ...] = (
    lambda workspace, work: stages.find_slices(workspace, str(work.key.build)),
    lambda workspace, work: stages.attribute_change(workspace, str(work.key.build)),
    lambda workspace, work: stages.cluster_failures(workspace, str(work.key.build)),
    lambda workspace, work: stages.explain_failures(workspace, str(work.key.build)),
)
PUBLISH_STEPS: tuple[Step, ...] = (lambda workspace, _: stages.publish_marts(workspace),)
REPORT_STEPS: tuple[Step, ...] = (lambda workspace, work: stages.report(workspace, str(work.key.build)),)


class Track(Protocol):
    """Something that shows how far a loop has come, such as `rich.progress.Progress.track`."""

    def __call__(self, sequence: Sequence[Work], /, *, description: str) -> Iterable[Work]: ...


@dataclass(slots=True)
class Done:
    """What was done, in order, and what could not be: the key and the typed error."""

    results: list[StageResult] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        return not self.refused and all(result.passed for result in self.results)


def run_pending(workspace: Workspace, *, track: Track) -> Done:
    """Take in, score and report everything that is due; one refused key does not keep the others from being done.

    Raises:
        StoreError: a store cannot be reached; everything else that is wrong is in the result.
    """
    done = Done()

    def do(work: Sequence[Work], steps: Sequence[Step], label: str) -> list[Work]:
        return [item for item in track(work, description=label) if _attempt(workspace, item, steps, done)]

    do(planning.drops_to_ingest(workspace), DROP_STEPS, "take drops in")
    do(planning.cells_to_score(workspace), CELL_STEPS, "score builds on drops")
    measured = do(planning.builds_to_report(workspace), MEASURE_STEPS, "measure builds")
    explained = do(measured, EXPLAIN_STEPS, "explain failures")
    if do(explained[:1], PUBLISH_STEPS, "publish metric tables"):
        do(explained, REPORT_STEPS, "report builds")
    return done


def _attempt(workspace: Workspace, work: Work, steps: Sequence[Step], done: Done) -> bool:
    """Take the steps of one piece of work, up to the first that is refused; returns whether none was."""
    try:
        for step in steps:
            done.results.append(step(workspace, work))
            if not done.results[-1].passed:
                return False
    except StoreError:
        raise
    except CvQualityError as error:
        done.refused.append(f"{work.key}: {type(error).__name__}: {error}")
        return False
    return True
