"""How long a drop takes from JSON lines to validated Parquet, against DuckDB's bare `read_json` on the same files.

    python benchmarks/ingest.py --gigabytes 0.2 1 2

Each measurement runs in its own process, so that its peak memory is its own. Nothing is asserted here.
"""

import argparse
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 9, 1, tzinfo=UTC)
DROP_ID = "2026-09-01_bench-1.0_site-a"
BLOCK_ROWS = 10_000
FILE_BLOCKS = 25
N_SUBJECTS = 500
N_DEVICES = 20
MEMORY_LIMIT = "600MB"
FIGURES = ("wall_s", "cpu_s", "peak_mb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.2, 1.0, 2.0], help="sizes of the JSON lines")
    parser.add_argument("--dirty", type=float, default=0.0, help="share of attempts with a value of a wrong type")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each measurement; the fastest counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        stage, folder = options.measure
        print(json.dumps(STAGES[stage](Path(folder), options.threads)))
        return
    heads = "".join(f"{name:>8}{'ratio':>7}" for name in ("wall_s", "cpu_s"))
    print(f"{'GB':>5} {'rows':>9} {'measurement':<24}{heads} {'peak_MB':>8}  parts: processor seconds, peak so far")
    for gigabytes in options.gigabytes:
        with tempfile.TemporaryDirectory(prefix="cvq-bench-") as name:
            n_rows = generate(Path(name), gigabytes=gigabytes, dirty=options.dirty)
            report(Path(name), gigabytes=gigabytes, n_rows=n_rows, repeats=options.repeats, threads=options.threads)


def report(folder: Path, *, gigabytes: float, n_rows: int, repeats: int, threads: int) -> None:
    """Print one line a measurement; the processor's seconds tell what a shared machine's wall clock does not."""
    base: dict[str, float] = {}
    for stage in STAGES:
        runs = [measure(stage, folder, threads=threads) for _ in range(repeats)]
        best = min(runs, key=lambda run: run["wall_s"])
        base = base or best
        figures = "".join(f"{best[name]:8.2f}{best[name] / base[name]:7.2f}" for name in ("wall_s", "cpu_s"))
        peak = max(run["peak_mb"] for run in runs)
        steps = [name for name in best if name not in FIGURES and not name.endswith("_mb")]
        parts = " ".join(f"{name}={best[name]:.2f}/{best[f'{name}_mb']:.0f}MB" for name in steps)
        print(f"{gigabytes:5.1f} {n_rows:9d} {stage:<24}{figures} {peak:8.0f}  {parts}")


def measure(stage: str, folder: Path, *, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--threads", str(threads), "--measure", stage, str(folder)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {key: float(value) for key, value in result.items()}


def generate(folder: Path, *, gigabytes: float, dirty: float) -> int:
    """Write one drop, nearly all of it attempts; blocks repeat but for their ids. Returns the number of rows."""
    from cv_quality.drops.manifest import FileEntry, Manifest, encode_manifest

    drop = folder / "landing" / DROP_ID
    drop.mkdir(parents=True)
    rng = random.Random(7)
    template = b"".join(attempt(rng, row, is_dirty=rng.random() < dirty) for row in range(BLOCK_ROWS))
    n_blocks = max(1, round(gigabytes * 1e9 / len(template)))
    entries = [write_events(drop / "events-00000.jsonl.zst", [b"".join(people(rng))])]
    for start in range(0, n_blocks, FILE_BLOCKS):
        blocks = (renumbered(template, block) for block in range(start, min(start + FILE_BLOCKS, n_blocks)))
        entries.append(write_events(drop / f"events-{len(entries):05d}.jsonl.zst", blocks))
    manifest = Manifest(
        schema_version=1,
        drop_id=DROP_ID,
        build_id="bench-1.0",
        site="site-a",
        modality="face",
        protocol="enrolled",
        captured_from=START,
        captured_until=START + timedelta(days=1),
        files=tuple(FileEntry(*entry) for entry in entries),
        manifest_sha256="",
    )
    (drop / "manifest.json").write_bytes(encode_manifest(manifest))
    return sum(rows for *_, rows in entries)


def write_events(path: Path, blocks: "list[bytes] | Iterator[bytes]") -> tuple[str, int, str, int]:
    import pyarrow as pa

    rows = 0
    with path.open("wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        for block in blocks:
            rows += block.count(b"\n")
            stream.write(block)
    return path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), rows


def renumbered(template: bytes, block: int) -> bytes:
    return template.replace(b'"a00000-', b'"a%05d-' % block).replace(b'"t00000-', b'"t%05d-' % block)


def line(kind: str, **fields: str | float | int | bool) -> bytes:
    return json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode() + b"\n"


def instant(rng: random.Random) -> str:
    return (START + timedelta(microseconds=rng.randrange(86_400_000_000))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def people(rng: random.Random) -> Iterator[bytes]:
    for device in range(N_DEVICES):
        name = f"device-{device:03d}"
        yield line("device", event_id=f"d-{name}", occurred_at=instant(rng), device_id=name, device_model="model-a")
    for subject in range(N_SUBJECTS):
        name, common = f"subject-{subject:04d}", {"occurred_at": instant(rng)}
        yield line("subject", event_id=f"s-{name}", subject_id=name, sex="female", has_image_consent=False, **common)
        ids = {"subject_id": name, "device_id": "device-000", "session_id": "session-000000"}
        yield line("enrol", event_id=f"e-{name}", reference_id=f"ref-{name}", is_enrolled=True, **ids, **common)


def attempt(rng: random.Random, row: int, *, is_dirty: bool) -> bytes:
    subject = f"subject-{rng.randrange(N_SUBJECTS):04d}"
    score: float | str = round(rng.uniform(-0.2, 1), 6)
    return line(
        "attempt",
        event_id=f"a00000-{row:06d}",
        occurred_at=instant(rng),
        subject_id=subject,
        claimed_subject_id=subject,
        device_id=f"device-{rng.randrange(N_DEVICES):03d}",
        session_id=f"session-{rng.randrange(5_000):06d}",
        transaction_id=f"t00000-{row // 2:06d}",
        attempt_number=1 + row % 2,
        presentation="bona_fide",
        reference_id=f"ref-{subject}",
        illuminance_lux=round(rng.uniform(0, 1_000), 3),
        distance_cm=round(rng.uniform(20, 80), 2),
        yaw_deg=round(rng.uniform(-40, 40), 2),
        pitch_deg=round(rng.uniform(-20, 20), 2),
        motion_blur_px=round(rng.uniform(0, 8), 3),
        eyewear=rng.choice(("none", "glasses", "sunglasses")),
        covering=rng.choice(("none", "mask", "scarf")),
        thermal_state=rng.choice(("nominal", "fair", "serious")),
        device_stage="matching",
        device_score=str(score) if is_dirty else score,
        is_device_accepted=rng.random() < 0.9,
        device_latency_ms=round(rng.uniform(50, 400), 3),
    )


def bare_duckdb(folder: Path, threads: int) -> dict[str, float]:
    """The yardstick: one table with every field, its types declared, insertion order given up."""
    import duckdb

    from cv_quality.drops.schema import DropSchema
    from cv_quality.tasks.verification.modalities.face import FACE

    types = {"text": "VARCHAR", "integer": "BIGINT", "real": "DOUBLE", "flag": "BOOLEAN", "instant": "TIMESTAMP"}
    columns = {"kind": "VARCHAR"} | {
        c.name: types[c.kind] for fields in DropSchema(FACE).fields.values() for c in fields
    }
    declared = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    files, target = folder / "landing" / DROP_ID / "events-*.jsonl.zst", folder / "bare.parquet"
    began, cpu = time.perf_counter(), cpu_s()
    with duckdb.connect(config={"threads": threads, "memory_limit": MEMORY_LIMIT}) as connection:
        connection.execute("SET preserve_insertion_order = false")
        source = f"read_json('{files}', format='newline_delimited', ignore_errors=true, columns={{{declared}}})"
        connection.execute(f"COPY (SELECT * FROM {source}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    wall_s = time.perf_counter() - began
    target.unlink()
    return {"wall_s": wall_s, "cpu_s": cpu_s() - cpu, "peak_mb": peak_mb()}


def ours(folder: Path, threads: int) -> dict[str, float]:
    """The way of a drop through the house; Great Expectations is imported before the clock starts (about 3 s)."""
    import great_expectations as gx

    from cv_quality.drops.ingest import ingest_drop
    from cv_quality.drops.schema import DropSchema
    from cv_quality.drops.validation import validate_drop
    from cv_quality.gates.runner import run_gate
    from cv_quality.lake.lake import Lake, TableKey
    from cv_quality.lake.store import open_store
    from cv_quality.tasks.ingest import INGEST
    from cv_quality.tasks.verification.modalities.face import FACE

    assert gx.__version__
    parse, validate = INGEST
    landing, lake = open_store(str(folder / "landing")), Lake(open_store(str(folder / "lake")))
    key = TableKey(drop=DROP_ID)
    steps: dict[str, Callable[[], object]] = {
        "ingest": lambda: ingest_drop(
            landing=landing, lake=lake, drop_id=DROP_ID, modalities={"face": FACE}, threads=threads
        ),
        "gate_parse": lambda: run_gate(lake, parse.suite(FACE), key, threads=threads, memory_limit=MEMORY_LIMIT),
        "validate": lambda: validate_drop(
            landing=landing,
            lake=lake,
            drop_id=DROP_ID,
            schema=DropSchema(FACE),
            threads=threads,
            memory_limit=MEMORY_LIMIT,
        ),
        "gate_validate": lambda: run_gate(lake, validate.suite(FACE), key, threads=threads, memory_limit=MEMORY_LIMIT),
    }
    parts: dict[str, float] = {}
    started, cpu = time.perf_counter(), cpu_s()
    for name, step in steps.items():
        before = cpu_s()
        step()
        parts |= {name: cpu_s() - before, f"{name}_mb": peak_mb()}
    return {"wall_s": time.perf_counter() - started, "cpu_s": cpu_s() - cpu, "peak_mb": peak_mb(), **parts}


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STAGES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "bare DuckDB": bare_duckdb,
    "ingest, validate, gates": ours,
}

if __name__ == "__main__":
    main()
