"""Frames run again with changed pictures: what needs light recovers in light, what lags without its past."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cv_quality.error_analysis.slices import Slice
from cv_quality.metrics.video.masks import MaskClass, RegionLoss
from cv_quality.tasks.video.counterfactuals import (
    CHANGES,
    FailingFrame,
    changed_losses,
    changed_rows,
    halved_rate,
    worst_frames,
)
from cv_quality_tests.tasks.video.scored_drops import square

LOSS = RegionLoss([MaskClass("ball", (1,))])


def picture(left: int, *, level: int) -> NDArray[np.uint8]:
    return np.repeat((square(left) * level)[..., None], 3, axis=2).astype(np.uint8)


def by_light(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return (pictures[-1][..., 0] > 100).astype(np.uint8)


def by_past(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return (pictures[0][..., 0] > 20).astype(np.uint8)


def losses(run: object, *, level: int) -> dict[str, float]:
    window = [picture(4 * n, level=level) for n in range(5)]
    frame = FailingFrame(window, square(16), LOSS, run)  # type: ignore[arg-type]
    return dict(zip(("as it is", *CHANGES), changed_losses(frame), strict=True))


def test_what_fails_for_want_of_light_recovers_when_it_is_brighter() -> None:
    found = losses(by_light, level=80)
    assert found["as it is"] == 1.0
    assert found["brighter (gamma 0.5)"] == 0.0
    assert found["darker (gamma 2)"] == 1.0
    assert found["without the frames before"] == 1.0


def test_what_lags_recovers_without_its_past_and_not_in_light() -> None:
    found = losses(by_past, level=120)
    assert found["as it is"] > 0.9
    assert found["brighter (gamma 0.5)"] == found["as it is"]
    assert found["without the frames before"] == 0.0


def test_every_other_frame_is_dropped_before_the_last() -> None:
    assert [int(one[0, 0, 0]) for one in halved_rate([np.full((1, 1, 3), n, np.uint8) for n in range(5)])] == [0, 2, 4]
    assert [int(one[0, 0, 0]) for one in halved_rate([np.full((1, 1, 3), n, np.uint8) for n in range(4)])] == [1, 3]


def test_frames_that_recover_are_counted_with_an_interval_by_clip() -> None:
    n = 1 + len(CHANGES)
    table = {("d", f"s{clip}", 0): [0.9, 0.2 if clip else 0.9, *[0.9] * (n - 2)] for clip in range(6)}
    rows = list(changed_rows(table, requirement=0.5))
    assert [row["change"] for row in rows] == list(CHANGES)
    first, second = rows[:2]
    assert (first["n_frames"], first["n_clips"], first["n_recovered"], first["n_lost"]) == (6, 6, 5, 0)
    assert first["value"] == pytest.approx(-0.7 * 5 / 6)
    assert first["low"] is not None
    assert second["value"] == 0


def test_the_worst_frames_are_of_the_slice_and_two_of_a_clip() -> None:
    rows = pl.DataFrame(
        [
            {"drop_id": "d", "stream_id": clip, "frame_number": n, "loss": 0.5 + n / 100, "is_miss": n > 1, "dim": clip}
            for clip in "abc"
            for n in range(6)
        ]
    )
    where = Slice.from_list([{"column": "dim", "op": "in", "value": ["a", "b"]}])
    found = worst_frames(rows, where)
    assert found.select("stream_id", "frame_number").rows() == [("a", 5), ("b", 5), ("a", 4), ("b", 4)]
