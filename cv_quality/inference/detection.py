"""Where the face is: YuNet's twelve heads decoded with NumPy, for frames of any size.

YuNet (Wu et al., "YuNet: a tiny millisecond-level face detector", 2023) sees 640 x 640 pixels; frames are scaled into
that square and landmarks scaled back. Cutting the face out is `cv_quality.inference.alignment`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.runners import onnx_session, run_session

CANVAS_PX = 640
STRIDES_PX = (8, 16, 32)
MAX_OVERLAP = 0.3
MAX_CANDIDATES = 512
"""Cells of the best scores that become faces at most; real frames have some dozens above the threshold."""
CONFIDENT_SHARE = 0.75
WEIGHT_ONE = 2048
_HEAD_WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
Box = tuple[float, float, float, float]
HEADS = tuple(f"{kind}_{stride}" for kind in _HEAD_WIDTHS for stride in STRIDES_PX)


@dataclass(frozen=True, slots=True)
class Face:
    """One detection in the frame's pixels.

    Attributes:
        score: in [0, 1].
        box: left, top, width, height.
        landmarks: float64 `[5, 2]`: image-left eye, image-right eye, nose, image-left and image-right mouth corner.
    """

    score: float
    box: Box
    landmarks: NDArray[np.float64]


class FaceDetector:
    """YuNet on ONNX Runtime; one frame a call, because the exported model has a batch of one."""

    def __init__(self, data: bytes, *, name: str, score_threshold: float, threads: int | None = None) -> None:
        """Load the detector's bytes.

        Raises:
            ModelError: ONNX Runtime refuses the file.
            ModelDoesNotFit: its input or its heads are not YuNet's at 640 x 640.
        """
        self._session = onnx_session(data, name=name, threads=threads)
        self._score_threshold = score_threshold
        self._name = name
        inputs = self._session.get_inputs()
        heads = {output.name: list(output.shape) for output in self._session.get_outputs()}
        _check_fits([list(item.shape) for item in inputs], heads, name=name)
        self._input_name = inputs[0].name

    def detect(self, frame: NDArray[np.uint8]) -> list[Face]:
        """Detect the faces of a frame `[h, w]` or `[h, w, 3]` (RGB), best score first."""
        canvas = on_canvas(frame)
        outputs = run_session(self._session, HEADS, {self._input_name: canvas.pixels}, name=self._name)
        faces = decode_heads(dict(zip(HEADS, outputs, strict=True)), score_threshold=self._score_threshold)
        return [_in_frame(face, canvas=canvas) for face in faces]


@dataclass(frozen=True, slots=True)
class Canvas:
    """A frame as the detector sees it: `pixels` float32 BGR `[1, 3, 640, 640]`, and how to come back.

    A canvas position p lies at `p / factor - margin_px` in the frame.
    """

    pixels: NDArray[np.float32]
    factor: float
    margin_px: float


def on_canvas(frame: NDArray[np.uint8]) -> Canvas:
    """Put the frame in the top left of a black square, with its edge pixels drawn out as a margin.

    The margin is there because YuNet misplaces faces that fill the picture: without it the AT&T faces (92 x 112
    pixels, all face) score 0.8 instead of 0.94, and their landmarks are off by several pixels.
    """
    image = _at_most(frame, side_px=CANVAS_PX // 2)
    shrink = max(image.shape[:2]) / max(frame.shape[:2])
    margin = max(image.shape[:2]) // 2
    planes = image[None] if image.ndim == 2 else image[:, :, ::-1].transpose(2, 0, 1)
    framed = np.pad(planes, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    longer_px = max(framed.shape[1:])
    height_px, width_px = (side * CANVAS_PX // longer_px for side in framed.shape[1:])
    pixels = np.zeros((1, 3, CANVAS_PX, CANVAS_PX), dtype=np.float32)
    pixels[0, :, :height_px, :width_px] = enlarged(framed, width_px=width_px, height_px=height_px)
    return Canvas(pixels=pixels, factor=shrink * CANVAS_PX / longer_px, margin_px=margin / shrink)


def enlarged(planes: NDArray[np.uint8], *, width_px: int, height_px: int) -> NDArray[np.int32]:
    """Enlarge `[c, h, w]` bilinearly, values 0 to 255, bit for bit as OpenCV's `INTER_LINEAR` on 8 bits.

    YuNet's landmarks hang on single grey levels: exact interpolation, 0.07 levels brighter on average, moves one of
    the 390 AT&T faces by 4.7 pixels. With OpenCV's arithmetic, weights in 1/2048 and results cut off at quarters of a
    level before the last rounding, published chains that use it can be repeated to the last landmark.

    Args:
        planes: uint8 `[c, h, w]`.
        width_px, height_px: of the result.
    """
    left, right, across = _neighbours(planes.shape[2], width_px)
    top, bottom, weight = _neighbours(planes.shape[1], height_px)
    down = weight[:, None]
    whole = planes.astype(np.int32, order="C")
    rows = (whole[:, :, left] * (WEIGHT_ONE - across) + whole[:, :, right] * across) >> 4
    upper = (rows[:, top] * (WEIGHT_ONE - down)) >> 16
    lower = (rows[:, bottom] * down) >> 16
    return (upper + lower + 2) >> 2


def decode_heads(heads: Mapping[str, NDArray[np.float32]], *, score_threshold: float) -> list[Face]:
    """Decode the twelve heads, each `[1, cells, width]`, into faces in canvas pixels, overlaps suppressed.

    A cell's score is the geometric mean of its class and objectness; boxes and landmarks are offsets from the cell in
    units of the stride, box sides as logarithms.
    """
    parts = [_decode_stride(heads, stride=stride, score_threshold=score_threshold) for stride in STRIDES_PX]
    scores, boxes, landmarks = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    # An area must be finite too, or two boxes have no share.
    with np.errstate(over="ignore"):
        areas = boxes[:, 2] * boxes[:, 3]
    is_place = np.isfinite(boxes).all(axis=1) & np.isfinite(areas) & np.isfinite(landmarks).all(axis=1)
    best = np.argsort(np.where(is_place, -scores, np.inf), kind="stable")[: min(MAX_CANDIDATES, int(is_place.sum()))]
    scores, boxes, landmarks = scores[best], boxes[best], landmarks[best]
    kept = suppress_overlaps(boxes, scores=scores)
    return [Face(float(scores[i]), cast(Box, tuple(boxes[i].tolist())), landmarks[i].reshape(5, 2)) for i in kept]


def suppress_overlaps(boxes: NDArray[np.float64], *, scores: NDArray[np.float64]) -> list[int]:
    """Suppress non-maxima greedily: rows of `boxes` (left, top, width, height) that stay, best score first."""
    kept: list[int] = []
    for candidate in np.argsort(-scores, kind="stable"):
        if all(_overlap(boxes[candidate], boxes[other]) <= MAX_OVERLAP for other in kept):
            kept.append(int(candidate))
    return kept


def main_face(faces: Sequence[Face], *, width_px: int, height_px: int) -> Face | None:
    """Choose the main face: the largest, where being off centre costs up to the whole area.

    Only faces with three quarters of the best score compete: on blurred frames YuNet also reports large boxes of low
    score around the real face.

    Args:
        faces: of the frame.
        width_px, height_px: of the frame.
    """
    if not faces:
        return None
    reach = float(np.hypot(width_px, height_px)) / 2

    def weight(face: Face) -> float:
        left, top, width, height = face.box
        off_centre = float(np.hypot(left + width / 2 - width_px / 2, top + height / 2 - height_px / 2)) / reach
        return width * height * max(0.0, 1.0 - off_centre)

    best = max(face.score for face in faces)
    return max((face for face in faces if face.score >= CONFIDENT_SHARE * best), key=weight)


def _decode_stride(
    heads: Mapping[str, NDArray[np.float32]], *, stride: int, score_threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    classes, objects, boxes, landmarks = (heads[f"{kind}_{stride}"][0].astype(np.float64) for kind in _HEAD_WIDTHS)
    scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
    cells = np.flatnonzero(scores >= score_threshold)
    side = CANVAS_PX // stride
    corner = np.column_stack([cells % side, cells // side]).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # a box without finite sides is none, see decode_heads
        size = np.exp(boxes[cells, 2:]) * stride
        centre = (corner + boxes[cells, :2]) * stride
        points = (np.tile(corner, 5) + landmarks[cells]) * stride
        return scores[cells], np.column_stack([centre - size / 2, size]), points


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    corner = np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.clip(np.minimum(one[:2] + one[2:], other[:2] + other[2:]) - corner, 0, None)))
    union = float(np.prod(one[2:]) + np.prod(other[2:])) - shared
    return shared / union if union > 0 else 0.0


def _in_frame(face: Face, *, canvas: Canvas) -> Face:
    factor, margin = canvas.factor, canvas.margin_px
    left, top, width, height = face.box
    box = (left / factor - margin, top / factor - margin, width / factor, height / factor)
    return Face(score=face.score, box=box, landmarks=face.landmarks / factor - margin)


def _at_most(frame: NDArray[np.uint8], *, side_px: int) -> NDArray[np.uint8]:
    """The frame, shrunk with antialiasing where its longer side exceeds `side_px`."""
    height_px, width_px = frame.shape[:2]
    longer_px = max(height_px, width_px)
    if longer_px <= side_px:
        return frame
    size = (max(1, width_px * side_px // longer_px), max(1, height_px * side_px // longer_px))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))


def _neighbours(size_in: int, size_out: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32]]:
    """For every output pixel its two input pixels and the second one's weight in 1/2048; centres lie at halves."""
    # In float32 as OpenCV has it, or weights that lie halfway between two steps round the other way.
    position = ((np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5).astype(np.float32)
    first = np.floor(position)
    weight = np.rint((position - first) * np.float32(WEIGHT_ONE)).astype(np.int32)
    low = first.astype(np.intp)
    return low.clip(0, size_in - 1), (low + 1).clip(0, size_in - 1), weight


def _check_fits(inputs: Sequence[object], heads: Mapping[str, Sequence[object]], *, name: str) -> None:
    wanted_input = [1, 3, CANVAS_PX, CANVAS_PX]
    if list(inputs) != [wanted_input]:
        raise ModelDoesNotFit(f"{name}: expected one detector input {wanted_input}, found {list(inputs)}")
    for kind, width in _HEAD_WIDTHS.items():
        for stride in STRIDES_PX:
            wanted, found = [1, (CANVAS_PX // stride) ** 2, width], heads.get(f"{kind}_{stride}")
            if found != wanted:
                raise ModelDoesNotFit(f"{name}: expected head {kind}_{stride} of shape {wanted}, found {found}")
