"""Models behind one small call: a float32 batch in, a float32 batch of vectors out, on torch.export or ONNX Runtime.

No model file is ever unpickled, and none runs before `cv_quality.inference.torch_graph` or `onnx_graph` has judged it.
What the numbers mean is the business of `cv_quality.inference.embedder`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, ModelError, near
from cv_quality.inference.onnx_graph import judge_onnx
from cv_quality.inference.torch_graph import load_program

if TYPE_CHECKING:
    import torch

Shape = tuple[int | None, ...]
RUNTIMES: Final = {"torch_export": ("torch",), "onnx": ("onnxruntime",)}
"""The modules that run a model of a format."""


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
        program = load_program(data, name=name)
        self._module = cast("Callable[[torch.Tensor], object]", program.module())
        self._name = name
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

        try:
            output = self._module(torch.from_numpy(batch))
        except Exception as error:  # torch has no common base class below Exception
            raise _fails(self._name, batch, error) from error
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            found = output.dtype if isinstance(output, torch.Tensor) else type(output).__name__
            raise ModelDoesNotFit(f"{self._name}: expected one tensor of floating numbers as output, found {found}")
        return cast(NDArray[np.float32], output.to(torch.float32).numpy())


class OnnxRunner:
    """An ONNX model on ONNX Runtime's CPU provider."""

    def __init__(self, data: bytes, *, name: str, threads: int | None = None, output: str | None = None) -> None:
        """Load a model's bytes.

        Args:
            data: of the file.
            name: the file's name, for errors.
            threads: of the session; None leaves the default.
            output: the one that is read; None for the first.

        Raises:
            ModelError: the model is unsafe, or ONNX Runtime refuses the file.
            ModelDoesNotFit: it does not take one batch of images, or has no such output.
        """
        self._session = onnx_session(data, name=name, threads=threads)
        self._name = name
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.input_shape = _one_input([item.shape for item in inputs], name=name)
        self._input_name = inputs[0].name
        self._output_name = outputs[0].name if output is None else output
        if self._output_name not in (names := [item.name for item in outputs]):
            raise ModelDoesNotFit(f"{name}: no output {self._output_name!r}; {near(self._output_name, names)}")

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return _in_slices(self._run, batch, size=self.input_shape[0])

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        (output,) = run_session(self._session, [self._output_name], {self._input_name: batch}, name=self._name)
        return output


class OnnxInput(Protocol):
    """An input of an ONNX session; free dimensions are names or None."""

    name: str
    shape: Sequence[int | str | None]
    type: str


class OnnxSession(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used here."""

    def get_inputs(self) -> Sequence[OnnxInput]: ...
    def get_outputs(self) -> Sequence[OnnxInput]: ...
    def run(self, output_names: Sequence[str] | None, feed: dict[str, NDArray[Any]]) -> list[object]: ...


def onnx_session(data: bytes, *, name: str, threads: int | None = None) -> OnnxSession:
    """Open a CPU session over a model's bytes, once they are known to be a plain model that lies in them as a whole.

    Args:
        data: the model.
        name: for errors.
        threads: of the session; None leaves the default.

    Raises:
        ModelError: the model is unsafe, or ONNX Runtime refuses the file.
    """
    import onnxruntime

    judge_onnx(data, name=name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Or bytes that are also a model in ONNX Runtime's own format would be read as one, unjudged.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(data, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding has no common base class below Exception
        raise ModelError(f"{name}: ONNX Runtime cannot load the model: {error}") from error
    return cast(OnnxSession, session)


def run_session(
    session: OnnxSession, outputs: Sequence[str], feed: dict[str, NDArray[np.float32]], *, name: str
) -> list[NDArray[np.float32]]:
    """Run a session once, for outputs that are arrays of floating numbers.

    Args:
        session: the model.
        outputs: the ones that are computed.
        feed: arrays by the name of the input.
        name: of the file, for errors.

    Raises:
        ModelDoesNotFit: the model fails on the feed, or gives something else than arrays of floating numbers.
    """
    try:
        found = session.run(list(outputs), feed)
    except Exception as error:  # the binding has no common base class below Exception
        raise _fails(name, next(iter(feed.values())), error) from error
    for output, values in zip(outputs, found, strict=True):
        if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating):
            kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
            raise ModelDoesNotFit(f"{name}: expected floating numbers as output {output!r}, found {kind}")
    return [np.asarray(values, dtype=np.float32) for values in found]


def _fails(name: str, batch: NDArray[np.float32], error: Exception) -> ModelDoesNotFit:
    return ModelDoesNotFit(f"{name}: the model fails on a batch {list(batch.shape)}: {type(error).__name__}: {error}")


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
    if any(part.ndim == 0 or len(part) != size for part in parts):
        raise ModelDoesNotFit(f"expected {size} rows for {size} frames, found output {list(parts[0].shape)}")
    return np.concatenate(parts)[: len(batch)]
