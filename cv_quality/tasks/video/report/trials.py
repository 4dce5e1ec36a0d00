"""Frames of a build's clips one by one: quality, latency and conditions of each, and its picture with its outputs."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cv_quality.drops.consent import StreamName, read_consents, read_shown_streams
from cv_quality.reports.pictures import NO_CONSENT, Picture
from cv_quality.reports.section import ReportSource
from cv_quality.reports.trials import BADNESS, MAY_SHOW, WHY_HIDDEN, TrialColumn, TrialKind, TrialName, Trials
from cv_quality.tasks.trials import columns_of, own_rows, trial_slices
from cv_quality.tasks.video.populations import MISS, attempt_id, frame_dimensions, frame_of_attempt, population_of
from cv_quality.tasks.video.report.data import frame_scores
from cv_quality.tasks.video.report.sketches import OpenPictures, Sketches, open_drop_pictures
from cv_quality.tasks.video.tables import FRAME_SCORES

MAX_THUMBNAILS = 300
ATTEMPT_SQL = "stream_id || '.' || lpad(frame_number::VARCHAR, 6, '0')"
NUMBERS = {
    "loss": "loss",
    "latency_ms": "latency in ms",
    "j": "region IoU (J)",
    "f": "boundary F",
    "nme": "landmark error (NME)",
    "psnr_db": "PSNR in dB",
    "temperature_c": "temperature in °C",
    "time_s": "time within the clip in s",
}
"""What is known of a frame as a number, beside its conditions."""
_FURTHER = ("status", "is_late", *NUMBERS)


def read_trials(source: ReportSource, *, open_pictures: OpenPictures = open_drop_pictures) -> Trials:
    """Read the frames of a build's own clips of which it is known whether they miss the requirement.

    Raises:
        MissingTable: a drop was not scored, or the build's slices were not searched.
    """
    import polars as pl

    scores = frame_scores(source, source.scope.build)
    found = population_of(scores, modality=source.modality, outcome=MISS, failed="is_miss", further=_FURTHER)
    shown = read_shown_streams(source.lake, source.scope.drops, consents=read_consents(source.lake))
    streams = pl.DataFrame(sorted(shown), schema={"drop_id": pl.String, "stream_id": pl.String}, orient="row")
    rows = found.rows.join(
        streams.with_columns(pl.lit(True).alias(MAY_SHOW)),
        on=["drop_id", "stream_id"],
        how="left",
        maintain_order="left",
    ).with_columns(pl.col(MAY_SHOW).fill_null(False))
    rows = rows.with_columns(
        pl.when(~pl.col(MAY_SHOW)).then(pl.lit(NO_CONSENT)).alias(WHY_HIDDEN), pl.col("loss").alias(BADNESS)
    )
    known = [name for name in rows.columns if rows[name].count()]
    frames = TrialKind(
        name="frame",
        label="frames",
        population=replace(found, rows=rows),
        slices=trial_slices(source, outcome=MISS.name),
        where=f"{own_rows(source)} AND is_miss IS NOT NULL",
        failed="is_miss",
    )
    return Trials(
        kinds=(frames,),
        columns=(
            TrialColumn("is_miss", "misses the requirement", "level"),
            TrialColumn("status", "status", "level"),
            *(TrialColumn(name, label, "number") for name, label in NUMBERS.items() if name in known),
            TrialColumn("is_late", "late", "level"),
            *columns_of(frame_dimensions(source.modality), known),
            TrialColumn("drop_id", "drop", "level"),
            TrialColumn("stream_id", "clip", "level"),
            TrialColumn("attempt_id", "frame", "name", ATTEMPT_SQL),
        ),
        table=FRAME_SCORES.name,
        score="loss",
        thresholds=(),
        max_thumbnails=MAX_THUMBNAILS,
        read_thumbnails=partial(_read_thumbnails, source, shown, open_pictures),
    )


def _read_thumbnails(
    source: ReportSource, shown: frozenset[StreamName], open_pictures: OpenPictures, names: Sequence[TrialName]
) -> dict[TrialName, Picture]:
    """Draw frames under the build's model, with their truth.

    Args:
        shown: streams that may be.
        open_pictures: opens the pictures of a drop.
        names: of frames.
    """
    wanted: dict[StreamName, set[int]] = {}
    for drop, name in names:
        stream, number = frame_of_attempt(name)
        if (drop, stream) in shown:
            wanted.setdefault((drop, stream), set()).add(number)
    build = source.scope.build
    sketches = Sketches(source, wanted, models=(build,), open_pictures=open_pictures)
    return {
        (stream[0], attempt_id(stream[1], number)): sketches.shot(stream, build, number)
        for stream, numbers in wanted.items()
        for number in numbers
    }
