"""A modality declared in one value, with an importer: from drops to report beside faces, its own distances throughout."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_quality.errors import MetricError, RegistryError
from cv_quality.lake.lake import TableKey
from cv_quality.runner import Done, run_due
from cv_quality.settings import Settings
from cv_quality.tasks import open_workspace
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    COMPARISONS,
    DET_CURVE,
    EMBEDDINGS,
    IMPOSTOR_COUNTS,
    IMPOSTOR_TAIL,
    INTERVALS,
    METRIC_COUNTS,
    OPERATING_POINTS,
)
from cv_quality.tasks.verification.task import verification
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import quietly
from cv_quality_tests.tasks.verification.toy_modality import (
    BUILD,
    DROPS,
    EUCLIDEAN,
    THRESHOLD,
    TOY,
    ToySample,
    Vector,
    draw_toy_samples,
    fused_references,
    genuine_distances,
    import_toy,
    write_toy_entry,
)

TASK = verification(FACE, TOY)


def toy_workspace(home: Path) -> Workspace:
    """A deployment whose registry knows the toy build."""
    registry = home / "registry"
    registry.mkdir(parents=True)
    write_toy_entry(registry)
    environment = {"CVQ_HOME": str(home), "CVQ_THREADS": "1", "CVQ_REGISTRY": str(registry)}
    return open_workspace(Settings.from_environment(environment), [TASK])


@dataclass(frozen=True, slots=True)
class ToyLake:
    """What the toy build left, and the samples that it was made of."""

    workspace: Workspace
    samples: Sequence[ToySample]
    done: Done

    def rows(self, table, *, drop: str | None = None) -> pl.DataFrame:  # noqa: ANN001
        return self.workspace.lake.read(table, TableKey(build=BUILD, drop=drop))

    @property
    def seen(self) -> list[ToySample]:
        """The samples that are not black, and so have a template."""
        return [sample for sample in self.samples if sample.pixels.any()]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyLake:
    workspace = toy_workspace(tmp_path_factory.mktemp("toy"))
    samples = draw_toy_samples()
    import_toy(samples, landing=workspace.landing)
    done = run_due(workspace, track=quietly, tasks=[TASK])
    return ToyLake(workspace, samples, done)


def cross_distances(samples: Sequence[ToySample]) -> Vector:
    """The distances of every attempt to the references of all other subjects, ascending."""
    centres = fused_references(samples)
    return np.sort(
        [
            np.linalg.norm(sample.vector - centre)
            for sample in samples
            if not sample.is_enrolment
            for subject, centre in centres.items()
            if subject != sample.subject
        ]
    )


def test_every_stage_of_the_toy_passes(toy: ToyLake) -> None:
    for r in toy.done.results:
        print(r.stage, r.key, r.numbers, r.seconds, r.passed, [f for f in (r.verdict.expectations if r.verdict else []) if not f.passed])
    assert toy.done.refused == []
    assert [(result.stage, result.verdict) for result in toy.done.results if not result.passed] == []
    assert 0
