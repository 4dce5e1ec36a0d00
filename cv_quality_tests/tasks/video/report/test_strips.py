"""Pictures of a video page: whose are shown, which frames, and what lies over them."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from cv_quality.drops.consent import read_consents, read_shown_streams
from cv_quality.drops.tables import CLIPS, MEDIA_INDEX, QUARANTINE_PARSE, RAW_CLIPS, RAW_SUBJECTS, SUBJECTS
from cv_quality.errors import DropError
from cv_quality.lake.lake import TableKey
from cv_quality.reports.pictures import GONE, NO_CONSENT
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.clip_walk import StreamPicture
from cv_quality.tasks.video.report.overlay import HALO, IGNORED, OUTLINE, Annotation, class_numbers, draw_frame
from cv_quality.tasks.video.report.strips import WorstFrames, read_worst_frames
from cv_quality_tests.tasks.video.report.video_case import (
    BUILD,
    DROPS,
    HEIGHT,
    SCORES,
    WIDTH,
    MadePictures,
    VideoCase,
    frame,
    picture,
)

NO = pl.lit(value=False).alias("has_image_consent")


class WatchedPictures(MadePictures):
    """Pictures that remember of which streams they were asked."""

    def __init__(self) -> None:
        self.asked = list[str]()

    def frames(self, stream: str) -> Iterator[StreamPicture]:
        self.asked.append(stream)
        yield from super().frames(stream)


def read(case: VideoCase) -> tuple[WorstFrames, list[str]]:
    watched = WatchedPictures()
    found = read_worst_frames(case.source(), open_pictures=lambda _source, _drop: watched)
    return found, watched.asked


def shown(case: VideoCase) -> set[str]:
    return {stream for _, stream in read_shown_streams(case.lake, DROPS, consents=read_consents(case.lake))}


def test_clip_without_consent_is_not_even_decoded(case: VideoCase) -> None:
    found, asked = read(case)
    hidden = [strip for strip in found.strips if strip.span.stream_id == "clip-06"]
    assert [strip.placeholder for strip in hidden] == [NO_CONSENT]
    assert not hidden[0].rows
    assert "clip-06" not in asked
    assert "clip-02" in asked
    assert found.animation is not None
    assert found.animation.stream_id == "clip-02"


def test_subject_who_says_no_in_another_drop_is_hidden_everywhere(case: VideoCase) -> None:
    assert {"clip-02", "clip-03"} <= shown(case)
    said = {"event_id": "s", "subject_id": "subject-2", "has_image_consent": False}
    row = case.lake.read(SUBJECTS, TableKey(drop=DROPS[0])).head(1).to_dicts()[0] | said | {"drop_id": "another"}
    for table in (SUBJECTS, RAW_SUBJECTS):
        case.lake.write(table, TableKey(drop="another"), frame(table, [row]))
    assert "clip-02" not in shown(case)
    assert "clip-03" in shown(case)
    assert "clip-02" not in read(case)[1]


def test_clip_event_that_was_repeated_with_a_no_hides_the_clip(case: VideoCase) -> None:
    case.edit(
        RAW_CLIPS,
        TableKey(drop=DROPS[0]),
        lambda rows: pl.concat([rows, rows.filter(stream_id="clip-01").with_columns(NO)]),
    )
    assert "clip-01" not in shown(case)
    assert "clip-00" in shown(case)


def test_clip_event_that_was_rejected_with_a_no_hides_the_clip(case: VideoCase) -> None:
    line = '{"kind": "clip", "stream_id": "clip-01", "has_image_consent": false, "frame_rate_hz": "many"}'
    row = {"drop_id": DROPS[0], "source_file": "e", "source_line": 9, "stage": "parse", "event_kind": "clip"}
    row |= {"reason": "type", "detail": "expected a number", "raw": line, "raw_bytes": len(line)}
    case.lake.write(QUARANTINE_PARSE, TableKey(drop=DROPS[0]), frame(QUARANTINE_PARSE, [row]))
    assert "clip-01" not in shown(case)
    assert "clip-00" in shown(case)


def test_same_bytes_under_a_clip_without_consent_are_hidden(case: VideoCase) -> None:
    rows = [
        {
            "drop_id": drop,
            "content": "clips",
            "member": f"{stream}.mp4",
            "stream_id": None,
            "shard": "clips-000.tar",
            "byte_offset": 512,
            "byte_count": 10,
            "sha256": digest * 64,
            "media_format": "mp4",
        }
        for drop, stream, digest in ((DROPS[1], "clip-05", "a"), (DROPS[1], "clip-06", "a"), (DROPS[1], "clip-04", "b"))
    ]
    case.lake.write(MEDIA_INDEX, TableKey(drop=DROPS[1]), frame(MEDIA_INDEX, rows))
    assert "clip-05" not in shown(case)
    assert "clip-04" in shown(case)


def test_clip_without_a_sound_event_is_not_shown(case: VideoCase) -> None:
    case.edit(CLIPS, TableKey(drop=DROPS[0]), lambda rows: rows.filter(pl.col("stream_id") != "clip-00"))
    assert "clip-00" not in shown(case)


def test_strip_holds_its_worst_frame_and_says_its_quality(case: VideoCase) -> None:
    found, _ = read(case)
    scores = case.lake.scan(SCORES, case.source().scope.grid(BUILD)).collect()
    for strip in (strip for strip in found.strips if strip.rows and strip.worst_of == BUILD):
        own = scores.filter(drop_id=strip.span.drop_id, stream_id=strip.span.stream_id)
        inside = own.filter(pl.col("frame_number").is_between(strip.span.first, strip.span.last))
        worst = inside.sort("loss", "frame_number", descending=[True, False])["frame_number"][0]
        shots = dict(strip.rows)[BUILD]
        assert worst in [shot.frame for shot in shots]
        for shot in shots:
            j = own.filter(frame_number=shot.frame)["j"][0]
            assert float(shot.quality) == pytest.approx(j, abs=0.005)
            assert shot.fails is (j < 0.5)


def test_late_frames_without_a_quality_are_not_the_worst(case: VideoCase) -> None:
    has_none = pl.col("stream_id") == "clip-02"
    case.edit_scores(
        lambda rows: rows.with_columns(
            loss=pl.when(~has_none).then("loss"), is_miss=pl.when(~has_none).then("is_miss"), is_late=has_none
        )
    )
    found, asked = read(case)
    assert "clip-02" not in asked
    assert all(strip.span.mean_loss is not None for strip in found.strips)


def test_drop_that_is_gone_leaves_words(case: VideoCase) -> None:
    def gone(_source: ReportSource, _drop: str) -> MadePictures:
        raise DropError("the drop is gone")

    found = read_worst_frames(case.source(), open_pictures=gone)
    assert {strip.placeholder for strip in found.strips} == {GONE, NO_CONSENT}
    assert found.animation is None
    assert found.no_animation == GONE


def test_truth_is_outlined_and_output_filled() -> None:
    grey = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[20:40, 30:60] = 1
    labels[:, -4:] = 255
    truth = Annotation(class_numbers(labels, {0: 0, 1: 1, 255: IGNORED}))
    output = np.zeros((HEIGHT, WIDTH), np.uint8)
    output[25:45, 35:65] = 7
    drawn = np.asarray(
        draw_frame(grey, truth=truth, output=Annotation(class_numbers(output, {7: 1}, others=0)), width=WIDTH)
    )
    assert tuple(drawn[20, 40]) == OUTLINE
    assert tuple(drawn[19, 40]) == HALO
    assert tuple(drawn[30, 31]) == (100, 100, 100)
    assert drawn[30, 50, 0] > 150
    assert drawn[30, 50, 2] < 100
    assert (drawn[:, -4:] == 100).all()
    assert tuple(drawn[44, 64]) == tuple(drawn[30, 50])


def test_mask_of_another_size_lies_where_it_belongs() -> None:
    output = np.zeros((16, 24), np.uint8)
    output[:, 12:] = 1
    drawn = np.asarray(
        draw_frame(picture("clip-00", 0), truth=Annotation(), output=Annotation(class_numbers(output, {})), width=WIDTH)
    ).astype(int)
    plain = np.asarray(draw_frame(picture("clip-00", 0), truth=Annotation(), output=Annotation(), width=WIDTH))
    changed = np.abs(drawn - plain).sum(axis=(0, 2)) > 0
    assert not changed[: WIDTH // 2].any()
    assert changed[WIDTH // 2 :].all()
