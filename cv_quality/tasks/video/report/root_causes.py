"""Root causes of frames that miss the requirement: the shared reading of them, in the words of video.

Pictures of examples are drawn like those of strips, and only of clips that may be shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from cv_quality.drops.consent import read_consents, read_shown_streams
from cv_quality.lake.lake import TableKey
from cv_quality.reports.drawing import Chart
from cv_quality.reports.pictures import NO_CONSENT, Picture
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.root_causes.report.charts import cause_charts
from cv_quality.tasks.root_causes.report.reading import read_causes, read_searches
from cv_quality.tasks.root_causes.report.records import (
    ACCEPTED,
    AttemptName,
    CauseWords,
    PicturedAttempt,
    RootCauses,
    SliceEvidence,
)
from cv_quality.tasks.root_causes.tables import SLICE_TRENDS
from cv_quality.tasks.video.populations import LATE, LOSS, MISS, attempt_id, frame_of_attempt
from cv_quality.tasks.video.report.data import condition_words, frame_scores
from cv_quality.tasks.video.report.sketches import OpenPictures, Sketches, open_drop_pictures
from cv_quality.tasks.video.tables import VIDEO_COUNTERFACTUALS

WORDS = CauseWords(
    trial="frame",
    unit="clip",
    alike="clips",
    one="clip",
    agreed="clips whose event and whose subject agreed to it",
    rate="miss rate",
    searched="frames",
    failing="below the requirement",
    others="Other outcomes",
    other="Outcome",
    others_note="The same search for frames that fail otherwise",
    look="Frames that look alike",
)
OTHERS = {LOSS.name: "loss of a frame", LATE.name: "late frames"}
MISSED = "missed"
ENDINGS = {ACCEPTED: "met", MISSED: "missed"}
"""What became of a frame, in words."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChangedPictures:
    """The worst frames of one slice, run again with their pictures changed: the loss before and after."""

    rank: int
    condition: str
    change: str
    n_frames: int
    n_clips: int
    loss_before: float | None
    loss_after: float | None
    value: float | None
    low: float | None
    high: float | None
    n_recovered: int
    n_lost: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class FrameCauses:
    """Why frames miss the requirement.

    Attributes:
        causes: as of any task.
        changed: by slice; the changes that help most come first.
        query: of the changed pictures.
    """

    causes: RootCauses
    changed: tuple[ChangedPictures, ...]
    query: Query


def read_frame_causes(source: ReportSource, *, open_pictures: OpenPictures = open_drop_pictures) -> FrameCauses:
    """Read why frames of the build miss the requirement.

    Raises:
        MissingTable: slices, clusters or (with a baseline) the change have not been worked out.
    """

    def evidence(rank: int) -> SliceEvidence:
        where: dict[str, str | float] = {"outcome": MISS.name, "rank": rank}
        return SliceEvidence(queries=(("Trend", rows_query(SLICE_TRENDS, build=source.scope.build, where={**where})),))

    causes = read_causes(
        source,
        searches=read_searches(source, primary=MISS.name),
        outcome=MISS.name,
        words=WORDS,
        others=OTHERS,
        attempts=lambda names: _read_frames(source, names, open_pictures=open_pictures),
        evidence=evidence,
    )
    query = rows_query(VIDEO_COUNTERFACTUALS, build=source.scope.build, where={}, order=("rank", "value"))
    return FrameCauses(causes, tuple(_changed(source)), query)


def _changed(source: ReportSource) -> Iterable[ChangedPictures]:
    key = TableKey(build=source.scope.build)
    names = [field.name for field in fields(ChangedPictures)]
    rows = source.lake.read(VIDEO_COUNTERFACTUALS, key).sort("rank", "value", "change", nulls_last=True)
    yield from (ChangedPictures(**row) for row in rows.select(names).to_dicts())


def frame_cause_charts(found: FrameCauses, source: ReportSource) -> Iterator[Chart]:
    """Draw what is drawn of root causes."""
    return cause_charts(found.causes, source)


def _read_frames(
    source: ReportSource, names: Iterable[AttemptName], *, open_pictures: OpenPictures
) -> dict[AttemptName, PicturedAttempt]:
    """Read frames as the build's model did on them; a frame goes by its stream and its number."""
    wanted: dict[tuple[str, str], set[int]] = {}
    for drop, frame in set(names):
        stream, number = frame_of_attempt(frame)
        wanted.setdefault((drop, stream), set()).add(number)
    if not wanted:
        return {}
    shown = read_shown_streams(source.lake, source.scope.drops, consents=read_consents(source.lake))
    may_show = {name: numbers for name, numbers in wanted.items() if name in shown}
    sketches = Sketches(source, may_show, models=(source.scope.build,), open_pictures=open_pictures)
    hidden = Picture(uri=None, placeholder=NO_CONSENT)
    return {
        (name[0], attempt_id(name[1], row["frame_number"])): PicturedAttempt(
            attempt_id=f"frame {row['frame_number']}",
            drop_id=name[0],
            subject_id=name[1],
            score=None if row["loss"] is None else 1 - row["loss"],
            outcome=MISSED if row["is_miss"] else ACCEPTED,
            conditions=condition_words(source, row),
            picture=sketches.shot(name, source.scope.build, row["frame_number"]) if name in may_show else hidden,
        )
        for name, row in _rows(source, wanted)
    }


def _rows(
    source: ReportSource, wanted: Mapping[tuple[str, str], set[int]]
) -> Iterable[tuple[tuple[str, str], dict[str, Any]]]:
    import polars as pl

    scores = frame_scores(source, source.scope.build)
    for (drop, stream), numbers in sorted(wanted.items()):
        own = scores.filter(pl.col("frame_number").is_in(sorted(numbers)), drop_id=drop, stream_id=stream)
        for row in own.sort("frame_number").collect().to_dicts():
            yield (drop, stream), row
