"""The clusters of one build: its genuine attempts in an embedding, its own or a vision backbone's, with their outcomes.

Clusters are found in `cv_quality.error_analysis.clusters`; here the vectors are gathered, and what is found becomes rows of
the lake.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.images import decode_image
from cv_quality.drops.tables import FRAME_INDEX, VALIDATED_ENROLS
from cv_quality.error_analysis.clusters import Cluster, Clusters, cluster_failures
from cv_quality.errors import FrameError
from cv_quality.inference.backbone import Backbone, load_backbone
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store
from cv_quality.tasks.root_causes.slices import ATTRIBUTES, SUBJECT, genuine_attempts
from cv_quality.tasks.root_causes.tables import FAILURE_CLUSTERS
from cv_quality.tasks.verification.tables import EMBEDDINGS

if TYPE_CHECKING:
    import polars as pl

OWN_EMBEDDING: Final = "model"
CHUNK_FRAMES: Final = 512
"""Decoded frames held at a time."""

Vectors = NDArray[np.float32]
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """What clustering said of a build.

    Attributes:
        source: "model", or the file of the backbone.
        attempts: genuine bona fide attempts of the build.
        without_vector: of them, attempts left out since they have no template, or no usable image.
        clusters: confirmed ones.
        undescribed: of them, clusters that no metadata describe.
        insufficient: clusters that rest on too few subjects.
        conclusion: one sentence on whether any of them is real.
    """

    build: str
    source: str
    attempts: int
    without_vector: int
    proposed: int
    clusters: int
    undescribed: int
    insufficient: int
    conclusion: str


def cluster_build(
    lake: Lake,
    *,
    build: str,
    drops: Sequence[str],
    landing: Store,
    backbone: Path | None = None,
    threads: int = 2,
    seed: int = 0,
) -> ClusterSummary:
    """Cluster a build's genuine attempts, failures and passes together, and write the clusters that hold up.

    An attempt's origin is the mean of its subject's enrolled samples in the same embedding, its own frame left out.

    Args:
        drops: the build's own drops.
        landing: where the images lie; read with a backbone only.
        backbone: folder of a vision backbone, whose embedding is used; None for the build's own templates.
        threads: for the images and for the search of descriptions.
        seed: of the split of the subjects and of the mixtures.

    Raises:
        MissingTable: a drop is not run through the model, or has no outcomes.
        DropError: an image has changed since it was indexed.
        RegistryError, ModelError: the backbone cannot be loaded, or an image does not fit it; see `load_backbone`.
    """
    loaded = None if backbone is None else load_backbone(backbone, threads=threads)
    attempts = genuine_attempts(lake, build=build, drops=drops)
    rows, vectors, origins = _gathered(
        lake, attempts, build=build, drops=drops, landing=landing, backbone=loaded, threads=threads
    )
    found = cluster_failures(
        vectors,
        is_failure=rows["is_failure"].to_numpy(),
        subjects=rows[SUBJECT].to_list(),
        attributes=rows.select(ATTRIBUTES),
        origins=origins,
        seed=seed,
        threads=threads,
    )
    source = OWN_EMBEDDING if loaded is None else loaded.name
    _write(lake, found, rows, build=build, source=source)
    return ClusterSummary(
        build=build,
        source=source,
        attempts=attempts.height,
        without_vector=attempts.height - rows.height,
        proposed=found.n_proposed,
        clusters=len(found.clusters),
        undescribed=sum(cluster.description is None for cluster in found.clusters),
        insufficient=len(found.insufficient),
        conclusion=found.conclusion,
    )


def subject_origins(probes: "pl.DataFrame", enrolled: "pl.DataFrame", *, dimension: int) -> Vectors:
    """The mean of each attempt's subject's enrolled samples, its own frame left out: shape (attempts, dimension).

    In a drop that pairs all images every image is enrolled, and would stand in its own origin. NaN where none is left.

    Args:
        probes: `subject_id` and `frame` of the attempts.
        enrolled: `subject_id`, `frame` and `vector` of the enrolled samples.
    """
    subjects = {name: code for code, name in enumerate(enrolled[SUBJECT].unique(maintain_order=True))}
    sums, counts = np.zeros((len(subjects) + 1, dimension)), np.zeros(len(subjects) + 1)
    own: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for subject, frame, vector in enrolled.select(SUBJECT, "frame", "vector").iter_rows():
        values = np.asarray(vector, dtype=np.float64)
        sums[subjects[subject]] += values
        counts[subjects[subject]] += 1
        own.setdefault((subject, frame), []).append(values)
    origins = np.full((probes.height, dimension), np.nan, np.float32)
    for row, (subject, frame) in enumerate(probes.select(SUBJECT, "frame").iter_rows()):
        code = subjects.get(subject, -1)
        shared = own.get((subject, frame), []) if frame is not None else []
        if counts[code] > len(shared):
            origins[row] = (sums[code] - sum(shared)) / (counts[code] - len(shared))
    return origins


def _gathered(
    lake: Lake,
    attempts: "pl.DataFrame",
    *,
    build: str,
    drops: Sequence[str],
    landing: Store,
    backbone: Backbone | None,
    threads: int,
) -> "tuple[pl.DataFrame, Vectors, Vectors]":
    """The attempts that have a vector, their vectors, and those of their origins, NaN where there is none."""
    import polars as pl

    kept, vectors, origins = list[pl.DataFrame](), list[Vectors](), list[Vectors]()
    for drop in sorted(drops):
        rows = attempts.filter(drop_id=drop)
        if backbone is None:
            enrolled, probes = _templates(lake, rows, build=build, drop=drop)
        else:
            enrolled, probes = _seen(lake, rows, drop=drop, landing=landing, backbone=backbone, threads=threads)
        if probes.is_empty():
            continue
        kept.append(probes.drop("vector"))
        vectors.append(_matrix(probes["vector"]))
        origins.append(subject_origins(probes, enrolled, dimension=vectors[-1].shape[1]))
    if not kept:
        nothing = np.empty((0, 1), np.float32)
        return attempts.clear(), nothing, nothing
    return pl.concat(kept), np.concatenate(vectors), np.concatenate(origins)


def _templates(lake: Lake, rows: "pl.DataFrame", *, build: str, drop: str) -> "tuple[pl.DataFrame, pl.DataFrame]":
    """The enrolled samples (`subject_id`, `frame`, `vector`) and the attempts that have a template of the build."""
    import polars as pl

    columns = ["role", "status", "sample_id", SUBJECT, "frame", "embedding"]
    samples = lake.read(EMBEDDINGS, TableKey(build=build, drop=drop), columns=columns).filter(status="ok")
    enrolled = samples.filter(role="reference").select(SUBJECT, "frame", vector="embedding")
    probes = samples.filter(role="probe").select(pl.col("sample_id").alias("attempt_id"), vector="embedding")
    return enrolled, rows.join(probes, on="attempt_id").sort("attempt_id")


def _seen(
    lake: Lake, rows: "pl.DataFrame", *, drop: str, landing: Store, backbone: Backbone, threads: int
) -> "tuple[pl.DataFrame, pl.DataFrame]":
    """The same in the embedding of a backbone, from the images; a frame that serves several samples is run once."""
    import polars as pl

    index = lake.read(FRAME_INDEX, TableKey(drop=drop))
    columns = [SUBJECT, "frame", "illuminance_lux", "is_enrolled"]
    enrols = lake.read(VALIDATED_ENROLS, TableKey(drop=drop), columns=columns).filter("is_enrolled")
    enrols = enrols.filter(pl.col(SUBJECT).is_in(rows[SUBJECT].implode()))
    wanted = pl.concat([part.select("frame", "illuminance_lux") for part in (enrols, rows)]).drop_nulls("frame")
    lux = dict(wanted.join(index, on="frame", how="semi").sort("frame").iter_rows())
    found = dict(_embedded(FrameReader(landing, drop, index), lux, backbone=backbone, threads=threads))
    vectors = pl.DataFrame(
        {"frame": list(found), "vector": [vector.tolist() for vector in found.values()]},
        schema={"frame": pl.String, "vector": pl.List(pl.Float32)},
    )
    enrolled = enrols.join(vectors, on="frame").select(SUBJECT, "frame", "vector").sort(SUBJECT, "frame")
    return enrolled, rows.join(vectors, on="frame").sort("attempt_id")


def _embedded(
    reader: FrameReader, lux: Mapping[str, float | None], *, backbone: Backbone, threads: int
) -> Iterator[tuple[str, Vectors]]:
    """The frames that can be decoded and have a vector, a bounded number of them in memory."""
    stored = reader.read(list(lux))
    with ThreadPoolExecutor(threads) as pool:
        while chunk := list(islice(stored, CHUNK_FRAMES)):
            decoded = zip((name for name, _ in chunk), pool.map(_image, (data for _, data in chunk)), strict=True)
            usable = {name: image for name, image in decoded if image is not None}
            batch = backbone.embed(list(usable.values()), [lux[name] for name in usable])
            for name, status, vector in zip(usable, batch.status, batch.embeddings, strict=True):
                if status == "ok":
                    yield name, vector


def _image(data: bytes) -> NDArray[np.uint8] | None:
    try:
        return decode_image(data)
    except FrameError:
        return None


def _matrix(vectors: "pl.Series") -> Vectors:
    matrix: Vectors = vectors.explode().to_numpy().reshape(len(vectors), -1).astype(np.float32)
    return matrix


def _write(lake: Lake, found: Clusters, rows: "pl.DataFrame", *, build: str, source: str) -> None:
    import pyarrow as pa

    identities = rows.select("drop_id", "attempt_id").rows()
    filled = [
        {"build_id": build, "cluster": place, "embedding_source": source, **_columns(cluster, identities)}
        for place, cluster in enumerate(found.clusters, start=1)
    ]
    table = pa.Table.from_pylist(filled, schema=FAILURE_CLUSTERS.arrow_schema)
    lake.write(FAILURE_CLUSTERS, TableKey(build=build), table)


def _columns(cluster: Cluster, identities: Sequence[tuple[str, str]]) -> Row:
    described = cluster.description
    return {
        "is_described": described is not None,
        "condition": described.where.sentence() if described else None,
        "where_json": json.dumps(described.where.to_list()) if described else None,
        "precision": described.precision if described else None,
        "recall": described.recall if described else None,
        "rate": cluster.rate,
        "low": cluster.low,
        "high": cluster.high,
        "numerator": cluster.failures,
        "denominator": cluster.trials,
        "rest_rate": cluster.rest_rate,
        "support": cluster.support,
        "n_subjects": cluster.subjects,
        "p_adjusted": cluster.p_adjusted,
        "share_of_failures": cluster.share_of_failures,
        "examples_json": json.dumps([list(identities[row]) for row in cluster.exemplars]),
        "sentence": cluster.sentence,
    }
