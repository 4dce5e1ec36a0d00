"""Pictures as a video model takes them: batches of one size, after the entry's steps, in the type of the input."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cv_quality.errors import ModelDoesNotFit
from cv_quality.inference.framing import View
from cv_quality.inference.preprocessing import Frame, Levels, Step, prepare, view_of
from cv_quality.inference.video.byte_steps import keep_bytes, stepped_bytes
from cv_quality.inference.video.entry import Layout
from cv_quality.inference.video.graphs import Numbers, Port
from cv_quality.inference.video.proving import BATCH_BYTES, largest_batch


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

    def batches(self, frames: Iterable[Frame], *, most: int | None = None) -> Iterator[Sequence[Frame]]:
        """Cut pictures into those that one model call takes: of one size, and as many as the model or memory allow.

        Args:
            frames: taken as they are needed.
            most: that the caller allows.
        """
        batch: list[Frame] = []
        for frame in frames:
            if batch and frame.shape != batch[0].shape:
                yield batch
                batch = []
            batch.append(frame)
            if len(batch) >= (most or self._largest_batch(frame)):
                yield batch
                batch = []
        if batch:
            yield batch

    def _largest_batch(self, frame: Frame) -> int:
        view = self.view(frame)
        fixed = self.port.shape[0]
        if fixed is not None:
            return min(fixed, max(1, BATCH_BYTES // frame.nbytes))
        return largest_batch(max(12 * view.rows * view.columns, frame.nbytes))

    def prepared(self, frames: Sequence[Frame]) -> Numbers:
        """Run the steps over pictures of one size; a model whose batch size is fixed gets its last picture repeated.

        Raises:
            ModelDoesNotFit: they have another shape than the model takes.
        """
        batch = self._stepped(frames)
        if self._layout == "nhwc":
            batch = _channels_last(batch)
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


def _channels_last(batch: Numbers) -> Numbers:
    """Move channels to the end, which numpy does one by one in a third of the time."""
    moved = batch.transpose(0, 2, 3, 1)
    if moved.flags.c_contiguous:
        return moved
    copy = np.empty(moved.shape, moved.dtype)
    for channel in range(moved.shape[3]):
        copy[..., channel] = batch[:, channel]
    return copy
