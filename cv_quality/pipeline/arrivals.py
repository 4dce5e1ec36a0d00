"""A queue that tells of objects in the landing bucket: a sensor that takes in the drops of which it hears at once.

It looks at the drops that were named and at nothing else, beside the sensors of `cv_quality.pipeline.sensors`, which
look at everything and need no queue. Both know the same work by the same identity, so neither repeats the other.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_plus, urlsplit

import dagster as dg
import msgspec

from cv_quality.drops.manifest import is_drop_id
from cv_quality.errors import StoreError
from cv_quality.lake.store import aws_client
from cv_quality.pipeline.jobs import job_name, task_jobs
from cv_quality.pipeline.sensors import INTERVAL_SECONDS, free_work, partitions_at_work, sensor_result
from cv_quality.planning import deliveries_due
from cv_quality.stage import INGEST_JOB, Task
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

MESSAGES_A_CALL = 10
"""What one call to SQS gives at most."""
CALLS_A_TICK = 20
HIDDEN_SECONDS = 60
"""How long a message that was read is hidden from the next tick; it comes back until what it tells is no news."""


class Message(NamedTuple):
    """A message of the queue.

    Attributes:
        receipt: by which it is deleted.
        drops: of this deployment that it tells of; none where it is about something else.
    """

    receipt: str
    drops: frozenset[str]


class _Name(msgspec.Struct):
    name: str


class _Key(msgspec.Struct):
    key: str


class _Place(msgspec.Struct):
    bucket: _Name
    object: _Key


class _Record(msgspec.Struct):
    s3: _Place


class _Told(msgspec.Struct):
    records: list[_Record] = msgspec.field(name="Records", default_factory=list)


def arrivals_sensor(queue: str, tasks: Sequence[Task]) -> dg.SensorDefinition:
    """Define the sensor of the queue at a URL.

    A message is deleted by a later tick, when the runs that it led to are recorded: a tick that is lost, or whose runs
    are, is made up for when the message comes back. One that is about something else is deleted at once.

    Args:
        queue: of SQS, to which the landing bucket sends its events.
        tasks: whose drops are taken in.
    """
    names = [job_name(task, INGEST_JOB) for task in tasks]
    jobs = [job for task in tasks for job in task_jobs(task, tasks) if job.name in names]

    @dg.sensor(
        name="landing_queue_sensor",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests a run for a drop as soon as the queue of the landing bucket tells of it.",
    )
    def sensor(context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]) -> dg.SensorResult:
        with _typed(queue):
            client = _client(queue, workspace)
            messages = _received(client, queue, landing=workspace.landing.uri)
        told = frozenset[str]().union(*(message.drops for message in messages))
        results = [_result(context, workspace, task, told) for task in tasks] if told else []
        requests = [request for result in results for request in result.run_requests or ()]
        news = {request.partition_key for request in requests}
        with _typed(queue):
            _delete(client, queue, [message.receipt for message in messages if news.isdisjoint(message.drops)])
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[add for result in results for add in result.dynamic_partitions_requests or ()],
        )

    return sensor


def _client(queue: str, workspace: Workspace) -> "SQSClient":
    """A client of the service that has the queue: a bucket's endpoint need not be its."""
    parts = urlsplit(queue)
    origin, region = f"{parts.scheme}://{parts.netloc}", workspace.settings.s3.region
    client: SQSClient = aws_client("sqs", endpoint_url=origin, region=region)
    return client


@contextmanager
def _typed(queue: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, ValueError) as error:
        raise StoreError(f"{queue}: {error}; check CVQ_LANDING_QUEUE, the AWS credentials, and their rights") from error


def _result(
    context: dg.SensorEvaluationContext, workspace: Workspace, task: Task, drops: frozenset[str]
) -> dg.SensorResult:
    at_work = partitions_at_work(context, task, INGEST_JOB)  # Before the look, as in the other sensors.
    work = free_work(deliveries_due(workspace, task, INGEST_JOB, drops), at_work)
    return sensor_result(context, task, work, job=job_name(task, INGEST_JOB))


def _received(client: "SQSClient", queue: str, *, landing: str) -> list[Message]:
    """Read what the queue has, up to a limit."""
    found: list[Message] = []
    for _ in range(CALLS_A_TICK):
        answer = client.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=MESSAGES_A_CALL, VisibilityTimeout=HIDDEN_SECONDS
        )
        messages = answer.get("Messages", [])
        found += [Message(item["ReceiptHandle"], _drops(item["Body"], landing)) for item in messages]
        if not messages:
            break
    return found


def _drops(body: str, landing: str) -> frozenset[str]:
    """The drops below `landing` that a message tells of; its keys are quoted as in a form."""
    try:
        records = msgspec.json.decode(body, type=_Told).records
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return frozenset()
    uris = (f"s3://{record.s3.bucket.name}/{unquote_plus(record.s3.object.key)}" for record in records)
    below = (uri.removeprefix(f"{landing}/").split("/") for uri in uris if uri.startswith(f"{landing}/"))
    return frozenset(parts[0] for parts in below if len(parts) > 1 and is_drop_id(parts[0]))


def _delete(client: "SQSClient", queue: str, receipts: Sequence[str]) -> None:
    for start in range(0, len(receipts), MESSAGES_A_CALL):
        some = receipts[start : start + MESSAGES_A_CALL]
        entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(some)]
        client.delete_message_batch(QueueUrl=queue, Entries=entries)
