"""The instance of a team on a real PostgreSQL: an old schema is refused, the queue keeps its limit, nothing is lost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from sqlalchemy import create_engine, text

from cv_quality.errors import SettingsError
from cv_quality.pipeline.instance import is_configured_by_hand, migrate, opened, prepare_home
from cv_quality.pipeline.sensors import FINISHED, IDENTITY_TAG
from cv_quality_tests.deployment import open_workspace
from cv_quality_tests.servers import Postgres, free_port, postgres_server, wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
N_RUNS = 50


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


def variables(server: Postgres) -> dict[str, str]:
    """What the environment says of the database."""
    said = {"HOST": "127.0.0.1", "PORT": str(server.port), "DB": "postgres", "USER": "reader", "PASSWORD": "none"}
    return {f"DAGSTER_PG_{name}": value for name, value in said.items()}


@pytest.fixture
def home(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an instance that is configured as in `deploy/`."""
    for name, value in variables(postgres).items():
        monkeypatch.setenv(name, value)
    folder = prepare_home(tmp_path / "home" / "dagster")
    (folder / "dagster.yaml").write_bytes((DEPLOY / "dagster.yaml").read_bytes())
    assert is_configured_by_hand(prepare_home(folder))
    return folder


def test_a_database_of_another_schema_is_refused_with_the_command(home: Path, postgres: Postgres) -> None:
    workspace = open_workspace(home.parent)
    migrate(home)
    with opened(workspace) as instance:
        assert instance.get_runs() == []
        queue = instance.get_concurrency_config().run_queue_config
        assert queue
        assert queue.max_concurrent_runs == 4
    engine = create_engine(f"postgresql+psycopg2://reader@127.0.0.1:{postgres.port}/postgres")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '29a8e9d74220'"))
    engine.dispose()
    told = rf"has schema 29a8e9d74220, Dagster .* expects .*`DAGSTER_HOME={home} dagster instance migrate`"
    with pytest.raises(SettingsError, match=told):
        migrate(home)
    with pytest.raises(SettingsError, match=told), opened(workspace):
        pass


@contextmanager
def running(*words: str, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run a program of Dagster's beside the test, and end it."""
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            yield
            assert process.poll() is None, log.read_text()[-3000:]
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def code_server(home: Path, postgres: Postgres, tmp_path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """A code location that is served over gRPC: its port, and the environment of whoever talks to it."""
    port, folder = free_port(), tmp_path / "work"
    folder.mkdir()
    environment = os.environ | variables(postgres)
    environment |= {"DAGSTER_HOME": str(home), "QUEUED_WORK": str(folder), "QUEUED_RUNS": str(N_RUNS)}
    environment["QUEUED_TAG"] = IDENTITY_TAG
    serve = ["dagster", "api", "grpc", "-f", str(Path(__file__).with_name("queued_work.py"))]
    with running(
        *serve, "--host", "127.0.0.1", "--port", str(port), environment=environment, log=tmp_path / "code.log"
    ):
        health: Callable[[], str] = DagsterGrpcClient(host="127.0.0.1", port=port).health_check_query
        wait_until(lambda: health() == "SERVING", what="the code server", seconds=120)
        yield port, environment


@pytest.mark.nightly
def test_a_code_server_tells_which_runs_it_has_lost(home: Path, code_server: tuple[int, dict[str, str]]) -> None:
    port, _ = code_server
    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = dg.GraphDefinition(name="nothing").to_job()
        tag = f'{{"host": "127.0.0.1", "port": {port}}}'
        run = instance.create_run_for_job(job, tags={GRPC_INFO_TAG: tag})
        assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND


@pytest.mark.nightly
def test_fifty_runs_keep_the_limit_of_the_queue_and_survive_the_database(
    home: Path, code_server: tuple[int, dict[str, str]], postgres: Postgres, tmp_path: Path
) -> None:
    port, environment = code_server
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {port}, location_name: work}}}}]")
    done = tmp_path / "work"

    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        seen: list[int] = []

        def n_done() -> int:
            """How much is done; how many runs are under way is noted."""
            seen.append(instance.get_runs_count(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)))
            return len(list(done.iterdir()))

        daemon = ["dagster-daemon", "run", "-w", str(workspace)]
        stack.enter_context(running(*daemon, environment=environment, log=tmp_path / "daemon.log"))
        wait_until(lambda: n_done() >= N_RUNS // 4, what="a quarter of the work", seconds=900, every=0.5)
        postgres.stop()
        time.sleep(8)
        assert len(list(done.iterdir())) < N_RUNS
        postgres.start()
        wait_until(lambda: n_done() == N_RUNS, what="all of the work", seconds=1500, every=0.5)
        wait_until(
            lambda: all(run.status in FINISHED for run in instance.get_runs()),
            what="an end of every run",
            seconds=300,
            every=2,
        )
        records = instance.get_run_records()
    assert len(records) >= N_RUNS
    assert 2 <= max(seen) <= 4
    assert most_at_once(records) <= 4


def most_at_once(records: Sequence[dg.RunRecord]) -> int:
    """How many runs were under way at the same time, at most, by what the instance has recorded."""
    spans = [(item.start_time, item.end_time) for item in records if item.start_time and item.end_time]
    moments = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    at_once, most = 0, 0
    for _, change in moments:
        at_once += change
        most = max(most, at_once)
    return most
