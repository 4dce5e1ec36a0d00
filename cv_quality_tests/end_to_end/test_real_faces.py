"""The whole chain on faces that exist: the published counts and error rates, through the assets."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import polars as pl
import pytest

from cv_quality.drops.importers.sample_drops import write_samples
from cv_quality.drops.importers.sample_folders import read_samples
from cv_quality.gates.verdicts import read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.instance import materialize_due
from cv_quality.planning import Work
from cv_quality.runner import run_due
from cv_quality.settings import Settings
from cv_quality.tasks import open_workspace
from cv_quality.tasks.verification.tables import OPERATING_POINTS
from cv_quality.workspace import Workspace

BUILD = "mobilefacenet"
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "registry-faces" / f"{BUILD}.yaml"
Unpacked = Callable[[str], Path]


def untracked(sequence: Sequence[Work], /, *, description: str) -> Iterable[Work]:  # noqa: ARG001
    return sequence


@pytest.fixture(scope="module")
def registry(shared_data: Unpacked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    shutil.copy(EXAMPLE, folder)
    for archive in ("model_mobilefacenet", "model_yunet"):
        for model in shared_data(archive).glob("*.onnx"):
            shutil.copy(model, folder)
    return folder


def workspace_with(faces: Path, *, home: Path, registry: Path) -> tuple[Workspace, str]:
    workspace = open_workspace(Settings.from_environment({"CVQ_HOME": str(home), "CVQ_REGISTRY": str(registry)}))
    face = workspace.modality("face")
    return workspace, write_samples(
        read_samples(faces, modality=face), landing=workspace.landing, modality=face, build_id=BUILD, site=faces.name
    )


def points(workspace: Workspace) -> pl.DataFrame:
    return workspace.lake.read(OPERATING_POINTS, TableKey(build=BUILD))


def test_orl_through_the_assets_gives_the_published_counts_and_rates(
    shared_data: Unpacked, registry: Path, tmp_path: Path
) -> None:
    workspace, _ = workspace_with(shared_data("face_orl_att"), home=tmp_path, registry=registry)
    runs = materialize_due(workspace, track=untracked)
    assert all(run.success for run in runs)

    at_1e3 = points(workspace).row(by_predicate=pl.col("fmr_target") == 1e-3, named=True)
    eer = points(workspace).row(by_predicate=pl.col("point") == "eer", named=True)
    assert (at_1e3["n_genuine"], at_1e3["n_impostor"]) == (1_755, 74_100)
    assert at_1e3["n_false_non_matches"] == 4
    assert (eer["fnmr"] + eer["fmr"]) / 2 == pytest.approx(0.0017, abs=0.0001)
    assert workspace.report_path(BUILD).stat().st_size > 100_000


def test_the_same_people_at_23x28_pixels_fail_far_more_often(
    shared_data: Unpacked, registry: Path, tmp_path: Path
) -> None:
    workspace, _ = workspace_with(shared_data("face_orl_lowres23x28"), home=tmp_path, registry=registry)
    assert run_due(workspace, track=untracked).succeeded
    at_1e3 = points(workspace).row(by_predicate=pl.col("fmr_target") == 1e-3, named=True)
    assert (at_1e3["n_genuine"], at_1e3["n_impostor"]) == (1_800, 78_000)
    assert at_1e3["fnmr"] == pytest.approx(0.43, abs=0.02)


def test_the_duplicate_in_yale_is_noticed_and_does_not_block(
    shared_data: Unpacked, registry: Path, tmp_path: Path
) -> None:
    workspace, drop = workspace_with(shared_data("face_yale_a"), home=tmp_path, registry=registry)
    assert run_due(workspace, track=untracked).succeeded
    at_1e3 = points(workspace).row(by_predicate=pl.col("fmr_target") == 1e-3, named=True)
    assert (at_1e3["n_genuine"], at_1e3["n_impostor"], at_1e3["n_false_non_matches"]) == (825, 12_705, 0)
    verdict = read_verdict(workspace.lake, "parse", TableKey(drop=drop))
    assert verdict is not None
    named = [example for item in verdict.warnings for example in item.examples]
    assert any("subject04.normal" in pair and "subject04.sad" in pair for pair in named)
