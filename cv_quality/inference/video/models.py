"""Video models from their entries: pictures of a stream in, what each shows out.

A model runs over batches of pictures, or, where it has states, over one after the other. One that is asked for objects
by points lies in `cv_quality.inference.video.promptable`.
"""

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.framing import View
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import ModelRegistry
from cv_quality.inference.video.entry import VideoEntry
from cv_quality.inference.video.graphs import Graph, Numbers, require_input, require_output, zeros
from cv_quality.inference.video.in_order import in_order
from cv_quality.inference.video.outputs import FrameOutput, VideoModel, decoded
from cv_quality.inference.video.picture_input import PictureInput
from cv_quality.inference.video.promptable import load_promptable
from cv_quality.inference.video.proving import ProvenGraph


def load_video_model(entry: VideoEntry, *, registry: ModelRegistry, threads: int | None = None) -> VideoModel:
    """Load one build's model, verify its digest, and check that it fits its entry.

    A model that was never tried is first tried in a process of its own, see `cv_quality.inference.probe`; so is each
    new size of picture that reaches it.

    Args:
        entry: of the build.
        registry: the registry that the entry is from.
        threads: batches that are run at a time, each on one CPU thread of the runtime, while as many are prepared; of a
            model with states, threads of the runtime. None leaves the runtime's own threads, one batch at a time.

    Raises:
        ModelError: a file is missing, altered, unsafe or unreadable, or takes too long or too much memory.
        ModelDoesNotFit: inputs or outputs disagree with the entry.
    """
    if entry.prompt is not None:
        return load_promptable(entry, prompt=entry.prompt, registry=registry, threads=threads)
    inner = threads if entry.states or threads is None else 1
    graph = ProvenGraph(entry, registry=registry, threads=inner)
    return FrameModel(entry, graph=graph, threads=1 if entry.states else threads or 1)


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
        self._threads = threads
        self._preparing, self._running = ThreadPoolExecutor(threads), ThreadPoolExecutor(threads)
        self.reset()

    def reset(self, *, stream: str = "", scene: str | None = None) -> None:  # noqa: ARG002 - as of VideoModel
        """Begin a stream: states are zeros again."""
        self._memory = {name: zeros(port) for name, port in self._states.items()}

    def run(self, frames: Sequence[Frame]) -> list[FrameOutput]:
        """Run the model over the next pictures of the stream.

        Raises:
            ModelError: they do not fit the model.
        """
        return list(self.outputs(frames))

    def outputs(self, frames: Iterable[Frame]) -> Generator[FrameOutput, None, None]:
        """Run the model over the next pictures of the stream, while those that follow are prepared.

        Raises:
            ModelError: they do not fit the model.
        """
        batches = self._input.batches(frames, most=1 if self._states else None)
        with (
            closing(in_order(self._preparing, self._prepared, batches, ahead=self._threads)) as prepared,
            closing(in_order(self._running, self._run, prepared, ahead=self._threads)) as found,
        ):
            for part in found:
                yield from part

    def _prepared(self, frames: Sequence[Frame]) -> "_Batch":
        height, width = frames[0].shape[:2]
        return _Batch(self._input.prepared(frames), len(frames), self._input.view(frames[0]), (width, height))

    def _run(self, batch: "_Batch") -> list[FrameOutput]:
        values, *passed_on = self._graph.run({self._input.port.name: batch.values, **self._memory}, self._wanted)
        self._memory = dict(zip(self.entry.states, passed_on, strict=True))
        if values.ndim < 2 or len(values) < batch.count:
            raise ModelDoesNotFit(
                f"{self._graph.name}: expected an output [{batch.count}, ...] for {batch.count} pictures, found "
                f"{list(values.shape)}; name another 'output_name'"
            )
        return [
            decoded(self.entry, row, view=batch.view, size=batch.size, layout=self.entry.layout)
            for row in values[: batch.count]
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Pictures of one size as the model takes them.

    Attributes:
        values: of the input; may end with repetitions of the last picture.
        count: pictures.
        view: what the model sees of each.
        size: of each, width and height.
    """

    values: Numbers
    count: int
    view: View
    size: tuple[int, int]
