"""Frames drawn for a page, with their truth and the outputs of models, in one pass over each clip.

Whoever asks has made sure that the clips may be shown (`cv_quality.drops.consent.read_shown_streams`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.consent import StreamName
from cv_quality.errors import DropError, ObjectUnusable
from cv_quality.reports.pictures import GONE, NO_FRAME, UNREADABLE, Picture
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.clip_walk import StreamPicture
from cv_quality.tasks.video.report.annotations import Annotations
from cv_quality.tasks.video.report.overlay import draw_frame, encoded

if TYPE_CHECKING:
    from PIL import Image

SHOT_PX = 200


class FramePictures(Protocol):
    """Pictures of one drop, as `cv_quality.tasks.video.pictures.DropPictures` reads them."""

    def frames(self, stream: str) -> Iterator[StreamPicture]: ...

    def truth(self, stream: str, frame: int, *, size: tuple[int, int]) -> NDArray[np.uint8] | None: ...

    def labels(self, content: Any, stream: str, frame: int) -> NDArray[np.uint8] | None: ...


OpenPictures = Callable[[ReportSource, str], FramePictures]
"""Opens the pictures of a drop."""


def open_drop_pictures(source: ReportSource, drop: str) -> FramePictures:
    """Open the pictures of a drop where it lies."""
    from cv_quality.tasks.video.pictures import DropPictures

    return DropPictures(source.landing, source.lake, drop)


class Sketches:
    """Frames that are shown, drawn under each model as they pass by; one picture in full size is held at a time."""

    def __init__(
        self,
        source: ReportSource,
        wanted: Mapping[StreamName, set[int]],
        *,
        models: Sequence[str],
        open_pictures: OpenPictures,
    ) -> None:
        """Draw frames.

        Args:
            source: what the page is made from.
            wanted: their numbers, by streams that may be shown.
            models: whose outputs are laid over them.
            open_pictures: opens the pictures of a drop.
        """
        self.models = tuple(models)
        self._drawn: dict[tuple[StreamName, str, int], Image.Image] = {}
        self._reasons: dict[tuple[StreamName, int], str] = {}
        self._streams: dict[StreamName, str] = {}
        for drop in sorted({drop for drop, _ in wanted}):
            own = {stream: numbers for (other, stream), numbers in wanted.items() if other == drop}
            try:
                pictures = open_pictures(source, drop)
                annotations = Annotations(source, drop, own, pictures=pictures)
                for stream, numbers in sorted(own.items()):
                    self._draw(pictures, annotations, (drop, stream), numbers)
            except (DropError, ObjectUnusable):
                self._streams |= dict.fromkeys([(drop, stream) for stream in own], GONE)

    def _draw(self, pictures: FramePictures, annotations: Annotations, name: StreamName, numbers: set[int]) -> None:
        for frame in pictures.frames(name[1]):
            if frame.frame_number not in numbers:
                continue
            if frame.image is None:
                self._reasons[name, frame.frame_number] = f"{UNREADABLE} ({frame.status})"
                continue
            size = frame.image.shape[:2]
            truth = annotations.truth(name[1], frame.frame_number, size=(size[0], size[1]))
            for model in self.models:
                output = annotations.output(model, name[1], frame.frame_number)
                drawn = draw_frame(frame.image, truth=truth, output=output, width=SHOT_PX)
                self._drawn[name, model, frame.frame_number] = drawn
            if frame.frame_number >= max(numbers):
                break

    def shot(self, name: StreamName, model: str, frame: int) -> Picture:
        """Encode one frame for the page, or say why it is not there."""
        drawn = self._drawn.get((name, model, frame))
        if drawn is not None:
            return encoded(drawn)
        return Picture(uri=None, placeholder=self.why(name, frame))

    def panels(self, name: StreamName, frame: int, *, width: int) -> "dict[str, Image.Image]":
        """Scale one frame under every model to panels of an animation; empty where there is no picture."""
        from PIL import Image

        found = {model: self._drawn.get((name, model, frame)) for model in self.models}
        return {
            model: drawn.resize((width, max(round(drawn.height * width / drawn.width), 1)), Image.Resampling.BICUBIC)
            for model, drawn in found.items()
            if drawn is not None
        }

    def why(self, name: StreamName, frame: int) -> str:
        """Say why a frame is not there."""
        return self._streams.get(name) or self._reasons.get((name, frame), NO_FRAME)
