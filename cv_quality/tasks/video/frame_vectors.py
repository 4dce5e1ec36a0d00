"""Vectors of frames for clustering: the build's own embeddings, those of a vision backbone, or plain thumbnails.

What is clustered, and written, is in `cv_quality.tasks.root_causes.clusters`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.population import Population
from cv_quality.freshness import StageContext
from cv_quality.inference.backbone import Backbone, load_backbone
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.video.flow import opencv
from cv_quality.modality import of_modality
from cv_quality.tasks.root_causes.clusters import Embedding
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.pictures import DropPictures
from cv_quality.tasks.video.tables import PREDICTIONS

if TYPE_CHECKING:
    import polars as pl

Vectors = NDArray[np.float32]
MAX_FRAMES: Final = 2_000
"""Frames that are embedded: of more, every k-th, so that shares stay what they are."""
BATCH: Final = 32
OWN_EMBEDDING: Final = "model"
THUMBNAIL: Final = "thumbnail of 8 x 8 pixels"
"""What stands for a backbone where none is set: it tells light, colour and layout apart, and no content."""
SIDE: Final = 8


def embed_frames(context: StageContext, population: Population) -> Embedding:
    """Gather the vectors of a build's frames, those without one left out.

    Args:
        context: of the stage.
        population: frames of the build's own drops.

    Raises:
        RegistryError, ModelError: the backbone cannot be loaded; see `load_backbone`.
        DropError: a picture has changed since it was indexed.
    """
    every = -(-population.rows.height // MAX_FRAMES) or 1
    rows = population.rows.gather_every(every)
    lake, build = context.lake, context.build
    own = _own_vectors(lake, rows, build=build)
    if own is not None:
        return _embedding(OWN_EMBEDDING, population, own)
    folder = context.workspace.settings.backbone
    backbone = None if folder is None else load_backbone(folder, threads=context.threads)
    parts = []
    for (drop,), of_drop in rows.group_by("drop_id", maintain_order=True):
        pictures = DropPictures(context.workspace.landing, lake, str(drop))
        parts.append(_seen(pictures, of_drop, backbone=backbone))
    return _embedding(THUMBNAIL if backbone is None else backbone.name, population, _stacked(rows, parts))


def _embedding(source: str, population: Population, rows: "pl.DataFrame") -> Embedding:
    n = rows.height
    vectors = (
        rows["vector"].explode().to_numpy().reshape(n, -1).astype(np.float32) if n else np.empty((0, 1), np.float32)
    )
    # Nothing is known of how a clip looks when all is well.
    nowhere = np.full(vectors.shape, np.nan, np.float32)
    return Embedding(source, replace(population, rows=rows.drop("vector")), vectors, nowhere)


def _stacked(rows: "pl.DataFrame", parts: "Sequence[pl.DataFrame]") -> "pl.DataFrame":
    import polars as pl

    nothing = rows.clear().with_columns(vector=pl.lit(None, pl.List(pl.Float32)))
    return pl.concat([nothing, *parts])


def _own_vectors(lake: Lake, rows: "pl.DataFrame", *, build: str) -> "pl.DataFrame | None":
    """The frames with an embedding of the build's model; None where it gives none."""
    import polars as pl

    table = of_modality(PREDICTIONS, VIDEO_MODALITY)
    keys = [TableKey(build=build, drop=drop) for drop in rows["drop_id"].unique().sort().to_list()]
    found = (
        lake.scan(table, keys).select("drop_id", "stream_id", "frame_number", vector="embedding").drop_nulls("vector")
    )
    known = found.collect()
    if known.is_empty():
        return None
    return rows.join(known.with_columns(pl.col("vector").cast(pl.List(pl.Float32))), on=known.columns[:3])


def _seen(pictures: DropPictures, rows: "pl.DataFrame", *, backbone: Backbone | None) -> "pl.DataFrame":
    """The frames of one drop that have a picture, in the order of their streams, with a vector each."""
    import polars as pl

    rows = rows.with_row_index("place")
    found: dict[int, list[float]] = {}
    for (stream,), of_stream in rows.group_by("stream_id", maintain_order=True):
        wanted = dict(of_stream.select("frame_number", "place").iter_rows())
        lux = dict(of_stream.select("place", "illuminance_lux").iter_rows())
        for places, images in _batches(pictures, str(stream), wanted):
            if backbone is None:
                found |= {place: thumbnail(image).tolist() for place, image in zip(places, images, strict=True)}
                continue
            batch = backbone.embed(images, [lux[place] for place in places])
            for place, status, vector in zip(places, batch.status, batch.embeddings, strict=True):
                if status == "ok":
                    found[place] = vector.tolist()
    vectors = pl.DataFrame(
        {"place": list(found), "vector": list(found.values())},
        schema={"place": rows.schema["place"], "vector": pl.List(pl.Float32)},
    )
    return rows.join(vectors, on="place").sort("place").drop("place")


def _batches(
    pictures: DropPictures, stream: str, wanted: dict[int, int]
) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
    places, images = list[int](), list[NDArray[np.uint8]]()
    last = max(wanted, default=-1)
    for picture in pictures.frames(stream):
        if picture.image is not None and picture.frame_number in wanted:
            places.append(wanted[picture.frame_number])
            images.append(picture.image)
        if len(images) == BATCH:
            yield places, images
            places, images = [], []
        if picture.frame_number >= last:
            break
    if images:
        yield places, images


def thumbnail(image: NDArray[np.uint8]) -> Vectors:
    """Shrink a picture to 8 x 8 luma and its mean colour, 0 to 1: 67 numbers."""
    cv2 = opencv()
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    colour = image.reshape(-1, 3).mean(axis=0)
    return np.asarray(np.concatenate([small.ravel(), colour]) / 255, np.float32)
