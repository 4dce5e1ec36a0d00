"""What an attempt tells machines: a line and a span each, with counts and types, never with what is about a person."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cv_quality.drops.tables import SUBJECTS
from cv_quality.errors import GateFailed, MetricError
from cv_quality.freshness import StageContext
from cv_quality.lake.lake import TableKey
from cv_quality.runner import run_stage
from cv_quality.stage import Numbers, Stage
from cv_quality.tasks import open_workspace
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import FIRST_DROP, Orchestra, deliver, do, redeliver, with_garbage
from cv_quality_tests.deployment import open_workspace as open_deployment

HOSTILE = "anna.kowalska-1971"


def with_a_hostile_subject(lines: list[bytes]) -> list[bytes]:
    """A log in which a participant goes by her address, and one of her rows cannot be read."""
    events = [json.loads(line) for line in lines]
    subject = max(event["subject_id"] for event in events if event["kind"] == "attempt")
    for event in events:
        event |= {name: HOSTILE for name in ("subject_id", "claimed_subject_id") if event.get(name) == subject}
    return [*(json.dumps(event).encode() for event in events), b'{"subject_id": "%s"' % HOSTILE.encode()]


def quoting(context: StageContext) -> Numbers:
    """A stage whose error quotes a subject."""
    (subject, *_) = context.lake.read(SUBJECTS, context.key)["subject_id"].sort()
    raise MetricError(f"subject {subject} has no score")


def crashing(context: StageContext) -> Numbers:
    """A stage that ends in an error that nobody foresaw, and that quotes a subject."""
    (subject, *_) = context.lake.read(SUBJECTS, context.key)["subject_id"].sort()
    return {"n": int(subject)}


@pytest.fixture
def workspace(tmp_path: Path, tiny_landing: Path) -> Workspace:
    """A deployment with an event log, to which a drop with a hostile subject id was delivered."""
    opened = open_deployment(tmp_path / "home")
    deliver(tiny_landing, FIRST_DROP, to=opened)
    redeliver(opened, FIRST_DROP, with_a_hostile_subject)
    return open_workspace(replace(opened.settings, event_log=tmp_path / "log" / "events.jsonl"))


def events(workspace: Workspace) -> list[dict[str, object]]:
    assert workspace.settings.event_log
    return [json.loads(line) for line in workspace.settings.event_log.read_text().splitlines()]


def attempt(workspace: Workspace, stage: Stage) -> None:
    task = replace(VERIFICATION, stages=(*VERIFICATION.stages, stage))
    run_stage(workspace, task, stage, TableKey(drop=FIRST_DROP))


def test_an_event_log_counts_every_attempt_and_names_no_person(workspace: Workspace) -> None:
    key = TableKey(drop=FIRST_DROP)
    with pytest.raises(GateFailed):
        do(workspace, "validate", drop=FIRST_DROP)
    do(workspace, "parse", "validate", drop=FIRST_DROP)
    assert HOSTILE in workspace.lake.read(SUBJECTS, key)["subject_id"]
    for name, run in (("quote", quoting), ("crash", crashing)):
        with pytest.raises((MetricError, ValueError), match=HOSTILE):
            attempt(workspace, Stage(name, "ingest", (SUBJECTS,), (), run, asset=name))
    told = events(workspace)
    assert [(event["stage"], event["outcome"], event["error"]) for event in told] == [
        ("validate", "failed", "GateFailed"),
        ("parse", "passed", None),
        ("validate", "passed", None),
        ("quote", "failed", "MetricError"),
        ("crash", "failed", "ValueError"),
    ]
    assert {(event["task"], event["key"]) for event in told} == {("verification", FIRST_DROP)}
    assert len({event["run"] for event in told}) == 1
    parsed, validated = told[1], told[2]
    assert (parsed["rows_quarantined"], told[3]["rows_in"]) == (1, None)
    assert [event["rows_in"] for event in (parsed, validated)] == [
        int(str(event["rows_valid"])) + int(str(event["rows_quarantined"])) for event in (parsed, validated)
    ]
    assert int(str(validated["rows_in"])) > 50
    assert HOSTILE not in workspace.settings.event_log.read_text()  # type: ignore[union-attr]


def test_nothing_is_told_where_nothing_is_configured(tiny_landing: Path, tmp_path: Path) -> None:
    quiet = open_deployment(tmp_path / "home")
    deliver(tiny_landing, FIRST_DROP, to=quiet)
    before = {path.name for path in tmp_path.iterdir()}
    do(quiet, "parse", drop=FIRST_DROP)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert not list(quiet.settings.home.rglob("*.jsonl"))


def test_an_event_log_that_cannot_be_written_keeps_nothing_from_being_done(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log").write_text("a file")
    assert do(workspace, "parse", drop=FIRST_DROP).passed
    assert "event log" in caplog.text


def test_an_event_names_the_run_of_the_orchestrator(workspace: Workspace, tmp_path: Path) -> None:
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as instance:
        orchestra = Orchestra(workspace, instance)
        (request,) = orchestra.tick("completed_drop_sensor").run_requests or ()
        run = orchestra.launch("ingest_drop", request)
    assert {event["run"] for event in events(workspace)} == {run.dagster_run.run_id}
    assert (tmp_path / "log" / "events.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An OTLP receiver on 127.0.0.1: its address, and the bodies that it was sent."""
    bodies: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spans(bodies: list[bytes]) -> list[Span]:
    batches = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    return [span for batch in batches for item in batch.resource_spans for of in item.scope_spans for span in of.spans]


def run_due(workspace: Workspace, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"CVQ_HOME": str(workspace.settings.home), "CVQ_THREADS": "1", **variables}
    command = [sys.executable, "-m", "cv_quality.cli", "run"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_collector_gets_a_span_a_stage_and_key_without_a_person(
    workspace: Workspace, collector: tuple[str, list[bytes]]
) -> None:
    endpoint, bodies = collector
    redeliver(workspace, FIRST_DROP, with_garbage)
    done = run_due(workspace, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert done.returncode == 1, done.stderr
    (span,) = spans(bodies)
    said = {item.key: item.value.string_value or item.value.int_value for item in span.attributes}
    assert span.name == "verification parse"
    assert (said["cvq.key"], said["cvq.outcome"]) == (FIRST_DROP, "refused")
    assert said["cvq.rows_quarantined"] > 1
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert not any(HOSTILE.encode() in body for body in bodies)
    assert any(b"cv_quality" in body for body in bodies)
