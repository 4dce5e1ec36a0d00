"""Steps after a model against plain arithmetic, pixel by pixel where pixels move."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, ModelError
from cv_quality.inference.framing import CentreCrop, Crop, Letterbox, Resize, ResizeShort, View
from cv_quality.inference.preprocessing import Step, view_of
from cv_quality.inference.video.postprocessing import (
    MAX_DEPTH_MM,
    DecodePoints,
    Output,
    Resampling,
    decode_planes,
    decode_points,
    parse_postprocessing,
    resample,
)

LOGITS = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
SIZE = (8, 6)


def decoded(planes: NDArray[Any], *steps: Any, output: Output = "mask") -> Any:
    parsed = parse_postprocessing(list(steps), output=output, where="postprocessing")
    return decode_planes(planes, parsed, output=output, view=View.whole(*SIZE), size=SIZE)


def test_labels_are_the_places_of_the_largest_channels() -> None:
    expected = LOGITS.argmax(axis=0)
    for steps in (["argmax"], ["softmax", "argmax"], ["sigmoid", "argmax"]):
        np.testing.assert_array_equal(decoded(LOGITS, *steps), expected)


def test_a_threshold_leaves_background_below_it() -> None:
    powers = np.exp(LOGITS.astype(np.float64))
    shares = powers / powers.sum(axis=0)
    expected = np.where(shares.max(axis=0) >= 0.5, 1 + LOGITS.argmax(axis=0), 0)
    assert 0 < (expected == 0).sum() < expected.size
    np.testing.assert_array_equal(decoded(LOGITS, "softmax", {"threshold": 0.5}), expected)
    np.testing.assert_array_equal(decoded(LOGITS[:1], "sigmoid", {"threshold": 0.5}), LOGITS[0] >= 0)


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        (np.full((1, 6, 8), 256, np.int64), "expected labels from 0 to 255, found 256 to 256"),
        (np.full((1, 6, 8), -1, np.int8), "expected labels from 0 to 255, found -1 to -1"),
        (np.zeros((2, 6, 8), np.uint8), "expected one whole-number label a pixel, found 2 channels of uint8"),
    ],
)
def test_what_are_no_labels_is_refused(planes: NDArray[Any], message: str) -> None:
    with pytest.raises(ModelDoesNotFit, match=message):
        decoded(planes)


def test_depth_is_zero_where_there_is_none_and_ends_at_16_bits() -> None:
    depth = np.array([[-1.0, 0.0, 2.5, 70.0]], np.float32)[None].repeat(6, axis=1).repeat(2, axis=2)
    found = decoded(depth, {"multiply": 1000}, output="depth")
    assert found[0].tolist() == [0, 0, 0, 0, 2500, 2500, MAX_DEPTH_MM, MAX_DEPTH_MM]


@pytest.mark.parametrize("size", [(5, 9), (16, 12), (7, 6), (31, 40)])
@pytest.mark.parametrize(
    ("how", "mode"), [("nearest", "nearest"), ("nearest_exact", "nearest-exact"), ("bilinear", "bilinear")]
)
def test_resampling_is_that_of_torch(size: tuple[int, int], how: Resampling, mode: str) -> None:
    found = resample(LOGITS, view=View.whole(*size), size=size, how=how)
    expected = torch.nn.functional.interpolate(torch.from_numpy(LOGITS)[None], size[::-1], mode=mode)[0].numpy()
    np.testing.assert_allclose(found.astype(np.float64), expected, atol=1e-5)


def test_nearest_is_that_of_opencv() -> None:
    labels = np.random.default_rng(1).integers(0, 21, (513, 513)).astype(np.uint8)
    found = resample(labels[None], view=View.whole(320, 240), size=(320, 240), how="nearest")
    np.testing.assert_array_equal(found[0], cv2.resize(labels, (320, 240), interpolation=cv2.INTER_NEAREST))


STEPS = st.lists(
    st.one_of(
        st.builds(Resize, st.integers(20, 90), st.integers(20, 90)),
        st.builds(ResizeShort, st.integers(20, 60)),
        st.builds(Letterbox, st.integers(20, 90), st.integers(20, 90), st.sampled_from(("centre", "top_left"))),
        st.just(CentreCrop(16, 12)),
        st.just(Crop(2, 3, 14, 10)),
    ),
    max_size=3,
)


@given(steps=STEPS, width=st.integers(24, 120), height=st.integers(24, 120))
def test_points_come_back_from_every_framing(steps: list[Step], width: int, height: int) -> None:
    try:
        view = view_of(steps, width_px=width, height_px=height)
    except ModelError:
        return
    points = np.array([[0, 0], [width, height], [3.25, 7.5]])
    np.testing.assert_allclose(view.to_picture(view.from_picture(points)), points, atol=1e-9)


def test_landmarks_in_shares_are_of_what_the_model_saw() -> None:
    view = view_of([Crop(10, 20, 50, 40), Resize(100, 100)], width_px=200, height_px=100)
    numbers = np.array([0.5, 0.5, 9.0, 1.0, 0.0, 9.0], np.float32)
    found = decode_points(numbers, DecodePoints(3, "share"), view=view)
    np.testing.assert_allclose(found, [[35, 40], [60, 20]])
    with pytest.raises(ModelDoesNotFit, match="expected rows of 3 numbers, found 5 numbers"):
        decode_points(numbers[:5], DecodePoints(3, "share"), view=view)
