"""What taking in one hostile drop costs: run in a process of its own, whose peak memory is that of the drop.

`python -m cv_quality_tests.drops.costs FOLDER` is that process; tests call `cost_of`.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from cv_quality.errors import CvQualityError
from cv_quality_tests.drops.small_drops import open_site


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took, and what was said: the words of the typed error, or the counts.

    Attributes:
        seconds: to parse and validate.
        peak_mib: resident memory of the process at its peak, all libraries included.
        said: "in I, valid V, quarantined Q, validated W", or the error.
    """

    seconds: float
    peak_mib: float
    said: str


def cost_of(root: Path) -> Cost:
    """Take in and validate the drop of the site at `root`."""
    command = [sys.executable, "-m", "cv_quality_tests.drops.costs", str(root)]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    return Cost(**json.loads(done.stdout))


def main() -> None:
    site, started = open_site(Path(sys.argv[1])), time.perf_counter()
    try:
        taken = site.ingest()
        said = f"in {taken.rows_in}, valid {taken.rows_valid}, quarantined {taken.rows_quarantined}"
        said += f", validated {site.validate().rows_valid}"
    except CvQualityError as error:
        said = f"{type(error).__name__}: {error}"
    # What getrusage tells is at least the memory of the process that this one was started from.
    peak_mib = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    sys.stdout.write(json.dumps(asdict(Cost(time.perf_counter() - started, peak_mib, said))))


if __name__ == "__main__":
    main()
