"""What is known of all builds together: any two on common drops, and cells that are read once."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from cv_quality.lake import kept
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.tasks.history import KeptCounts, cell_rates, grid_of, n_units, pairs_of
from cv_quality.tasks.verification.history import read_cell
from cv_quality.tasks.verification.tables import METRIC_COUNTS
from cv_quality.tasks.video.history import read_cell as read_clips
from cv_quality.tasks.video.tables import CLIP_SCORES
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace

Counts = Mapping[str, tuple[int, int]]
GOOD: Counts = {f"s{number}": (number % 4 == 0, 10) for number in range(40)}
BAD: Counts = {f"s{number}": (5 + number % 3, 10) for number in range(40)}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty deployment whose files count as settled at once."""
    monkeypatch.setattr(kept, "SETTLED_NS", -1)
    return open_workspace(tmp_path)


def write(lake: Lake, table: Table, build: str, drop: str, rows: Iterable[Mapping[str, object]]) -> None:
    head = {"build_id": build, "drop_id": drop}
    found = [{**dict.fromkeys(table.names), **head, **row} for row in rows]
    lake.write(table, TableKey(build=build, drop=drop), pa.Table.from_pylist(found, schema=table.arrow_schema))


def write_cell(lake: Lake, build: str, drop: str, counts: Counts) -> None:
    write(
        lake,
        METRIC_COUNTS,
        build,
        drop,
        (
            {
                "metric": metric,
                "dimension": "all",
                "level": "all",
                "subject_id": subject,
                "claimed_subject_id": subject,
                "numerator": int(errors),
                "denominator": trials,
            }
            for metric in ("frr", "fta")
            for subject, (errors, trials) in counts.items()
        ),
    )


def test_two_builds_are_paired_on_the_drops_that_both_were_run_on(workspace: Workspace) -> None:
    for build, drop, counts in (("a", "d1", GOOD), ("b", "d1", BAD), ("b", "d2", GOOD), ("c", "d3", GOOD)):
        write_cell(workspace.lake, build, drop, counts)
    grid = grid_of(workspace, METRIC_COUNTS, ["a", "b", "c"], read_cell)
    (pair,) = pairs_of(grid, ["a", "b", "c"], metric="frr")
    assert (pair.before, pair.after, pair.n_drops, pair.direction) == ("a", "b", 1, "worse")
    assert (pair.rate_before.numerator, pair.rate_before.denominator) == (10, 400)
    assert (pair.rate_after.numerator, pair.rate_after.n_subjects) == (sum(n for n, _ in BAD.values()), 40)
    assert cell_rates(grid)["b"]["d2"].value == pytest.approx(10 / 400)
    assert n_units(grid["b"]) == 40
    (turned,) = pairs_of(grid, ["b", "a"], metric="frr")
    assert turned.direction == "better"


def test_a_subject_of_one_build_alone_counts_there(workspace: Workspace) -> None:
    write_cell(workspace.lake, "a", "d1", GOOD)
    write_cell(workspace.lake, "b", "d1", {**GOOD, "another": (3, 10)})
    grid = grid_of(workspace, METRIC_COUNTS, ["a", "b"], read_cell)
    (pair,) = pairs_of(grid, ["a", "b"], metric="frr")
    assert (pair.rate_after.numerator, pair.rate_after.denominator) == (13, 410)
    assert pair.direction == "unclear"


def test_a_cell_is_read_again_only_when_it_was_written_again(workspace: Workspace) -> None:
    read: list[TableKey] = []

    def reading(lake: Lake, key: TableKey) -> KeptCounts:
        read.append(key)
        return read_cell(lake, key)

    for drop in ("d1", "d2"):
        write_cell(workspace.lake, "a", drop, GOOD)
    first = cell_rates(grid_of(workspace, METRIC_COUNTS, ["a"], reading))
    assert cell_rates(grid_of(workspace, METRIC_COUNTS, ["a"], reading)) == first
    assert len(read) == 2
    write_cell(workspace.lake, "a", "d2", BAD)
    changed = cell_rates(grid_of(workspace, METRIC_COUNTS, ["a"], reading))
    assert [key.drop for key in read] == ["d1", "d2", "d2"]
    assert changed["a"]["d2"] != first["a"]["d2"]


def test_what_is_kept_of_cells_holds_no_pseudonym(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SAVED_EVERY", 1)
    write_cell(workspace.lake, "a", "d1", {"anna-of-the-study": (1, 2)})
    grid_of(workspace, METRIC_COUNTS, ["a"], read_cell)
    saved = (workspace.settings.cache / "cells").read_bytes()
    assert b"metric_counts/a/d1" in saved
    assert b"anna" not in saved


def test_frames_of_video_are_paired_by_clip(workspace: Workspace) -> None:
    for build, missed in (("v1", 1), ("v2", 9)):
        rows = [
            {"stream_id": f"c{clip}", "metric": metric, "class_name": "all", "numerator": float(missed + clip % 2)}
            | {"denominator": 20.0, "value": 0.1}
            for clip in range(8)
            for metric in ("miss_rate", "no_output")
        ]
        undefined = {"stream_id": "c9", "metric": "miss_rate", "class_name": "all", "reason": "no truth"}
        write(workspace.lake, CLIP_SCORES, build, "d1", [*rows, undefined])
    (pair,) = pairs_of(grid_of(workspace, CLIP_SCORES, ["v1", "v2"], read_clips), ["v1", "v2"], metric="miss_rate")
    assert (pair.rate_before.numerator, pair.rate_after.numerator, pair.direction) == (12, 76, "worse")
    assert (pair.rate_after.denominator, pair.rate_after.n_subjects) == (160, 8)
