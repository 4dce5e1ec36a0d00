"""Every benchmark, one after the other, each in its own process: `python -m benchmarks [NAME ...]`."""

import subprocess
import sys

NAMES = ("ingest", "inference", "chain")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
