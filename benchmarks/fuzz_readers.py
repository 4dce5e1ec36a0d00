"""The readers of untrusted bytes under damaged inputs for as long as asked: `... benchmarks.fuzz_readers --minutes 60`.

Each reader of `cv_quality_tests.readers` gets its share of the time in a process of its own, so that a crash or an
input that never ends is told with the bytes that did it. Printed are the inputs tried, how many were taken, the
slowest, the peak memory, and every error that is not typed with the smallest input that raised it, in base64.
"""

import argparse
import base64
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom

from cv_quality_tests.readers import TARGETS, Target, damaged

GRACE_SECONDS = 60.0
"""Beyond its share of the time, after which a reader is said not to end."""
SLOW_SECONDS = 5.0
SHOWN_BYTES = 6_000


@dataclass
class Tally:
    """What was tried on one reader.

    Attributes:
        inputs, taken: tried, and not refused.
        slowest_seconds, slowest: the input that took longest.
        faults: the smallest input by untyped error.
    """

    inputs: int = 0
    taken: int = 0
    slowest_seconds: float = 0.0
    slowest: bytes = b""
    faults: dict[str, bytes] = field(default_factory=dict)


def main() -> int:
    options = _options()
    if options.child:
        _attack_in_child(next(target for target in TARGETS if target.name == options.child), options)
        return 0
    chosen = [target for target in TARGETS if target.name in (options.readers or [item.name for item in TARGETS])]
    is_sound = True
    for target in chosen:
        is_sound &= _report(target, seconds=60 * options.minutes / len(chosen), seed=options.seed)
    return 0 if is_sound else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_readers", description=__doc__)
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(target.name for target in TARGETS)}; all by default")
    parser.add_argument("--minutes", type=float, default=5.0, help="in all")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**32), help="of the inputs; printed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(target: Target, *, seconds: float, seed: int) -> bool:
    """Run one reader in a process of its own and print what came of it; whether nothing was found."""
    with tempfile.TemporaryDirectory(prefix="cvq-fuzz-") as folder:
        command = [sys.executable, "-m", "benchmarks.fuzz_readers", "--child", target.name, "--seed", str(seed)]
        command += ["--seconds", str(seconds), "--scratch", folder]
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds + GRACE_SECONDS, check=False)
            end = f"ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2_000:]}"
        except subprocess.TimeoutExpired:
            done, end = None, f"does not end within {GRACE_SECONDS:.0f} s"
        if done is None or done.returncode:
            last = Path(folder, "input")
            print(f"{target.name:<10} {end}\n  {_shown(last.read_bytes() if last.exists() else b'')}", flush=True)
            return False
        print(done.stdout.decode(), end="", flush=True)
        return b"\n  " not in done.stdout


def _attack_in_child(target: Target, options: argparse.Namespace) -> None:
    warnings.simplefilter("ignore")
    target.attack(target.seeds[0], _emptied(options.scratch / "files"))
    before_mib = _peak_mib()
    tally, rng, until = Tally(), Random(options.seed), time.monotonic() + options.seconds
    while time.monotonic() < until:
        _try(target, damaged(target, rng), tally, scratch=options.scratch)
    print(
        f"{target.name:<10} {tally.inputs:>9,} inputs, {tally.taken / max(tally.inputs, 1):>4.0%} taken; slowest "
        f"{tally.slowest_seconds:.2f} s; peak {_peak_mib():,.0f} MiB, {before_mib:,.0f} after a sound one; "
        f"seed {options.seed}"
    )
    if tally.slowest_seconds > SLOW_SECONDS:
        print(f"  slow: {_shown(tally.slowest)}")
    for what, data in tally.faults.items():
        print(f"  {what}\n    {_shown(data)}")


def _try(target: Target, data: bytes, tally: Tally, *, scratch: Path) -> None:
    """One input, written to the disk before it is tried, so that it outlives the process."""
    (scratch / "input").write_bytes(data)
    started = time.perf_counter()
    try:
        tally.taken += target.attack(data, _emptied(scratch / "files"))
    except Exception as error:  # every untyped error is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {str(error)[:200]!r}"
        place = what.split(": ")[0]
        key = next((known for known in tally.faults if known.split(": ")[0] == place), what)
        if key not in tally.faults or len(data) < len(tally.faults[key]):
            tally.faults[key] = data
    seconds = time.perf_counter() - started
    tally.inputs += 1
    if seconds > tally.slowest_seconds:
        tally.slowest_seconds, tally.slowest = seconds, data


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _shown(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return text if len(text) <= SHOWN_BYTES else f"{text[:SHOWN_BYTES]}... ({len(data):,} bytes)"


if __name__ == "__main__":
    sys.exit(main())
