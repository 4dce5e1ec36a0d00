"""What `deploy/` says: it fits together, is reached from the host alone, and passes the linters that are installed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cv_quality.settings import KNOWN

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def document(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def services() -> dict[str, Any]:
    return dict(document("compose.yaml")["services"])


def own_services() -> dict[str, Any]:
    return {name: item for name, item in services().items() if item["image"].startswith("cv-quality:")}


def test_every_service_that_is_published_listens_on_the_host_itself_alone() -> None:
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    units = "".join(path.read_text() for path in DEPLOY.glob("systemd/*.service"))
    assert set(re.findall(r"--host (\S+)", units)) == {"127.0.0.1"}


def test_every_service_says_what_the_instance_reads_of_the_environment() -> None:
    read = set(
        re.findall(r"env: (\w+)", (DEPLOY / "dagster.yaml").read_text() + (DEPLOY / "workspace.yaml").read_text())
    )
    assert "DAGSTER_PG_PASSWORD" in read
    assert len(own_services()) == 4
    for name, service in own_services().items():
        said = set(service["environment"])
        assert read <= said, name
        assert {item for item in said if item.startswith("CVQ_")} <= set(KNOWN), name


def test_own_containers_cannot_change_their_image_or_gain_rights() -> None:
    for service in own_services().values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
    assert re.findall(r"^USER (\d+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE) == ["10001"]


REFERENCES = ("${", "{env:", '!Sub "{{resolve:secretsmanager:', ':"}')
"""Beginnings of what names a secret elsewhere; the last is what follows the name of a field of one."""


def test_no_password_is_written_down() -> None:
    texts = [path.read_text() for path in DEPLOY.rglob("*") if path.is_file()]
    said = [value for text in texts for value in re.findall(r"(?i)password: *(\S.*)", text)]
    assert said
    assert [value for value in said if not value.startswith(REFERENCES)] == []


def test_what_the_image_copies_is_let_through_to_its_build() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == set(names)
    assert all((ROOT / name).exists() for name in names)


def test_kubernetes_keeps_the_same_limits() -> None:
    values, instance = document("helm/values.yaml"), document("dagster.yaml")
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["maxConcurrentRuns"] == instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert values["additionalInstanceConfig"]["concurrency"]["pools"] == instance["concurrency"]["pools"]
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    assert monitoring["maxRuntimeSeconds"] == instance["run_monitoring"]["max_runtime_seconds"]


def test_units_are_what_systemd_reads(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not run: systemd-analyze is not installed")
    for unit in DEPLOY.glob("systemd/cvq-*"):
        text = unit.read_text().replace("/opt/cv-quality/.venv/bin", str(Path(sys.executable).parent))
        (tmp_path / unit.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    assert len(units) == 5
    told = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")


def test_the_image_passes_hadolint() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("not run: hadolint is not installed")
    told = subprocess.run(["hadolint", str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "")
