"""The code location: what `workspace.yaml` loads.

`build_definitions` makes a fresh set for any settings, so tests and the command line use the same one as the UI. The
environment is read when Dagster asks for `defs`, not when this module is imported.
"""

import dagster as dg

from cv_quality.pipeline.assets import builds, drops, failures, marts, scores
from cv_quality.pipeline.jobs import JOBS
from cv_quality.pipeline.sensors import SENSORS
from cv_quality.settings import Settings
from cv_quality.stages import Workspace


def build_definitions(settings: Settings) -> dg.Definitions:
    """Assets, checks, jobs and sensors over the stores of `settings`."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules([drops, scores, builds, failures, marts]),
        jobs=JOBS,
        sensors=SENSORS,
        resources={"workspace": Workspace(settings)},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(Settings.from_environment())
