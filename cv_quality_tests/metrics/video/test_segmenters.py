"""Two real segmenters on a bird and on traffic: quality, consistency and flicker as published beside the data."""

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from cv_quality.metrics.video.flow import farneback_flow
from cv_quality.metrics.video.masks import MaskClass, pooled_iou, score_masks
from cv_quality.metrics.video.temporal import FlowFrame, flicker, temporal_consistency, warp_masks

Picture = NDArray[np.uint8]
FRAMES = range(1000, 1120)
IGNORED = (85, 170)
SIDE = 513
VEHICLES = (6, 7, 14)
"""Pascal's bus, car and motorbike, against what moves."""


def pictures(clip: Path, numbers: Iterable[int]) -> list[Picture]:
    return [np.asarray(Image.open(clip / "input" / f"in{number:06d}.jpg").convert("RGB")) for number in numbers]


def require_published(
    clip: Path, predictions: list[Picture], labels: tuple[int, ...], *, iou: float, mean: float, flickering: float
) -> None:
    """Compare with the numbers published for the clip; there, what only the frame before ignores is not left out."""
    truths = [np.asarray(Image.open(clip / "groundtruth" / f"gt{number:06d}.png")) for number in FRAMES]
    lumas = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures(clip, FRAMES)]
    flows = [None, *map(farneback_flow, lumas[1:], lumas)]
    pairs, moving = list(zip(truths, predictions, strict=True)), [MaskClass("moving", (255,), labels)]
    assert pooled_iou(score_masks(pairs, moving, ignored=IGNORED)).value == pytest.approx(iou, abs=0.002)
    assert flicker(pairs, moving, ignored=IGNORED).value == pytest.approx(flickering, abs=0.001)
    frames = [FlowFrame(*pair, flow) for pair, flow in zip(pairs, flows, strict=True)]
    [found] = temporal_consistency(warp_masks(frames, moving, ignored=IGNORED))
    assert found.mean == pytest.approx(mean, abs=0.004)
    assert found.ceiling == pytest.approx(0.997, abs=0.001)


@pytest.mark.nightly
@pytest.mark.parametrize(("model", "iou"), [("deeplabv3_mnv2_pascal", 0.6467), ("deeplabv3_mnv2_dm05_pascal", 0.6479)])
def test_segmenters_of_equal_iou_score_as_published(model: str, iou: float, shared_data: Callable[[str], Path]) -> None:
    clip = shared_data("video_cdnet_highway")
    session = onnxruntime.InferenceSession(shared_data("models_vision") / f"{model}.onnx")
    predictions = []
    for picture in pictures(clip, FRAMES):
        [labels] = session.run(None, {"input": cv2.resize(picture, (SIDE, SIDE))[None]})
        size = picture.shape[1], picture.shape[0]
        predictions.append(cv2.resize(labels[0].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST))
    require_published(clip, predictions, VEHICLES, iou=iou, mean=0.738, flickering=0.030)


@pytest.mark.nightly
def test_background_subtraction_of_equal_iou_flickers_less(shared_data: Callable[[str], Path]) -> None:
    clip = shared_data("video_cdnet_highway")
    subtractor = cv2.createBackgroundSubtractorMOG2()
    for picture in pictures(clip, range(1200, 1400)):
        subtractor.apply(picture[..., ::-1])
    predictions = [np.asarray(subtractor.apply(picture[..., ::-1]), np.uint8) for picture in pictures(clip, FRAMES)]
    require_published(clip, predictions, (255,), iou=0.6456, mean=0.801, flickering=0.021)


@pytest.mark.parametrize(("model", "iou"), [("deeplabv3_mnv2_pascal", 0.9052), ("deeplabv3_mnv2_dm05_pascal", 0.8188)])
def test_bird_is_found_as_published(model: str, iou: float, shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("image_bird")
    session = onnxruntime.InferenceSession(shared_data("models_vision") / f"{model}.onnx")
    picture = np.asarray(Image.open(folder / "bird_segmentation.bmp").convert("RGB"))
    truth = np.asarray(Image.open(folder / "bird_segmentation_mask.bmp"))
    [labels] = session.run(None, {"input": picture[None]})
    assert pooled_iou(score_masks([(truth, labels[0])], [MaskClass("bird", (3,))])).value == pytest.approx(
        iou, abs=0.001
    )
