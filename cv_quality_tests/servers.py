"""Servers that tests talk to over the wire: S3, before it a proxy that cuts bodies off, or a bad wire; PostgreSQL.

Each one listens on 127.0.0.1 on a free port and is stopped by its own process id or handle. Nothing here is a test.
"""

import http.client
import http.server
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test-key",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float, every: float = 0.1) -> float:
    """Poll `condition`; returns the seconds it took, and fails naming `what` when it took too long."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
    return time.monotonic() - started


@contextmanager
def moto_server(log: Path) -> Iterator[str]:
    """A running S3 server; yields its endpoint URL. Its buckets live in its memory."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            wait_until(lambda: answers(port) or process.poll() is not None, what="S3 server", seconds=60)
            assert process.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def answers(port: int, path: str = "/") -> bool:
    """Whether anything speaks HTTP on the port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL server of the test's own, with user `reader`, who needs no password, and database `postgres`."""

    folder: Path
    port: int

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        self.run("pg_ctl", "-D", str(self.data), "-o", options, "-l", f"{self.folder}/log", "-w", "start")

    def stop(self) -> None:
        """End it at once, and whatever is connected to it."""
        self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, *words: str) -> None:
        # As root the server does not run.
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run([*words], check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **user)  # type: ignore[call-overload]


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a PostgreSQL server on 127.0.0.1; where its programs are not installed the test is not run."""
    if absent := [name for name in ("initdb", "postgres", "pg_ctl") if shutil.which(name) is None]:
        pytest.skip(f"not run: {', '.join(absent)} of PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="cvq-postgres-") as name:
        server = Postgres(Path(name), free_port())
        if os.geteuid() == 0:
            shutil.chown(name, "nobody")
        server.run("initdb", "-D", str(server.data), "-A", "trust", "-U", "reader", "--no-sync", "--locale=C")
        server.start()
        try:
            yield server
        finally:
            if (server.data / "postmaster.pid").exists():
                server.stop()


def s3_client(endpoint: str) -> "S3Client":
    """A plain client, to look at a bucket past the code under test."""
    import boto3

    client: S3Client = boto3.Session().client("s3", endpoint_url=endpoint, region_name="us-east-1")
    return client


@dataclass(slots=True)
class Cuts:
    """How many bodies the proxy will still cut off, and what it has passed on."""

    left: int = 0
    made: int = 0
    gets: list[str] = field(default_factory=list)


@contextmanager
def cutting_proxy(endpoint: str) -> Iterator[tuple[str, Cuts]]:
    """A proxy before `endpoint` that sends the first half of a body and hangs up, as often as `Cuts.left` says."""
    cuts = Cuts()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(endpoint, cuts))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", cuts
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(endpoint: str, cuts: Cuts) -> type[http.server.BaseHTTPRequestHandler]:
    upstream = urlsplit(endpoint).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            cuts.gets.append(self.path)
            self._pass_on()

        def do_HEAD(self) -> None:
            self._pass_on()

        def log_message(self, *_: object) -> None:
            pass

        def _pass_on(self) -> None:
            connection = http.client.HTTPConnection(upstream, timeout=20)
            connection.request(self.command, self.path, headers=dict(self.headers))
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
            self.end_headers()
            self.wfile.write(self._cut(body))
            connection.close()

        def _cut(self, body: bytes) -> bytes:
            if self.command != "GET" or not cuts.left or not body:
                return body
            cuts.left -= 1
            cuts.made += 1
            self.close_connection = True
            return body[: len(body) // 2]

    return Handler


@dataclass(slots=True)
class Weather:
    """What becomes of what goes over a wire; it may be changed at any time, also while something goes over it.

    Attributes:
        is_down: connections are closed as soon as they are made, and those that are open.
        delay_seconds: before each piece of an answer.
        answers_lost: how many requests will yet arrive whose answers do not.
        cut_every: every so many answers one ends in its middle; 0 for none.
        n_answers, n_cut, n_lost: what has happened so far.
    """

    is_down: bool = False
    delay_seconds: float = 0.0
    answers_lost: int = 0
    cut_every: int = 0
    n_answers: int = 0
    n_cut: int = 0
    n_lost: int = 0


@contextmanager
def wire(endpoint: str) -> Iterator[tuple[str, Weather]]:
    """A wire to `endpoint` that knows bytes alone, in bad weather; yields the URL of its near end."""
    weather, upstream = Weather(), urlsplit(endpoint)

    class Carrier(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if weather.is_down:
                return
            with socket.create_connection((str(upstream.hostname), int(upstream.port or 80))) as far:
                back = threading.Thread(target=_carry_back, args=(far, self.request, weather), daemon=True)
                back.start()
                _carry(self.request, far, weather)
                back.join()

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Carrier)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", weather
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _carry(near: socket.socket, far: socket.socket, weather: Weather) -> None:
    with suppress(OSError):
        while not weather.is_down and (data := near.recv(1 << 16)):
            far.sendall(data)
    _hang_up(far)


def _carry_back(far: socket.socket, near: socket.socket, weather: Weather) -> None:
    """Answers begin a piece of their own, since a client asks again only once it has been answered."""
    with suppress(OSError):
        while not weather.is_down and (data := far.recv(1 << 16)):
            time.sleep(weather.delay_seconds)
            if data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
                weather.n_answers += 1
                if weather.answers_lost:
                    weather.answers_lost -= 1
                    weather.n_lost += 1
                    break
                if weather.cut_every and weather.n_answers % weather.cut_every == 0:
                    weather.n_cut += 1
                    near.sendall(data[: len(data) // 2])
                    break
            near.sendall(data)
    _hang_up(near)
    _hang_up(far)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
