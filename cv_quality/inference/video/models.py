"""Video models from their entries: pictures of a stream in, what each shows out.

A model runs over batches of pictures, or, where it has states, over one after the other. One that is asked for objects
by points lies in `cv_quality.inference.video.promptable`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import ModelRegistry
from cv_quality.inference.video.entry import VideoEntry
from cv_quality.inference.video.graphs import Graph, require_input, require_output, zeros
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
        threads: batches that are prepared and run at a time, each on one CPU thread of the runtime; of a model with
            states, threads of the runtime. None leaves the runtime's own threads, one batch at a time.

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
