"""A campaign of faults, each followed by a plain run: is anything lost, are the bytes those of a run left in peace?

    python -m benchmarks.chaos [--seed N] [NAME ...]

A drop of the tiny scenario is worked off in folders and in an object store while processes are killed at
every stage and at any moment, files cannot grow, disks are full, two runs work at once, clocks are wrong, the network
is slow, cut or gone, and a drop is corrected. The moments come from the seed. It takes some fifty
times as long as one run, prints a line per fault, and ends with exit code 1 where one was not recovered from.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cv_quality import tasks
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.store import open_store
from cv_quality.runner import run_due
from cv_quality.settings import REFERENCE_MODELS, Settings
from cv_quality.simulation.scenario import load_scenario
from cv_quality.simulation.simulate import simulate
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import (
    FIRST_DROP,
    fingerprints,
    leftovers,
    quietly,
    redeliver,
    reports,
    warehouse_tables,
    without_transactions_of_one_subject,
)
from cv_quality_tests.end_to_end.killing import MOMENTS, STAGES, exit_code_of, run_until
from cv_quality_tests.modalities import MODALITIES
from cv_quality_tests.servers import CREDENTIALS, Weather, moto_server, s3_client, wire

CVQ = str(Path(sys.executable).parent / "cvq")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
RANDOM_KILLS = 3
DISK_BYTES = 3 << 20
Outcome = dict[str, object]


@dataclass(slots=True)
class Chaos:
    """What the faults share.

    Attributes:
        landing: with the drop.
        expected: what a run left in peace made of them.
        endpoint: of the object store.
        seconds: that run took.
    """

    root: Path
    landing: Path
    endpoint: str
    random: random.Random
    expected: Outcome = field(default_factory=dict)
    seconds: float = 0.0
    n_deployments: int = 0

    def deployment(self, place: str) -> "Deployment":
        """A new one whose drops have arrived: in `folders`, or in a bucket of the object `store`."""
        self.n_deployments += 1
        home = self.root / f"home-{self.n_deployments}"
        environment = {"CVQ_HOME": str(home), "CVQ_THREADS": "1", "CVQ_EXPLAINED_PAIRS": "2"}
        if place == "folders":
            shutil.copytree(self.landing, home / "landing")
            return Deployment(home, environment)
        bucket, client = f"study-{self.n_deployments}", s3_client(self.endpoint)
        client.create_bucket(Bucket=bucket)
        for path in (path for path in self.landing.rglob("*") if path.is_file()):
            client.upload_file(str(path), bucket, f"landing/{path.relative_to(self.landing).as_posix()}")
        places = {f"CVQ_{name.upper()}": f"s3://{bucket}/{name}" for name in ("landing", "lake", "published")}
        return Deployment(home, environment | places | {"CVQ_S3_ENDPOINT_URL": self.endpoint})


@dataclass(frozen=True, slots=True)
class Deployment:
    home: Path
    environment: dict[str, str]

    def open(self) -> Workspace:
        return tasks.open_workspace(Settings.from_environment(self.environment))

    def begin(
        self, variables: Mapping[str, str] | None = None, *, limit: Callable[[], None] | None = None
    ) -> "subprocess.Popen[str]":
        """`cvq run` in a process of its own."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("CVQ_")}
        environment = own | self.environment | dict(variables or {})
        return subprocess.Popen(
            [CVQ, "run"],
            env=environment,
            preexec_fn=limit,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def outcome(self) -> Outcome:
        workspace = self.open()
        return {
            "lake": fingerprints(workspace),
            "warehouse": warehouse_tables(workspace),
            "pages": reports(workspace),
        }


def ended(process: "subprocess.Popen[str]") -> str:
    """How a process ended, in a word; a stack trace is no way to end."""
    said = process.communicate(timeout=600)[1]
    if "Traceback" in said:
        return "stack trace"
    if process.returncode < 0:
        return signal.Signals(-process.returncode).name
    return "done" if process.returncode == 0 else "refused in words"


def killed_at_every_stage(_chaos: Chaos, deployment: Deployment) -> list[str]:
    kills = [(stage, moment) for stage in STAGES for moment in MOMENTS]
    codes = [exit_code_of(run_until, deployment.home, *kill, deployment.environment) for kill in kills]
    return ["SIGKILL" if code == -signal.SIGKILL else "not reached" for code in codes]


def killed_at_any_moment(chaos: Chaos, deployment: Deployment) -> list[str]:
    found = []
    for _ in range(RANDOM_KILLS):
        process = deployment.begin()
        time.sleep(chaos.random.uniform(0.2, 1.0) * chaos.seconds)
        process.kill()
        found.append(ended(process))
    return found


def files_that_cannot_grow(chaos: Chaos, deployment: Deployment) -> list[str]:
    sizes = [chaos.random.randrange(1_000, 60_000) for _ in range(2)]
    limits = [partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size)) for size in sizes]
    return [ended(deployment.begin(limit=limit)) for limit in limits]


def a_full_disk(chaos: Chaos, deployment: Deployment) -> list[str]:
    """The home on a small disk in memory, which grows in the end."""
    home, kept = deployment.home, chaos.root / "kept"
    home.mkdir(exist_ok=True)
    shutil.copytree(home, kept)
    size = sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) + DISK_BYTES
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(home)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        return ["not run: needs the right to mount"]
    try:
        shutil.copytree(kept, home, dirs_exist_ok=True)
        found = [ended(deployment.begin())]
        subprocess.run(["mount", "-o", "remount,size=1G", str(home)], check=True)
        found.append(ended(deployment.begin()))
        shutil.rmtree(kept)
        shutil.copytree(home, kept, symlinks=True)
    finally:
        subprocess.run(["umount", str(home)], check=True)
    shutil.rmtree(home)
    kept.rename(home)
    return found


def two_runs_at_once(chaos: Chaos, deployment: Deployment) -> list[str]:
    first = deployment.begin()
    time.sleep(chaos.random.uniform(0, 0.2) * chaos.seconds)
    return [ended(process) for process in (first, deployment.begin())]


def clocks_that_are_wrong(chaos: Chaos, deployment: Deployment) -> list[str]:
    """Ahead by a year until it is killed, then behind by a year."""
    if not FAKETIME.is_file():
        return ["not run: Debian's libfaketime is not installed"]
    fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    ahead = deployment.begin({"FAKETIME": "+365d", **fake})
    time.sleep(chaos.random.uniform(0.4, 0.9) * chaos.seconds)
    ahead.kill()
    return [ended(ahead), ended(deployment.begin({"FAKETIME": "-365d", **fake}))]


def a_network(change: Callable[[Weather, random.Random, float], None]) -> "Fault":
    """A run through a wire whose weather changes as soon as it has begun."""

    def fault(chaos: Chaos, deployment: Deployment) -> list[str]:
        with wire(chaos.endpoint) as (endpoint, weather):
            process = deployment.begin({"CVQ_S3_ENDPOINT_URL": endpoint})
            change(weather, chaos.random, chaos.seconds)
            how = ended(process)
        return [f"{how}, {weather.n_cut} answers cut, {weather.n_lost} lost of {weather.n_answers}"]

    return fault


def slow(weather: Weather, _random: random.Random, _seconds: float) -> None:
    weather.delay_seconds = 0.02


def cut(weather: Weather, chosen: random.Random, _seconds: float) -> None:
    weather.cut_every = chosen.randrange(7, 15)


def gone_for_a_while(weather: Weather, chosen: random.Random, seconds: float) -> None:
    time.sleep(chosen.uniform(0.3, 0.8) * seconds)
    weather.is_down = True


def losing_answers(weather: Weather, chosen: random.Random, seconds: float) -> None:
    for _ in range(10):
        time.sleep(chosen.uniform(0, 0.1) * seconds)
        weather.answers_lost = 1


def a_drop_corrected_meanwhile(chaos: Chaos, deployment: Deployment) -> list[str]:
    """The first drop, of which a log is corrected while stages read it, and put back while they read that."""
    folder, before = deployment.home / "landing" / FIRST_DROP, chaos.landing / FIRST_DROP
    found = []
    for correct in (True, False):
        process = deployment.begin()
        time.sleep(chaos.random.uniform(0.3, 0.9) * chaos.seconds)
        if correct:
            redeliver(deployment.open(), FIRST_DROP, without_transactions_of_one_subject)
        else:
            for path in sorted(before.iterdir(), key=lambda path: path.name == "manifest.json"):
                shutil.copyfile(path, folder / path.name)
        found.append(ended(process))
    return found


Fault = Callable[[Chaos, Deployment], list[str]]
FAULTS: dict[str, tuple[Fault, Sequence[str]]] = {
    "killed-at-every-stage": (killed_at_every_stage, ("folders", "store")),
    "killed-at-any-moment": (killed_at_any_moment, ("folders", "store")),
    "files-cannot-grow": (files_that_cannot_grow, ("folders", "store")),
    "disk-full": (a_full_disk, ("folders", "store")),
    "two-runs-at-once": (two_runs_at_once, ("folders", "store")),
    "clocks-wrong": (clocks_that_are_wrong, ("folders",)),
    "network-slow": (a_network(slow), ("store",)),
    "network-cut": (a_network(cut), ("store",)),
    "network-gone": (a_network(gone_for_a_while), ("store",)),
    "answers-lost": (a_network(losing_answers), ("store",)),
    "drop-corrected": (a_drop_corrected_meanwhile, ("folders",)),
}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}; all by default")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if unknown := {*arguments.names}.difference(FAULTS):
        parser.error(f"no fault is called {', '.join(sorted(unknown))}")
    with prepared(arguments.seed) as chaos:
        print(f"seed {arguments.seed}; a run left in peace takes {chaos.seconds:.1f} s")
        rows = [recovered(chaos, name, place) for name in arguments.names or FAULTS for place in FAULTS[name][1]]
    sys.exit(not all(rows))


@contextmanager
def prepared(seed: int) -> Iterator[Chaos]:
    """The drop and what a run left in peace makes of it, and an object store."""
    os.environ |= CREDENTIALS
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cvq-chaos-")))
        endpoint = stack.enter_context(moto_server(root / "store.log"))
        registry = ModelRegistry(REFERENCE_MODELS, modalities=MODALITIES)
        simulate(load_scenario("tiny"), landing=open_store(str(root / "simulated")), registry=registry)
        shutil.copytree(root / "simulated" / FIRST_DROP, root / "landing" / FIRST_DROP)
        chaos = Chaos(root, root / "landing", endpoint, random.Random(seed))
        peaceful = chaos.deployment("folders")
        started = time.monotonic()
        assert ended(peaceful.begin()) == "done"
        chaos.seconds, chaos.expected = time.monotonic() - started, peaceful.outcome()
        yield chaos


def recovered(chaos: Chaos, name: str, place: str) -> bool:
    """Inject a fault, run in peace, and print a line; whether everything is as it would have been."""
    deployment, started = chaos.deployment(place), time.monotonic()
    before = fingerprints_of_landing(deployment.open())
    how = FAULTS[name][0](chaos, deployment)
    faulted = time.monotonic()
    done = run_due(deployment.open(), track=quietly)
    found = deployment.outcome()
    different = [part for part, value in chaos.expected.items() if found[part] != value]
    if fingerprints_of_landing(deployment.open()) != before:
        different.append("landing")
    rest = leftovers(deployment.open())
    faults = [*(f"differs: {part}" for part in different), *(f"left: {item}" for item in rest[:3])]
    faults += [] if done.succeeded else ["not finished: " + "; ".join(done.refused[:2])]
    faults += ["a stack trace"] if "stack trace" in how else []
    counts = ", ".join(f"{how.count(word)} x {word}" for word in dict.fromkeys(how))
    seconds = f"{faulted - started:6.1f} s, {time.monotonic() - faulted:5.1f} s"
    print(f"{name:22} {place:8} {seconds}  {'; '.join(faults) or 'same bytes'}  ({counts})", flush=True)
    return not faults


def fingerprints_of_landing(workspace: Workspace) -> set[tuple[str, bytes]]:
    return {(info.key, workspace.landing.read_bytes(info.key)) for info in workspace.landing.list()}


if __name__ == "__main__":
    main()
