"""Every benchmark of speed, one after the other, each in its own process: `python -m benchmarks [NAME ...]`.

The figures depend on the processor, which is printed first and recorded beside them in `build/benchmarks.json`.

Studies of coverage take minutes and are run by name: laboratories, interval_coverage, extremes, differentials,
slice_coverage, attribution_coverage, monitoring, artefact_coverage, planted_attacks, cluster. So are chaos
(`make chaos`), fuzz_readers, which takes as long as it is told, and train_reference_models and train_liveness_model,
which make models of the simulated fleet.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

NAMES = (
    *("ingest", "inference", "video", "chain", "status"),
    *("curves", "pairs", "iris", "fixed_fmr", "slices", "explanations"),
)
RECORD = Path("build/benchmarks.json")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8")
"""Instructions that change which kernels NumPy, OpenBLAS and torch choose."""
LIBRARIES = ("numpy", "polars", "duckdb", "torch", "onnxruntime", "scikit-learn", "numba")


def main() -> None:
    machine = processor()
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    record: dict[str, object] = {"processor": machine, "versions": {name: version(name) for name in LIBRARIES}}
    runs: list[dict[str, object]] = []
    for name in sys.argv[1:] or NAMES:
        print(f"\n== {name}", flush=True)
        started = time.perf_counter()
        lines = list(shown(name))
        runs.append({"benchmark": name, "seconds": round(time.perf_counter() - started, 1), "lines": lines})
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps({**record, "runs": runs}, indent=1) + "\n")
    print(f"\nrecorded in {RECORD}")


def processor() -> dict[str, str]:
    """Name the processor: the first of those that Linux lists, with the instructions that matter."""
    listed = Path("/proc/cpuinfo")
    if not listed.exists():
        return {"model name": platform.processor(), "cores": str(os.cpu_count())}
    first = listed.read_text().split("\n\n")[0]
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    has = [flag for flag in FLAGS if flag in facts.get("flags", "").split()]
    named = {name: facts[name] for name in ("vendor_id", "model name", "cpu family", "model") if name in facts}
    return {**named, "instructions": " ".join(has), "cores": str(os.cpu_count())}


def shown(name: str) -> Iterator[str]:
    """Run a benchmark, pass its lines on as they come, and yield them.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            print(line, end="", flush=True)
            yield line.rstrip()
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)


if __name__ == "__main__":
    main()
