"""Temporal consistency and flicker against slow definitions, on scenes whose motion is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.video.masks import MaskClass
from cv_quality.metrics.video.temporal import FlowFrame, find_occlusions, flicker, temporal_consistency, warp_masks

Mask = NDArray[np.uint8]
SHAPE = (4, 5)
MASKS = st.lists(arrays(np.uint8, SHAPE, elements=st.integers(0, 3)), min_size=4, max_size=4)
FLOWS = arrays(np.float32, (*SHAPE, 2), elements=st.floats(-3, 3, width=32) | st.just(math.nan))
CLASSES = [MaskClass("one", (1,)), MaskClass("two", (2,))]
IGNORED = (3,)


def square(column: int) -> Mask:
    """A square of class 1 whose left edge is at the column."""
    mask = np.zeros((20, 40), np.uint8)
    mask[5:15, column : column + 10] = 1
    return mask


def motion(columns: float) -> NDArray[np.float64]:
    """The flow of a scene that moves right by so many columns."""
    return np.tile([-columns, 0.0], (20, 40, 1))


def slow_consistency(masks: list[Mask], flow: NDArray[np.float32], is_occluded: NDArray[np.bool_]) -> list[float]:
    """IoU of both classes, of prediction and of truth, by a loop over pixels."""
    truth_before, before, truth, prediction = masks
    pairs = []
    for (row, column), is_out in np.ndenumerate(is_occluded):
        x, y = column + flow[row, column, 0], row + flow[row, column, 1]
        if is_out or math.isnan(x + y) or truth[row, column] == 3:
            continue
        place = math.floor(y + 0.5), math.floor(x + 0.5)
        if 0 <= place[0] < SHAPE[0] and 0 <= place[1] < SHAPE[1] and truth_before[place] != 3:
            pairs.append((before[place], prediction[row, column], truth_before[place], truth[row, column]))
    found = []
    for label in (1, 2):
        for side in (0, 2):
            common = sum(pair[side] == label and pair[side + 1] == label for pair in pairs)
            either = sum(label in pair[side : side + 2] for pair in pairs)
            found.append(common / either if either else math.nan)
    return found


@given(masks=MASKS, flow=FLOWS, is_occluded=arrays(np.bool_, SHAPE))
def test_consistency_is_the_iou_of_warped_and_present_mask(
    masks: list[Mask], flow: NDArray[np.float32], is_occluded: NDArray[np.bool_]
) -> None:
    frames = [FlowFrame(masks[0], masks[1]), FlowFrame(masks[2], masks[3], flow, is_occluded)]
    found = [
        math.nan if value is None else value
        for item in temporal_consistency(warp_masks(frames, CLASSES, ignored=IGNORED))
        for value in (item.value, item.ceiling)
    ]
    assert found == pytest.approx(slow_consistency(masks, flow, is_occluded), nan_ok=True)


def test_prediction_that_moves_with_the_scene_is_fully_consistent() -> None:
    columns = (2, 5, 8, 11)
    frames = [FlowFrame(square(x), square(x + 1), None if x == 2 else motion(3)) for x in columns]
    [found] = temporal_consistency(warp_masks(frames, CLASSES[:1]))
    assert (found.value, found.ceiling, found.ratio) == (1.0, 1.0, 1.0)
    assert (found.n_pairs, found.n_skipped, found.n_left_out) == (3, 1, 3 * 3 * 20)
    assert found.n_compared + found.n_left_out == 3 * 20 * 40


def test_wrong_flow_lowers_the_ceiling_as_much_as_the_value() -> None:
    frames = [FlowFrame(square(2), square(2)), FlowFrame(square(5), square(5), motion(0))]
    [found] = temporal_consistency(warp_masks(frames, CLASSES[:1]))
    assert found.value == found.ceiling == 70 / 130
    assert found.ratio == 1.0


def test_prediction_that_stands_still_exceeds_the_ceiling_under_no_flow() -> None:
    frames = [FlowFrame(square(2), square(2)), FlowFrame(square(5), square(2), motion(0))]
    [found] = temporal_consistency(warp_masks(frames, CLASSES[:1]))
    assert found.ratio == pytest.approx(130 / 70)


def test_counts_are_summed_over_frames_before_they_are_divided() -> None:
    frames = [FlowFrame(square(2), square(2)), FlowFrame(square(2), square(2), motion(0))]
    frames.append(FlowFrame(square(2), square(0), motion(0)))
    [found] = temporal_consistency(warp_masks(frames, CLASSES[:1]))
    assert (found.intersection, found.union) == (100 + 80, 100 + 120)
    assert found.mean == pytest.approx((1 + 80 / 120) / 2)
    assert found.mean_ceiling == 1.0


def test_pairs_are_known_by_the_place_of_their_later_frame() -> None:
    empty = 0 * square(2)
    frames = [
        FlowFrame(square(2), empty),
        FlowFrame(square(2), empty, motion(0)),
        FlowFrame(square(2), square(2)),
        FlowFrame(square(2), square(0), motion(0)),
    ]
    warped = warp_masks(frames, CLASSES[:1])
    assert (warped.frames.tolist(), warped.n_skipped) == ([1, 3], 2)
    assert warped.values()[:, 0] == pytest.approx([math.nan, 80 / 120], nan_ok=True)
    assert warped.ceilings().tolist() == [[1.0], [1.0]]
    [found] = temporal_consistency(warped)
    assert found.mean == found.value == 80 / 120


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "no pair of frames has a flow"),
        ([FlowFrame(square(2), square(2))], "no pair of frames has a flow"),
        ([FlowFrame(square(2), square(2))] * 3, "no pair of frames has a flow"),
        ([FlowFrame(square(2), 0 * square(2), motion(0))] * 2, "absent"),
        ([FlowFrame(0 * square(2), square(2), motion(0))] * 2, "ceiling"),
    ],
)
def test_consistency_is_undefined_where_nothing_can_be_compared(frames: list[FlowFrame], reason: str) -> None:
    [found] = temporal_consistency(warp_masks(frames, CLASSES[:1]))
    assert found.ratio is None
    assert found.reason is not None
    assert found.reason.startswith(reason)


@given(masks=MASKS)
def test_flicker_is_the_share_of_valid_pixels_whose_correctness_changes(masks: list[Mask]) -> None:
    truth_before, before, truth, prediction = masks
    changed = valid = 0
    for place in np.ndindex(SHAPE):
        if truth_before[place] == 3 or truth[place] == 3:
            continue
        valid += 1
        # Labels 0 and 3 of a prediction are both no class.
        was_right = truth_before[place] == before[place] % 3
        changed += was_right != (truth[place] == prediction[place] % 3)
    found = flicker([(truth_before, before), (truth, prediction)], CLASSES, ignored=IGNORED)
    assert (found.n_changed, found.n_valid, found.n_pairs) == (changed, valid, 1)
    assert found.value == (changed / valid if valid else None)


def test_steady_error_and_followed_motion_do_not_flicker() -> None:
    moving = [(square(x), square(x)) for x in (0, 4, 8)]
    assert flicker(moving, CLASSES).value == 0.0
    assert flicker([(square(4), square(8))] * 3, CLASSES).value == 0.0
    flash = [(square(4), square(4)), (square(4), 0 * square(4)), (square(4), 0 * square(4))]
    assert flicker(flash, CLASSES).changed.tolist() == [100, 0]
    assert flicker(flash, CLASSES).value == 100 / (2 * 800)


def test_flicker_needs_a_valid_pair_of_frames() -> None:
    ignored = np.full((2, 2), 3)
    assert flicker([], CLASSES).reason == flicker([(square(2), square(2))], CLASSES).reason == "no pair of frames"
    assert flicker([(ignored, ignored)] * 2, CLASSES, ignored=IGNORED).reason == "every pixel is ignored"


@given(backward=FLOWS, forward=FLOWS)
def test_occluded_is_where_forward_and_backward_flow_disagree(
    backward: NDArray[np.float32], forward: NDArray[np.float32]
) -> None:
    found = find_occlusions(backward, forward)
    for (row, column), is_occluded in np.ndenumerate(found):
        w = backward[row, column].astype(float)
        if np.isnan(w).any():
            assert is_occluded
            continue
        x, y = math.floor(column + w[0] + 0.5), math.floor(row + w[1] + 0.5)
        if not (0 <= x < SHAPE[1] and 0 <= y < SHAPE[0]):
            assert is_occluded
            continue
        v = forward[y, x].astype(float)
        is_near = ((w + v) ** 2).sum() <= 0.01 * ((w**2).sum() + (v**2).sum()) + 0.5
        assert is_occluded == (not is_near)


def test_what_a_mover_uncovers_is_occluded() -> None:
    forward, backward = np.zeros((2, 1, 12, 2))
    # A piece of three columns moves right by four: it was at 2 to 4, and is at 6 to 8.
    forward[0, 2:5, 0], backward[0, 6:9, 0] = 4.0, -4.0
    assert np.flatnonzero(find_occlusions(backward, forward)[0]).tolist() == [2, 3, 4]


def test_frames_and_flows_that_do_not_fit_are_refused() -> None:
    one, other = FlowFrame(square(2), square(2)), FlowFrame(square(2)[:-1], square(2)[:-1], motion(0)[:-1])
    with pytest.raises(MetricError, match="a clip ends where its size changes"):
        warp_masks([one, other], CLASSES)
    with pytest.raises(MetricError, match="a clip ends where its size changes"):
        flicker([(one.truth, one.truth), (other.truth, other.truth)], CLASSES)
    with pytest.raises(MetricError, match="expected a flow of shape"):
        warp_masks([one, FlowFrame(square(2), square(2), motion(0)[:-1])], CLASSES)
    with pytest.raises(MetricError, match="expected occlusions as bool"):
        warp_masks([one, FlowFrame(square(2), square(2), motion(0), square(2))], CLASSES)
    with pytest.raises(MetricError, match="two flows of one shape"):
        find_occlusions(motion(0), motion(0)[:-1])
