"""Masks against the DAVIS toolkit's numbers, against definitions written out pixel by pixel, and where undefined."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from cv_quality.errors import MetricError
from cv_quality.metrics.video.masks import (
    DavisStatistics,
    MaskClass,
    RegionLoss,
    boundary_radius,
    davis_statistics,
    label_counts,
    match_instances,
    mean_over_clips,
    pooled_iou,
    score_masks,
)

Mask = NDArray[np.uint8]
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 140))
ONE_TO_THREE = [MaskClass(str(label), (label,)) for label in (1, 2, 3)]
DAVIS = {
    "blackswan": ((0.943020, 1.0, 0.001408), (0.974096, 1.0, -0.000416)),
    "libby": ((0.623027, 0.617021, 0.498613), (0.751232, 0.914894, 0.349471)),
}
"""Mean, recall and decay of J and of F, by the DAVIS 2017 toolkit."""


@st.composite
def frame_pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    """Truth and prediction of labels 0 to 3, in large and small patches."""
    shape = draw(SHAPES)
    truth, other = (
        draw(arrays(np.uint8, shape, elements=st.integers(0, 3), fill=st.just(draw(st.integers(0, 3)))))
        for _ in range(2)
    )
    is_same = draw(arrays(np.bool_, shape, fill=st.just(draw(st.booleans()))))
    return truth, np.where(is_same, truth, other)


def boundary_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels that differ from their right, lower or lower right neighbour; outside is as the edge."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return np.asarray((mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:]))


def slow_f(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """F by dilating whole pictures, as the DAVIS toolkit does."""
    radius = math.ceil(0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = rows**2 + columns**2 <= radius**2
    one, other = boundary_of(truth), boundary_of(prediction)
    if not one.any() or not other.any():
        return float(not one.any() and not other.any())
    precision = (other & ndimage.binary_dilation(one, disk)).sum() / other.sum()
    recall = (one & ndimage.binary_dilation(other, disk)).sum() / one.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@given(pair=frame_pairs(), ignored=st.sampled_from([(), (0,), (3,)]))
def test_j_and_f_are_those_of_whole_pictures_dilated(pair: tuple[Mask, Mask], ignored: tuple[int, ...]) -> None:
    truth = pair[0]
    classes = [item for item in ONE_TO_THREE if item.truth[0] not in ignored]
    masks = score_masks([pair], classes, ignored=ignored)
    is_valid = ~np.isin(truth, ignored)
    assert masks.n_ignored.tolist() == [np.count_nonzero(~is_valid)]
    for place, item in enumerate(classes):
        one, other = ((labels == item.truth[0]) & is_valid for labels in pair)
        union = (one | other).sum()
        expected = ((one & other).sum() / union, slow_f(one, other)) if union else (math.nan, math.nan)
        assert masks.region_iou()[0, place] == pytest.approx(expected[0], nan_ok=True)
        assert masks.boundary_f()[0, place] == pytest.approx(expected[1], nan_ok=True)


@given(pair=frame_pairs(), ignored=st.sampled_from([(), (0,), (3,)]))
def test_the_loss_of_one_pair_is_that_of_its_counts(pair: tuple[Mask, Mask], ignored: tuple[int, ...]) -> None:
    classes = [item for item in ONE_TO_THREE if item.truth[0] not in ignored]
    region = score_masks([pair], classes, ignored=ignored).region_iou()
    expected = 1 - np.nanmean(region) if np.isfinite(region).any() else math.nan
    assert RegionLoss(classes, ignored=ignored)(*pair) == pytest.approx(expected, nan_ok=True)
    assert label_counts(pair[0]).tolist() == np.bincount(pair[0].ravel(), minlength=256).tolist()


@given(pair=frame_pairs())
def test_j_and_f_do_not_change_when_truth_and_prediction_are_exchanged(pair: tuple[Mask, Mask]) -> None:
    one, other = score_masks([pair], ONE_TO_THREE), score_masks([pair[::-1]], ONE_TO_THREE)
    assert one.region_iou() == pytest.approx(other.region_iou(), nan_ok=True)
    assert one.boundary_f() == pytest.approx(other.boundary_f(), nan_ok=True)


@given(truth=arrays(np.uint8, SHAPES, elements=st.integers(0, 3)))
def test_a_mask_against_itself_is_perfect_where_it_has_the_class(truth: Mask) -> None:
    masks = score_masks([(truth, truth)], ONE_TO_THREE)
    has_class = [item.truth[0] in truth for item in ONE_TO_THREE]
    assert masks.region_iou()[0] == pytest.approx(np.where(has_class, 1.0, math.nan), nan_ok=True)
    assert masks.boundary_f()[0] == pytest.approx(np.where(has_class, 1.0, math.nan), nan_ok=True)


@pytest.mark.parametrize("clip", DAVIS)
def test_davis_clips_score_as_in_the_toolkit(clip: str, shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("video_davis") / clip
    truth, prediction = (
        [np.asarray(Image.open(path)) for path in sorted((folder / kind).glob("*.png"))] for kind in ("gt", "osvos")
    )
    frames = list(zip(truth, prediction, strict=True))[1:-1]
    masks = score_masks(frames, [MaskClass(clip, truth=(255,), prediction=(1,))])
    for values, expected in zip((masks.region_iou(), masks.boundary_f()), DAVIS[clip], strict=True):
        found = davis_statistics(values[:, 0])
        assert (found.mean, found.recall, found.decay) == pytest.approx(expected, abs=1e-6)


def test_pooled_iou_is_not_the_mean_of_the_frames() -> None:
    right, off_by_one, missed = (np.zeros((20, 20), np.uint8) for _ in range(3))
    right[:10], off_by_one[:5], missed[0, :2] = 1, 1, 1
    wrong = off_by_one.copy()
    wrong[0, 0] = 0
    frames = [(right, right), (off_by_one, wrong), (missed, np.zeros_like(missed)), (0 * right, 0 * right)]
    masks = score_masks(frames, ONE_TO_THREE)
    pooled = pooled_iou(masks)
    assert round(float(np.nanmean(masks.region_iou()[:, 0])), 4) == 0.6633
    assert pooled.value == 299 / 302
    assert round(pooled.value, 4) == 0.9901
    assert [item.value for item in pooled.classes] == [299 / 302, None, None]
    assert pooled.classes[1].reason == "absent: no frame has the class, in truth or prediction"
    assert (pooled.n_classes, pooled.classes[0].n_frames) == (1, 3)


def test_absent_class_is_undefined_and_a_full_score_only_on_request() -> None:
    empty = np.zeros((4, 4), np.uint8)
    masks = score_masks([(empty, empty)], ONE_TO_THREE[:1])
    assert np.isnan(masks.region_iou()).all()
    assert np.isnan(masks.boundary_f()).all()
    assert masks.region_iou(absent=1.0).tolist() == masks.boundary_f(absent=1.0).tolist() == [[1.0]]
    assert pooled_iou(masks).value is None
    assert davis_statistics(masks.region_iou()[:, 0]).reason == "no frame has a value"


def test_invented_and_missed_classes_score_zero() -> None:
    empty, some = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
    masks = score_masks([(empty, some), (some, empty)], ONE_TO_THREE[:1])
    assert masks.region_iou().tolist() == masks.boundary_f().tolist() == [[0.0], [0.0]]


def test_several_labels_may_stand_for_one_class() -> None:
    truth, prediction = np.array([[255, 255, 0, 170]]), np.array([[7, 6, 15, 7]])
    masks = score_masks([(truth, prediction)], [MaskClass("moving", (255,), (6, 7))], ignored=(85, 170))
    assert masks.region_iou().tolist() == [[1.0]]
    assert masks.n_ignored.tolist() == [1]


def test_frames_may_differ_in_size_and_type() -> None:
    small, large = np.eye(3), np.eye(5)
    frames: list[tuple[Any, Any]] = [
        (small.astype(bool), small.astype(np.int64)),
        (large.astype(np.uint16), large.astype(np.uint8)),
    ]
    assert score_masks(frames, ONE_TO_THREE[:1]).region_iou().tolist() == [[1.0], [1.0]]
    wide = np.full((2, 2), 40_000)
    assert score_masks([(wide, wide)], [MaskClass("far", (40_000,))]).region_iou().tolist() == [[1.0]]


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_davis_statistics_are_those_of_the_toolkit(values: list[float]) -> None:
    frames = np.array(values)
    edges = (np.round(np.linspace(1, len(frames), 5) + 1e-10) - 1).astype(np.uint8)
    first, last = frames[edges[0] : edges[1] + 1], frames[edges[3] : edges[4] + 1]
    found = davis_statistics(values)
    assert found.mean == pytest.approx(frames.mean())
    assert found.recall == pytest.approx((frames > 0.5).mean())
    assert found.decay == pytest.approx(first.mean() - last.mean(), abs=1e-12)


def test_decay_of_long_clips_compares_their_quarters() -> None:
    found = davis_statistics(np.repeat([1.0, 0.8, 0.6, 0.4], 1000))
    assert found.decay == pytest.approx(0.6, abs=1e-3)


def test_undefined_frames_count_for_nothing_and_are_counted() -> None:
    nan = math.nan
    assert davis_statistics([nan, 1.0, nan, 0.5]).n_undefined == 2
    assert davis_statistics([nan, nan, nan, 0.25, 1.0]) == DavisStatistics(
        0.625, 0.5, None, 2, 3, "decay: no frame of the first or the last quarter has a value"
    )


def test_instances_are_assigned_over_the_whole_clip() -> None:
    first, second = np.zeros((2, 30, 30), np.uint8)
    first[2:12, 2:12], first[15:25, 15:25] = 1, 2
    second[2:12, 4:14], second[15:25, 13:23] = 1, 2
    names = np.array([0, 9, 4], np.uint8)
    swapped = names.copy()
    swapped[[1, 2]] = names[[2, 1]]
    frames = [(first, names[first]), (second, names[second]), (second, swapped[second])]
    match = match_instances(frames, truth=[2, 1], prediction=[4, 5, 9])
    assert (match.truth, match.prediction, match.unmatched) == ((1, 2), (9, 4), (5,))
    assert match.masks.names == ("1", "2")
    assert match.masks.region_iou().tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]


def test_objects_that_nobody_predicted_score_zero() -> None:
    truth = np.array([[1, 1, 0, 2, 2]], np.uint8)
    match = match_instances([(truth, np.where(truth == 2, 7, 0))], truth=[1, 2], prediction=[7])
    assert match.prediction == (None, 7)
    assert match.masks.region_iou().tolist() == [[0.0, 1.0]]
    nothing = match_instances([(truth, 0 * truth)], truth=[1, 2], prediction=[])
    assert nothing.masks.boundary_f().tolist() == [[0.0, 0.0]]
    assert match_instances([(truth, truth)], truth=[], prediction=[1, 2]).unmatched == (1, 2)


def test_clips_count_once_each_in_their_mean() -> None:
    assert mean_over_clips([]).reason == mean_over_clips([None]).reason == "no clip has a value"
    assert mean_over_clips([0.2, None, 0.4]).value == pytest.approx(0.3)


def test_radius_of_boundaries_is_rounded_up() -> None:
    assert [boundary_radius(*shape) for shape in ((480, 854), (1080, 1920), (1, 1), (75, 100))] == [8, 18, 1, 1]


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "resize the prediction"),
        (np.zeros((2, 2, 3), int), np.zeros((2, 2, 3), int), "labels of shape"),
        (np.zeros((0, 2), int), np.zeros((0, 2), int), "labels of shape"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "threshold or argmax"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "labels from 0 to 65,535"),
        (np.full((2, 2), 1 << 20), np.zeros((2, 2), int), "labels from 0 to 65,535"),
    ],
)
def test_pictures_that_are_no_masks_are_refused(truth: Mask, prediction: Mask, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        score_masks([(truth, prediction)], ONE_TO_THREE)


def test_labels_are_of_one_class_only() -> None:
    masks = [(np.zeros((2, 2), int), np.zeros((2, 2), int))]
    with pytest.raises(MetricError, match="label 1 is listed twice"):
        score_masks(masks, [MaskClass("a", (1,)), MaskClass("b", (1, 2))])
    with pytest.raises(MetricError, match="label 2 is listed twice"):
        score_masks(masks, [MaskClass("a", (2,))], ignored=(2,))
    with pytest.raises(MetricError, match="found 70000"):
        score_masks(masks, [MaskClass("a", (70_000,))])
    with pytest.raises(MetricError, match="at most 254 classes"):
        score_masks(masks, [MaskClass(str(label), (label,)) for label in range(255)])


def test_statistics_are_of_one_object() -> None:
    with pytest.raises(MetricError, match="choose one object"):
        davis_statistics(np.zeros((3, 2)))
