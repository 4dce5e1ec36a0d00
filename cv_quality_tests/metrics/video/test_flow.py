"""Optical flow of scenes whose motion is known, and what it makes of real truth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from cv_quality.errors import MetricError
from cv_quality.metrics.video.flow import farneback_flow, flow_frames
from cv_quality.metrics.video.masks import MaskClass
from cv_quality.metrics.video.temporal import FlowFrame, temporal_consistency, warp_masks

Picture = NDArray[np.uint8]
SCENE = np.random.default_rng(7)
TEXTURE = ndimage.gaussian_filter(SCENE.normal(size=(120, 160)), 2.0, mode="wrap")
TEXTURE = ((TEXTURE - TEXTURE.min()) / np.ptp(TEXTURE) * 255).round()


def moved(columns: float, rows: float) -> Picture:
    """The scene, moved to the right and down."""
    return np.asarray(ndimage.shift(TEXTURE, (rows, columns), mode="grid-wrap").clip(0, 255), np.uint8)


@pytest.mark.parametrize(("columns", "rows"), [(0.0, 0.0), (3.0, 0.0), (0.0, -2.0), (1.5, 4.25), (-6.0, 5.0)])
def test_flow_leads_to_where_the_scene_was(columns: float, rows: float) -> None:
    inside = farneback_flow(moved(columns, rows), moved(0, 0))[25:-25, 25:-25]
    assert np.abs(inside - (-columns, -rows)).mean() < 0.1
    assert np.median(inside, axis=(0, 1)) == pytest.approx((-columns, -rows), abs=0.1)


def test_first_frame_has_no_flow_and_the_others_lead_back() -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[40:80, 40:100] = 1
    masks = [np.roll(mask, 4 * step, axis=1) for step in range(3)]
    moving = list(flow_frames((moved(4 * step, 0), masks[step], masks[step]) for step in range(3)))
    assert moving[0].flow is None
    [found] = temporal_consistency(warp_masks(moving, [MaskClass("square", (1,))]))
    assert found.n_pairs == 2
    assert found.ceiling == found.value
    assert found.ceiling is not None
    assert found.ceiling > 0.97
    frames = [FlowFrame(one, one, np.zeros((120, 160, 2))) for one in masks]
    [still] = temporal_consistency(warp_masks(frames, [MaskClass("square", (1,))]))
    assert still.ceiling == pytest.approx(56 / 64)


def test_flow_raises_the_ceiling_of_real_truth(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("video_cdnet_highway")
    frames: list[tuple[Any, Any, Any]] = []
    for number in range(1000, 1006):
        truth = np.asarray(Image.open(folder / "groundtruth" / f"gt{number:06d}.png"))
        frames.append((np.asarray(Image.open(folder / "input" / f"in{number:06d}.jpg").convert("L")), truth, truth))
    classes, still = [MaskClass("moving", (255,))], np.zeros((240, 320, 2))
    [with_flow] = temporal_consistency(warp_masks(flow_frames(frames), classes, ignored=(85,)))
    unmoved = [FlowFrame(truth, truth, still) for _, truth, _ in frames]
    [without] = temporal_consistency(warp_masks(unmoved, classes, ignored=(85,)))
    assert with_flow.ceiling is not None
    assert without.ceiling is not None
    assert with_flow.ceiling > without.ceiling + 0.05
    assert with_flow.ratio == 1.0


def test_frames_without_a_flow_are_refused() -> None:
    plane = np.zeros((32, 32), np.uint8)
    for one, other in ((plane, plane[:-1]), (plane.astype(float), plane), (plane[..., None], plane[..., None])):
        with pytest.raises(MetricError, match="two planes of 8 bit"):
            farneback_flow(one, other)
