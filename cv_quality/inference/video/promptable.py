"""Models that are asked for objects by points and boxes: an encoder over the picture, a decoder over every prompt.

The encoder runs once a picture, and what it gives is kept (`cv_quality.inference.video.embeddings`). Inputs of the
decoder go by the names in the entry, so that exports of several kinds fit; prompts are in `prompts`.
"""

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.framing import View
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import ModelRegistry, verified_bytes
from cv_quality.inference.video.embeddings import EmbeddingCache, Embeddings
from cv_quality.inference.video.entry import PromptEntry, VideoEntry
from cv_quality.inference.video.graphs import Graph, Numbers, Port, require_input, require_output, zeros
from cv_quality.inference.video.in_order import in_order
from cv_quality.inference.video.outputs import FrameOutput, decoded, planes
from cv_quality.inference.video.picture_input import PictureInput
from cv_quality.inference.video.postprocessing import Labels
from cv_quality.inference.video.prompts import PADDING, ObjectPrompt, PromptFile, Prompts, parse_prompts
from cv_quality.inference.video.proving import ProvenGraph

CACHE_FOLDER: Final = "embeddings"


def load_promptable(
    entry: VideoEntry, *, prompt: PromptEntry, registry: ModelRegistry, threads: int | None
) -> "PromptableModel":
    """Load encoder, decoder and prompts; see `cv_quality.inference.video.models.load_video_model`.

    Args:
        entry: of the build.
        prompt: of the entry.
        registry: the registry that it is from.
        threads: pictures at a time.

    Raises:
        ModelError, RegistryError: as of `load_video_model`, or the prompts are malformed.
    """
    inner = None if threads is None else 1
    encoder = ProvenGraph(prompt.encoder, registry=registry, threads=inner)
    decoder = ProvenGraph(entry, registry=registry, threads=inner)
    data = verified_bytes(registry.model_file(prompt), sha256=prompt.sha256)
    cache = EmbeddingCache(
        registry.cache / CACHE_FOLDER if registry.cache else None,
        encoder=f"{prompt.encoder.sha256} {entry.preprocessing!r} {entry.layout} {sorted(prompt.embeddings.values())}",
    )
    return PromptableModel(
        entry,
        encoder=_Encoder(encoder, entry=entry, prompt=prompt, cache=cache),
        decoder=_Decoder(decoder, entry=entry, prompt=prompt),
        prompts=parse_prompts(data, file=prompt.file),
        threads=threads or 1,
    )


class PromptableModel:
    """An encoder and a decoder; prefer `load_video_model`.

    A pixel gets the label of the prompt whose mask is strongest there, if it reaches the entry's threshold.
    """

    def __init__(
        self, entry: VideoEntry, *, encoder: "_Encoder", decoder: "_Decoder", prompts: PromptFile, threads: int
    ) -> None:
        self.entry = entry
        self._encoder, self._decoder, self._file = encoder, decoder, prompts
        self._pool, self._threads = ThreadPoolExecutor(threads), threads
        self._prompts: Prompts = ()

    def reset(self, *, stream: str = "", scene: str | None = None) -> None:
        """Begin a stream, with its prompts."""
        self._prompts = self._file.of(stream, scene)

    def run(self, frames: Sequence[Frame]) -> list[FrameOutput]:
        """Run the model over the next pictures of the stream.

        Raises:
            ModelError: they do not fit the model.
        """
        return list(self.outputs(frames))

    def outputs(self, frames: Iterable[Frame]) -> Generator[FrameOutput, None, None]:
        """Run the model over the next pictures of the stream, a few at a time.

        Raises:
            ModelError: they do not fit the model.
        """
        if not self._prompts:
            yield from (FrameOutput("no_prompt") for _ in frames)
            return
        with closing(in_order(self._pool, self._run, frames, ahead=self._threads)) as found:
            yield from found

    def _run(self, frame: Frame) -> FrameOutput:
        embeddings, view = self._encoder.encode(frame), self._encoder.view(frame)
        values = np.concatenate([self._decoder.mask(embeddings, prompt, view=view) for prompt in self._prompts])
        # The layout of the stacked masks is settled.
        found = decoded(self.entry, values, view=view, size=(frame.shape[1], frame.shape[0]), layout="nchw")
        if found.value is None:
            return found
        labels = np.array([0, *(prompt.label for prompt in self._prompts)], np.uint8)
        return FrameOutput("ok", _relabelled(found.value, labels, name=self.entry.file))


def _relabelled(places: Labels, labels: Labels, *, name: str) -> Labels:
    if int(places.max(initial=0)) >= len(labels):
        raise ModelDoesNotFit(f"{name}: expected one mask a prompt; add 'threshold' to postprocessing, not 'argmax'")
    return labels[places]


class _Encoder:
    """The encoder, with what it gave before."""

    def __init__(self, graph: Graph, *, entry: VideoEntry, prompt: PromptEntry, cache: EmbeddingCache) -> None:
        if len(graph.inputs) != 1:
            raise ModelDoesNotFit(f"{graph.name}: expected an encoder of one input, found {len(graph.inputs)}")
        self._graph = graph
        self._input = PictureInput(graph.inputs[0], steps=entry.preprocessing, layout=entry.layout, name=graph.name)
        self._wanted = [require_output(graph, name, key="prompt.embeddings") for name in prompt.embeddings.values()]
        self._cache = cache

    def view(self, frame: Frame) -> View:
        return self._input.view(frame)

    def encode(self, frame: Frame) -> Embeddings:
        return self._cache.of(frame, self._made)

    def _made(self, frame: Frame) -> Embeddings:
        values = self._graph.run({self._input.port.name: self._input.prepared([frame])}, self._wanted)
        return dict(zip(self._wanted, (part[:1] for part in values), strict=True))


class _Decoder:
    """The decoder, asked for one object at a time."""

    def __init__(self, graph: Graph, *, entry: VideoEntry, prompt: PromptEntry) -> None:
        self._graph, self._prompt, self._layout = graph, prompt, entry.layout
        self._points, self._kinds = (
            require_input(graph, name, key=f"prompt.{key}")
            for key, name in (("points", prompt.points), ("labels", prompt.labels))
        )
        for name in prompt.embeddings:
            require_input(graph, name, key="prompt.embeddings")
        self._blank = {name: zeros(require_input(graph, name, key="prompt.zeros")) for name in prompt.zeros}
        fed = {*prompt.embeddings, prompt.points, prompt.labels, *prompt.zeros}
        unfed = [port.name for port in graph.inputs if port.name not in fed]
        if unfed:
            raise ModelDoesNotFit(
                f"{graph.name}: nothing is fed to input {unfed[0]!r}; name it under prompt, or in zeros"
            )
        self._wanted = [require_output(graph, entry.output_name or graph.outputs[0], key="output_name")]
        if prompt.scores is not None:
            self._wanted.append(require_output(graph, prompt.scores, key="prompt.scores"))

    def mask(self, embeddings: Embeddings, prompt: ObjectPrompt, *, view: View) -> Numbers:
        """The mask of one object, `[1, rows, columns]`."""
        points, kinds = self._placed(prompt, view=view)
        feed = {name: embeddings[output] for name, output in self._prompt.embeddings.items()}
        feed |= {self._points.name: points, self._kinds.name: kinds, **self._blank}
        masks, *scores = self._graph.run(feed, self._wanted)
        while masks.ndim > 3:
            masks = masks[0]
        stack = planes(masks, self._layout)
        best = int(np.argmax(scores[0].ravel()[: len(stack)])) if scores else 0
        return stack[best : best + 1]

    def _placed(self, prompt: ObjectPrompt, *, view: View) -> tuple[Numbers, Numbers]:
        """Points and what they are, as the inputs take them: `[1, n, 2]` or `[1, 1, n, 2]`, filled up to a fixed n."""
        points, kinds = view.from_picture(prompt.points), prompt.kinds
        count = self._points.shape[-2]
        if count is not None and count < len(points):
            raise ModelDoesNotFit(f"{self._graph.name}: expected at most {count} points an object, found {len(points)}")
        if count is not None:
            points = np.concatenate([points, np.zeros((count - len(points), 2))])
            kinds = np.concatenate([kinds, np.full(count - len(kinds), PADDING)])
        return _shaped(points, self._points), _shaped(kinds, self._kinds)


def _shaped(values: NDArray[np.float64] | NDArray[np.int64], port: Port) -> Numbers:
    return values.reshape((1,) * (len(port.shape) - values.ndim) + values.shape).astype(port.dtype)
