"""The week's digest in Dagster: a job, and the schedule that runs it every Monday morning."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from cv_quality.pipeline.running import retrying_unreachable_stores
from cv_quality.workspace import Workspace

NAME = "weekly_digest"
FOLDER = "digests"
"""Of the store of published products; a digest goes by its last day."""
LAST_DAY_TAG = "cv_quality/last_day"
MONDAY_MORNING = "0 6 * * 1"


@dg.op(name="write_digest", description="The digest of the seven days up to the run's last day, as Markdown.")
def write_digest(context: dg.OpExecutionContext, workspace: dg.ResourceParam[Workspace]) -> None:
    from cv_quality.digest import DAYS, markdown, read_digest

    last = date.fromisoformat(context.run_tags[LAST_DAY_TAG]) if LAST_DAY_TAG in context.run_tags else _yesterday()
    with retrying_unreachable_stores(context):
        text = markdown(read_digest(workspace, last - timedelta(days=DAYS - 1), last))
        store, key = workspace.published(), f"{FOLDER}/{last}.md"
        store.write_bytes(key, text.encode())
    context.add_output_metadata({"digest": dg.MetadataValue.md(text), "file": f"{store.uri.rstrip('/')}/{key}"})


def _yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


@dg.job(name=NAME, description="What happened in a week: drops, verdicts, changes, alarms, and what is open.")
def digest_job() -> None:
    write_digest()


@dg.schedule(job=digest_job, cron_schedule=MONDAY_MORNING, execution_timezone="UTC", name=f"{NAME}_schedule")
def digest_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Ask for the digest of the week up to the day before."""
    last = context.scheduled_execution_time.date() - timedelta(days=1)
    return dg.RunRequest(run_key=str(last), tags={LAST_DAY_TAG: str(last)})
