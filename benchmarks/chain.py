"""How long the whole chain takes: rendering, loading definitions, the demo, one drop of 1,000 attempts to its report.

    python -m benchmarks.chain

Each command runs in its own process in an empty folder; its peak memory is that of its largest process. Nothing is
asserted here.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

THOUSAND = """
name: thousand
description: One drop of about 1,000 attempts, for timing.
seed: 11
rounds: 1
enrol_frames: 3
transactions_per_subject: 8
max_attempts: 3
impostor_share: 0.05
consent_share: 0.7
stream_frames: 10
sites:
  - name: site-a
    subjects: 110
    evening_share: 0.30
    dim_evening_share: 0.50
    senior_share: 0.30
    device_weights: {aurora-1: 0.5, aurora-2: 0.5}
builds:
  - {build_id: face-1.1, starts_on: 2026-08-03}
defects: []
"""
CVQ = Path(sys.executable).parent / "cvq"


def main() -> None:
    frames, seconds = rendered()
    print(f"rendering                  {frames / seconds:8.0f} frames/s on 2 threads, PNG included")
    print(f"definitions load           {timed([sys.executable, '-c', LOAD])[0]:8.2f} s")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        report("demo, first time", timed([str(CVQ), "demo"], home=home / "demo"))
        report("demo, second time", timed([str(CVQ), "demo"], home=home / "demo"))
        scenario = home / "thousand.yaml"
        scenario.write_text(THOUSAND)
        timed([str(CVQ), "simulate", str(scenario)], home=home / "thousand")
        report("one drop to its report", timed([str(CVQ), "run"], home=home / "thousand"))
        print(f"  attempts in that drop    {attempts(home / 'thousand'):8d}")


LOAD = """
from cv_quality.definitions import build_definitions
from cv_quality.settings import Settings
build_definitions(Settings.from_environment()).resolve_all_job_defs()
"""


def rendered(count: int = 600) -> tuple[int, float]:
    """Frames rendered and encoded, and the seconds that it took, after a warm-up."""
    from concurrent.futures import ThreadPoolExecutor

    from cv_quality.simulation.conditions import harsh_conditions
    from cv_quality.simulation.identity import IdentitySpace, draw_people
    from cv_quality.simulation.rendering import encode_png, render

    people = np.repeat(draw_people(IdentitySpace.EVALUATION, seed=0, count=count // 4), 4, axis=0)
    conditions = harsh_conditions(len(people), seed=0, camera_count=1)
    render(people[:8], harsh_conditions(8, seed=0, camera_count=1), threads=2)
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(encode_png, render(people, conditions, threads=2)))
    return len(people), time.perf_counter() - started


def timed(command: list[str], *, home: Path | None = None) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of the largest process so far below this one."""
    environment = {**os.environ, **({"CVQ_HOME": str(home)} if home else {})}
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def report(label: str, figures: tuple[float, float]) -> None:
    print(f"{label:<26} {figures[0]:8.1f} s, peak {figures[1]:.0f} MB")


def attempts(home: Path) -> int:
    import polars as pl

    return int(pl.scan_parquet(home / "lake" / "validated_attempts" / "*.parquet").select(pl.len()).collect().item())


if __name__ == "__main__":
    main()
