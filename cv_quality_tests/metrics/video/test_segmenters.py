"""Two real segmenters on a bird and on traffic: quality, consistency and flicker as published beside the data."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from cv_quality.metrics.video.flow import farneback_flow
from cv_quality.metrics.video.masks import MaskClass, pooled_iou, score_masks
from cv_quality.metrics.video.temporal import FlowFrame, flicker, temporal_consistency, warp_masks

MOVING = [MaskClass("moving", truth=(255,), prediction=(6, 7, 14))]
"""Pascal's bus, car and motorbike, against what moves."""
IGNORED = (85, 170)
SIDE = 513


@pytest.mark.nightly
@pytest.mark.parametrize(("model", "iou"), [("deeplabv3_mnv2_pascal", 0.6467), ("deeplabv3_mnv2_dm05_pascal", 0.6479)])
def test_segmenters_of_equal_iou_score_as_published(model: str, iou: float, shared_data: Callable[[str], Path]) -> None:
    clip = shared_data("video_cdnet_highway")
    session = onnxruntime.InferenceSession(shared_data("models_vision") / f"{model}.onnx")
    frames, before = [], None
    for number in range(1000, 1120):
        picture = Image.open(clip / "input" / f"in{number:06d}.jpg")
        rgb, luma = np.asarray(picture.convert("RGB")), np.asarray(picture.convert("L"))
        [labels] = session.run(None, {"input": cv2.resize(rgb, (SIDE, SIDE))[None]})
        prediction = cv2.resize(labels[0].astype(np.uint8), picture.size, interpolation=cv2.INTER_NEAREST)
        truth = np.asarray(Image.open(clip / "groundtruth" / f"gt{number:06d}.png"))
        frames.append(FlowFrame(truth, prediction, None if before is None else farneback_flow(luma, before)))
        before = luma
    pairs = [(frame.truth, frame.prediction) for frame in frames]
    assert pooled_iou(score_masks(pairs, MOVING, ignored=IGNORED)).value == pytest.approx(iou, abs=0.002)
    assert flicker(pairs, MOVING, ignored=IGNORED).value == pytest.approx(0.030, abs=0.001)
    # Published without the pixels that only the frame before ignores being left out.
    [found] = temporal_consistency(warp_masks(frames, MOVING, ignored=IGNORED))
    assert found.mean == pytest.approx(0.738, abs=0.004)
    assert found.ceiling == pytest.approx(0.997, abs=0.001)


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
