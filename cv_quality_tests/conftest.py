"""Fixtures that every room's tests share."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from cv_quality.lake.lake import Lake
from cv_quality.lake.store import open_store

if TYPE_CHECKING:
    from cv_quality_tests.deployment import Orchestra

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that unpacks one archive of real data and gives its folder; where it is absent the test is not run."""
    root = tmp_path_factory.mktemp("shared")

    def unpacked(name: str) -> Path:
        archive = SHARED / f"{name}.tar.zst"
        if not archive.is_file():
            pytest.skip(f"not run: the data archive {archive.name} is not beside this clone")
        if not (root / name).is_dir():
            subprocess.run(["bash", str(SHARED / "unpack.sh"), name, "--to", str(root)], check=True)
        return root / name

    return unpacked


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake in a temporary folder."""
    return Lake(open_store(str(tmp_path / "lake")))


@pytest.fixture(scope="session")
def tiny_landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drops of the tiny scenario, rendered once; copy what you want to change."""
    from cv_quality.inference.registry import ModelRegistry
    from cv_quality.settings import REFERENCE_MODELS
    from cv_quality.simulation.scenario import load_scenario
    from cv_quality.simulation.simulate import simulate
    from cv_quality_tests.modalities import MODALITIES

    folder = tmp_path_factory.mktemp("tiny") / "landing"
    simulate(
        load_scenario("tiny"),
        landing=open_store(str(folder)),
        registry=ModelRegistry(REFERENCE_MODELS, modalities=MODALITIES),
    )
    return folder


@dataclass(frozen=True, slots=True)
class History:
    """The tiny scenario as the sensors worked it off, one drop after the other.

    Attributes:
        orchestra: the runs, and the instance that recorded them. Read only: copy `home` to change something.
        home: the deployment after both drops.
        first_home: a copy of it from before the second drop arrived.
    """

    orchestra: "Orchestra"
    home: Path
    first_home: Path


@pytest.fixture(scope="session")
def history(tiny_landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Both drops of the tiny scenario taken in, scored and reported by real runs of the jobs."""
    import dagster as dg

    from cv_quality_tests.deployment import FIRST_DROP, SECOND_DROP, Orchestra, deliver, open_workspace

    root = tmp_path_factory.mktemp("history")
    workspace = open_workspace(root / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        orchestra = Orchestra(workspace, instance)
        deliver(tiny_landing, FIRST_DROP, to=workspace)
        orchestra.work_off()
        shutil.copytree(root / "home", root / "first")
        deliver(tiny_landing, SECOND_DROP, to=workspace)
        orchestra.work_off()
        yield History(orchestra, root / "home", root / "first")
