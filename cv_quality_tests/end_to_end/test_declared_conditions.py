"""The documentation's drop with conditions of its own, from the writer to the page, as its reader would run it."""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.drops.tables import SUBJECTS
from cv_quality.lake.lake import TableKey
from cv_quality.runner import run_due
from cv_quality.settings import Settings
from cv_quality.tasks import open_workspace
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import quietly

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "write_drop.py"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The deployment in which the drop has been reported."""
    home = str(tmp_path_factory.mktemp("declared"))
    settings = Settings.from_environment({"CVQ_HOME": home, "CVQ_THREADS": "1", "CVQ_EXPLAINED_PAIRS": "0"})
    workspace = open_workspace(settings)
    subprocess.run([sys.executable, EXAMPLE, workspace.settings.landing], check=True)
    assert run_due(workspace, track=quietly).succeeded
    return workspace


def test_a_declared_cause_is_the_first_slice_by_its_label(done: Workspace) -> None:
    with duckdb.connect(str(done.settings.warehouse), read_only=True) as warehouse:
        found = warehouse.execute(
            "SELECT condition FROM fct_failure_slices WHERE finding = 'confirmed' AND outcome = 'frr' ORDER BY rank"
        ).fetchall()
    assert found == [("firmware is 2.1",)]
    page = done.report_path("face-1.1").read_text()
    assert "firmware: camera firmware" in page
    assert "camera firmware 2.1" in page
    assert "charging yes" in page
    assert "°" in page


def test_rates_are_broken_down_by_declared_levels(done: Workspace) -> None:
    with duckdb.connect(str(done.settings.warehouse), read_only=True) as warehouse:
        rows = warehouse.execute(
            "SELECT level, sum(numerator) / sum(denominator) FROM fct_attempt_rates "
            "WHERE dimension = 'firmware' AND metric = 'frr' AND model_build_id = 'face-1.1' GROUP BY level"
        ).fetchall()
    rates = dict(rows)
    assert rates["2.0"] == rates["2.2"] == 0
    assert rates["2.1"] == 53 / 83


def cvq(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner(env={"CVQ_HOME": str(workspace.settings.home)}).invoke(main, arguments)


def slice_export(workspace: Workspace, target: Path, *more: str) -> dict[str, object]:
    found = cvq(workspace, "export", "face-1.1", "--slice", "1", "--to", str(target), *more, "--json")
    assert found.exit_code == 0, found.output
    return dict(json.loads(found.stdout))


def test_the_attempts_of_a_slice_are_exported(done: Workspace, tmp_path: Path) -> None:
    told = slice_export(done, tmp_path / "csv")
    rows = pl.read_csv(tmp_path / "csv" / "attempts.csv")
    assert set(rows["firmware"].cast(pl.String)) == {"2.1"}
    assert (told["n_attempts"], told["n_failures"]) == (rows.height, rows["is_failure"].sum())
    told = slice_export(done, tmp_path / "parquet", "--format", "parquet")
    assert pl.read_parquet(str(told["table"])).height == rows.height


def test_images_leave_with_consent_alone(done: Workspace, tmp_path: Path) -> None:
    home = shutil.copytree(done.settings.home, tmp_path / "home")
    workspace = open_workspace(Settings.from_environment({"CVQ_HOME": str(home)}))
    (key,) = workspace.lake.keys(SUBJECTS)
    refusing = workspace.lake.read(SUBJECTS, key).filter(pl.col("subject_id") < "p10")
    said_no = refusing.with_columns(has_image_consent=False, drop_id=pl.lit("elsewhere"))
    workspace.lake.write(SUBJECTS, TableKey(drop="elsewhere"), said_no)
    told = slice_export(workspace, tmp_path / "dark", "--images")
    rows = pl.read_csv(tmp_path / "dark" / "attempts.csv")
    shown = rows.drop_nulls("image")
    assert set(rows.filter(pl.col("image").is_null())["subject_id"]) == set(refusing["subject_id"])
    assert set(shown["subject_id"]).isdisjoint(refusing["subject_id"])
    assert shown.height > 0
    written = {f"images/{path.name}" for path in (tmp_path / "dark" / "images").iterdir()}
    assert written == set(shown["image"])
    assert (told["n_images"], told["n_withheld"]) == (len(written), rows.height - len(written))
    example = runpy.run_path(str(EXAMPLE.with_name("load_in_fiftyone.py")))
    loaded = list(example["samples"](tmp_path / "dark"))
    assert len(loaded) == len(written)
    assert all(Path(path).is_file() and fields["firmware"] == 2.1 for path, fields in loaded)


def test_a_data_set_has_matched_passes_and_no_subject_in_two_parts(done: Workspace, tmp_path: Path) -> None:
    plain = slice_export(done, tmp_path / "plain")
    told = slice_export(done, tmp_path / "set", "--format", "parquet", "--images", "--data-set")
    rows = pl.read_parquet(str(told["table"]))
    matched = rows.filter(role="matched_pass")
    failing = rows.filter(role="failure")
    assert rows.height - matched.height == plain["n_attempts"]
    assert failing.height == plain["n_failures"]
    assert matched.height > 0
    assert not matched["is_failure"].any()
    assert set(matched["firmware"]).isdisjoint({"2.1"})
    assert set(matched["subject_id"]) <= set(failing["subject_id"])
    assert (
        rows.group_by("subject_id").agg(pl.col("split").n_unique())["split"].to_list()
        == [1] * rows["subject_id"].n_unique()
    )
    assert set(rows["split"]) <= {"train", "validation", "test"}
    assert (rows["embedding"].is_not_null() <= rows["image"].is_not_null()).all()
    assert rows["embedding"].drop_nulls().len() > 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--slice", "2"), "has no confirmed slice 2 of outcome frr; there are 1: firmware is 2.1"),
        (("--slice", "1", "--outcome", "timeouts"), "outcome 'timeouts' of face-1.1 was not searched"),
        (("--slice", "1", "--to", "."), "holds something already: name a new folder"),
    ],
)
def test_an_export_that_cannot_be_is_refused(done: Workspace, tmp_path: Path, more: Sequence[str], told: str) -> None:
    found = cvq(done, "export", "face-1.1", "--to", str(tmp_path / "new"), *more)
    assert found.exit_code == 1
    assert told in found.stderr
    assert not (tmp_path / "new").exists()
