"""From frames to liveness scores: the part of a frame that each model sees, its preprocessing, and the mean of scores.

A frame that yields no score gets a status, never a number. What models an entry names is read in
`cv_quality.inference.liveness.entry`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.detection import Box, FaceDetector, main_face
from cv_quality.inference.embedder import check_input, frame_shape
from cv_quality.inference.framing import Batch
from cv_quality.inference.liveness.entry import NO_FACE, NON_FINITE, LivenessEntry, LivenessModel
from cv_quality.inference.preprocessing import Frame, prepare
from cv_quality.inference.probe import check_promise
from cv_quality.inference.registry import ModelRegistry, verified_bytes
from cv_quality.inference.runners import RUNTIMES, OnnxRunner, Runner, Shape, TorchExportRunner

OK: Final = "ok"
BATCH_FRAMES: Final = 32


@dataclass(frozen=True, slots=True)
class LivenessScores:
    """What became of frames, in their order.

    Attributes:
        statuses: "ok", or one of `SCORE_FAILURES`.
        scores: float64 `[n]`, higher is more surely bona fide; NaN where the status is not "ok".
    """

    statuses: tuple[str, ...]
    scores: NDArray[np.float64]


class OutputRunner:
    """A model whose outputs are `[n, outputs]`, also where it gives one number a frame without a second axis."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.input_shape: Shape = runner.input_shape

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        found = self._runner(batch)
        return found[:, None] if found.ndim == 1 else found


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model of a build, ready to run."""

    entry: LivenessModel
    runner: Runner
    bona_fide: int | None

    def inputs(self, frames: Sequence[Frame], boxes: Sequence[Box | None], lux: Sequence[float | None]) -> Batch:
        """Prepare frames as the model sees them; all have a box where it crops."""
        factor = self.entry.face_crop
        seen = [
            frame if factor is None or box is None else cut_out(frame, box, factor=factor)
            for frame, box in zip(frames, boxes, strict=True)
        ]
        return prepare(seen, steps=self.entry.preprocessing, illuminance_lux=lux)

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Score prepared frames, shape (n,)."""
        check_input(batch, runner=self.runner, name="the model", file=self.entry.file)
        return scores_of(self.runner(batch), bona_fide=self.bona_fide)

    def check_promise(self) -> None:
        """Check a batch of noise.

        Raises:
            ModelDoesNotFit: as of `cv_quality.inference.probe.check_promise`, or the entry's score is none of its
                outputs.
        """
        rng, name = np.random.default_rng(0), self.entry.file
        shape = frame_shape(self.entry.preprocessing, runner=self.runner, is_cut=self.entry.face_crop is not None)
        frames = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(BATCH_FRAMES)]
        batch = prepare(frames, steps=self.entry.preprocessing, illuminance_lux=[None] * len(frames))
        check_input(batch, runner=self.runner, name="the entry", file=name)
        outputs = self.runner(batch[:1]).shape[-1]
        check_promise(self.runner, batch, dimension=outputs, name=name)
        if self.bona_fide is None and outputs != 1:
            raise ModelDoesNotFit(f"{name}: expected one number a frame, as 'score: scalar' says, found {outputs}")
        if self.bona_fide is not None and not self.bona_fide < outputs > 1:
            raise ModelDoesNotFit(
                f"{name}: the score is output {self.bona_fide} of a softmax, counted from 0, of {outputs} outputs"
            )


class LivenessScorer:
    """One build, loaded and checked to fit its entry."""

    def __init__(
        self, entry: LivenessEntry, *, models: Sequence[LoadedModel], detector: FaceDetector | None, threads: int = 1
    ) -> None:
        """Prefer `load_scorer`."""
        self.entry = entry
        self.models = tuple(models)
        self._detector = detector
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def score(
        self, frames: Sequence[Frame], *, boxes: Sequence[Box | None], illuminance_lux: Sequence[float | None]
    ) -> LivenessScores:
        """Score uint8 frames `[h, w]` (grey) or `[h, w, 3]` (RGB), of any sizes.

        Args:
            frames: the images.
            boxes: of the face in each: left, top, width, height; None where it is not known.
            illuminance_lux: of each; None where it is not known.

        Raises:
            ModelError: a model does not take what preprocessing gives.
        """
        size = min(BATCH_FRAMES, max(1, ceil(len(frames) / self._threads)))
        starts = range(0, len(frames), size)
        slices = [slice(start, start + size) for start in starts]
        parts = list(
            self._pool.map(self._score, *zip(*((frames[s], boxes[s], illuminance_lux[s]) for s in slices), strict=True))
            if slices
            else ()
        )
        statuses = tuple(status for words, _ in parts for status in words)
        return LivenessScores(statuses, np.concatenate([np.empty(0), *(scores for _, scores in parts)]))

    def place(self, frame: Frame, box: Box | None) -> Box | None:
        """Where the face is: as given, else as the detector finds it."""
        if box is not None or self._detector is None:
            return box
        height_px, width_px = frame.shape[:2]
        face = main_face(self._detector.detect(frame), width_px=width_px, height_px=height_px)
        return None if face is None else face.box

    @property
    def needs_face(self) -> bool:
        return any(model.entry.face_crop is not None for model in self.models)

    def _score(
        self, frames: Sequence[Frame], boxes: Sequence[Box | None], lux: Sequence[float | None]
    ) -> tuple[list[str], NDArray[np.float64]]:
        scores, placed = np.full(len(frames), np.nan), list(boxes)
        rows = list(range(len(frames)))
        if self.needs_face:
            placed = [self.place(frame, box) for frame, box in zip(frames, boxes, strict=True)]
            rows = [row for row in rows if is_seen(placed[row], frames[row])]
        if rows:
            chosen = [frames[row] for row in rows], [placed[row] for row in rows], [lux[row] for row in rows]
            scores[rows] = np.mean([model.score(model.inputs(*chosen)) for model in self.models], axis=0)
        scores[~np.isfinite(scores)] = np.nan
        run = set(rows)
        return [
            OK if np.isfinite(score) else NON_FINITE if row in run else NO_FACE for row, score in enumerate(scores)
        ], scores


def load_scorer(entry: LivenessEntry, *, registry: ModelRegistry, threads: int = 1) -> LivenessScorer:
    """Load a build's models (and detector), verify their digests, and check that they keep their promise.

    A model is first tried in a process of its own, see `cv_quality.inference.probe`; that costs seconds, once.

    Args:
        entry: of the build.
        registry: knows where the files lie.
        threads: batches that are prepared and run at a time, each on one thread of its runtime.

    Raises:
        ModelError: a file is missing, altered, unsafe or unreadable, or takes too long or too much memory.
        ModelDoesNotFit: a model does not take what its steps give, or does not give what the entry says.
    """
    models = []
    for model in entry.models:
        data = verified_bytes(registry.model_file(model), sha256=model.sha256)
        registry.prover.require(
            partial(_try_out, model, data, entry.bona_fide),
            of=(model, entry.bona_fide, BATCH_FRAMES),
            name=model.file,
            size_bytes=len(data),
            runtimes=RUNTIMES[model.format],
        )
        models.append(_loaded(model, data, entry.bona_fide))
    detector = None
    if (item := entry.detector) is not None:
        found = verified_bytes(registry.model_file(item), sha256=item.sha256)
        detector = FaceDetector(found, name=item.file, score_threshold=item.score_threshold, threads=1)
    return LivenessScorer(entry, models=models, detector=detector, threads=threads)


def scores_of(outputs: NDArray[np.float32], *, bona_fide: int | None) -> NDArray[np.float64]:
    """Turn outputs `[n, k]` into scores `[n]`: the one number, or an output of the softmax.

    >>> scores_of(np.log(np.array([[1.0, 3.0]], np.float32)), bona_fide=1).round(6).tolist()
    [0.75]
    """
    found = outputs.astype(np.float64)
    if bona_fide is None:
        return found[:, 0]
    raised = np.exp(found - found.max(axis=1, keepdims=True))
    return np.asarray(raised[:, bona_fide] / raised.sum(axis=1))


def is_seen(box: Box | None, frame: Frame) -> bool:
    """Tell whether a face's box has a size, and its middle lies within the frame."""
    if box is None:
        return False
    (left, top, width, height), (rows, columns) = box, frame.shape[:2]
    if not np.isfinite(box).all():
        return False
    return width >= 1 and height >= 1 and 0 <= left + width / 2 < columns and 0 <= top + height / 2 < rows


def cut_out(frame: Frame, box: Box, *, factor: float) -> Frame:
    """Cut the surroundings of a face out: its box, `factor` times as large, at the same middle.

    Where that does not fit into the frame it is first made smaller, in the same shape, then moved inside.

    Args:
        frame: uint8 `[h, w]` or `[h, w, 3]`.
        box: left, top, width, height, in pixels.
        factor: of both sides.

    >>> cut_out(np.zeros((100, 200), np.uint8), (10, 40, 20, 10), factor=3.0).shape
    (31, 61)
    """
    (left, top, width, height), (rows, columns) = box, frame.shape[:2]
    factor = min(factor, (rows - 1) / height, (columns - 1) / width)
    across = _within(left + width / 2, width * factor, columns)
    down = _within(top + height / 2, height * factor, rows)
    return frame[down, across]


def _within(middle: float, size: float, available: int) -> slice:
    """Pixels of a side of that size about its middle, moved until they lie among those available."""
    start = min(max(middle - size / 2, 0.0), available - 1 - size)
    return slice(max(0, int(start)), int(start + size) + 1)


def _try_out(model: LivenessModel, data: bytes, bona_fide: int | None) -> None:
    _loaded(model, data, bona_fide).check_promise()


def _loaded(model: LivenessModel, data: bytes, bona_fide: int | None) -> LoadedModel:
    load = TorchExportRunner if model.format == "torch_export" else OnnxRunner
    return LoadedModel(model, OutputRunner(load(data, name=model.file, threads=1)), bona_fide)
