"""Light, motion and objects are measured as formulas on the same pixels give them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import convolve

from cv_quality.drops.images import decode_image, decode_labels
from cv_quality.tasks.video.modality import MEASURED
from cv_quality.tasks.video.picture_measures import PictureMeter, box_objects, mask_objects


def texture(*, width: int = 160, height: int = 120, seed: int = 0) -> NDArray[np.uint8]:
    cells = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8), np.uint8)
    return cells.repeat(8, axis=0).repeat(8, axis=1)


def colour(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([grey] * 3, axis=2)


def test_light_and_sharpness_are_those_of_the_grey_levels() -> None:
    grey = texture()
    found = PictureMeter().measure(colour(grey), 0, None)
    edges = convolve(grey.astype(float), [[0, 1, 0], [1, -4, 1], [0, 1, 0]], mode="mirror")
    assert found == pytest.approx({"brightness": grey.mean(), "contrast": grey.std(), "sharpness": edges.var()})


def test_large_pictures_are_measured_shrunk_by_areas() -> None:
    small = texture()
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    shrunk = np.asarray(Image.fromarray(large).resize((320, 240), Image.Resampling.BOX))
    found, expected = (PictureMeter().measure(colour(grey), 0, None) for grey in (large, shrunk))
    assert found == pytest.approx(expected, rel=0.01)


def test_motion_is_the_shift_by_the_diagonal() -> None:
    meter, grey = PictureMeter(), texture(width=320, height=240)
    assert "motion_share" not in meter.measure(colour(grey), 0, None)
    found = meter.measure(colour(np.roll(grey, 4, axis=1)), 1, None)
    assert found["motion_share"] == pytest.approx(4 / 400, rel=0.1)


def test_motion_within_objects_leaves_the_rest_out() -> None:
    before = texture()
    after = before.copy()
    after[40:80, 43:103] = before[40:80, 40:100]
    labels = np.zeros((120, 160), np.uint8)
    labels[40:80, 43:103] = 1
    meter = PictureMeter()
    meter.measure(colour(before), 0, None)
    found = meter.measure(colour(after), 1, mask_objects(labels, no_objects={0}))
    assert found["object_motion_share"] == pytest.approx(3 / 200, rel=0.35)
    assert found["motion_share"] < found["object_motion_share"] / 3


@pytest.mark.parametrize("number", [1, 3])
def test_motion_needs_the_frame_before(number: int) -> None:
    meter, grey = PictureMeter(), texture()
    meter.measure(colour(grey), 0, None)
    found = meter.measure(colour(np.roll(grey, 2, axis=0)), number, None)
    assert ("motion_share" in found) == (number == 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (9, 2), (15, 400)])
def test_tiny_pictures_have_light_but_no_motion(size: tuple[int, int]) -> None:
    meter, image = PictureMeter(), np.full((*size, 3), 90, np.uint8)
    for number in range(2):
        assert meter.measure(image, number, None) == pytest.approx({"brightness": 90, "contrast": 0, "sharpness": 0})


def test_objects_of_a_mask_are_counted_without_the_ignored() -> None:
    labels = np.zeros((10, 20), np.uint8)
    labels[2:6, 2:10] = 1
    labels[4:8, 6:14] = 2
    labels[:, 19] = 255
    found = mask_objects(labels, no_objects={0, 255})
    assert (found.n_objects, found.is_at_border) == (2, False)
    assert found.object_share == (32 + 32 - 8) / 200
    assert found.overlap_share == (8 + 8) / (32 + 32)
    assert mask_objects(labels, no_objects={0}).is_at_border


def test_empty_truth_is_no_object_and_not_nothing() -> None:
    for found in (
        mask_objects(np.zeros((6, 8), np.uint8), no_objects={0}),
        box_objects([], size=(6, 8)),
    ):
        assert found.measured == {"n_objects": 0, "object_share": 0, "is_at_border": 0, "overlap_share": 0}


BOXES = st.lists(st.tuples(*[st.integers(-5, 30)] * 2, *[st.integers(0, 20)] * 2), max_size=6)


@given(BOXES)
def test_boxes_fill_and_overlap_as_their_pixels_do(boxes: list[tuple[int, int, int, int]]) -> None:
    cover = np.zeros((24, 32), int)
    for left, top, width, height in boxes:
        cover[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] += 1
    found = box_objects([(float(a), float(b), float(c), float(d)) for a, b, c, d in boxes], size=(24, 32))
    assert found.n_objects == len(boxes)
    assert found.object_share == pytest.approx((cover > 0).mean())
    assert found.overlap_share == pytest.approx(cover[cover > 1].sum() / max(cover.sum(), 1))


def test_measures_are_those_that_the_modality_declares() -> None:
    meter, grey = PictureMeter(), texture()
    truth = box_objects([(10.0, 10.0, 50.0, 50.0)], size=(120, 160))
    meter.measure(colour(grey), 0, truth)
    found = meter.measure(colour(np.roll(grey, 1, axis=0)), 1, truth) | truth.measured
    assert set(found) == {item.name for item in MEASURED}


def test_truth_of_a_real_road_moves_more_than_the_road(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("video_cdnet_highway")
    frames = sorted(folder.rglob("in*.jpg"))[100:112]
    masks = sorted(folder.rglob("gt*.png"))[100:112]
    meter, moving = PictureMeter(), []
    for number, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        truth = mask_objects(decode_labels(mask.read_bytes()), no_objects={0, 50, 85, 170})
        found = meter.measure(decode_image(frame.read_bytes()), number, truth)
        if "object_motion_share" in found:
            moving.append(found["object_motion_share"] / found["motion_share"])
    assert len(moving) == 11
    assert min(moving) > 2
