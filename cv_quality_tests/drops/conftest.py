"""Fixtures of the tests of drops."""

from pathlib import Path

import pytest

from cv_quality_tests.drops.small_drops import Site, open_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return open_site(tmp_path)
