"""How many planted slices are found, how much is reported that is none, in what time and memory; next to other tools.

    python -m benchmarks.slices [--tables 20] [--rival-tables 3] [--kinds KIND ...] [--rows 100000 ...]
                                [--methods NAME ...] [--limit 60] [--markdown] [--misses]
    python -m benchmarks.slices --scale

Tables are those of `benchmarks.planted` with the seeds 0, 1, ...; methods those of `benchmarks.rival_slices`. Every
method searches the tables of a kind in a process of its own. Its seconds are those of the search alone, after a search
of 2,000 rows, the median of the tables; next to them the CPU seconds of all its threads, which other work of the
machine lengthens less; its peak memory is that of the process with the table. A search that takes longer than the
limit, or more than 8 GiB, is reported as such, and the kind's other tables are not tried. A recovered slice has equal
conditions or 0.8 of its rows in common; every other report is false. `--scale` measures large tables through `cvq
slices`.
"""

import argparse
import contextlib
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypedDict

import polars as pl

from benchmarks.planted import KINDS, OUTCOME, SUBJECT, Kind, Planted, generate, recovered, similar
from benchmarks.rival_slices import SEARCHES, missing_package
from cv_quality.error_analysis.slices import Slice
from cv_quality.metrics.results import JsonValue

OURS, COMPARED = "cv_quality", "SliceLine"
WARM_UP_ROWS = 2_000
MEMORY_LIMIT = 8 * 2**30
KIB_PER_MIB = 1_024
SCALES = ((1_000_000, 15, "< 4 s, < 700 MB"), (10_000_000, 15, "< 60 s, < 4 GB"), (100_000, 200, "< 60 s"))
ROWS_AT_ONCE = 1_000_000
WIDTHS = {
    "kind": 17,
    "method": 12,
    "rows": 10,
    "tables": 7,
    "seconds": 8,
    "CPU s": 8,
    "peak MiB": 9,
    "recovered": 10,
    "false": 8,
    "tables with reports": 20,
    f"{COMPARED} takes": 16,
    "note": 0,
}
"""The columns of the table."""


class Answer(TypedDict):
    """What a searching process says of one table."""

    seconds: float
    cpu_seconds: float
    peak_mib: int
    slices: list[list[JsonValue]]


class Document(TypedDict):
    """What is read of the output of `cvq slices --json`."""

    seconds: float
    slices: list[dict[str, list[JsonValue]]]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command line."""

    seconds: float
    cpu_seconds: float
    peak_mib: int
    document: Document


@dataclass(slots=True)
class Line:
    """One method on the tables of one kind."""

    kind: str
    method: str
    rows: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    recovered: int = 0
    planted: int = 0
    false: int = 0
    reported: int = 0
    with_reports: int = 0
    note: str = ""


def main() -> None:
    options = _options()
    if options.search:
        _search(options.search, options.subject, options.files, limit=options.limit)
    elif options.scale:
        scale()
    else:
        _print(_compare(options), is_markdown=options.markdown)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--tables", type=int, default=20)
    parser.add_argument("--rival-tables", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000])
    parser.add_argument("--methods", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one search")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--misses", action="store_true", help="list on stderr what was missed, and what is false")
    parser.add_argument("--scale", action="store_true", help="measure large tables through the command line")
    parser.add_argument("--search", help=argparse.SUPPRESS)
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _compare(options: argparse.Namespace) -> Iterator[list[Line]]:
    """The methods' lines, kind by kind."""
    for rows in options.rows:
        for kind in options.kinds:
            lines = []
            for method in options.methods:
                tables = options.tables if method == OURS else min(options.rival_tables, options.tables)
                seeds = range(options.first_seed, options.first_seed + tables)
                lines.append(_measure(kind, method, rows, seeds, limit=options.limit, says_misses=options.misses))
            yield lines


def _measure(kind: Kind, method: str, rows: int, seeds: range, *, limit: float, says_misses: bool) -> Line:
    line = Line(kind, method, rows)
    if package := missing_package(method):
        line.note = f"not run: {package} is not installed"
        return line
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{seed}.parquet" for seed in seeds]
        for seed, file in zip(seeds, files, strict=True):
            planted = generate(kind, rows=rows, seed=seed)
            planted.frame.write_parquet(file)
        answers, line.note = _answers(method, planted.subject, files, limit=limit)
    # Made a second time, so that no more than one table is held.
    for seed, answer in zip(seeds, answers, strict=False):
        planted = generate(kind, rows=rows, seed=seed)
        _add(line, planted, answer)
        if says_misses and method == OURS:
            _say_misses(planted, [Slice.from_list(item) for item in answer["slices"]])
    return line


def _add(line: Line, planted: Planted, answer: Answer) -> None:
    found = [Slice.from_list(item) for item in answer["slices"]]
    hits, false, reported = recovered(planted, found)
    line.seconds.append(answer["seconds"])
    line.cpu_seconds.append(answer["cpu_seconds"])
    line.peaks.append(answer["peak_mib"])
    line.recovered += hits
    line.planted += len(planted.slices)
    line.false += false
    line.reported += reported
    line.with_reports += reported > 0


def _say_misses(planted: Planted, found: Sequence[Slice]) -> None:
    """What was planted and not found, then what is reported and was not planted."""
    same = similar(planted, found)
    for i, item in enumerate(planted.slices):
        if not same[i].any():
            print(f"  {planted.kind} {planted.seed} missed: {_account(planted, item)}", file=sys.stderr)
    for j, item in enumerate(found):
        if not same[:, j].any():
            print(f"  {planted.kind} {planted.seed} false:  {_account(planted, item)}", file=sys.stderr)


def _account(planted: Planted, item: Slice) -> str:
    failed = planted.frame.filter(item.expression())[planted.outcome]
    return f"{item.sentence()}: {failed.sum()} of {len(failed)} rows fail"


def _answers(method: str, subject: str | None, files: Sequence[Path], *, limit: float) -> tuple[list[Answer], str]:
    """Of one process for all files, and what cut it short."""
    command = [sys.executable, "-m", "benchmarks.slices", "--search", method, "--limit", str(limit), "--files"]
    arguments = [*command, *(str(file) for file in files), *(["--subject", subject] if subject else [])]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    answers: list[Answer] = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    return answers, _note(ended, limit=limit)


def _note(ended: "subprocess.CompletedProcess[str]", *, limit: float) -> str:
    if ended.returncode == 0:
        return ""
    if ended.returncode == -signal.SIGALRM:
        return f"stopped after {limit:.0f} s"
    if ended.returncode == -signal.SIGKILL or "MemoryError" in ended.stderr or "bad_alloc" in ended.stderr:
        return f"more than {MEMORY_LIMIT / 2**30:.0f} GiB"
    return f"failed: {(ended.stderr.strip().splitlines() or ['without a word'])[-1]}"


def _search(method: str, subject: str | None, files: Sequence[str], *, limit: float) -> None:
    """The part that is a process of its own: one line of JSON for each file."""
    search = SEARCHES[method][0]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    search(pl.read_parquet(files[0], n_rows=WARM_UP_ROWS), OUTCOME, subject)
    for file in files:
        frame = pl.read_parquet(file)
        # The default action ends the process, native code or not.
        signal.setitimer(signal.ITIMER_REAL, limit)
        start, cpu_start = time.perf_counter(), time.process_time()
        found = search(frame, OUTCOME, subject)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        signal.setitimer(signal.ITIMER_REAL, 0)
        slices = [item.to_list() for item in found]
        answer = Answer(seconds=seconds, cpu_seconds=cpu_seconds, peak_mib=peak_mib(), slices=slices)
        print(json.dumps(answer), flush=True)


def peak_mib(process: str = "self") -> int:
    """The most memory that a process ever held since it began; `ru_maxrss` would start at what its parent held."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // KIB_PER_MIB


def scale() -> None:
    """Print seconds and peak memory of `cvq slices` on large Parquet files, the start of the process included."""
    with tempfile.TemporaryDirectory() as folder:
        for rows, columns, needed in SCALES:
            file = Path(folder) / f"{rows}x{columns}.parquet"
            planted = _write(file, rows=rows, columns=columns)
            run = _cvq(file)
            found = [Slice.from_list(item["where"]) for item in run.document["slices"]]
            hits, false, _ = recovered(planted, found)
            print(
                f"{rows:,} rows x {columns} columns: {run.seconds:.1f} s ({run.document['seconds']:.1f} s of search, "
                f"{run.cpu_seconds:.1f} CPU s), peak {run.peak_mib} MiB (needed {needed}); "
                f"{hits} of {len(planted.slices)} recovered, {false} false",
                flush=True,
            )


def _write(file: Path, *, rows: int, columns: int) -> Planted:
    """Rows of one population, a million at a time in one file each where there are more; returned is the first part."""
    each = min(rows, ROWS_AT_ONCE)
    files = [file.with_suffix(f".{part}") for part in range(rows // each)]
    for part, name in enumerate(files):
        generate("planted_subjects", rows=each, seed=0, columns=columns, draw=part).frame.write_parquet(name)
    pl.scan_parquet(files).sink_parquet(file)
    for name in files:
        name.unlink()
    return generate("planted_subjects", rows=each, seed=0, columns=columns)


def _cvq(file: Path) -> Run:
    """Run the command line, and look at its memory until it ends."""
    cvq = Path(sys.executable).with_name("cvq")
    command = [str(cvq), "slices", str(file), "--outcome", OUTCOME, "--subject", SUBJECT, "--json"]
    start, cpu_start, peak = time.perf_counter(), _children_seconds(), 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            # A process that has just ended has no memory to tell of.
            with contextlib.suppress(IndexError, FileNotFoundError, ProcessLookupError):
                peak = max(peak, peak_mib(str(process.pid)))
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if process.returncode != 0:
            raise SystemExit(f"cvq slices {file.name} ended with {process.returncode}; run it to see why")
        output.seek(0)
        return Run(seconds, _children_seconds() - cpu_start, peak, json.loads(output.read()))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _print(groups: Iterator[list[Line]], *, is_markdown: bool) -> None:
    """The table, the lines of a kind as soon as they are known."""
    _row(list(WIDTHS), is_markdown=is_markdown)
    if is_markdown:
        print("|" + "---|" * len(WIDTHS))
    for lines in groups:
        compared = next((line.seconds for line in lines if line.method == COMPARED), [])
        for line in lines:
            _row(_cells(line, compared), is_markdown=is_markdown)


def _cells(line: Line, compared: Sequence[float]) -> list[str]:
    """The ratio is that over the tables that both methods searched."""
    start = [line.kind, line.method, f"{line.rows:,}", str(len(line.seconds))]
    if not line.seconds:
        return [*start, *[""] * (len(WIDTHS) - len(start) - 1), line.note]
    both = min(len(compared), len(line.seconds))
    ratio = f"{sum(compared[:both]) / sum(line.seconds[:both]):.1f} x" if both else ""
    return [
        *start,
        f"{median(line.seconds):.2f}",
        f"{median(line.cpu_seconds):.2f}",
        str(max(line.peaks)),
        f"{line.recovered}/{line.planted}",
        f"{line.false}/{line.reported}",
        str(line.with_reports),
        ratio,
        line.note,
    ]


def _row(cells: Sequence[str], *, is_markdown: bool) -> None:
    if is_markdown:
        print("| " + " | ".join(cells) + " |", flush=True)
    else:
        print(" ".join(f"{cell:<{w}}" for cell, w in zip(cells, WIDTHS.values(), strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
