"""How a deployment stands, as Prometheus is told: counted rightly, scraped by a real one, and alerted on."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import Failure, write_failure
from cv_quality.health import Metric, deployment_health, exposition
from cv_quality.lake.lake import TableKey
from cv_quality.runner import run_due
from cv_quality.tasks.monitoring.tables import MONITORING
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    deliver,
    open_workspace,
    quietly,
    redeliver,
    with_garbage,
)
from cv_quality_tests.servers import answers, free_port, wait_until

RULES = Path(__file__).resolve().parents[1] / "deploy" / "prometheus"
Labels = tuple[str, ...]


def counted(workspace: Workspace) -> dict[str, dict[Labels, float]]:
    """Every metric of a deployment: values by the labels' values."""
    return {
        metric.name: {tuple(labels.values()): value for labels, value in metric.samples}
        for metric in deployment_health(open_workspace(workspace.settings.home))
    }


@pytest.fixture
def done(history: History, tmp_path: Path) -> Workspace:
    """A copy of the deployment in which both drops are done."""
    shutil.copytree(history.home, tmp_path / "home")
    return open_workspace(tmp_path / "home")


@pytest.fixture
def refused(tmp_path: Path, tiny_landing: Path) -> Workspace:
    """A deployment whose one drop was refused when it was parsed."""
    workspace = open_workspace(tmp_path / "home")
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    redeliver(workspace, FIRST_DROP, with_garbage)
    assert not run_due(workspace, track=quietly).succeeded
    return workspace


def test_a_done_deployment_has_passed_everywhere_and_nothing_is_due(done: Workspace) -> None:
    found = counted(done)
    states = found["cvq_keys"]
    assert states["verification", "parse", "passed"] == 2
    assert states["verification", "infer", "passed"] == 4
    assert states["verification", "explanations", "passed"] == 2
    assert {state for (_, _, state), count in states.items() if count} == {"passed"}
    assert found["cvq_due_since_timestamp_seconds"] == {}
    assert found["cvq_drops"] == {("verification",): 2, ("liveness",): 0, ("video",): 0}
    assert 0 < time.time() - found["cvq_last_success_timestamp_seconds"]["verification", "report"] < 86_400
    assert found["cvq_last_success_timestamp_seconds"].keys().isdisjoint({("video", "parse")})


def test_a_new_drop_is_due_since_it_was_completed(done: Workspace) -> None:
    shutil.rmtree(done.settings.home / "lake" / "verdicts" / "parse")
    found = counted(done)
    manifest = Path(done.settings.landing) / FIRST_DROP / "manifest.json"
    other = Path(done.settings.landing) / SECOND_DROP / "manifest.json"
    assert found["cvq_keys"]["verification", "parse", "due"] == 2
    assert found["cvq_keys"]["verification", "validate", "waiting"] == 2
    since = found["cvq_due_since_timestamp_seconds"]
    assert since == {("verification", "parse"): pytest.approx(min(manifest.stat().st_mtime, other.stat().st_mtime))}


def test_a_stage_is_due_since_the_newest_of_what_it_reads(done: Workspace) -> None:
    verdicts = done.settings.home / "lake" / "verdicts"
    shutil.rmtree(verdicts / "compare")
    later = time.time() + 1000
    for number, verdict in enumerate(sorted(verdicts.glob("infer/*/*.json"))):
        os.utime(verdict, (later, later + 10 * number))
    since = counted(done)["cvq_due_since_timestamp_seconds"]
    assert since == {("verification", "compare"): pytest.approx(later, abs=0.01)}


def test_an_attempt_that_failed_on_the_same_input_is_failing(done: Workspace) -> None:
    key = TableKey(build="face-1.1")
    stage = VERIFICATION.stage("impostors")
    (done.settings.home / "lake" / "verdicts" / "impostors" / "face-1.1.json").unlink()
    identity = Freshness(done, VERIFICATION).identity(stage, key)
    write_failure(done.lake, stage.name, key, Failure("ModelError: broken", identity))
    assert counted(done)["cvq_keys"]["verification", "impostors", "failed"] == 1
    write_failure(done.lake, stage.name, key, Failure("ModelError: broken", "of another input"))
    assert counted(done)["cvq_keys"]["verification", "impostors", "due"] == 1


def test_a_refused_drop_is_counted_with_its_rejected_rows(refused: Workspace) -> None:
    found = counted(refused)
    assert found["cvq_keys"]["verification", "parse", "refused"] == 1
    assert found["cvq_keys"]["verification", "validate", "waiting"] == 1
    assert found["cvq_quarantined_rows"]["verification", "parse"] == 11
    assert found["cvq_due_since_timestamp_seconds"] == {}


def test_an_alarm_of_a_watched_build_is_counted(done: Workspace) -> None:
    env = {"CVQ_HOME": str(done.settings.home), "CVQ_THREADS": "1"}
    watched = CliRunner(env=env).invoke(main, ["monitor", "face-1.1", "--target", "0.5", "--json"])
    assert counted(done)["cvq_monitor_alarms"] == {("face-1.1",): 0}
    key, n_claims = TableKey(build="face-1.1"), len(json.loads(watched.stdout)["claims"])
    rows = done.lake.read(MONITORING, key)
    done.lake.write(MONITORING, key, rows.with_columns(is_alarm=pl.lit(True)))
    assert counted(done)["cvq_monitor_alarms"] == {("face-1.1",): n_claims}


def test_names_are_escaped_as_the_format_asks() -> None:
    text = exposition([Metric("cvq_x", "About.", (({"build": 'a"b\\c\nd'}, 1.5),)), Metric("cvq_none", "None.", ())])
    assert text == '# HELP cvq_x About.\n# TYPE cvq_x gauge\ncvq_x{build="a\\"b\\\\c\\nd"} 1.5\n'


def needs(*programs: str) -> None:
    if absent := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"not run: {', '.join(absent)} is not installed")


def test_the_alert_rules_hold_what_their_own_tests_say() -> None:
    needs("promtool")
    for check in (["check", "rules", "cvq.rules.yml"], ["test", "rules", "cvq.rules.test.yml"]):
        told = subprocess.run(["promtool", *check], cwd=RULES, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr
    rules = set(re.findall(r"alert: (\w+)", (RULES / "cvq.rules.yml").read_text()))
    fired = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", (RULES / "cvq.rules.test.yml").read_text()))
    assert rules == fired


@contextmanager
def serving(command: Callable[[int], list[str]], log: Path) -> Iterator[str]:
    """Run a server on a free port of 127.0.0.1."""
    port = free_port()
    with log.open("wb") as output, subprocess.Popen(command(port), stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: answers(port) or process.poll() is not None, what=log.stem, seconds=60)
            assert process.poll() is None, log.read_text()
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_a_real_prometheus_scrapes_the_file_and_fires(refused: Workspace, tmp_path: Path) -> None:
    needs("prometheus", "promtool", "prometheus-node-exporter")
    folder = tmp_path / "textfile"
    env = {"CVQ_HOME": str(refused.settings.home)}
    written = CliRunner(env=env).invoke(main, ["metrics", "--to", str(folder / "cvq.prom")])
    assert written.exit_code == 0, written.output
    assert (folder / "cvq.prom").stat().st_mode & 0o777 == 0o644
    assert FIRST_DROP not in (folder / "cvq.prom").read_text()
    checked = subprocess.run(["promtool", "check", "metrics"], input=(folder / "cvq.prom").read_bytes())
    assert checked.returncode == 0
    rules = (RULES / "cvq.rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(re.sub(r"\n +for: .*", "", rules))  # pending for no time
    exporter = [
        "prometheus-node-exporter",
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={folder}",
    ]
    with serving(lambda port: [*exporter, f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "exporter.log") as node:
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(tmp_path / "rules.yml")],
            "scrape_configs": [{"job_name": "cvq", "static_configs": [{"targets": [node]}]}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        prometheus = [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        ]
        with serving(
            lambda port: [*prometheus, f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "prometheus.log"
        ) as server:
            wait_until(lambda: "CvqRefused" in firing(server), what="the alert", seconds=60, every=0.5)
            assert firing(server) == {"CvqRefused"}


def firing(server: str) -> set[str]:
    with urllib.request.urlopen(f"http://{server}/api/v1/alerts", timeout=10) as answer:
        alerts = json.load(answer)["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
