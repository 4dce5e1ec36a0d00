"""The queue of the landing bucket, on a server that has both: real events, real messages, a real instance."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG

from cv_quality.definitions import build_definitions
from cv_quality.errors import StoreError
from cv_quality.pipeline import arrivals
from cv_quality.settings import Settings
from cv_quality.tasks import TASKS, open_workspace
from cv_quality.workspace import Workspace
from cv_quality_tests.drops import small_drops
from cv_quality_tests.servers import CREDENTIALS, free_port, moto_server, s3_client, wait_until

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.literals import QueueAttributeNameType

DROP, JOB = small_drops.DROP_ID, "verification_ingest_drop"
WAITING: "QueueAttributeNameType" = "ApproximateNumberOfMessages"
HIDDEN: "QueueAttributeNameType" = "ApproximateNumberOfMessagesNotVisible"
PREFIX = "study=1 ä/landing"
"""Of the landing area: the keys of events quote all of it."""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto_server(tmp_path_factory.mktemp("sqs") / "moto.log") as running:
        yield running


@dataclass(frozen=True, slots=True)
class Site:
    """A bucket whose events go to a queue, and the deployment that listens to it."""

    workspace: Workspace
    instance: dg.DagsterInstance
    client: "SQSClient"
    queue: str

    def deliver(self) -> None:
        with small_drops.drop_writer(self.workspace.landing) as writer:
            writer.add_event("device", **small_drops.DEVICE)

    def tick(self, sensor: dg.SensorDefinition | None = None) -> dg.SensorResult:
        """One evaluation, once every message that an earlier one has read is there again."""
        wait_until(lambda: self.n_messages(HIDDEN) == 0, what="messages that are hidden", seconds=30)
        used = sensor or arrivals.arrivals_sensor(self.queue, TASKS)
        result = used(dg.build_sensor_context(instance=self.instance, resources={"workspace": self.workspace}))
        assert isinstance(result, dg.SensorResult)
        return result

    def launch(self, request: dg.RunRequest) -> None:
        """Record the run of a request as the daemon does, without doing its work."""
        tags = {**request.tags, PARTITION_NAME_TAG: str(request.partition_key)}
        self.instance.add_run(
            dg.DagsterRun(JOB, run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, tags=tags)
        )

    def n_messages(self, *names: "QueueAttributeNameType") -> int:
        names = names or (WAITING, HIDDEN)
        counts = self.client.get_queue_attributes(QueueUrl=self.queue, AttributeNames=list(names))["Attributes"]
        return sum(int(counts[name]) for name in names)

    def send(self, body: object) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.client.send_message(QueueUrl=self.queue, MessageBody=text)


@pytest.fixture
def site(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(arrivals, "HIDDEN_SECONDS", 3)
    bucket = queue_name = f"landing-{uuid.uuid4().hex[:8]}"
    client = boto3.Session().client("sqs", endpoint_url=endpoint, region_name="us-east-1")
    queue = client.create_queue(QueueName=queue_name)["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3 = s3_client(endpoint)
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    environment = {
        "CVQ_HOME": str(tmp_path),
        "CVQ_LANDING": f"s3://{bucket}/{PREFIX}",
        "CVQ_LANDING_QUEUE": queue,
        "CVQ_S3_ENDPOINT_URL": endpoint,
        "CVQ_S3_REGION": "us-east-1",
    }
    with dg.DagsterInstance.ephemeral() as instance:
        found = Site(open_workspace(Settings.from_environment(environment)), instance, client, queue)
        found.tick()  # The message by which S3 tries the queue.
        assert found.n_messages() == 0
        yield found


def test_a_message_goes_once_the_run_that_it_led_to_is_recorded(site: Site) -> None:
    site.deliver()
    told = site.n_messages()
    assert told >= 2, "its events and its manifest"
    for _ in range(2):  # The first tick, and one after the first was lost with its runs.
        (request,) = site.tick().run_requests or ()
        assert (request.partition_key, request.job_name) == (DROP, JOB)
        assert site.n_messages() == told
    site.launch(request)
    assert not site.tick().run_requests
    assert site.n_messages() == 0


def test_messages_that_come_twice_lead_to_one_run(site: Site) -> None:
    site.deliver()
    body = site.client.receive_message(QueueUrl=site.queue, VisibilityTimeout=0)["Messages"][0]["Body"]
    for _ in range(30):
        site.send(body)
    assert len(site.tick().run_requests or ()) == 1


def test_a_drop_is_known_to_the_queue_and_to_the_look_at_everything_by_one_identity(site: Site) -> None:
    site.deliver()
    sensors = {sensor.name: sensor for sensor in build_definitions(site.workspace.settings).sensors or ()}
    names = "landing_queue_sensor", "verification_completed_drop_sensor"
    (told,), (seen,) = (site.tick(sensors[name]).run_requests or () for name in names)
    assert (told.run_key, told.tags) == (seen.run_key, seen.tags)
    site.launch(seen)
    assert not site.tick().run_requests


def test_messages_of_others_are_deleted_and_ask_for_nothing(site: Site) -> None:
    bucket = site.workspace.settings.landing.split("/")[2]

    def event(key: str, bucket: str = bucket) -> dict[str, object]:
        return {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]}

    foreign = (
        *("no JSON", "[" * 100_000, "{}", '"text"', {"Records": [{"s3": None}]}, {"Records": 7}),
        *(event("other/a-drop/manifest.json"), event(f"{PREFIX}/a-drop/manifest.json", "other-bucket")),
        *(event(f"{PREFIX}/../a-drop/manifest.json"), event(f"{PREFIX}/a%00b/manifest.json"), event(f"{PREFIX}/file")),
        event(f"{PREFIX}/no-such-drop/manifest.json"),
    )
    for body in foreign:
        site.send(body)
    assert not site.tick().run_requests
    assert site.n_messages() == 0


def test_a_tick_that_fails_leaves_its_messages(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.deliver()
    told = site.n_messages()
    with monkeypatch.context() as patch:
        patch.setattr(site.workspace.landing, "read_bytes", lambda *_, **__: (_ for _ in ()).throw(StoreError("gone")))
        with pytest.raises(StoreError, match="gone"):
            site.tick()
    assert site.n_messages() == told
    assert len(site.tick().run_requests or ()) == 1


def test_a_queue_that_nobody_answers_names_the_setting(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv_quality.lake.store.READ_ATTEMPTS", 1)
    unheard = arrivals.arrivals_sensor(f"http://127.0.0.1:{free_port()}/1/queue", TASKS)
    with pytest.raises(StoreError, match="CVQ_LANDING_QUEUE"):
        site.tick(unheard)
