"""What a failed run sets off: a line in the log, and a message to whom the settings name for messages on builds.

Of a run that is to be tried again only the last failure is told.
"""

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from cv_quality.errors import PublishingError
from cv_quality.pipeline.sensors import INTERVAL_SECONDS
from cv_quality.workspace import Workspace

NAME = "failed_run_sensor"


@dg.run_failure_sensor(
    name=NAME,
    description="Tells the readers of messages on builds that a run failed, and why.",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def failed_run_sensor(context: dg.RunFailureSensorContext, workspace: dg.ResourceParam[Workspace]) -> None:
    """Log a failed run, and send its message."""
    from cv_quality.publishing.failed_run import compose_failure
    from cv_quality.publishing.sending import send_message

    run = context.dagster_run
    key = run.tags.get(PARTITION_NAME_TAG, "")
    reason = reason_of(context)
    context.log.error(f"{run.job_name} failed for {key or 'no key'}: {reason}")
    try:
        send_message(compose_failure(run.job_name, key, reason), workspace.settings.recipients)
    except PublishingError as error:
        context.log.warning(str(error))


def reason_of(context: dg.RunFailureSensorContext) -> str:
    """Say why a run failed: the sentences of its failed steps, or what Dagster says of a run without one."""
    sentences = [
        error.user_failure_data.description
        for event in context.get_step_failure_events()
        if (error := event.step_failure_data) and error.user_failure_data and error.user_failure_data.description
    ]
    return "; ".join(sentences) or context.failure_event.message or "no reason was recorded"
