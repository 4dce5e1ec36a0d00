"""Frames over time: failing spans, thinned lines, and latency over heat, each against plain Python."""

import numpy as np
import polars as pl
import pytest

from cv_quality.tasks.video.report.heat import read_heat
from cv_quality.tasks.video.report.spans import BRIDGED_FRAMES, failing_spans, read_clip_frames
from cv_quality.tasks.video.report.timeline import POINTS_SHOWN, read_timelines
from cv_quality_tests.tasks.video.report.video_case import BASELINE, BUILD, N_FRAMES, RATE_HZ, VideoCase


def test_failing_spans_are_the_runs_of_misses(made: VideoCase) -> None:
    rows = read_clip_frames(made.source(), BUILD)
    expected = []
    for (drop, stream), clip in rows.group_by(["drop_id", "stream_id"], maintain_order=True):
        run = list[int]()
        for number in clip.filter("is_miss")["frame_number"]:
            if run and number - run[-1] > BRIDGED_FRAMES + 1:
                expected.append((drop, stream, run[0], run[-1]))
                run = []
            run.append(number)
        if run:
            expected.append((drop, stream, run[0], run[-1]))
    found = failing_spans(rows)
    assert [(span.drop_id, span.stream_id, span.first, span.last) for span in found] == expected
    assert len(expected) > 5
    assert all(span.end - span.start == pytest.approx(span.n_frames / RATE_HZ) for span in found)


def test_each_build_has_its_worst_clip(made: VideoCase) -> None:
    found = {clip.worst_of: clip.stream_id for clip in read_timelines(made.source())}
    assert found == {(BUILD,): "clip-02", (BASELINE,): "clip-07"}


def test_gap_of_the_quality_is_not_drawn_over(case: VideoCase) -> None:
    is_gap = (pl.col("stream_id") == "clip-02") & pl.col("frame_number").is_between(20, 24)
    case.edit_scores(lambda rows: rows.with_columns(loss=pl.when(~is_gap).then("loss")))
    points = read_timelines(case.source())[0].quality[BUILD]
    assert len(points) == N_FRAMES - 5
    assert {point.segment for point in points} == {0, 1}
    assert all((point.at >= 25 / RATE_HZ - 1e-3) == (point.segment == 1) for point in points)


def test_long_clip_is_thinned_to_its_worst_frames(case: VideoCase) -> None:
    copies = 40
    case.edit_scores(
        lambda rows: pl.concat(
            rows.filter(stream_id="clip-02").with_columns(
                frame_number=pl.col("frame_number") + copy * N_FRAMES,
                time_s=pl.col("time_s") + copy * N_FRAMES / RATE_HZ,
                loss=pl.when((pl.col("frame_number") == 33) & (copy == 17)).then(1.0).otherwise(0.25),
            )
            for copy in range(copies)
        )
    )
    clip = read_timelines(case.source())[0]
    points = clip.quality[BUILD]
    assert clip.n_frames == copies * N_FRAMES
    assert len(points) <= POINTS_SHOWN
    assert sorted({point.value for point in points}) == [0.0, 0.75]


def test_clip_without_timestamps_is_shown_by_capture_or_by_number(case: VideoCase) -> None:
    case.edit_scores(
        lambda rows: rows.with_columns(time_s=pl.lit(None, pl.Float64), capture_ms=pl.col("capture_ms") + 500)
    )
    clip = read_timelines(case.source())[0]
    assert clip.in_seconds
    assert clip.quality[BUILD][1].at == pytest.approx(round(1 / RATE_HZ, 4))
    case.edit_scores(lambda rows: rows.with_columns(capture_ms=pl.lit(None, pl.Float64)))
    clip = read_timelines(case.source())[0]
    assert not clip.in_seconds
    assert clip.quality[BUILD][1].at == 1.0


def test_heat_counts_every_frame_once_and_a_dropped_one_as_infinite(made: VideoCase) -> None:
    heat, rows = read_heat(made.source()), read_clip_frames(made.source(), BUILD)
    assert sum(item.n for item in heat.bins) == rows.height
    for item in heat.bins:
        inside = rows.filter(pl.col("temperature_c").is_between(item.low, item.high, closed="left"))
        if item is heat.bins[-1]:
            inside = rows.filter(pl.col("temperature_c") >= item.low)
        waits = np.sort(inside["latency_ms"].fill_null(np.inf).to_numpy())
        assert inside.height == item.n
        if item.p50_ms is not None:
            assert item.p50_ms == waits[int(np.ceil((len(waits) - 1) * 0.5))]
    assert heat.bins[-1].p50_ms is not None
    assert heat.bins[0].p50_ms is not None
    assert heat.bins[-1].p50_ms > heat.bins[0].p50_ms
