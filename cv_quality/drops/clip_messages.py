"""Messages from the process that decodes a clip to the one that reads it: a line of JSON each, checked when read.

The bytes of an image follow the line of its `FrameSent`. Who sends is `cv_quality.drops.clip_decoder`, who reads is
`cv_quality.drops.clips`.
"""

from typing import Annotated, Final

import msgspec

MAX_TIMES: Final = 1000
"""In one message."""
Text = Annotated[str, msgspec.Meta(max_length=1000)]
Size = Annotated[int, msgspec.Meta(gt=0, le=2**31)]
Ticks = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
Positive = Annotated[int, msgspec.Meta(gt=0, le=2**62)]


class ClipOpened(msgspec.Struct, frozen=True, tag="opened"):
    """A clip has a video stream that can be decoded, and the first frame of it came; sizes are as displayed."""

    codec: Text
    width: Size
    height: Size
    rotation_deg: int
    is_mirrored: bool
    pixel_format: Text
    time_base: tuple[Positive, Positive]
    declared_frames: int | None
    declared_rate: tuple[Positive, Positive] | None


class FrameSent(msgspec.Struct, frozen=True, tag="frame"):
    """A frame; its pixels follow: 3 bytes each, or of luma alone one, two where it has more than 8 bits."""

    pts: int | None
    width: Size
    height: Size
    change: float | None
    bits: Annotated[int, msgspec.Meta(ge=8, le=16)] = 8


class DamageSent(msgspec.Struct, frozen=True, tag="damage"):
    """What is quarantined here."""

    reason: Text
    detail: Text
    pts: int | None
    has_frame: bool


class TimesSent(msgspec.Struct, frozen=True, tag="times"):
    """Timestamps of pictures, by the container alone, in the order of the file."""

    time_base: tuple[Positive, Positive]
    pts: Annotated[list[Ticks | None], msgspec.Meta(max_length=MAX_TIMES)]


class ClipEnded(msgspec.Struct, frozen=True, tag="ended"):
    """The clip was read to its end."""


class ClipRefused(msgspec.Struct, frozen=True, tag="refused"):
    """The clip cannot be read, or not further."""

    reason: Text
    detail: Text


Message = ClipOpened | FrameSent | DamageSent | TimesSent | ClipEnded | ClipRefused
