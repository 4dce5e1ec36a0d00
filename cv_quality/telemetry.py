"""What an attempt at a stage tells machines: a line of JSON where the settings name a file, and an OpenTelemetry span.

Both hold names, counts, seconds and the type of an error, never its message or a row: what an error quotes may be about
a subject. How a deployment stands as a whole is in `cv_quality.health`.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from cv_quality.extras import installing
from cv_quality.lake.store import PRIVATE_FILE, make_private
from cv_quality.settings import Settings
from cv_quality.stage import Numbers, StageResult

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SERVICE = "cv_quality"
Outcome = Literal["passed", "refused", "failed", "interrupted"]
"""Its gate passed it, its gate refused it, an error ended it, somebody ended it."""
_RUN: ContextVar[str | None] = ContextVar("run", default=None)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is attempted: a stage of a task for a key."""

    task: str
    stage: str
    key: str


@dataclass(frozen=True, slots=True)
class Event:
    """How an attempt ended.

    Attributes:
        time: when, as ISO 8601.
        run: the orchestrator's run, or the process where there is none.
        task, stage, key: what was attempted.
        seconds: that it took.
        rows_in, rows_valid, rows_quarantined: of a stage that counts rows.
        error: type of the error that ended it.
    """

    time: str
    run: str
    task: str
    stage: str
    key: str
    seconds: float
    rows_in: int | None
    rows_valid: int | None
    rows_quarantined: int | None
    outcome: Outcome
    error: str | None


@contextmanager
def run_named(run: str) -> Iterator[None]:
    """Name the run that attempts belong to."""
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


def observed(settings: Settings, attempt: Attempt, work: Callable[[], StageResult]) -> StageResult:
    """Do the work of an attempt, and tell how it ended.

    Args:
        settings: say where to.
        attempt: what is attempted.
        work: does it.
    """
    from opentelemetry import trace

    if settings.exports_spans:
        _export_spans()
    started = time.perf_counter()
    tracer = trace.get_tracer(SERVICE)
    name = f"{attempt.task} {attempt.stage}"
    # OpenTelemetry would put the message and the trace of an exception into the span.
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
        try:
            result = work()
        except BaseException as error:
            _tell(settings, span, _event(attempt, started, error=error))
            raise
        _tell(settings, span, _event(attempt, started, result=result))
        return result


def _event(
    attempt: Attempt, started: float, *, result: StageResult | None = None, error: BaseException | None = None
) -> Event:
    counted = result.numbers if result else {}
    return Event(
        datetime.now(UTC).isoformat(timespec="milliseconds"),
        _RUN.get() or _process(),
        **asdict(attempt),
        seconds=round(time.perf_counter() - started, 3),
        rows_in=_rows(counted, "rows_in"),
        rows_valid=_rows(counted, "rows_valid"),
        rows_quarantined=_rows(counted, "rows_quarantined"),
        outcome=_outcome(result, error),
        error=type(error).__name__ if error else None,
    )


def _rows(numbers: Numbers, name: str) -> int | None:
    count = numbers.get(name)
    return count if isinstance(count, int) else None


def _outcome(result: StageResult | None, error: BaseException | None) -> Outcome:
    if result:
        return "passed" if result.passed else "refused"
    return "failed" if isinstance(error, Exception) else "interrupted"


@cache
def _process() -> str:
    """Name this process, in which no orchestrator names a run."""
    return uuid4().hex


def _tell(settings: Settings, span: "Span", event: Event) -> None:
    from opentelemetry.trace import StatusCode

    for name, value in asdict(event).items():
        if value is not None and name not in ("time", "seconds", "error"):
            span.set_attribute(f"cvq.{name}", value)
    if event.error:
        span.set_attribute("error.type", event.error)
    if event.outcome != "passed":
        span.set_status(StatusCode.ERROR, event.error or event.outcome)
    if settings.event_log:
        _append(settings.event_log, f"{json.dumps(asdict(event))}\n".encode())


def _append(path: Path, line: bytes) -> None:
    """Append a line in one write, so that lines of several processes do not mix; what is observed goes on without."""
    try:
        make_private(path.parent)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE)
        try:
            os.write(file, line)
        finally:
            os.close(file)
    except OSError as error:
        _warn(f"the event log {path} cannot be written: {error.strerror}; what is done goes on without it")


@cache
def _warn(message: str) -> None:
    logger.warning(message)


@cache
def _export_spans() -> None:
    """Send spans to the collector that `OTEL_*` names, unless whoever started this process does so already."""
    from multiprocessing.util import Finalize

    from opentelemetry import trace

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _warn(f"OTEL_* asks for spans, which are sent with: {installing('telemetry')}")
        return
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    # Dagster's runs are processes of multiprocessing, which end without what is registered to be done at exit.
    Finalize(None, provider.shutdown, exitpriority=1)
