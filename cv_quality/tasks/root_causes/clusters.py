"""Clusters of a build's failures in an embedding of the task's choice, as rows of the lake.

They are found in `cv_quality.error_analysis.clusters`; vectors are gathered by the task.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.clusters import Cluster
from cv_quality.error_analysis.population import Population, cluster
from cv_quality.error_analysis.slices import Slice
from cv_quality.lake.lake import Lake
from cv_quality.tasks.root_causes.tables import FAILURE_CLUSTERS, write_rows

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The rows of a population that have a vector.

    Attributes:
        source: what made the vectors, as the table writes it.
        population, vectors: those rows, and theirs, shape (rows, dimension).
        origins: what each row's unit looks like when all is well; NaN where unknown.
    """

    source: str
    population: Population
    vectors: NDArray[np.float32]
    origins: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """What clustering said of a build.

    Attributes:
        source: "model", or the file of the backbone.
        attempts: of the build.
        without_vector: of them, attempts left out since they have no template, or no usable image.
        candidates, clusters: clusters that stood out on the discovery half, and confirmed ones.
        undescribed: of the confirmed, clusters that no metadata describe.
        insufficient: clusters that rest on too few subjects.
        conclusion: one sentence on whether any of them is real.
    """

    build: str
    source: str
    attempts: int
    without_vector: int
    candidates: int
    clusters: int
    undescribed: int
    insufficient: int
    conclusion: str


def cluster_build(
    lake: Lake,
    *,
    build: str,
    embedding: Embedding,
    n_attempts: int,
    slices: Sequence[Slice] = (),
    threads: int = 2,
    seed: int = 0,
) -> ClusterSummary:
    """Cluster a build's failures and passes together, and write the clusters that are confirmed.

    Args:
        lake, build: written to, under the build.
        embedding: of its own attempts.
        n_attempts: how many there are, with a vector or without.
        slices: the build's own, whose thresholds descriptions take where they part nearly the same rows.
        threads, seed: for the search of descriptions, and of the split of the subjects and the mixtures.
    """
    population = embedding.population
    search = partial(cluster, population, embedding.vectors, origins=embedding.origins)
    found = search(found=slices, seed=seed, threads=threads)
    rows = [
        {"cluster": place, "embedding_source": embedding.source, **_columns(item, population)}
        for place, item in enumerate(found.clusters, start=1)
    ]
    write_rows(lake, FAILURE_CLUSTERS, build, rows)
    return ClusterSummary(
        build=build,
        source=embedding.source,
        attempts=n_attempts,
        without_vector=n_attempts - population.rows.height,
        candidates=found.n_candidates,
        clusters=len(found.clusters),
        undescribed=sum(item.description is None for item in found.clusters),
        insufficient=len(found.insufficient),
        conclusion=found.conclusion,
    )


def _columns(found: Cluster, population: Population) -> dict[str, object]:
    described = found.description
    examples: pl.DataFrame = population.rows[list(found.examples)].select(population.key)
    return {
        "is_described": described is not None,
        "condition": described.where.sentence() if described else None,
        "where_json": json.dumps(described.where.to_list()) if described else None,
        "precision": described.precision if described else None,
        "recall": described.recall if described else None,
        "rate": found.rate,
        "low": found.low,
        "high": found.high,
        "numerator": found.failures,
        "denominator": found.trials,
        "rest_rate": found.rest_rate,
        "support": found.support,
        "n_subjects": found.subjects,
        "p_adjusted": found.p_adjusted,
        "share_of_failures": found.share_of_failures,
        "examples_json": json.dumps([list(row) for row in examples.iter_rows()]),
        "sentence": found.sentence,
    }
