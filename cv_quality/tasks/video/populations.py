"""The populations of video: frames that miss the requirement, the loss of frames, and frames that come late."""

from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.workspace import Workspace

MISS = Outcome("miss", rate="miss rate", failures="misses", trial="frame")
LOSS = Outcome("loss", rate="mean loss", failures="frames above the mean loss", trial="frame")
LATE = Outcome("late", rate="deadline misses", failures="late frames", trial="frame")


def missed_frames(workspace: Workspace, build: str, model: str) -> Population:
    """Read the population of a build's own clips whose failures are frames below the requirement."""
    raise NotImplementedError
