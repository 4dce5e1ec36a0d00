"""How long the question what is due takes as finished drops pile up: it should grow with their number and no faster."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import read_verdict, write_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.planning import drop_states, due
from cv_quality.runner import run_due
from cv_quality.settings import Settings
from cv_quality.simulation.scenario import load_scenario
from cv_quality.simulation.simulate import simulate
from cv_quality.stage import JOBS
from cv_quality.tasks import TASKS, open_workspace
from cv_quality.workspace import Workspace

SIZES = (100, 1_000)


def main() -> None:
    for line in measured():
        print(line, flush=True)


def measured() -> Iterator[str]:
    """Time `cvq status`, and what the sensors ask, over ever more drops of one build."""
    with tempfile.TemporaryDirectory(prefix="cvq-status-") as name:
        home = Path(name) / "home"
        workspace = open_workspace(Settings.from_environment({"CVQ_HOME": str(home)}))
        simulate(load_scenario("tiny"), landing=workspace.landing, registry=workspace.registry)
        run_due(workspace, track=lambda sequence, description: sequence)  # noqa: ARG005
        (task,) = TASKS
        drop = sorted(path.name for path in (home / "landing").iterdir() if path.is_dir())[0]
        per_drop = []
        for size in SIZES:
            _repeat(workspace, drop, times=size)
            other = open_workspace(workspace.settings)
            started = time.perf_counter()
            states = list(drop_states(Freshness(other, task)))
            seconds = time.perf_counter() - started
            planned = time.perf_counter()
            n_due = {job: len(due(other, task, job)) for job in JOBS}
            assert n_due["ingest_drop"] == n_due["evaluate_build_on_drop"] == 0, "the copies are finished drops"
            per_drop.append(seconds / len(states))
            yield (
                f"status of {len(states):,} drops {seconds:.2f} s, {1e3 * per_drop[-1]:.2f} ms a drop; "
                f"what is due {time.perf_counter() - planned:.2f} s, {n_due['report_build']} build to report"
            )
        yield f"a drop costs {per_drop[-1] / per_drop[0]:.2f} times as much among {SIZES[-1]:,} as among {SIZES[0]:,}"


def _repeat(workspace: Workspace, drop: str, *, times: int) -> None:
    """Copies of a finished drop under other names, with all that the lake holds of it, each verdict made valid."""
    (task,) = TASKS
    home = workspace.settings.home
    found = [home / "landing" / drop / "manifest.json"]
    found += [path for path in (home / "lake").rglob("*") if path.is_file() and path.stem == drop]
    cells = [TableKey(drop=drop), *(TableKey(build=path.parent.name, drop=drop) for path in _verdicts(home, drop))]
    for number in range(times):
        name = f"{drop}-{number:05d}"
        for path in found:
            target = Path(str(path).replace(drop, name))
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".json":
                target.write_text(path.read_text().replace(drop, name))
            else:
                shutil.copyfile(path, target)
        for key in (replace(cell, drop=name) for cell in cells):
            for stage in task.of_phase("score" if key.build else "ingest"):
                verdict = read_verdict(workspace.lake, stage.name, key)
                assert verdict is not None
                identity = Freshness(workspace, task).identity(stage, key)
                write_verdict(workspace.lake, replace(verdict, delivery=identity))


def _verdicts(home: Path, drop: str) -> list[Path]:
    return sorted((home / "lake" / "verdicts" / "infer").rglob(f"{drop}.json"))


if __name__ == "__main__":
    main()
