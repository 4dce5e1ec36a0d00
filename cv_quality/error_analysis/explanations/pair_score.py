"""The score of a pair as a function of its probe alone: cosine(f(probe), a fixed reference), which maps can explain.

What has no partner is a function of its input alone (`liveness_score`). Everything lives in the model's input
coordinates: the aligned and resized crop after the registry's preprocessing.
Which pairs are explained is decided in `cv_quality.tasks.verification.explained_pairs`, how in `saliency`.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.explanations.onnx_weights import permuted_weights
from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.alignment import align_face
from cv_quality.inference.detection import FaceDetector, main_face
from cv_quality.inference.framing import Batch
from cv_quality.inference.preprocessing import Frame, prepare
from cv_quality.inference.registry import ModelEntry, ModelRegistry, verified_bytes
from cv_quality.inference.runners import OnnxRunner
from cv_quality.inference.torch_graph import load_program

if TYPE_CHECKING:
    import torch

Embed = Callable[["torch.Tensor"], "torch.Tensor"]
Compare = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Vectors `[n, d]` and references `[n, k]` to scores `[n]`."""
PAIRS_AT_ONCE = 16
"""Images a model call: at 112 x 112 more run slower on a CPU, whose memory for the activations is asked for anew."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Probes as the model sees them, each with the template that it is compared with.

    Attributes:
        inputs, references: float32 `[n, c, h, w]`, preprocessed; float32 `[n, d]`, unit norm.
        subjects: whose probe it is, n of them.
    """

    inputs: Batch
    references: NDArray[np.float32]
    subjects: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> "Pairs":
        """Select some of the pairs, in the order of `rows`."""
        index = np.asarray(rows, dtype=np.intp)
        return Pairs(self.inputs[index], self.references[index], tuple(self.subjects[row] for row in index))

    def showing(self, inputs: Batch) -> "Pairs":
        """Replace the probes of the pairs."""
        return Pairs(inputs, self.references, self.subjects)


def cosine(vectors: "torch.Tensor", references: "torch.Tensor") -> "torch.Tensor":
    """Compare vectors row by row, in [-1, 1]."""
    from torch.nn import functional

    return functional.cosine_similarity(vectors, references, dim=1)


@dataclass(frozen=True, slots=True)
class PairScore:
    """The score of pairs: `score(inputs [n, c, h, w], references [n, d])` gives `[n]`, all torch tensors.

    Attributes:
        embed: the model, a batch to its vectors `[n, d]`.
        is_mirrored: whether the mirrored image's unit vector is added, as the build does.
        is_differentiable: whether the score has a gradient; models in ONNX Runtime have none.
        redraw: the same network with its weights drawn anew under a seed; it gives None, or is None, where they cannot
            be reached.
        compare: what makes a score of a vector and its reference; without references it is of the vector alone.
    """

    embed: Embed
    is_mirrored: bool = False
    is_differentiable: bool = True
    redraw: "Callable[[int], PairScore | None] | None" = None
    compare: Compare = cosine

    def __call__(self, inputs: "torch.Tensor", references: "torch.Tensor") -> "torch.Tensor":
        from torch.nn import functional

        vectors = self.embed(inputs)
        if self.is_mirrored:
            mirrored = self.embed(inputs.flip(-1))
            vectors = functional.normalize(vectors, dim=1) + functional.normalize(mirrored, dim=1)
        return self.compare(vectors, references)

    def of(self, pairs: Pairs) -> NDArray[np.float64]:
        """Score pairs, shape (n,)."""
        import torch

        parts = [np.empty(0)]
        with torch.inference_mode():
            for start in range(0, len(pairs), PAIRS_AT_ONCE):
                rows = slice(start, start + PAIRS_AT_ONCE)
                inputs, references = torch.from_numpy(pairs.inputs[rows]), torch.from_numpy(pairs.references[rows])
                parts.append(self(inputs, references).numpy().astype(np.float64))
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class ExplainedModel:
    """One build made ready for explanations: its score, and the way from a frame to the model's input."""

    entry: ModelEntry
    score: PairScore
    detector: FaceDetector | None

    def inputs(
        self, frames: Sequence[Frame], *, illuminance_lux: Sequence[float | None]
    ) -> tuple[Batch, NDArray[np.intp]]:
        """Prepare the frames in which a face is found, as the model sees them, with their numbers."""
        crops = {number: crop for number, frame in enumerate(frames) if (crop := self._crop(frame)) is not None}
        if not crops:
            return np.empty((0, 1, 1, 1), np.float32), np.array([], np.intp)
        lux, kept = [illuminance_lux[number] for number in crops], list(crops.values())
        return prepare(kept, steps=self.entry.preprocessing, illuminance_lux=lux), np.array(list(crops), np.intp)

    def _crop(self, frame: Frame) -> Frame | None:
        if self.detector is None:
            return frame
        height_px, width_px = frame.shape[:2]
        face = main_face(self.detector.detect(frame), width_px=width_px, height_px=height_px)
        return None if face is None else align_face(frame, landmarks=face.landmarks)


def load_explained_model(entry: ModelEntry, *, registry: ModelRegistry, threads: int | None = None) -> ExplainedModel:
    """Load one build's model for explanations, through the same checks as for inference.

    Args:
        entry, registry: of the build, and where its files lie.
        threads: of ONNX Runtime; torch's are a setting of the process, see `torch_threads`.

    Raises:
        ModelError: a file is missing, altered, unsafe or unreadable.
    """
    data = verified_bytes(registry.model_file(entry), sha256=entry.sha256)
    if entry.format == "torch_export":
        score = module_score(load_program(data, name=entry.file).module(), is_mirrored=entry.flip_augment)
    else:
        score = onnx_score(data, name=entry.file, is_mirrored=entry.flip_augment, threads=threads)
    detector = None
    if (item := entry.detector) is not None:
        content = verified_bytes(registry.model_file(item), sha256=item.sha256)
        detector = FaceDetector(content, name=item.file, score_threshold=item.score_threshold, threads=threads)
    return ExplainedModel(entry, score, detector)


def module_score(module: "torch.nn.Module", *, is_mirrored: bool = False, compare: Compare = cosine) -> PairScore:
    """Make the pair score of a torch module from `[n, c, h, w]` to `[n, d]`; its weights take no gradient from now on.

    Args:
        module: the model.
        is_mirrored: whether the mirrored image's unit vector is added.
        compare: as of `PairScore`.
    """
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    size = _fixed_batch(module)

    def redrawn(seed: int) -> PairScore:
        # A copy, not torch's functional_call, which swaps the weights of the module itself while other threads run it.
        with warnings.catch_warnings():
            # torch copies an exported module by a class that it warns of itself.
            warnings.simplefilter("ignore", FutureWarning)
            copied = deepcopy(module)
        copied.load_state_dict(_permuted(module.state_dict(), seed=seed))
        return PairScore(_sliced(copied, size=size), is_mirrored, compare=compare)

    return PairScore(_sliced(module, size=size), is_mirrored, redraw=redrawn, compare=compare)


def onnx_score(
    data: bytes, *, name: str, is_mirrored: bool = False, threads: int | None = None, compare: Compare = cosine
) -> PairScore:
    """Make the pair score of an ONNX model: it has no gradient, but its weights can be drawn anew in the file.

    Args:
        data, name: of the file.
        is_mirrored: whether the mirrored image's unit vector is added.
        threads: of ONNX Runtime.
        compare: as of `PairScore`.

    Raises:
        ModelError: ONNX Runtime refuses the file.
    """
    runner = OnnxRunner(data, name=name, threads=threads)

    def embed(batch: "torch.Tensor") -> "torch.Tensor":
        import torch

        vectors = runner(np.ascontiguousarray(batch.numpy()))
        if vectors.ndim != 2:
            raise ModelDoesNotFit(f"expected vectors [n, d] as output, found {list(vectors.shape)}")
        return torch.from_numpy(vectors)

    def redrawn(seed: int) -> PairScore | None:
        permuted = permuted_weights(data, seed=seed)
        if permuted is None:
            return None
        return onnx_score(permuted, name=name, is_mirrored=is_mirrored, threads=threads, compare=compare)

    return PairScore(embed, is_mirrored, is_differentiable=False, redraw=redrawn, compare=compare)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set torch's own threads, a setting of the process, within a block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fixed_batch(module: "torch.nn.Module") -> int | None:
    """The batch size that an exported module was traced with, where that is the only one it takes."""
    graph = getattr(module, "graph", None)
    for node in graph.nodes if graph is not None else ():
        if node.op == "placeholder" and "val" in node.meta:
            size = node.meta["val"].shape[0]
            return size if isinstance(size, int) else None
    return None


def _sliced(embed: Embed, *, size: int | None) -> Embed:
    """The same model for any size of batch: whole slices, the last one filled up by repeating its last row."""
    import torch

    def run(batch: "torch.Tensor") -> "torch.Tensor":
        if size is None or len(batch) == size:
            return embed(batch)
        parts = []
        for start in range(0, len(batch), size):
            rows = batch[start : start + size]
            filler = rows[-1:].expand(size - len(rows), *rows.shape[1:])
            parts.append(embed(torch.cat([rows, filler]))[: len(rows)])
        return torch.cat(parts)

    return run


def _permuted(state: "dict[str, torch.Tensor]", *, seed: int) -> "dict[str, torch.Tensor]":
    """Every floating tensor with its own numbers in another order: what was learnt is gone, the scale stays."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def permuted(tensor: "torch.Tensor") -> "torch.Tensor":
        return tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape)

    return {name: permuted(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
