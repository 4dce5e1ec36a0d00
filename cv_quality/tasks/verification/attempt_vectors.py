"""Vectors of attempts for clustering: templates, or what was measured, or the embedding of a vision backbone.

An attempt's origin is the mean of its subject's enrolled samples in the same embedding. What is clustered, and written,
is in `cv_quality.tasks.root_causes.clusters`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.tables import FRAME_INDEX, VALIDATED_ENROLS
from cv_quality.error_analysis.population import Population
from cv_quality.errors import FrameError
from cv_quality.inference.backbone import Backbone, load_backbone
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store
from cv_quality.tasks.root_causes.clusters import Embedding
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.tables import EMBEDDINGS
from cv_quality.tasks.verification.templates import read_images

if TYPE_CHECKING:
    import polars as pl

SUBJECT = "subject_id"
OWN_EMBEDDING: Final = "model"
FIGURES: Final = "measured figures"

Vectors = NDArray[np.float32]


def embed_attempts(
    lake: Lake,
    population: Population,
    *,
    modality: BiometricModality,
    build: str,
    landing: Store,
    backbone: Path | None = None,
    threads: int = 2,
) -> Embedding:
    """Gather the vectors of a build's attempts, those without one left out.

    Templates that are packed bits lie at no distance that tells why a comparison fails: in their place stand the
    figures that were measured of each sample, standardised over the attempts, where one is missing its mean.

    Args:
        lake: to read from.
        population: attempts of the build's own drops.
        modality: of the build.
        build: whose templates are read.
        landing: where the images lie; read with a backbone only.
        backbone: folder of a vision backbone, whose embedding is used; None for the build's own templates.
        threads: for the images.

    Raises:
        MissingTable: a drop is not run through the model.
        DropError: an image has changed since it was indexed.
        RegistryError, ModelError: the backbone cannot be loaded, or an image does not fit it; see `load_backbone`.
    """
    import polars as pl

    loaded = None if backbone is None else load_backbone(backbone, threads=threads)
    figures = [item.name for item in modality.measured] if modality.comparator.template == "bits" else []
    kept, vectors, origins = [population.rows.clear()], list[Vectors](), list[Vectors]()
    for (drop,), rows in population.rows.group_by("drop_id", maintain_order=True):
        if loaded is None:
            enrolled, probes = _templates(lake, rows, key=TableKey(build=build, drop=str(drop)), figures=figures)
        else:
            enrolled, probes = _seen(lake, rows, drop=str(drop), landing=landing, backbone=loaded, threads=threads)
        if probes.is_empty():
            continue
        kept.append(probes.drop("vector"))
        vectors.append(probes["vector"].explode().to_numpy().reshape(probes.height, -1).astype(np.float32))
        origins.append(subject_origins(probes, enrolled, dimension=vectors[-1].shape[1]))
    nothing = np.empty((0, 1), np.float32)
    of_attempts, of_subjects = (np.concatenate(found) if found else nothing for found in (vectors, origins))
    if figures and loaded is None:
        of_attempts, of_subjects = _standardised(of_attempts, of_subjects)
    own = FIGURES if figures else OWN_EMBEDDING
    name = own if loaded is None else loaded.name
    return Embedding(name, replace(population, rows=pl.concat(kept)), of_attempts, of_subjects)


def _standardised(vectors: Vectors, origins: Vectors) -> tuple[Vectors, Vectors]:
    """Both by mean and standard deviation of the vectors' figures; one that is missing, or never varies, is 0."""
    known = np.ma.masked_invalid(vectors)
    mean, spread = known.mean(axis=0).filled(0.0), known.std(axis=0).filled(0.0)
    spread[spread == 0.0] = np.inf
    scaled = [np.nan_to_num((found - mean) / spread).astype(np.float32) for found in (vectors, origins)]
    return scaled[0], scaled[1]


def subject_origins(probes: "pl.DataFrame", enrolled: "pl.DataFrame", *, dimension: int) -> Vectors:
    """Average the enrolled samples of each attempt's subject, its own frame left out: shape (attempts, dimension).

    In a drop that pairs all images every image is enrolled, and would stand in its own origin. NaN where none is left.

    Args:
        probes: `subject_id` and `frame` of the attempts.
        enrolled: `subject_id`, `frame` and `vector` of the enrolled samples.
        dimension: of the vectors.
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


def _templates(
    lake: Lake, rows: "pl.DataFrame", *, key: TableKey, figures: Sequence[str]
) -> "tuple[pl.DataFrame, pl.DataFrame]":
    """The enrolled samples (`subject_id`, `frame`, `vector`) and the attempts that have a vector.

    Args:
        lake: to read from.
        rows: the attempts.
        key: whose templates are read.
        figures: columns of what was measured; without, the vector is the template.
    """
    import polars as pl

    samples = lake.read(EMBEDDINGS, key)
    if figures:
        measured = samples.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in figures))
        samples = measured.with_columns(vector=pl.concat_list(pl.col(name).fill_null(np.nan) for name in figures))
    else:
        samples = samples.filter(status="ok").with_columns(vector="embedding")
    enrolled = samples.filter(role="reference").select(SUBJECT, "frame", "vector")
    probes = samples.filter(role="probe").select(pl.col("sample_id").alias("attempt_id"), "vector")
    return enrolled, rows.join(probes, on="attempt_id").sort("attempt_id")


def _seen(
    lake: Lake, rows: "pl.DataFrame", *, drop: str, landing: Store, backbone: Backbone, threads: int
) -> "tuple[pl.DataFrame, pl.DataFrame]":
    """The same in the embedding of a backbone, from the images; a frame that serves several samples is run once."""
    import polars as pl

    index = lake.read(FRAME_INDEX, TableKey(drop=drop))
    enrols = lake.read(VALIDATED_ENROLS, TableKey(drop=drop)).filter("is_enrolled")
    enrols = enrols.filter(pl.col(SUBJECT).is_in(rows[SUBJECT].implode()))
    known = pl.col("illuminance_lux") if "illuminance_lux" in rows.columns else pl.lit(None, pl.Float64)
    wanted = pl.concat([part.select("frame", illuminance_lux=known) for part in (enrols, rows)]).drop_nulls("frame")
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
    for names, images in read_images(reader, list(lux), threads=threads):
        usable = {name: image for name, image in zip(names, images, strict=True) if not isinstance(image, FrameError)}
        known = list(usable)
        batch = backbone.embed(list(usable.values()), [lux[name] for name in known])
        del images, usable  # else they are held until the next ones are decoded
        for name, status, vector in zip(known, batch.status, batch.embeddings, strict=True):
            if status == "ok":
                yield name, vector
