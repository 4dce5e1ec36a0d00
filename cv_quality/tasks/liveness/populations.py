"""The populations of liveness: attacks that get through, resampled by artefact, and people who are taken for attacks.

How they are searched, and what is written of them, is in `cv_quality.tasks.root_causes`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from cv_quality.builds import modality_of, own_drops
from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.freshness import StageContext
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Column
from cv_quality.modality import Dimension, Modality
from cv_quality.tasks.liveness.build_metrics import liveness_dimensions, read_outcomes
from cv_quality.tasks.root_causes.clusters import Embedding
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

PRESENTATION = "presentation"
PASSED = Outcome("attack_passed", rate="APCER", failures="attacks that passed", trial=PRESENTATION, unit="artefact")
"""The outcome sought first: an attack that is taken for bona fide, its species pooled for the search only."""
REJECTED = Outcome("bona_fide_rejected", rate="BPCER", failures="people rejected", trial=PRESENTATION)
UNIT: Final = "unit"
FIGURES: Final = "measured figures"
ATTACK_DIMENSIONS = (
    Dimension(Column("pai_species", "text", "kind of the artefact", nullable=True), "species"),
    Dimension(Column("pai_series", "text", "series of the artefact", nullable=True), "series"),
)


def passed_attacks(workspace: Workspace, build: str, model: str) -> Population:
    """Read the attacks on a build's own drops whose failures are those that passed.

    Args:
        workspace: to read from.
        build: whose drops they are.
        model: whose decisions; as recorded, the build's own.

    Raises:
        MissingTable: a drop was not judged.
    """
    return _population(workspace, build, model, PASSED, is_attack=True)


def other_outcomes(workspace: Workspace, build: str, attacks: Population) -> Iterator[Population]:  # noqa: ARG001 - as the stage calls it
    """Make the further population of a build: bona fide presentations, of which some are rejected.

    Args:
        workspace: to read from.
        build: the build.
        attacks: its primary population.
    """
    people = _population(workspace, build, build, REJECTED, is_attack=False)
    if not people.rows.is_empty():
        yield people


def embed_figures(context: StageContext, population: Population) -> Embedding:  # noqa: ARG001 - as the stage calls it
    """Place presentations by the numbers among their conditions, standardised, a missing one at its mean."""
    import polars as pl

    names = [item.name for item in population.dimensions if item.column.kind in ("real", "integer")]
    figures = [pl.col(name).cast(pl.Float64) for name in names]
    told = population.rows.select(
        ((figure - figure.mean()) / figure.std()).fill_nan(None).fill_null(0.0) for figure in figures
    )
    vectors = told.to_numpy().astype(np.float32).reshape(population.rows.height, len(names))
    return Embedding(FIGURES, population, vectors, np.full(vectors.shape, np.nan, np.float32))


def _population(workspace: Workspace, build: str, model: str, outcome: Outcome, *, is_attack: bool) -> Population:
    modality = modality_of(workspace, TableKey(build=build))
    rows = read_outcomes(workspace.lake, model, own_drops(workspace, build), modality)
    return population_of(rows, modality=modality, outcome=outcome, is_attack=is_attack)


def population_of(rows: "pl.DataFrame", *, modality: Modality, outcome: Outcome, is_attack: bool) -> Population:
    """Make a population of decided presentations.

    Args:
        rows: of `presentation_outcomes`.
        modality: whose conditions they have.
        outcome: that is sought.
        is_attack: whether attacks are searched, or bona fide presentations.
    """
    import polars as pl

    dimensions = (*(ATTACK_DIMENSIONS if is_attack else ()), *liveness_dimensions(modality))
    # An artefact that is not named stands for itself; so does a species' use of one person's likeness.
    unit = pl.coalesce("artefact_id", pl.format("{} of {}", "pai_species", "target_subject_id"), "presentation_id")
    own = rows.filter(pl.col("is_attack") == is_attack).drop_nulls("is_error")
    own = own.with_columns((unit if is_attack else pl.col("subject_id")).alias(UNIT), attempt_id="presentation_id")
    return Population(
        outcome,
        own.sort("drop_id", "presentation_id"),
        failed="is_error",
        unit=UNIT,
        columns=tuple(item.name for item in dimensions),
        key=("drop_id", "attempt_id"),
        score="pad_score" if own["pad_score"].null_count() == 0 and own.height else None,
        dimensions=dimensions,
    )
