"""The parts of an eye, told by a build's segmentation model: pixels of frames in, label maps out.

The model takes one batch of pictures and gives one plane of logits or probabilities for each class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.framing import Batch
from cv_quality.inference.iris.entry import EYE_CLASSES, Segmentation
from cv_quality.inference.iris.geometry import IRIS, PUPIL, SCLERA
from cv_quality.inference.registry import ModelRegistry, verified_bytes
from cv_quality.inference.runners import RUNTIMES, OnnxRunner, Runner, TorchExportRunner

PARTS: Final[Mapping[str, int]] = dict(zip(EYE_CLASSES, (SCLERA, IRIS, PUPIL), strict=True))
CLAHE_TILES: Final = (8, 8)
"""Of contrast-limited equalisation, as RITnet has it."""
PIXELS_AT_ONCE: Final = 1 << 16
"""Of the model's input in one batch, whose planes then stay in the cache: twice as fast as 54 eyes at once."""
BATCH_TOLERANCE: Final = 1e-2
"""By which planes may differ with what else is in the batch, by the largest value."""
_WORK_BYTES_PER_PIXEL: Final = 256
"""Of a network of layers with so many planes, whose memory is counted before it is run."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """The parts of an eye in the pixels of the model.

    Attributes:
        parts: 0 is no part of the eye, else see `cv_quality.inference.iris.geometry`; shape (height, width).
        scale: pixels of the model's input to one of the picture.
        left, top: where the picture begins in the model's input.
    """

    parts: NDArray[np.uint8]
    scale: float
    left: int
    top: int


class EyeSegmenter:
    """A segmentation model, loaded."""

    def __init__(self, settings: Segmentation, runner: Runner) -> None:
        """Prefer `load_segmenter`.

        Raises:
            ModelDoesNotFit: it does not give a plane for every class of the entry, of its input's size.
        """
        self._settings = settings
        self._runner = runner
        known = max(label for labels in settings.classes.values() for label in labels)
        parts = np.zeros(max(known + 1, 256), np.uint8)
        for name, labels in settings.classes.items():
            parts[list(labels)] = PARTS[name]
        self._parts = parts
        self._needed = known + 1
        wanted = (settings.channels, settings.height, settings.width)
        if any(size not in (None, has) for size, has in zip(runner.input_shape[1:], wanted, strict=True)):
            raise ModelDoesNotFit(
                f"{settings.file}: the entry feeds [channels, height, width] = {list(wanted)}, the model takes "
                f"{list(runner.input_shape[1:])}; correct the entry's segmentation"
            )
        self._planes(np.zeros((1, *wanted), np.float32))

    def check_promise(self) -> None:
        """Check that noise gives finite planes, the same when asked again and whatever else is in the batch.

        Raises:
            ModelDoesNotFit: it does not.
        """
        shape = (2, self._settings.channels, self._settings.height, self._settings.width)
        noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        together, alone = self._planes(noise), np.concatenate([self._planes(noise[at : at + 1]) for at in range(2)])
        again = self._planes(noise)
        if not np.isfinite(together).all():
            raise ModelDoesNotFit(f"{self._settings.file}: gives numbers that are not finite")
        reach = BATCH_TOLERANCE * max(1.0, float(np.abs(together).max()))
        if not np.array_equal(together, again) or np.abs(together - alone).max() > reach:
            raise ModelDoesNotFit(
                f"{self._settings.file}: gives other parts for the same picture when it is asked again, or with others"
            )

    def label(self, pictures: Sequence[NDArray[np.float32]]) -> list[Labelled]:
        """Label grey pictures, shape (height, width) each, 0 to 255.

        Raises:
            ModelDoesNotFit: as of `EyeSegmenter`.
        """
        size = max(1, PIXELS_AT_ONCE // (self._settings.height * self._settings.width))
        batches = [pictures[at : at + size] for at in range(0, len(pictures), size)]
        return [found for batch in batches for found in self._labelled(batch)]

    def _labelled(self, pictures: Sequence[NDArray[np.float32]]) -> list[Labelled]:
        fed = [self._fed(picture) for picture in pictures]
        planes = self._planes(np.repeat(np.stack([plane for plane, *_ in fed])[:, None], self._settings.channels, 1))
        parts = self._parts[planes.argmax(axis=1)]
        found = []
        for labels, (_, scale, (left, top), (width, height)) in zip(parts, fed, strict=True):
            kept = np.zeros_like(labels)
            kept[top : top + height, left : left + width] = labels[top : top + height, left : left + width]
            found.append(Labelled(kept, scale, left, top))
        return found

    def _fed(self, picture: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, tuple[int, int], tuple[int, int]]:
        """A picture as the model takes it, as large as it fits; its scale, where it begins, and its size there."""
        import cv2

        settings = self._settings
        scale = min(settings.height / picture.shape[0], settings.width / picture.shape[1])
        height, width = (max(1, round(side * scale)) for side in picture.shape)
        left, top = (settings.width - width) // 2, (settings.height - height) // 2
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        grey = picture if scale == 1 else cv2.resize(picture, (width, height), interpolation=how)
        boxed = np.zeros((settings.height, settings.width), np.float32)
        boxed[top : top + height, left : left + width] = (self._toned(grey) - settings.mean) / settings.scale
        return boxed, scale, (left, top), (width, height)

    def _toned(self, grey: NDArray[np.generic]) -> NDArray[np.float32]:
        """Grey levels from 0 to 1, as the model is used to them."""
        import cv2

        levels = np.clip(grey.astype(np.float32) / np.float32(255), 0.0, 1.0)
        shares: NDArray[np.float32] = levels ** np.float32(self._settings.gamma)
        if self._settings.clahe_clip == 0.0:
            return shares
        equalise = cv2.createCLAHE(clipLimit=self._settings.clahe_clip, tileGridSize=CLAHE_TILES)
        equal: NDArray[np.float32] = equalise.apply((shares * 255).astype(np.uint8)).astype(np.float32)
        return equal / np.float32(255)

    def _planes(self, batch: Batch) -> NDArray[np.float32]:
        settings = self._settings
        planes = self._runner(np.ascontiguousarray(batch))
        fits = planes.ndim == 4 and planes.shape[0] == len(batch) and planes.shape[2:] == batch.shape[2:]
        if not fits or planes.shape[1] < self._needed:
            raise ModelDoesNotFit(
                f"{settings.file}: expected [{len(batch)}, at least {self._needed} classes, {settings.height}, "
                f"{settings.width}], as the entry's classes {dict(settings.classes)} say, found {list(planes.shape)}"
            )
        return planes


def load_segmenter(settings: Segmentation, registry: ModelRegistry) -> EyeSegmenter:
    """Load a segmentation model, verify its digest, and check that it fits the entry.

    Args:
        settings: of the entry.
        registry: where its file lies.

    Raises:
        ModelError: the file is missing, altered, unsafe or unreadable, or takes too long or too much memory.
        ModelDoesNotFit: input or output disagree with the entry.
    """
    data = verified_bytes(registry.model_file(settings), sha256=settings.sha256)
    registry.prover.require(
        partial(_try_out, settings, data),
        of=settings,
        name=settings.file,
        size_bytes=len(data) + _WORK_BYTES_PER_PIXEL * settings.height * settings.width,
        runtimes=RUNTIMES[settings.format],
    )
    return _opened(settings, data)


def _try_out(settings: Segmentation, data: bytes) -> None:
    _opened(settings, data).check_promise()


def _opened(settings: Segmentation, data: bytes) -> EyeSegmenter:
    load = TorchExportRunner if settings.format == "torch_export" else OnnxRunner
    return EyeSegmenter(settings, load(data, name=settings.file, threads=1))
