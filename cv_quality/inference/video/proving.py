"""Models of a registry that run on no size of input that was not tried in a process of its own.

What a trial is limited to is said in `cv_quality.inference.probe`, what it asks in `graphs.check_repeatable`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Final

from cv_quality.inference.registry import ModelFormat, ModelRegistry, verified_bytes
from cv_quality.inference.runners import RUNTIMES
from cv_quality.inference.video.entry import EncoderEntry, VideoEntry
from cv_quality.inference.video.graphs import Feed, Graph, Numbers, check_repeatable, noise, open_graph

BATCH_BYTES: Final = 32 << 20
"""Of prepared pictures that a model call takes, and of the pictures before."""
MAX_BATCH: Final = 16
Shapes = Mapping[str, tuple[int, ...]]
_Sizes = tuple[tuple[str, tuple[int, ...]], ...]
"""Of inputs, by name, the first without its batch size."""


class ProvenGraph:
    """A model of a registry that runs on no shape of input that was not tried apart.

    Args:
        file: format, place and digest.
        registry: knows where the file lies, and remembers what was tried.
        threads: of the runtime.
    """

    def __init__(self, file: VideoEntry | EncoderEntry, *, registry: ModelRegistry, threads: int | None) -> None:
        self._file = file
        self._prover = registry.prover
        self._data = verified_bytes(registry.model_file(file), sha256=file.sha256)
        self._prove(None)
        self._graph = open_graph(self._data, format=file.format, name=file.file, threads=threads)
        known = known_shapes(self._graph)
        self._proven = dict([_sizes(known, self._graph)] if known else [])
        self.name, self.inputs, self.outputs = self._graph.name, self._graph.inputs, self._graph.outputs

    def run(self, feed: Feed, wanted: Sequence[str]) -> list[Numbers]:
        """Run the model once.

        Raises:
            ModelError: it fails on the feed, or failed when it was tried on inputs of this size.
        """
        sizes, count = _sizes({name: values.shape for name, values in feed.items()}, self._graph)
        if count > self._proven.get(sizes, 0):
            # What a batch costs follows from its size, so that a smaller one need not be tried.
            most = count if self.inputs[0].shape[0] else 1 << (count - 1).bit_length()
            first = self.inputs[0].name
            self._prove({name: (most, *size) if name == first else size for name, size in sizes})
            self._proven[sizes] = most
        return self._graph.run(feed, wanted)

    def _prove(self, shapes: Shapes | None) -> None:
        file = self._file
        self._prover.require(
            partial(try_graph, self._data, format=file.format, name=file.file, shapes=shapes),
            of=(file.format, file.sha256, shapes, MAX_BATCH, BATCH_BYTES),
            name=file.file,
            size_bytes=len(self._data),
            runtimes=RUNTIMES[file.format],
        )


def _sizes(shapes: Shapes, graph: Graph) -> "tuple[_Sizes, int]":
    """The shapes of inputs without the batch size of the first, and that."""
    first = graph.inputs[0].name
    return tuple(sorted((name, tuple(shape[name == first :])) for name, shape in shapes.items())), shapes[first][0]


def try_graph(data: bytes, *, format: ModelFormat, name: str, shapes: Shapes | None) -> None:
    """Load a model and run it on noise, of shapes that are given or that it leaves no choice of.

    Raises:
        ModelError: as of `open_graph` and `check_repeatable`.
    """
    graph = open_graph(data, format=format, name=name, threads=1)
    shapes = shapes or known_shapes(graph)
    if shapes is None:
        return
    ports = {port.name: port for port in graph.inputs}
    feed = {key: noise(ports[key], shape) for key, shape in shapes.items()}
    first = graph.inputs[0].name
    check_repeatable(graph, feed, batched=first if len(feed[first]) > 1 else None)


def known_shapes(graph: Graph) -> Shapes | None:
    """The shapes of a model's inputs where at most the batch size of the first is free, which is then the largest."""
    first, *others = graph.inputs
    count, *sizes = first.shape or (None,)
    if None in sizes or any(None in port.shape for port in others):
        return None
    most = count or largest_batch(4 * prod(size or 1 for size in sizes))
    return {first.name: (most, *(size or 1 for size in sizes))} | {
        port.name: tuple(size or 1 for size in port.shape) for port in others
    }


def largest_batch(bytes_each: int) -> int:
    """How many pictures of so many bytes of numbers go into one model call."""
    return max(1, min(MAX_BATCH, BATCH_BYTES // bytes_each))
