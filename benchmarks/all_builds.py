"""What the page over all builds reads at each publication, by how many cells lie in the lake.

Cells and drops are copies of one evaluated deployment's (`cvq demo`) under other names, so files and rows are of real
size; every model ran on every drop, the most pairs that a grid has.

    python -m benchmarks.all_builds --home .cvq
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from cv_quality.drops.tables import DROP_FILES, QUARANTINE_VALIDATE
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.settings import Settings
from cv_quality.tasks import open_workspace
from cv_quality.tasks.history import cell_rates, drop_rows, grid_of, pairs_of
from cv_quality.tasks.verification.history import PAIRED, read_cell
from cv_quality.tasks.verification.tables import METRIC_COUNTS
from cv_quality.workspace import Workspace

GRIDS = ((2, 5), (10, 10), (10, 100))
"""Builds and drops."""


def main() -> None:
    """Print the CPU seconds that the first and the second publication take to read, and those after one cell more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="an evaluated deployment")
    source = open_workspace(Settings.from_environment({"CVQ_HOME": str(parser.parse_args().home)}))
    print("builds  drops  cells  first_s  again_s  new_process_s  one_cell_more_s")
    for n_builds, n_drops in GRIDS:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for drop in range(n_drops):
                _copy_drop(source, root, f"drop-{drop:03d}")
                for build in range(n_builds):
                    _copy_cell(source, root, f"build-{build:02d}", f"drop-{drop:03d}")
            time.sleep(2.5)  # A file counts as settled from then on.
            opened = _open(root)
            first, again = _read(opened, n_builds), _read(opened, n_builds)
            fresh = _open(root)
            anew = _read(fresh, n_builds)
            _copy_drop(source, root, "drop-new")
            _copy_cell(source, root, "build-00", "drop-new")
            more = _read(fresh, n_builds)
        cells = n_builds * n_drops
        print(f"{n_builds:6} {n_drops:6} {cells:6} {first:8.2f} {again:8.2f} {anew:14.2f} {more:16.2f}", flush=True)


def _read(workspace: Workspace, n_builds: int) -> float:
    """Read what the page needs; returns the CPU seconds of it."""
    builds, began = [f"build-{build:02d}" for build in range(n_builds)], time.process_time()
    grid = grid_of(workspace, METRIC_COUNTS, builds, read_cell)
    assert cell_rates(grid)
    assert list(pairs_of(grid, builds, metric=PAIRED))
    assert drop_rows(workspace.lake, sorted({drop for cells in grid.values() for drop in cells}))
    return time.process_time() - began


def _open(root: Path) -> Workspace:
    return open_workspace(Settings.from_environment({"CVQ_HOME": str(root)}))


def _copy_drop(source: Workspace, root: Path, drop: str) -> None:
    for table in (DROP_FILES, QUARANTINE_VALIDATE):
        _copy(source, table, root / "lake" / table.name / f"{drop}.parquet")


def _copy_cell(source: Workspace, root: Path, build: str, drop: str) -> None:
    _copy(source, METRIC_COUNTS, root / "lake" / METRIC_COUNTS.name / build / f"{drop}.parquet")


def _copy(source: Workspace, table: Table, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    key: TableKey = source.lake.keys(table)[0]
    shutil.copyfile(source.lake.path(table, key), target)


if __name__ == "__main__":
    main()
