"""How long the question what is due takes as finished drops pile up: ticks of the sensors, `cvq status`, `cvq run`.

A finished drop of the tiny scenario and the build that scored it are repeated under other names: the tables are links
to the same files, the verdicts are its own and made valid.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import dagster as dg

from cv_quality.definitions import build_definitions
from cv_quality.freshness import Freshness, remember
from cv_quality.gates.verdicts import Verdict, object_key, read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.instance import prepare_home
from cv_quality.runner import run_due
from cv_quality.settings import REFERENCE_MODELS, Settings
from cv_quality.simulation.scenario import load_scenario
from cv_quality.simulation.simulate import simulate
from cv_quality.stage import Stage
from cv_quality.tasks import TASKS, open_workspace, warehouse_identity
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace

SIZES = ((1_000, 10), (10_000, 100))
"""Drops and builds."""
DROP, BUILD, BASELINE = "2026-08-31_face-1.2_site-a", "face-1.2", "face-1.1"
SENSORS = ("completed_drop_sensor", "validated_drop_sensor", "measured_build_sensor")
TASK = VERIFICATION


def main() -> None:
    sizes = [tuple(map(int, size.split("x"))) for size in sys.argv[1:]] or SIZES
    for n_drops, n_builds in sizes:
        with tempfile.TemporaryDirectory(prefix="cvq-status-") as name:
            for line in measured(Fleet(Path(name) / "home", n_drops, n_builds)):
                print(f"{n_drops:,} drops, {n_builds} builds: {line}", flush=True)


@dataclass(slots=True)
class Fleet:
    """A deployment of repeated drops and builds.

    Attributes:
        home: where everything lies.
        n_drops, n_builds: in all; drops are shared out among the builds, each build follows the one before.
    """

    home: Path
    n_drops: int
    n_builds: int
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings.from_environment({"CVQ_HOME": str(self.home), "CVQ_REGISTRY": str(self.home / "registry")})

    def open(self) -> Workspace:
        """Open the deployment anew, with nothing known of it."""
        return open_workspace(self.settings)

    def build(self, number: int) -> str:
        return f"face-{number:04d}"

    def drop(self, number: int) -> str:
        return f"2026-09-01_{self.build(number % self.n_builds)}_{number:06d}"

    def make(self) -> None:
        """Take in, score and report the two drops of the tiny scenario, and repeat the second one."""
        shutil.copytree(REFERENCE_MODELS, self.home / "registry")
        workspace = self.open()
        simulate(load_scenario("tiny"), landing=workspace.landing, registry=workspace.registry)
        assert run_due(workspace, track=lambda sequence, description: sequence).succeeded  # noqa: ARG005
        key = {"drop": TableKey(drop=DROP), "build_drop": TableKey(BUILD, DROP), "build": TableKey(BUILD)}
        for stage in TASK.stages:
            if verdict := read_verdict(workspace.lake, stage.name, key[stage.key]):
                self.verdicts[stage.name] = verdict
        for number in range(self.n_builds):
            self._register(number)
        for number in range(self.n_drops):
            self.deliver(number)
        for number in range(self.n_drops):
            self._link(DROP, BUILD, drop=self.drop(number), build=self.build(number % self.n_builds))
        keys: dict[str, list[TableKey]] = {
            "drop": [TableKey(drop=self.drop(number)) for number in range(self.n_drops)],
            "build_drop": [cell for number in range(self.n_drops) for cell in self._cells(number)],
            "build": [TableKey(build=self.build(number)) for number in range(self.n_builds)],
        }
        for stage in (*(stage for stage in TASK.stages if stage.writes), *TASK.of_phase("report")):
            self._vouch(stage, keys[stage.key])
        self._publish()

    def deliver(self, number: int) -> None:
        """Let a drop arrive."""
        target = self.home / "landing" / self.drop(number)
        target.mkdir(parents=True)
        for path in sorted((self.home / "landing" / DROP).iterdir()):
            if path.name == "manifest.json":
                text = path.read_text().replace(DROP, self.drop(number))
                (target / path.name).write_text(text.replace(BUILD, self.build(number % self.n_builds)))
            else:
                os.link(path, target / path.name)

    def forget(self, number: int, *gates: str) -> None:
        """Take a drop out of the lake again, as far as these gates vouch for it."""
        for gate in gates:
            keys = [TableKey(drop=self.drop(number))] if gate in ("parse", "validate") else self._cells(number)
            for key in keys:
                (self.home / "lake" / object_key(gate, key)).unlink()

    def _cells(self, number: int) -> list[TableKey]:
        own = number % self.n_builds
        return [TableKey(self.build(build), self.drop(number)) for build in (own, own - 1) if build >= 0]

    def _register(self, number: int) -> None:
        text = (Path(REFERENCE_MODELS) / f"{BUILD}.yaml").read_text()
        text = text.replace(f"follows: {BASELINE}", f"follows: {self.build(number - 1) if number else 'null'}")
        (self.home / "registry" / f"{self.build(number)}.yaml").write_text(text.replace(BUILD, self.build(number)))
        for path in (self.home / "lake").glob(f"*/{BUILD}.parquet"):
            os.link(path, path.with_name(f"{self.build(number)}.parquet"))
        shutil.copyfile(self.home / "reports" / f"{BUILD}.html", self.home / "reports" / f"{self.build(number)}.html")

    def _link(self, old: str, scored: str, *, drop: str, build: str) -> None:
        for path in (self.home / "lake").glob(f"*/{old}.parquet"):
            os.link(path, path.with_name(f"{drop}.parquet"))
        number = int(build.removeprefix("face-"))
        for model in (number, number - 1):
            if model >= 0:
                for path in (self.home / "lake").glob(f"*/{scored}/{old}.parquet"):
                    target = path.parents[1] / self.build(model) / f"{drop}.parquet"
                    target.parent.mkdir(exist_ok=True)
                    os.link(path, target)

    def _vouch(self, stage: Stage, keys: list[TableKey]) -> None:
        """Write what a stage's gate said of the original for its repetitions."""
        workspace = self.open()
        freshness = Freshness(workspace, TASK)
        for key in keys:
            identity = freshness.identity(stage, key)
            if not stage.writes:
                remember(workspace, stage, key, identity)
                continue
            known, names = self.verdicts[stage.name], {BUILD: str(key.build), DROP: str(key.drop)}
            judged = {_renamed(name, names): digest for name, digest in known.judged.items()}
            sizes = {_renamed(name, names): size for name, size in known.sizes.items()}
            about = known.about
            if about:
                about = about | {"build_id": str(key.drop).split("_")[1]}
            verdict = replace(known, key=str(key), judged=judged, sizes=sizes, about=about, delivery=identity)
            path = self.home / "lake" / object_key(stage.name, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(verdict), indent=1, sort_keys=True))

    def _publish(self) -> None:
        """Vouch for the warehouse of the two drops as that of all."""
        workspace = self.open()
        warehouse = workspace.settings.warehouse
        found = warehouse.stat()
        identity = warehouse_identity(workspace, TASKS)
        warehouse.with_name(f"{warehouse.name}.made").write_text(f"{identity} {found.st_size} {found.st_mtime_ns}\n")


def _renamed(name: str, names: dict[str, str]) -> str:
    for old, new in reversed(names.items()):
        name = name.replace(old, new)
    return name


def measured(fleet: Fleet) -> Iterator[str]:
    """Time ticks and commands over a fleet: with nothing due, one new drop, a hundred, and all of them."""
    started = time.perf_counter()
    fleet.make()
    yield f"made in {time.perf_counter() - started:.0f} s"
    for command in ("status", "run"):
        for which in ("first", "again"):
            yield f"`cvq {command}` {which} {_command(fleet, command):.2f} s"
    with dg.DagsterInstance.from_config(str(prepare_home(fleet.home / "dagster"))) as instance:
        ticking = Ticking(fleet.open(), instance)
        yield f"first ticks {ticking.all()}"
        yield f"nothing due {ticking.all()}"
        yield f"again {ticking.all()}"
        for number in (0, *range(1, 100)):
            if number < 2:
                yield f"{number} new {ticking.all()}"
            fleet.forget(number, "parse", "validate", "infer", "compare", "measure")
        yield f"100 new {ticking.all()}"


@dataclass(slots=True)
class Ticking:
    workspace: Workspace
    instance: dg.DagsterInstance

    def all(self) -> str:
        return ", ".join(f"{name.split('_')[0]} {self.tick(name)}" for name in SENSORS)

    def tick(self, name: str) -> str:
        sensors = build_definitions(self.workspace.settings).sensors or ()
        (sensor,) = [item for item in sensors if item.name == f"verification_{name}"]
        context = dg.build_sensor_context(instance=self.instance, resources={"workspace": self.workspace})
        started = time.perf_counter()
        result = sensor(context)
        seconds = time.perf_counter() - started
        assert isinstance(result, dg.SensorResult)
        requests = len(result.run_requests or ())
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return f"{seconds:.2f} s ({requests} requested)"


def _command(fleet: Fleet, *words: str) -> float:
    environment = os.environ | {"CVQ_HOME": str(fleet.home), "CVQ_REGISTRY": str(fleet.home / "registry")}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "cv_quality.cli", *words], env=environment, capture_output=True)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return seconds


if __name__ == "__main__":
    main()
