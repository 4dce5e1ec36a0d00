"""Video models: pictures of a stream in, what each shows out, in the picture's own pixels.

A model runs over batches of pictures, or, where it has states, over one after the other. One that is asked for objects
by points lies in `cv_quality.inference.video.promptable`. What the numbers become is the business of `postprocessing`.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.framing import View
from cv_quality.inference.preprocessing import Frame, Levels, Step, prepare, view_of
from cv_quality.inference.registry import ModelFormat, ModelRegistry, verified_bytes
from cv_quality.inference.runners import RUNTIMES
from cv_quality.inference.video.byte_steps import keep_bytes, stepped_bytes
from cv_quality.inference.video.entry import EncoderEntry, Layout, VideoEntry
from cv_quality.inference.video.graphs import (
    Feed,
    Graph,
    Numbers,
    Port,
    check_repeatable,
    noise,
    open_graph,
    require_input,
    require_output,
    zeros,
)
from cv_quality.inference.video.postprocessing import DecodePoints, decode_planes, decode_points, decode_vector

OutputStatus = Literal["ok", "non_finite", "no_prompt"]
BATCH_BYTES: Final = 32 << 20
"""Of prepared pictures that a model call takes."""
MAX_BATCH: Final = 16
Shapes = Mapping[str, tuple[int, ...]]
_Sizes = tuple[tuple[str, tuple[int, ...]], ...]
"""Of inputs, by name, the first without its batch size."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameOutput:
    """What a model made of a picture.

    Attributes:
        status: "ok", or why there is no value.
        value: by the entry's output: labels uint8 `[h, w]`, landmarks float64 `[n, 2]` in px, a vector float32 `[d]`,
            depth in mm float32 `[h, w]` (0 where none), or RGB uint8 `[h, w, 3]`.
    """

    status: OutputStatus
    value: NDArray[Any] | None = None


class VideoModel(Protocol):
    """A loaded build."""

    entry: VideoEntry

    def reset(self, *, stream: str = "", scene: str | None = None) -> None:
        """Begin a stream: states are zeros again, and prompts are those of the stream or its scene."""

    def run(self, frames: Sequence[Frame]) -> list[FrameOutput]:
        """Run the model over the next pictures of the stream, uint8 `[h, w, 3]`, in their order.

        Raises:
            ModelError: they do not fit the model.
        """


def load_video_model(entry: VideoEntry, *, registry: ModelRegistry, threads: int | None = None) -> VideoModel:
    """Load one build's model, verify its digest, and check that it fits its entry.

    A model that was never tried is first tried in a process of its own, see `cv_quality.inference.probe`; so is each
    new size of picture that reaches it.

    Args:
        entry: of the build.
        registry: the registry that the entry is from.
        threads: batches that are prepared and run at a time, each on one CPU thread of the runtime; of a model with
            states, threads of the runtime. None leaves the runtime's own threads, one batch at a time.

    Raises:
        ModelError: a file is missing, altered, unsafe or unreadable, or takes too long or too much memory.
        ModelDoesNotFit: inputs or outputs disagree with the entry.
    """
    from cv_quality.inference.video.promptable import load_promptable

    if entry.prompt is not None:
        return load_promptable(entry, prompt=entry.prompt, registry=registry, threads=threads)
    inner = threads if entry.states or threads is None else 1
    graph = ProvenGraph(entry, registry=registry, threads=inner)
    return FrameModel(entry, graph=graph, threads=1 if entry.states else threads or 1)


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


class PictureInput:
    """Pictures as a model takes them: its steps, the place of its channels, the type of its numbers.

    Args:
        port: the input.
        steps: preprocessing, in order.
        layout: of the input.
        name: of the model's file, for errors.

    Raises:
        ModelDoesNotFit: the input takes no batch of pictures, or bytes that the steps do not give.
    """

    def __init__(self, port: Port, *, steps: Sequence[Step], layout: Layout, name: str) -> None:
        if len(port.shape) != 4:
            order = "[n, rows, columns, channels]" if layout == "nhwc" else "[n, channels, rows, columns]"
            raise ModelDoesNotFit(f"{name}: expected an input {order}, found {port.name!r} {list(port.shape)}")
        if np.issubdtype(port.dtype, np.integer) and not any(isinstance(step, Levels) for step in steps):
            raise ModelDoesNotFit(
                f"{name}: input {port.name!r} takes whole numbers ({port.dtype}); add 'levels' to preprocessing"
            )
        self.port = port
        self._steps, self._layout, self._name = steps, layout, name
        self._views: dict[tuple[int, int], View] = {}

    def view(self, frame: Frame) -> View:
        """What the model sees of a picture."""
        height, width = frame.shape[:2]
        if (width, height) not in self._views:
            self._views[width, height] = view_of(self._steps, width_px=width, height_px=height)
        return self._views[width, height]

    def batches(self, frames: Sequence[Frame]) -> Iterator[Sequence[Frame]]:
        """Cut pictures into those that one model call takes: of one size, and as many as the model or memory allow."""
        start = 0
        while start < len(frames):
            view = self.view(frames[start])
            most = self.port.shape[0] or largest_batch(12 * view.rows * view.columns)
            stop = start + 1
            while stop < min(len(frames), start + most) and frames[stop].shape == frames[start].shape:
                stop += 1
            yield frames[start:stop]
            start = stop

    def prepared(self, frames: Sequence[Frame]) -> Numbers:
        """Run the steps over pictures of one size; a model whose batch size is fixed gets its last picture repeated.

        Raises:
            ModelDoesNotFit: they have another shape than the model takes.
        """
        batch = self._stepped(frames)
        if self._layout == "nhwc":
            batch = batch.transpose(0, 2, 3, 1)
        wanted = self.port.shape[1:]
        if any(size not in (None, found) for size, found in zip(wanted, batch.shape[1:], strict=True)):
            raise ModelDoesNotFit(
                f"{self._name}: preprocessing gives pictures {list(batch.shape[1:])} in layout {self._layout}, input "
                f"{self.port.name!r} takes {list(wanted)}; correct 'preprocessing' or 'layout'"
            )
        missing = (self.port.shape[0] or len(batch)) - len(batch)
        if missing > 0:
            batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        return np.ascontiguousarray(batch, self.port.dtype)

    def _stepped(self, frames: Sequence[Frame]) -> Numbers:
        """The batch `[n, c, h, w]` after the steps; in bytes from end to end where the model takes bytes."""
        is_whole = np.issubdtype(self.port.dtype, np.integer)
        if is_whole and keep_bytes(self._steps):
            return np.stack([stepped_bytes(frame, self._steps) for frame in frames]).transpose(0, 3, 1, 2)
        batch = prepare(frames, steps=self._steps, illuminance_lux=[None] * len(frames))
        return np.rint(np.clip(batch, 0, 255)) if is_whole else batch


class FrameModel:
    """A model of one file, with or without states; prefer `load_video_model`."""

    def __init__(self, entry: VideoEntry, *, graph: Graph, threads: int) -> None:
        """Find inputs and outputs.

        Raises:
            ModelDoesNotFit: they are not those that the entry names.
        """
        self.entry = entry
        self._graph = graph
        self._states = {name: require_input(graph, name, key="states") for name in entry.states}
        pictures = [port for port in graph.inputs if port.name not in self._states]
        if len(pictures) != 1:
            names = ", ".join(repr(port.name) for port in pictures) or "none"
            raise ModelDoesNotFit(f"{graph.name}: expected one input of pictures beside the states, found {names}")
        self._input = PictureInput(pictures[0], steps=entry.preprocessing, layout=entry.layout, name=graph.name)
        passed_on = [require_output(graph, name, key="states") for name in entry.states.values()]
        free = [name for name in graph.outputs if name not in passed_on]
        chosen = entry.output_name or (free[0] if free else graph.outputs[0])
        self._wanted = [require_output(graph, chosen, key="output_name"), *passed_on]
        self._pool = ThreadPoolExecutor(threads)
        self._threads = threads
        self.reset()

    def reset(self, *, stream: str = "", scene: str | None = None) -> None:  # noqa: ARG002 - as of VideoModel
        """Begin a stream: states are zeros again."""
        self._memory = {name: zeros(port) for name, port in self._states.items()}

    def run(self, frames: Sequence[Frame]) -> list[FrameOutput]:
        """Run the model over the next pictures of the stream.

        Raises:
            ModelError: they do not fit the model.
        """
        if self._states:
            return [output for frame in frames for output in self._run([frame])]
        found = self._pool.map(self._run, self._input.batches(frames))
        return [output for part in found for output in part]

    def _run(self, frames: Sequence[Frame]) -> list[FrameOutput]:
        feed = {self._input.port.name: self._input.prepared(frames), **self._memory}
        values, *passed_on = self._graph.run(feed, self._wanted)
        self._memory = dict(zip(self.entry.states, passed_on, strict=True))
        if values.ndim < 2 or len(values) < len(frames):
            raise ModelDoesNotFit(
                f"{self._graph.name}: expected an output [{len(frames)}, ...] for {len(frames)} pictures, found "
                f"{list(values.shape)}; name another 'output_name'"
            )
        return [
            decoded(self.entry, row, view=self._input.view(frame), frame=frame, layout=self.entry.layout)
            for row, frame in zip(values, frames, strict=False)
        ]


def decoded(entry: VideoEntry, values: Numbers, *, view: View, frame: Frame, layout: Layout) -> FrameOutput:
    """Make of a frame's numbers what the entry promises.

    Args:
        entry: the output and its steps.
        values: of the frame, without the batch.
        view: what the model saw of the picture.
        frame: the picture.
        layout: of planes.

    Raises:
        ModelDoesNotFit: they are not of that kind.
    """
    if not np.isfinite(values).all():
        return FrameOutput("non_finite")
    steps = entry.postprocessing
    if entry.output == "landmarks":
        (step,) = (step for step in steps if isinstance(step, DecodePoints))
        return FrameOutput("ok", decode_points(values, step, view=view))
    if entry.output == "embedding":
        vector = decode_vector(_pooled(values, layout=layout), steps)
        return FrameOutput("ok", vector) if np.isfinite(vector).all() else FrameOutput("non_finite")
    size = frame.shape[1], frame.shape[0]
    return FrameOutput("ok", decode_planes(planes(values, layout), steps, output=entry.output, view=view, size=size))


def planes(values: Numbers, layout: Layout) -> Numbers:
    """Put a frame's planes as `[channels, rows, columns]`.

    Raises:
        ModelDoesNotFit: they are no planes.
    """
    if values.ndim == 2:
        return values[None]
    if values.ndim != 3:
        raise ModelDoesNotFit(f"expected planes of rows and columns a picture, found {list(values.shape)}")
    return values.transpose(2, 0, 1) if layout == "nhwc" else values


def _pooled(values: Numbers, *, layout: Layout) -> NDArray[np.float32]:
    """The mean over tokens `[tokens, d]`, or over the positions of a feature map."""
    axes: Mapping[int, tuple[int, ...]] = {1: (), 2: (0,), 3: (0, 1) if layout == "nhwc" else (1, 2)}
    if values.ndim not in axes:
        raise ModelDoesNotFit(f"expected a vector, tokens or a feature map a picture, found {list(values.shape)}")
    return np.asarray(values.astype(np.float32).mean(axis=axes[values.ndim]), np.float32)
