"""Runs a build's model over every sample of a validated drop and writes the table `embeddings`.

Reading, decoding and statuses are decided here; how one batch becomes templates is in `cv_quality.inference.embedder`.
Comparing templates is the next room's work, `cv_quality.tasks.verification.comparisons`.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.images import decode_image
from cv_quality.drops.tables import FRAME_INDEX, VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.errors import FrameError
from cv_quality.inference.embedder import Embedder, load_embedder
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store
from cv_quality.tasks.verification.tables import EMBEDDINGS
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

CHUNK_FRAMES = 512
Outcome = tuple[str, list[float] | None]


@dataclass(frozen=True, slots=True)
class EmbedSummary:
    """What running a model over a drop gave: rows written, and how many by status."""

    build: str
    drop: str
    samples: int
    frames: int
    by_status: dict[str, int]


def embed_drop(
    lake: Lake,
    *,
    landing: Store,
    embedder: Embedder,
    drop: str,
    threads: int = 2,
) -> EmbedSummary:
    """Embed every enrolled sample and every attempt of `drop` with the build of `embedder`.

    A sample without a usable image still gets its row, with the reason as status: a failure to acquire is a result.
    A frame that serves several samples is run once.
    """
    samples = _samples(lake, drop)
    lux = dict(samples.drop_nulls("frame").select("frame", "illuminance_lux").iter_rows())
    reader = FrameReader(landing, drop, lake.read(FRAME_INDEX, TableKey(drop=drop)))
    outcomes: dict[str, Outcome] = {}
    for names, images in _decoded(reader, sorted(lux), threads=threads):
        outcomes |= _embed(embedder, names, images, lux=lux)
    build = embedder.entry.build_id
    rows = _rows(samples, outcomes, build=build, drop=drop, model_sha256=embedder.model_sha256)
    lake.write(EMBEDDINGS, TableKey(build=build, drop=drop), rows)
    by_status = dict(rows.group_by("status").len().sort("status").iter_rows())
    return EmbedSummary(build, drop, rows.height, len(lux), by_status)


def _samples(lake: Lake, drop: str) -> "pl.DataFrame":
    """One row per sample: enrolled ones as references, attempts as probes, in a fixed order."""
    import polars as pl

    columns = ("event_id", "subject_id", "reference_id", "frame", "illuminance_lux")
    enrols = lake.read(VALIDATED_ENROLS, TableKey(drop=drop)).filter("is_enrolled").select(columns)
    attempts = lake.read(VALIDATED_ATTEMPTS, TableKey(drop=drop)).select(columns)
    roles = [enrols.with_columns(role=pl.lit("reference")), attempts.with_columns(role=pl.lit("probe"))]
    return pl.concat(roles).sort("role", "event_id")


def _decoded(
    reader: FrameReader, frames: Sequence[str], *, threads: int
) -> Iterator[tuple[list[str], list[NDArray[np.uint8] | FrameError]]]:
    """Chunks of (names, images); an image that cannot be decoded is its error."""
    stored = reader.read(frames)
    with ThreadPoolExecutor(threads) as pool:
        while chunk := list(islice(stored, CHUNK_FRAMES)):
            yield [name for name, _ in chunk], list(pool.map(_image_or_error, (data for _, data in chunk)))


def _image_or_error(data: bytes) -> NDArray[np.uint8] | FrameError:
    try:
        return decode_image(data)
    except FrameError as error:
        return error


def _embed(
    embedder: Embedder,
    names: list[str],
    images: "list[NDArray[np.uint8] | FrameError]",
    *,
    lux: dict[str, float | None],
) -> dict[str, Outcome]:
    failed = {name: image for name, image in zip(names, images, strict=True) if isinstance(image, FrameError)}
    usable = {name: image for name, image in zip(names, images, strict=True) if not isinstance(image, FrameError)}
    batch = embedder.embed(list(usable.values()), illuminance_lux=[lux[name] for name in usable])
    outcomes: dict[str, Outcome] = {name: (error.reason, None) for name, error in failed.items()}
    for name, status, vector in zip(usable, batch.status, batch.embeddings, strict=True):
        outcomes[name] = (status, vector.tolist() if status == "ok" else None)
    return outcomes


def _rows(
    samples: "pl.DataFrame", outcomes: dict[str, Outcome], *, build: str, drop: str, model_sha256: str
) -> "pl.DataFrame":
    import polars as pl

    found = [outcomes.get(frame, ("missing_frame", None)) for frame in samples["frame"]]
    return samples.select(
        pl.lit(build).alias("build_id"),
        pl.lit(drop).alias("drop_id"),
        pl.col("event_id").alias("sample_id"),
        "role",
        "subject_id",
        "reference_id",
        "frame",
        pl.Series("status", [status for status, _ in found], dtype=pl.String),
        pl.Series("embedding", [vector for _, vector in found], dtype=pl.List(pl.Float32)),
        pl.lit(model_sha256).alias("model_sha256"),
    )


def loaded_embedder(workspace: Workspace, build: str) -> Embedder:
    """The build's model, loaded once per process."""
    found = workspace.models.get(build)
    if not isinstance(found, Embedder):
        entry = workspace.registry.model_entry(build)
        found = load_embedder(entry, registry=workspace.registry, threads=workspace.settings.threads)
        workspace.models[build] = found
    return found
