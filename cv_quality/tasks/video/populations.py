"""The populations of video: frames that miss the requirement, the loss of frames, and frames that come late.

A row is a frame, and what is resampled is the clip. How they are searched, and what is written of them, is in
`cv_quality.tasks.root_causes`.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cv_quality.builds import modality_of, own_drops
from cv_quality.drops.tables import CLIPS, DEVICES
from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.lake.lake import TableKey
from cv_quality.modality import Dimension, Modality, of_modality
from cv_quality.tasks.video.tables import FRAME_SCORES
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

FRAME = "frame"
MISS = Outcome("miss", rate="miss rate", failures="misses", trial=FRAME, unit="clip")
"""The outcome sought first: a quality below the requirement, or no output although the picture was there."""
LOSS = Outcome("loss", rate="mean loss", failures="frames above the mean loss", trial=FRAME, unit="clip")
LATE = Outcome("late", rate="deadline misses", failures="late frames", trial=FRAME, unit="clip")
MIN_FAILURES = 20
"""Late frames below which they are not searched."""
UNIT = "stream_id"
RECORDED = (
    Dimension(DEVICES.column("device_model"), "device model", is_counted=True),
    Dimension(DEVICES.column("os_version"), "operating system", is_counted=True),
    Dimension(CLIPS.column("scene"), "scene", is_counted=True),
)
"""What is known of a clip as a whole."""


def frame_dimensions(modality: Modality) -> tuple[Dimension, ...]:
    """List what a frame is told apart by: as logged, as measured, and what its clip has."""
    return (*modality.conditions, *modality.measured, *RECORDED)


def attempt_id(stream: str, frame_number: int) -> str:
    """Name a frame as tables of root causes do.

    >>> attempt_id("s1", 12)
    's1.000012'
    """
    return f"{stream}.{frame_number:06d}"


def frame_of_attempt(attempt: str) -> tuple[str, int]:
    """Find the stream and the number of a frame by the name that `attempt_id` gave it.

    >>> frame_of_attempt("s1.000012")
    ('s1', 12)
    """
    stream, _, number = attempt.rpartition(".")
    return stream, int(number)


def missed_frames(workspace: Workspace, build: str, model: str) -> Population:
    """Read the population of a build's own clips whose failures are frames below the requirement.

    Args:
        workspace: to read from.
        build: whose drops they are.
        model: whose outputs were scored.

    Raises:
        MissingTable: a drop was not scored under the model.
    """
    return _population(workspace, build, model, outcome=MISS, failed="is_miss")


def other_outcomes(workspace: Workspace, build: str, misses: Population) -> Iterator[Population]:  # noqa: ARG001 - as the stage calls it
    """Make the further populations of a build: the loss of its frames, and frames after their deadline.

    Args:
        workspace: to read from.
        build: the build.
        misses: its primary population.
    """
    loss = _population(workspace, build, build, outcome=LOSS, failed="loss")
    if not loss.rows.is_empty():
        yield loss
    late = _population(workspace, build, build, outcome=LATE, failed="is_late")
    if int(late.rows["is_late"].sum()) >= MIN_FAILURES:
        yield late


def _population(workspace: Workspace, build: str, model: str, *, outcome: Outcome, failed: str) -> Population:
    """Read the frames of a build's drops under a model for which an outcome is known.

    Args:
        workspace: to read from.
        build, model: whose drops, and whose outputs.
        outcome, failed: that is sought, and its column.
    """
    modality = modality_of(workspace, TableKey(build=build))
    keys = [TableKey(build=model, drop=drop) for drop in own_drops(workspace, build)]
    rows = workspace.lake.scan(of_modality(FRAME_SCORES, modality), keys)
    return population_of(rows, modality=modality, outcome=outcome, failed=failed)


def population_of(
    rows: "pl.LazyFrame", *, modality: Modality, outcome: Outcome, failed: str, further: Sequence[str] = ()
) -> Population:
    """Make a population of frames.

    Args:
        rows: of `frame_scores`.
        modality: whose conditions they have.
        outcome, failed: that is sought, and its column; frames without it are left out.
        further: columns that are read besides.
    """
    import polars as pl

    dimensions = frame_dimensions(modality)
    columns = tuple(item.name for item in dimensions)
    wanted = ("drop_id", "stream_id", "frame_number", "frame", failed, "loss", *columns, *further)
    number = pl.col("frame_number").cast(pl.String).str.zfill(6)
    return Population(
        outcome,
        rows.drop_nulls(failed)
        .select(list(dict.fromkeys(wanted)))
        .with_columns(attempt_id=pl.format("{}.{}", "stream_id", number))
        .sort("drop_id", "stream_id", "frame_number")
        .collect(),
        failed=failed,
        unit=UNIT,
        columns=columns,
        key=("drop_id", "attempt_id"),
        dimensions=dimensions,
    )
