"""Every benchmark of speed, one after the other, each in its own process: `python -m benchmarks [NAME ...]`.

Studies of coverage take minutes and are run by name: interval_coverage, extremes, differentials, slice_coverage,
attribution_coverage. So is train_reference_models, which makes the models of the simulated fleet.
"""

import subprocess
import sys

NAMES = ("ingest", "inference", "chain", "status", "curves", "pairs", "bootstrap", "slices", "explanations")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
