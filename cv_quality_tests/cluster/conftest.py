"""What the tests of clusters share: what one process makes of a few small drops."""

from pathlib import Path

import pytest

from cv_quality.runner import in_this_process
from cv_quality_tests.cluster.keys import small_deployment, take_in_and_score
from cv_quality_tests.deployment import fingerprints

FEW = 2


@pytest.fixture(scope="session")
def alone(tiny_landing: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what one process makes of a few drops."""
    workspace = small_deployment(tmp_path_factory.mktemp("alone") / "home", tiny_landing, drops=FEW)
    done = take_in_and_score(workspace, in_this_process(workspace))
    assert all(one.succeeded for one in done)
    return fingerprints(workspace)
