"""The pictures of a drop's streams, one at a time and in order, and those of their ground truth by number.

Every stage of the task reads pictures here, so that a frame's number means one picture to all of them; which number a
picture has is decided in `cv_quality.tasks.video.numbering`. Video is decoded in `cv_quality.drops.clips`, images in
`cv_quality.drops.images`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.lake.lake import Lake
from cv_quality.lake.store import Store

Content = Literal["masks", "references", "depth", "results"]
OK = "ok"


@dataclass(frozen=True, slots=True, eq=False)
class StreamPicture:
    """One frame of a stream with its picture, or why there is none.

    Attributes:
        frame_number: position within the stream, from 0; a picture that has no place comes last, with numbers above all
            others.
        place: among the pictures of the file; None where there is none.
        status: "ok"; "no_picture" (the stream has none at all), "missing_frame" (of this frame), "dropped_frame"
            (timestamps leave it out); or the reason of `ClipDamage`, `ClipError` or `FrameError`.
        time_s: timestamp within the clip.
        image: uint8 `[height, width, 3]`, RGB, as displayed.
        change: from the picture before, as of `ClipFrame`.
        detail: what was expected and found, where the status is a reason.
    """

    frame_number: int
    place: int | None
    status: str
    time_s: float | None
    image: NDArray[np.uint8] | None = None
    change: float | None = None
    detail: str = ""

    @property
    def failure(self) -> str | None:
        """Why an output is missing, as of `VideoModality.failure_statuses`; None where there is a picture."""
        if self.image is not None:
            return None
        if self.status in ("no_picture", "missing_frame"):
            return "missing_frame"
        return "dropped_frame" if self.status == "dropped_frame" else "damaged_frame"


class DropPictures:
    """Reads the pictures of one drop.

    Args:
        landing: the store with the drop's shards.
        lake: with its tables CLIPS, VALIDATED_STREAMS, FRAME_INDEX, MEDIA_INDEX and MASK_CLASSES.
        drop: its identity.
    """

    def __init__(self, landing: Store, lake: Lake, drop: str) -> None:
        raise NotImplementedError

    @property
    def streams(self) -> Sequence[str]:
        """Every stream of the drop, sorted: of a clip or of stream frames."""
        raise NotImplementedError

    def frames(self, stream: str) -> Iterator[StreamPicture]:
        """Every frame of a stream by rising number, its picture decoded when its turn comes; one is held at a time.

        What cannot be decoded comes as a status, never as an error.

        Raises:
            DropError: the bytes are no longer those that were indexed.
        """
        raise NotImplementedError

    def numbers(self, content: Content, stream: str) -> Sequence[int]:
        """Which frames of a stream have a picture of some content, rising."""
        raise NotImplementedError

    def truth(self, stream: str, frame: int, *, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Read the truth's labels of a frame, uint8 `[height, width]`; None where it has none.

        Args:
            stream, frame: whose.
            size: height and width of the frame's picture.

        Raises:
            FrameError: it cannot be used: "mask_size", "unknown_label" (none of the drop's mask classes), or a reason
                of `decode_labels`.
        """
        raise NotImplementedError

    def labels(self, content: Content, stream: str, frame: int) -> NDArray[np.uint8] | None:
        """Read a picture of labels, uint8 `[height, width]`; None where there is none.

        Raises `FrameError`, as `decode_labels` does.
        """
        raise NotImplementedError

    def depth(self, content: Content, stream: str, frame: int) -> NDArray[np.uint16] | None:
        """Read a picture of depth in mm, uint16 `[height, width]`, 0 where it is not known; None where there is none.

        Raises `FrameError`, as `decode_depth` does.
        """
        raise NotImplementedError

    def image(self, content: Content, stream: str, frame: int) -> NDArray[np.uint8] | None:
        """Read an image, uint8 `[height, width, 3]`, RGB; None where there is none.

        Raises `FrameError`, as `decode_image` does.
        """
        raise NotImplementedError

    def references(self, stream: str) -> Iterator[StreamPicture]:
        """Every reference of a stream by rising number, from its reference clip where there is one, else from images.

        As `frames`; nothing comes where the stream has no references.
        """
        raise NotImplementedError
