"""From frames to unit embeddings: detection, alignment, preprocessing and a model, as one build's entry says.

A frame that yields no embedding gets a status and a row of NaN, never a number. Comparing embeddings is the business
of `cv_quality.metrics`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, ModelError
from cv_quality.inference.alignment import CROP_PX, align_face
from cv_quality.inference.detection import FaceDetector, main_face
from cv_quality.inference.framing import Batch, Resize, ResizePlain
from cv_quality.inference.preprocessing import Frame, Step, prepare
from cv_quality.inference.probe import check_promise
from cv_quality.inference.registry import DetectorEntry, ModelEntry, ModelRegistry, verified_bytes
from cv_quality.inference.runners import RUNTIMES, OnnxRunner, Runner, TorchExportRunner

EmbeddingStatus = Literal["ok", "no_face", "non_finite", "zero_norm"]

DEFAULT_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class EmbeddingBatch:
    """What became of a sequence of frames, in their order.

    Attributes:
        embeddings: float32 `[n, d]`; rows of unit length, or NaN where the status is not "ok".
        status: one word a frame.
    """

    embeddings: NDArray[np.float32]
    status: tuple[EmbeddingStatus, ...]


class Embedder:
    """One build, loaded and checked to fit its entry."""

    def __init__(
        self,
        entry: ModelEntry,
        *,
        runner: Runner,
        detector: FaceDetector | None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        threads: int = 1,
    ) -> None:
        """Prefer `load_embedder`.

        Raises:
            ModelDoesNotFit: one zero frame does not pass through the steps and the model to `[1, embedding_dim]`.
        """
        if batch_size < 1:
            raise ModelError(f"batch_size: expected at least 1, found {batch_size}")
        self.entry = entry
        self._runner = runner
        self._detector = detector
        self._batch_size = batch_size
        # Kept over calls: a new thread costs a new memory arena and a new start of the runtime.
        self._pool = ThreadPoolExecutor(threads)
        self._threads = threads
        _dry_run(entry, runner=runner)

    def check_promise(self) -> None:
        """Check a whole batch of noise, and the detector, where there is one, on a frame of it.

        Raises:
            ModelDoesNotFit: as of `cv_quality.inference.probe.check_promise`, or the detector's heads are no numbers.
        """
        rng = np.random.default_rng(0)
        shape = frame_shape(self.entry.preprocessing, runner=self._runner, is_cut=self._detector is not None)
        frames = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(self._batch_size)]
        batch = prepare(frames, steps=self.entry.preprocessing, illuminance_lux=[None] * len(frames))
        check_promise(self._runner, batch, dimension=self.entry.embedding_dim, name=self.entry.file)
        if self._detector is not None:
            self._detector.detect(frames[0])

    @property
    def model_sha256(self) -> str:
        """Hex digest of the model file, verified when it was loaded."""
        return self.entry.sha256

    def embed(self, frames: Sequence[Frame], *, illuminance_lux: Sequence[float | None]) -> EmbeddingBatch:
        """Embed uint8 frames `[h, w]` (grey) or `[h, w, 3]` (RGB), of any sizes; illuminance is None where unknown.

        Raises:
            ModelError: the two sequences differ in length, or the frames reach the model in a shape it does not take.
        """
        if len(frames) != len(illuminance_lux):
            raise ModelError(f"expected one illuminance a frame, found {len(illuminance_lux)} for {len(frames)} frames")
        size = min(self._batch_size, max(1, ceil(len(frames) / self._threads)))
        starts = range(0, len(frames), size)
        batches = [frames[start : start + size] for start in starts]
        lux = [illuminance_lux[start : start + size] for start in starts]
        parts = list(self._pool.map(self._embed_batch, batches, lux))
        empty = np.empty((0, self.entry.embedding_dim), dtype=np.float32)
        return EmbeddingBatch(
            embeddings=np.concatenate([empty, *(vectors for vectors, _ in parts)]),
            status=tuple(word for _, words in parts for word in words),
        )

    def _embed_batch(
        self, frames: Sequence[Frame], illuminance_lux: Sequence[float | None]
    ) -> tuple[NDArray[np.float32], list[EmbeddingStatus]]:
        crops = {index: face for index, frame in enumerate(frames) if (face := self._face(frame)) is not None}
        embeddings = np.full((len(frames), self.entry.embedding_dim), np.nan, dtype=np.float32)
        status: list[EmbeddingStatus] = ["no_face"] * len(frames)
        if not crops:
            return embeddings, status
        lux = [illuminance_lux[index] for index in crops]
        batch = prepare(list(crops.values()), steps=self.entry.preprocessing, illuminance_lux=lux)
        check_input(batch, runner=self._runner, name=self.entry.build_id, file=self.entry.file)
        embeddings[list(crops)], verdicts = _units(self._vectors(batch))
        for index, verdict in zip(crops, verdicts, strict=True):
            status[index] = verdict
        return embeddings, status

    def _vectors(self, batch: Batch) -> NDArray[np.float32]:
        vectors = self._checked(batch)
        if not self.entry.flip_augment:
            return vectors
        mirrored = self._checked(np.ascontiguousarray(batch[..., ::-1]))
        # A failed half stays NaN and fails the sum.
        return _units(vectors)[0] + _units(mirrored)[0]

    def _checked(self, batch: Batch) -> NDArray[np.float32]:
        vectors = self._runner(batch)
        if vectors.shape != (len(batch), self.entry.embedding_dim):
            raise ModelDoesNotFit(
                f"{self.entry.build_id}: expected vectors [{len(batch)}, {self.entry.embedding_dim}], "
                f"{self.entry.file} gives {list(vectors.shape)}"
            )
        return vectors

    def _face(self, frame: Frame) -> Frame | None:
        """The aligned crop, the frame itself where the build has no detector, or None."""
        if self._detector is None:
            return frame
        height_px, width_px = frame.shape[:2]
        face = main_face(self._detector.detect(frame), width_px=width_px, height_px=height_px)
        return None if face is None else align_face(frame, landmarks=face.landmarks)


def load_embedder(
    entry: ModelEntry, *, registry: ModelRegistry, threads: int | None = None, batch_size: int = DEFAULT_BATCH_SIZE
) -> Embedder:
    """Load one build's model (and detector), verify their digests, and check that they fit and keep their promise.

    A model that was never tried with these steps and this batch size is first tried in a process of its own, see
    `cv_quality.inference.probe`; that costs seconds, once.

    Args:
        entry: of the build.
        registry: the registry that the entry is from; it knows where the files lie and how to reach them.
        threads: batches that are prepared and run at a time, each on one CPU thread of the runtime: on two cores that
            is faster than one batch at a time on two threads, since preparation is spread too. None leaves the
            runtime's own threads, one batch at a time.
        batch_size: frames a model call.

    Raises:
        ModelError: a file is missing, altered, unsafe or unreadable, or takes too long or too much memory.
        ModelDoesNotFit: input or output disagree with the entry, or the model does not give one vector a frame.
    """
    data = _content(entry, registry=registry)
    detector = None if entry.detector is None else _content(entry.detector, registry=registry)
    registry.prover.require(
        partial(_try_out, entry, data, detector, batch_size=batch_size),
        of=(entry, batch_size),
        name=entry.file,
        size_bytes=len(data) + len(detector or b""),
        runtimes=RUNTIMES[entry.format] + (RUNTIMES["onnx"] if detector else ()),
    )
    return _opened(entry, data, detector, threads=threads, batch_size=batch_size)


def _try_out(entry: ModelEntry, data: bytes, detector: bytes | None, *, batch_size: int) -> None:
    _opened(entry, data, detector, threads=1, batch_size=batch_size).check_promise()


def _opened(
    entry: ModelEntry, data: bytes, detector: bytes | None, *, threads: int | None, batch_size: int
) -> Embedder:
    inner = None if threads is None else 1
    load = TorchExportRunner if entry.format == "torch_export" else OnnxRunner
    runner = load(data, name=entry.file, threads=inner)
    finder = None
    if entry.detector is not None and detector is not None:
        threshold = entry.detector.score_threshold
        finder = FaceDetector(detector, name=entry.detector.file, score_threshold=threshold, threads=inner)
    return Embedder(entry, runner=runner, detector=finder, batch_size=batch_size, threads=threads or 1)


def _content(entry: ModelEntry | DetectorEntry, *, registry: ModelRegistry) -> bytes:
    return verified_bytes(registry.model_file(entry), sha256=entry.sha256)


def _units(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[EmbeddingStatus]]:
    """Rows of unit length, NaN where a row is not finite or has no direction, and why."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    is_finite = np.isfinite(norms)
    is_usable = is_finite & (norms > 0)
    units = (vectors / np.where(is_usable, norms, np.nan)[:, None]).astype(np.float32)
    status = np.select([is_usable, is_finite], ["ok", "zero_norm"], "non_finite")
    return units, cast(list[EmbeddingStatus], status.tolist())


def frame_shape(steps: Sequence[Step], *, runner: Runner, is_cut: bool) -> tuple[int, ...]:
    """Tell the shape of a frame as a build may receive it; where nothing says its size, the model's own input does.

    Args:
        steps: of its preprocessing.
        runner: its model.
        is_cut: whether the face is cut out before.
    """
    _, channels, height_px, width_px = runner.input_shape
    is_fixed = is_cut or any(isinstance(step, Resize | ResizePlain) for step in steps)
    size = (CROP_PX, CROP_PX) if is_fixed else (height_px or CROP_PX, width_px or CROP_PX)
    return (*size, 3) if is_cut or channels == 3 else size


def _dry_run(entry: ModelEntry, *, runner: Runner) -> None:
    """Pass a black frame."""
    frame = np.zeros(frame_shape(entry.preprocessing, runner=runner, is_cut=entry.detector is not None), dtype=np.uint8)
    batch = prepare([frame], steps=entry.preprocessing, illuminance_lux=[None])
    check_input(batch, runner=runner, name=entry.build_id, file=entry.file)
    output = runner(batch)
    if output.shape != (1, entry.embedding_dim):
        raise ModelDoesNotFit(
            f"{entry.build_id}: the registry says embedding_dim {entry.embedding_dim}, "
            f"{entry.file} gives an output of shape {list(output.shape)}; correct one of them"
        )


def check_input(batch: Batch, *, runner: Runner, name: str, file: str) -> None:
    """Check that prepared frames have the shape that a model takes.

    Args:
        batch: the frames.
        runner: the model.
        name, file: of the description of the model and of its file, for errors.

    Raises:
        ModelDoesNotFit: they have another.
    """
    wanted = runner.input_shape[1:]
    if any(size not in (None, found) for size, found in zip(wanted, batch.shape[1:], strict=True)):
        raise ModelDoesNotFit(
            f"{name}: preprocessing gives frames [channels, height, width] = {list(batch.shape[1:])}, "
            f"{file} takes {list(wanted)}; correct 'preprocessing' (gray, rgb, resize) or the model"
        )
