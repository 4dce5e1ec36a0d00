"""Models with several named inputs and outputs of any number type, on torch.export or ONNX Runtime, judged first.

Models of one image batch that give vectors are run by `cv_quality.inference.runners`, on the same loaders. What is fed
and read here is said by a video build's entry (`cv_quality.inference.video.models`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, near
from cv_quality.inference.probe import MAX_DIFFERENCE, MAX_INFLUENCE, agree
from cv_quality.inference.registry import ModelFormat
from cv_quality.inference.runners import Shape, onnx_session
from cv_quality.inference.torch_graph import load_program

if TYPE_CHECKING:
    import torch

Numbers = NDArray[Any]
Feed = Mapping[str, Numbers]
_ONNX_TYPES: Final = {"float": "float32", "double": "float64"}


@dataclass(frozen=True, slots=True)
class Port:
    """One input of a model: its shape with None where any size goes, and the type of its numbers."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]


class Graph(Protocol):
    """A loaded model.

    Attributes:
        name: of its file.
        inputs: in their order.
        outputs: names, in their order.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]

    def run(self, feed: Feed, wanted: Sequence[str]) -> list[Numbers]:
        """Run the model once.

        Raises:
            ModelDoesNotFit: it fails on the feed.
        """


class OnnxGraph:
    """An ONNX model on ONNX Runtime's CPU provider."""

    def __init__(self, data: bytes, *, name: str, threads: int | None = None) -> None:
        self._session = onnx_session(data, name=name, threads=threads)
        self.name = name
        self.inputs = tuple(
            Port(item.name, _sizes(item.shape), _onnx_dtype(item.type, where=f"{name}: input {item.name!r}"))
            for item in self._session.get_inputs()
        )
        self.outputs = tuple(item.name for item in self._session.get_outputs())

    def run(self, feed: Feed, wanted: Sequence[str]) -> list[Numbers]:
        """Run the model once, for what is wanted; raises ModelDoesNotFit where it fails."""
        try:
            found = self._session.run(list(wanted), dict(feed))
        except Exception as error:  # the binding has no common base class below Exception
            raise _fails(self.name, feed, error) from error
        return [np.asarray(values) for values in found]


class TorchGraph:
    """A `torch.export` archive on the CPU; a single output is "output", those of a tuple "output0", "output1", ..."""

    def __init__(self, data: bytes, *, name: str, threads: int | None = None) -> None:
        import torch
        from torch.utils import _pytree as pytree

        if threads is not None:
            torch.set_num_threads(threads)
        program = load_program(data, name=name)
        self._module = cast("Callable[..., object]", program.module())
        self.name = name
        wanted = set(program.graph_signature.user_inputs)
        nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted]
        self.inputs = tuple(_torch_port(node, name=name) for node in nodes)
        spec = program.call_spec.out_spec
        self.outputs = tuple(_named(pytree.tree_unflatten(list(range(spec.num_leaves)), spec), name=name))

    def run(self, feed: Feed, wanted: Sequence[str]) -> list[Numbers]:
        """Run the model once; raises ModelDoesNotFit where it fails."""
        import torch

        try:
            with torch.inference_mode():
                found = _named(
                    self._module(*(torch.from_numpy(feed[port.name]) for port in self.inputs)), name=self.name
                )
                return [cast("torch.Tensor", found[name]).numpy() for name in wanted]
        except Exception as error:  # torch has no common base class below Exception
            raise _fails(self.name, feed, error) from error


def open_graph(data: bytes, *, format: ModelFormat, name: str, threads: int | None) -> Graph:
    """Load a model's bytes.

    Args:
        data: of the file, whose digest was verified.
        format: of the file.
        name: of the file, for errors.
        threads: of the runtime; None leaves its default.

    Raises:
        ModelError: the model is unsafe, or its runtime refuses it.
    """
    return (OnnxGraph if format == "onnx" else TorchGraph)(data, name=name, threads=threads)


def zeros(port: Port) -> Numbers:
    """Zeros that an input takes; a free size is 1."""
    return np.zeros([1 if size is None else size for size in port.shape], port.dtype)


def noise(port: Port, shape: Sequence[int]) -> Numbers:
    """Noise for an input: whole grey levels, or numbers in [0, 1]."""
    rng = np.random.default_rng(0)
    if np.issubdtype(port.dtype, np.integer):
        return rng.integers(0, min(256, np.iinfo(port.dtype).max + 1), shape).astype(port.dtype)
    return rng.random(shape, np.float32).astype(port.dtype)


def check_repeatable(graph: Graph, feed: Feed, *, batched: str | None) -> None:
    """Check that a model gives numbers: the same when asked again, and for a frame whatever else is in its batch.

    Args:
        graph: the model.
        feed: of every input.
        batched: the input whose rows are frames, where it is fed more than one.

    Raises:
        ModelDoesNotFit: it does not.
    """
    first, again = (graph.run(feed, graph.outputs) for _ in range(2))
    for name, one, other in zip(graph.outputs, first, again, strict=True):
        if not np.issubdtype(one.dtype, np.number) and one.dtype != np.bool_:
            raise ModelDoesNotFit(f"{graph.name}: expected numbers as output {name!r}, found {one.dtype}")
        if one.shape != other.shape or not agree(_float(one), _float(other), share=MAX_DIFFERENCE):
            raise ModelDoesNotFit(f"{graph.name}: output {name!r} has other numbers when the model is asked again")
    if batched is None:
        return
    alone = graph.run({**feed, batched: feed[batched][:1]}, graph.outputs)
    for name, one, many in zip(graph.outputs, alone, first, strict=True):
        if len(many) != len(feed[batched]) or not agree(_float(one), _float(many[:1]), share=MAX_INFLUENCE):
            raise ModelDoesNotFit(
                f"{graph.name}: output {name!r} of a frame depends on the other frames of its batch; export the model "
                "in eval(), or with a batch size of 1"
            )


def require_output(graph: Graph, name: str, *, key: str) -> str:
    """Check that a model has an output that its entry names under `key`.

    Raises:
        ModelDoesNotFit: it has none; the near names are told.
    """
    if name not in graph.outputs:
        raise ModelDoesNotFit(f"{graph.name}: {key}: no output {name!r}; {near(name, graph.outputs)}")
    return name


def require_input(graph: Graph, name: str, *, key: str) -> Port:
    """Find an input that the entry names under `key`.

    Raises:
        ModelDoesNotFit: there is none; the near names are told.
    """
    ports = {port.name: port for port in graph.inputs}
    if name not in ports:
        raise ModelDoesNotFit(f"{graph.name}: {key}: no input {name!r}; {near(name, ports)}")
    return ports[name]


def _float(values: Numbers) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _sizes(shape: Sequence[object]) -> Shape:
    # A torch.SymInt is no int, an ONNX name is a str.
    return tuple(size if isinstance(size, int) else None for size in shape)


def _onnx_dtype(text: str, *, where: str) -> np.dtype[Any]:
    name = text.removeprefix("tensor(").removesuffix(")")
    return _dtype(_ONNX_TYPES.get(name, name), where=where)


def _torch_port(node: "torch.fx.Node", *, name: str) -> Port:
    value = node.meta["val"]
    dtype = _dtype(str(getattr(value, "dtype", None)).removeprefix("torch."), where=f"{name}: input {node.name!r}")
    return Port(node.name, _sizes(getattr(value, "shape", ())), dtype)


def _dtype(name: str, *, where: str) -> np.dtype[Any]:
    known = {"float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool"}
    if name not in known:
        raise ModelDoesNotFit(f"{where}: expected {', '.join(sorted(known))}, found {name}")
    return np.dtype(name)


def _named(result: object, *, name: str) -> dict[str, object]:
    """What a torch model returns, by the name of the output."""
    if isinstance(result, dict) and all(isinstance(key, str) for key in result):
        return result
    if isinstance(result, list | tuple):
        return {f"output{place}": value for place, value in enumerate(result)}
    if isinstance(result, dict):
        raise ModelDoesNotFit(f"{name}: expected a tensor, a tuple of them or a dictionary by text as output")
    return {"output": result}


def _fails(name: str, feed: Feed, error: Exception) -> ModelDoesNotFit:
    shapes = ", ".join(f"{key} {list(values.shape)}" for key, values in feed.items())
    return ModelDoesNotFit(f"{name}: the model fails on {shapes}: {type(error).__name__}: {error}")
