"""Fixtures that every room's tests share."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cv_quality.lake.lake import Lake
from cv_quality.lake.store import open_store

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that unpacks one archive of real data and returns its folder; where it is absent the test is not run."""
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
