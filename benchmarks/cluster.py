"""What a cluster costs and gains: the same keys done by one worker and by two, and a key that does nothing.

    python -m benchmarks.cluster [DROPS]

Each key takes in one copy of a drop of the tiny scenario. The two sides take turns in parts of a fifth, so that what
else the machine does meets both alike. Nothing is asserted here.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from cv_quality.cluster.running import Cluster, opened
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import open_store
from cv_quality.settings import REFERENCE_MODELS, Settings
from cv_quality.simulation.scenario import load_scenario
from cv_quality.simulation.simulate import simulate
from cv_quality.stage import PHASES
from cv_quality.tasks import open_workspace
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace

DROP = "2026-08-03_face-1.1_site-a"
PARTS = 5
EMPTY = 500


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    with tempfile.TemporaryDirectory(prefix="cvq-cluster-") as name, ExitStack() as stack:
        root = Path(name)
        one, two = (deployment(root / f"{workers}", count) for workers in (1, 2))
        single = stack.enter_context(opened(one, "local?workers=1"))
        double = stack.enter_context(opened(two, "local?workers=2"))
        keys = [TableKey(drop=drop) for drop in one.landing.folders()]
        for cluster in (single, double):
            timed(cluster, keys[:4])
        alone = together = 0.0
        for part in range(PARTS):
            share = keys[4 + part :: PARTS]
            alone += timed(single, share)
            together += timed(double, share)
        print(f"{count:,} drops: 1 worker {alone:8.1f} s, 2 workers {together:8.1f} s, ratio {alone / together:.2f}")
        absent = [TableKey(drop=f"absent-{number}") for number in range(EMPTY)]
        print(f"a key that is refused at once: {timed(single, absent, is_done=False) / EMPTY * 1000:.1f} ms")


def deployment(home: Path, count: int) -> Workspace:
    """A deployment with copies of one drop."""
    workspace = open_workspace(Settings.from_environment({"CVQ_HOME": str(home), "CVQ_THREADS": "1"}))
    landing, first = Path(workspace.settings.landing), home / "first"
    simulate(
        load_scenario("tiny"),
        landing=open_store(str(first)),
        registry=ModelRegistry(REFERENCE_MODELS, modalities=workspace.modalities),
    )
    for number in range(count):
        drop = f"{DROP}-{number:05}"
        shutil.copytree(first / DROP, landing / drop)
        manifest = landing / drop / "manifest.json"
        manifest.write_text(manifest.read_text().replace(DROP, drop))
    return workspace


def timed(cluster: Cluster, keys: Sequence[TableKey], *, is_done: bool = True) -> float:
    """Seconds that a cluster takes for keys."""
    started = time.perf_counter()
    done = list(cluster(VERIFICATION, PHASES["ingest"], keys))
    assert all(one.succeeded for one in done) is is_done
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
