"""Runs a build's model over every sample of a validated drop and writes the table `embeddings`.

Reading and decoding are done here; how a batch of frames becomes templates is the modality's encoder. Templates are
compared in `cv_quality.tasks.verification.comparisons`.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.images import decode_image
from cv_quality.drops.tables import FRAME_INDEX, VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.errors import FrameError, ModelError
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import BuildEntry
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store
from cv_quality.modality import Modality, of_modality
from cv_quality.tasks.verification.modality import BiometricModality, Conditions, Encoder, biometric
from cv_quality.tasks.verification.tables import EMBEDDINGS
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

UNKNOWN_INSTANCE = "unknown"
CHUNK_FRAMES, CHUNK_BYTES = 512, 96 << 20
"""Decoded frames held at a time: so many, or so large (one frame may be larger)."""
Outcome = tuple[str, list[float] | bytes | None, dict[str, float]]
"""Of a frame: status, template, and what was measured."""


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
    encoder: Encoder,
    entry: BuildEntry,
    modality: BiometricModality,
    drop: str,
    threads: int = 2,
) -> EmbedSummary:
    """Encode every enrolled sample and every attempt of a drop with one build's model.

    A sample without a usable image still gets its row, with the reason as status: a failure to acquire is a result.
    A frame that serves several samples is run once.

    Args:
        landing: where the drop's frames lie.
        encoder: the model of `entry`, loaded.
        modality: the drop's.
        threads: that decode.
    """
    names = [dimension.name for dimension in modality.conditions]
    samples = samples_of(lake, drop, conditions=names)
    rows = samples.drop_nulls("frame").select("frame", *names).iter_rows(named=True)
    conditions = {row["frame"]: {name: row[name] for name in names} for row in rows}
    reader = FrameReader(landing, drop, lake.read(FRAME_INDEX, TableKey(drop=drop)))
    outcomes: dict[str, Outcome] = {}
    for frames, images in read_images(reader, sorted(conditions), threads=threads):
        outcomes |= _encode(encoder, frames, images, conditions=conditions)
        del images  # else they are held until the next ones are decoded
    table = _rows(samples, outcomes, entry=entry, modality=modality, drop=drop)
    lake.write(of_modality(EMBEDDINGS, modality), TableKey(build=entry.build_id, drop=drop), table)
    by_status = dict(table.group_by("status").len().sort("status").iter_rows())
    return EmbedSummary(entry.build_id, drop, table.height, len(conditions), by_status)


def require_frames(lake: Lake, *, build: str, drop: str) -> None:
    """Refuse a drop on which there is nothing to run a model.

    Raises:
        ModelError: it has no frame; what evaluates it is said.
    """
    if lake.first(FRAME_INDEX, TableKey(drop=drop), columns=("frame",)) is None:
        raise ModelError(
            f"drop {drop} has no frames to run the model of {build} on; deliver them, or, to evaluate what "
            f"its devices decided, let {build}.yaml in the registry have the keys build_id, modality, follows "
            "and 'recorded: true' (decision_threshold where it is known) and no others"
        )


def samples_of(lake: Lake, drop: str, *, conditions: Sequence[str]) -> "pl.DataFrame":
    """Read one row per sample: enrolled ones as references, attempts as probes, in a fixed order.

    Args:
        lake, drop: whose samples.
        conditions: columns beside those of every sample.
    """
    import polars as pl

    columns = ("event_id", "subject_id", "reference_id", "frame", *conditions)
    enrols = lake.read(VALIDATED_ENROLS, TableKey(drop=drop)).filter("is_enrolled").select(columns)
    attempts = lake.read(VALIDATED_ATTEMPTS, TableKey(drop=drop)).select(columns)
    roles = [enrols.with_columns(role=pl.lit("reference")), attempts.with_columns(role=pl.lit("probe"))]
    return pl.concat(roles).sort("role", "event_id")


def read_images(
    reader: FrameReader, frames: Sequence[str], *, threads: int
) -> Iterator[tuple[list[str], list[Frame | FrameError]]]:
    """Decode frames in chunks of (names, images), of which one is in memory at a time.

    Args:
        reader, frames: where the images lie, and which of them.
        threads: that decode.

    Returns:
        images in the order of their names; one that cannot be decoded is its error.
    """
    with ThreadPoolExecutor(threads) as pool:
        for chunk in _chunks(reader, frames):
            yield [name for name, _ in chunk], list(pool.map(_image_or_error, (data for _, data in chunk)))


def _chunks(reader: FrameReader, frames: Sequence[str]) -> Iterator[list[tuple[str, bytes]]]:
    """Encoded frames that may be decoded together."""
    chunk: list[tuple[str, bytes]] = []
    size = 0
    for name, data in reader.read(frames):
        more = reader.decoded_bytes(name)
        if chunk and (len(chunk) == CHUNK_FRAMES or size + more > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((name, data))
        size += more
    if chunk:
        yield chunk


def _image_or_error(data: bytes) -> Frame | FrameError:
    try:
        return decode_image(data)
    except FrameError as error:
        return error


def _encode(
    encoder: Encoder,
    names: list[str],
    images: list[Frame | FrameError],
    *,
    conditions: Mapping[str, Conditions],
) -> dict[str, Outcome]:
    failed = {name: image for name, image in zip(names, images, strict=True) if isinstance(image, FrameError)}
    usable = {name: image for name, image in zip(names, images, strict=True) if not isinstance(image, FrameError)}
    found = encoder.encode(list(usable.values()), [conditions[name] for name in usable], list(usable))
    measured = [
        dict(zip(found.measured, row, strict=True))
        for row in zip(*(values.tolist() for values in found.measured.values()), strict=True)
    ] or [{} for _ in usable]
    outcomes: dict[str, Outcome] = {name: (error.reason, None, {}) for name, error in failed.items()}
    for name, status, template, figures in zip(usable, found.statuses, found.templates, measured, strict=True):
        outcomes[name] = (status, _written(template) if status == "ok" else None, figures)
    return outcomes


def _written(template: NDArray[np.float32] | NDArray[np.uint64]) -> list[float] | bytes:
    """A template as `embeddings` have it: the numbers of a vector, or packed bits."""
    if template.dtype == np.uint64:
        return template.astype("<u8").tobytes()
    values: list[float] = template.tolist()
    return values


def _rows(
    samples: "pl.DataFrame", outcomes: dict[str, Outcome], *, entry: BuildEntry, modality: BiometricModality, drop: str
) -> "pl.DataFrame":
    import polars as pl

    found = [outcomes.get(frame, ("missing_frame", None, {})) for frame in samples["frame"]]
    templates = [template for _, template, _ in found]
    is_bits = modality.comparator.template == "bits"
    rows = samples.select(
        pl.lit(entry.build_id).alias("build_id"),
        pl.lit(drop).alias("drop_id"),
        pl.col("event_id").alias("sample_id"),
        "role",
        "subject_id",
        "reference_id",
        "frame",
        *(_figures(item.name, found) for item in modality.measured),
        instance_of(modality),
        pl.Series("status", [status for status, _, _ in found], dtype=pl.String),
        pl.Series("embedding", [None] * len(found) if is_bits else templates, dtype=pl.List(pl.Float32)),
        pl.Series("code", templates if is_bits else [None] * len(found), dtype=pl.Binary),
        pl.lit(entry.sha256).alias("model_sha256"),
    )
    return rows.with_columns(_off_reference(rows, *pair) for pair in modality.differences.items())


def _figures(name: str, found: Sequence[Outcome]) -> "pl.Series":
    import polars as pl

    return pl.Series(name, [figures.get(name) for _, _, figures in found], dtype=pl.Float64).fill_nan(None)


def _off_reference(rows: "pl.DataFrame", difference: str, figure: str) -> "pl.Series":
    """By how much a measured figure of each attempt's sample lies off the mean of the reference that it claims."""
    import polars as pl

    own = rows.filter(role="reference").group_by("reference_id").agg(pl.col(figure).mean().alias("own"))
    joined = rows.select("role", "reference_id", figure).join(own, on="reference_id", how="left", maintain_order="left")
    off = pl.when(pl.col("role") == "probe").then((pl.col(figure) - pl.col("own")).abs())
    return joined.select(off.alias(difference)).to_series()


def instance_of(modality: Modality) -> "pl.Expr":
    """Tell which of its subject's instances each sample is of, from the columns of its conditions."""
    import polars as pl

    name = pl.col(modality.instance).fill_null(UNKNOWN_INSTANCE) if modality.instance else pl.lit(None, pl.String)
    return name.alias("instance")


def loaded_encoder(workspace: Workspace, entry: BuildEntry) -> Encoder:
    """Load a build's model, once per process."""
    if entry.build_id not in workspace.models:
        modality = biometric(workspace.modality(entry.modality))
        workspace.models[entry.build_id] = modality.encoder(entry, workspace.registry, workspace.settings.threads)
    return cast(Encoder, workspace.models[entry.build_id])
