"""The attempts of a confirmed slice as files for other tools: a table, and the images of those who agreed to be shown.

Which attempts a slice holds is read as it was searched; whose images may leave the landing area is decided, and they
are read, by `cv_quality.drops.consent`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cv_quality.drops.consent import FrameName, read_consents, read_shown
from cv_quality.error_analysis.population import Population
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import FrameError, SliceError
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import atomic_path
from cv_quality.stage import Task
from cv_quality.tasks.root_causes.searched import searched_population
from cv_quality.tasks.root_causes.slices import read_slices
from cv_quality.tasks.verification.populations import FRR
from cv_quality.tasks.verification.tables import EMBEDDINGS
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

TableFormat = Literal["csv", "parquet"]
SPLITS: Mapping[str, float] = {"train": 0.7, "validation": 0.85, "test": 1.0}
"""Ends of the parts of a data set, as shares of the subjects."""
IMAGES = "images"
"""The folder of images in an export."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was written.

    Attributes:
        condition: the slice in words.
        table: the file with the attempts.
        n_attempts, n_failures: rows of it, and those with the outcome.
        n_images: images written.
        n_withheld: images that not everybody agreed to whom they show, or that are gone or unreadable.
    """

    condition: str
    table: Path
    n_attempts: int
    n_failures: int
    n_images: int
    n_withheld: int


def export_slice(
    workspace: Workspace,
    task: Task,
    build: str,
    *,
    rank: int,
    target: Path,
    outcome: str = FRR.name,
    table_format: TableFormat = "csv",
    has_images: bool = False,
    is_data_set: bool = False,
) -> Export:
    """Write the attempts of a build's confirmed slice, with `is_failure`, and `image` where images are written.

    A data set is for those who train and debug models: it has, beside them, the attempts of the same subjects that
    passed outside of the slice, the `role` of each, a `split` by subject, and where an image is written the template
    that the build's model made of it, if that is a vector and the table is Parquet.

    Args:
        workspace, task, build: read from, of the task, for the build.
        rank: of the slice among those of the outcome, from 1.
        target: a folder that is not there yet, or empty.
        outcome: that was searched.
        table_format: of the table.
        has_images: write images too, each decoded and drawn anew, without what its file says besides.
        is_data_set: make a data set of them.

    Raises:
        GateFailed: the build's slices are not there, or not of what lies in the lake now.
        SliceError: the outcome was not searched, the build has no such slice, or the folder holds something.
        StoreError: it cannot be written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise SliceError(f"{target} holds something already: name a new folder")
    population = searched_population(workspace, task, build, outcome)
    slices = read_slices(workspace.lake, build, outcome)
    if not 1 <= rank <= len(slices):
        found = "; ".join(f"{number}: {item.sentence()}" for number, item in enumerate(slices, start=1)) or "none"
        raise SliceError(f"{build} has no confirmed slice {rank} of outcome {outcome}; there are {found}")
    where = slices[rank - 1]
    rows = _matched(population, where) if is_data_set else population.rows.filter(where.expression())
    withheld = 0
    if has_images:
        rows, withheld = _with_images(workspace, rows, target)
    if is_data_set and has_images and table_format == "parquet":
        rows = _with_templates(workspace, build, rows)
    table = target / f"attempts.{table_format}"
    with atomic_path(table) as path:
        rows.write_csv(path) if table_format == "csv" else rows.write_parquet(path)
    written = rows["image"].n_unique() - int(rows["image"].has_nulls()) if has_images else 0
    failures = int(rows[population.failed].sum())
    return Export(where.sentence(), table, rows.height, failures, written, withheld)


def _matched(population: Population, where: Slice) -> "pl.DataFrame":
    """The attempts of a slice, and of the subjects who fail in it those that passed outside, with role and split."""
    import polars as pl

    failed, unit, inside = pl.col(population.failed).cast(pl.Boolean), population.unit, where.expression()
    failing = population.rows.filter(inside & failed)[unit].unique().implode()
    role = pl.when(~inside).then(pl.lit("matched_pass")).when(failed).then(pl.lit("failure")).otherwise(pl.lit("pass"))
    split = pl.col(unit).map_elements(split_of, return_dtype=pl.String)
    chosen = population.rows.filter(inside | (~failed & pl.col(unit).is_in(failing)))
    return chosen.with_columns(role=role, split=split)


def split_of(subject: str) -> str:
    """Tell which part of a data set a subject belongs to, the same in every export.

    >>> [split_of(subject) for subject in ("s-000", "s-001")]
    ['test', 'validation']
    """
    place = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8]) / 2**64
    return next(name for name, end in SPLITS.items() if place < end)


def _with_templates(workspace: Workspace, build: str, rows: "pl.DataFrame") -> "pl.DataFrame":
    """Add the templates of the attempts whose images were written."""
    import polars as pl

    keys = [TableKey(build=build, drop=drop) for drop in rows["drop_id"].unique().sort()]
    templates = workspace.lake.scan(EMBEDDINGS, keys).select("drop_id", "embedding", attempt_id="sample_id").collect()
    joined = rows.join(templates, on=["drop_id", "attempt_id"], how="left", maintain_order="left")
    return joined.with_columns(pl.when(pl.col("image").is_not_null()).then("embedding").alias("embedding"))


def _with_images(workspace: Workspace, rows: "pl.DataFrame", target: Path) -> "tuple[pl.DataFrame, int]":
    """Write the images that may be shown, and name each in its rows; returns how many were not written too."""
    import polars as pl

    names = rows.drop_nulls("frame").unique(["drop_id", "frame"], keep="first", maintain_order=True)
    consents = read_consents(workspace.lake)
    places: dict[FrameName, str] = {}
    for (drop,), wanted in names.group_by("drop_id", maintain_order=True):
        files = {
            (str(drop), frame): f"{IMAGES}/{drop}_{name}.png" for frame, name in wanted["frame", "attempt_id"].rows()
        }
        shown = read_shown(workspace.lake, workspace.landing, files, consents=consents)
        places |= {name: files[name] for name, data in shown.items() if data and _drawn(data, target / files[name])}
    found = [(drop, frame, place) for (drop, frame), place in places.items()]
    images = pl.DataFrame(found, schema=dict.fromkeys(("drop_id", "frame", "image"), pl.String), orient="row")
    return rows.join(images, on=["drop_id", "frame"], how="left", maintain_order="left"), names.height - len(places)


def _drawn(data: bytes, target: Path) -> bool:
    """Write an image as PNG, its pixels alone; False where it cannot be decoded."""
    from PIL import Image

    from cv_quality.drops.images import decode_image

    try:
        pixels = decode_image(data)
    except FrameError:
        return False
    with atomic_path(target) as path:
        Image.fromarray(pixels).save(path, format="PNG")
    return True
