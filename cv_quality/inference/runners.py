"""Models behind one small call: a float32 batch in, a float32 batch of vectors out, on torch.export or ONNX Runtime.

No model file is ever unpickled: `cv_quality.inference.archive` rebuilds torch archives first. What the numbers mean
is the business of `cv_quality.inference.embedder`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, ModelError
from cv_quality.inference.archive import harmless_archive

if TYPE_CHECKING:
    import torch

Shape = tuple[int | None, ...]


class Runner(Protocol):
    """A loaded model; `input_shape` is `[n, c, h, w]` with None where any size goes."""

    input_shape: Shape

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]: ...


class TorchExportRunner:
    """A `torch.export` archive on the CPU, without gradients."""

    def __init__(self, data: bytes, *, name: str, threads: int | None = None) -> None:
        """Load an archive's bytes.

        Args:
            name: the file's name, for errors.
            threads: torch's intra-op threads; a setting of the whole process. None leaves it.

        Raises:
            ModelError: the archive is unsafe, damaged, or of another torch version.
        """
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        archive = harmless_archive(data, name=name)
        try:
            program = torch.export.load(archive)
            self._module = cast("Callable[[torch.Tensor], torch.Tensor]", program.module())
        except Exception as error:  # torch raises anything from AssertionError to sympy's own errors here
            raise ModelError(f"{name}: torch cannot load the archive: {type(error).__name__}: {error}") from error
        wanted = set(program.graph_signature.user_inputs)
        placeholders = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted]
        shapes = [tuple(getattr(node.meta["val"], "shape", ())) for node in placeholders]
        self.input_shape = _one_input(shapes, name=name)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            return _in_slices(self._run, batch, size=self.input_shape[0])

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        output = self._module(torch.from_numpy(batch))
        if not isinstance(output, torch.Tensor):
            raise ModelDoesNotFit(f"expected one tensor as output, found {type(output).__name__}")
        return cast(NDArray[np.float32], output.to(torch.float32).numpy())


class OnnxRunner:
    """An ONNX model on ONNX Runtime's CPU provider."""

    def __init__(self, data: bytes, *, name: str, threads: int | None = None) -> None:
        """Load a model's bytes.

        Raises:
            ModelError: ONNX Runtime refuses the file.
        """
        self._session = onnx_session(data, name=name, threads=threads)
        inputs = self._session.get_inputs()
        self._input_name = inputs[0].name
        self.input_shape = _one_input([item.shape for item in inputs], name=name)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return _in_slices(self._run, batch, size=self.input_shape[0])

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input_name: batch})[0], dtype=np.float32)


class OnnxInput(Protocol):
    """An input of an ONNX session; free dimensions are names or None."""

    name: str
    shape: Sequence[int | str | None]


class OnnxSession(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used here."""

    def get_inputs(self) -> Sequence[OnnxInput]: ...
    def get_outputs(self) -> Sequence[OnnxInput]: ...
    def run(
        self, output_names: Sequence[str] | None, feed: dict[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]: ...


def onnx_session(data: bytes, *, name: str, threads: int | None = None) -> OnnxSession:
    """Open a CPU session over a model's bytes; from bytes, external tensor files are not found.

    Args:
        data: the model.
        name: for errors.
        threads: of the session; None leaves the default.

    Raises:
        ModelError: ONNX Runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(data, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding has no common base class below Exception
        raise ModelError(f"{name}: ONNX Runtime cannot load the model: {error}") from error
    return cast(OnnxSession, session)


def _one_input(shapes: Sequence[Sequence[object]], *, name: str) -> Shape:
    if len(shapes) != 1 or len(shapes[0]) != 4:
        found = ", ".join(str(list(shape)) for shape in shapes)
        raise ModelDoesNotFit(f"{name}: expected one input [n, channels, height, width], found {found or 'none'}")
    # A torch.SymInt is no int, an ONNX name is a str.
    return tuple(size if isinstance(size, int) else None for size in shapes[0])


def _in_slices(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]], batch: NDArray[np.float32], *, size: int | None
) -> NDArray[np.float32]:
    """Feed a model whose batch size is fixed: whole slices, the last one filled up by repeating its last row."""
    if size is None or size == len(batch):
        return run(batch)
    filled = np.concatenate([batch, np.repeat(batch[-1:], -len(batch) % size, axis=0)])
    parts = [run(filled[start : start + size]) for start in range(0, len(filled), size)]
    return np.concatenate(parts)[: len(batch)]
