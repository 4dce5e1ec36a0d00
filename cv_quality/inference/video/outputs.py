"""What a video model gives of a picture, in the picture's own pixels, and what every loaded build is.

The steps that make it of numbers are in `cv_quality.inference.video.postprocessing`.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.framing import View
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.video.entry import Layout, VideoEntry
from cv_quality.inference.video.graphs import Numbers
from cv_quality.inference.video.postprocessing import DecodePoints, decode_planes, decode_points, decode_vector

OutputStatus = Literal["ok", "non_finite", "no_prompt"]


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

    def outputs(self, frames: Iterable[Frame]) -> Generator[FrameOutput, None, None]:
        """As `run`, a few pictures at a time: they are taken as they are needed, somewhat before their outputs are.

        To be closed when it is left before its end.
        """


def decoded(entry: VideoEntry, values: Numbers, *, view: View, size: tuple[int, int], layout: Layout) -> FrameOutput:
    """Make of a frame's numbers what the entry promises.

    Args:
        entry: the output and its steps.
        values: of the frame, without the batch.
        view: what the model saw of the picture.
        size: of the picture, width and height.
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
