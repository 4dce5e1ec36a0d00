"""A small animation of the worst seconds: the build's output beside the baseline's, over the same frames."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.reports.pictures import data_uri

if TYPE_CHECKING:
    from PIL import Image

WIDTH_PX = 320
"""Of both panels together."""
MAX_BYTES = 720_000
"""Encoded; written into a page it is a third more, less than 1 MB."""
QUALITIES = (72, 50, 30, 15)
FRAMES_SHOWN = 40
CAPTION_PX = 16
_PAPER, _INK = (16, 18, 22), (232, 234, 237)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """An animation, and its first picture for those who want none that moves.

    Attributes:
        uri, still_uri: the two, as data URIs.
        models: from left to right.
        seconds: that it lasts, which is what the frames lasted; None where their times are not known.
        step: every which frame is shown.
    """

    uri: str
    still_uri: str
    drop_id: str
    stream_id: str
    models: tuple[str, ...]
    first: int
    last: int
    n_frames: int
    seconds: float | None
    step: int
    width_px: int
    height_px: int
    n_bytes: int


def panel_width(n_models: int) -> int:
    """Say how wide one panel is.

    >>> panel_width(2), panel_width(1)
    (159, 320)
    """
    return (WIDTH_PX - 2 * (n_models - 1)) // n_models


def compose(panels: "Mapping[str, Image.Image]", *, caption: str) -> "Image.Image":
    """Put the panels of one moment side by side, under their names.

    Args:
        panels: drawn frames by model, from left to right.
        caption: behind the first name, such as the number of the frame.
    """
    from PIL import Image, ImageDraw, ImageFont

    width, height = (max(panel.size[axis] for panel in panels.values()) for axis in (0, 1))
    whole = Image.new("RGB", (len(panels) * (width + 2) - 2, height + CAPTION_PX), _PAPER)
    font = ImageFont.load_default(size=10)
    for place, (model, panel) in enumerate(panels.items()):
        left = place * (width + 2)
        whole.paste(panel, (left, CAPTION_PX))
        words = f"{model}  {caption}" if place == 0 else model
        text = Image.new("RGB", (width, CAPTION_PX), _PAPER)
        ImageDraw.Draw(text).text((3, 2), words.encode("ascii", "replace").decode(), fill=_INK, font=font)
        whole.paste(text, (left, 0))
    return whole


def animate(moments: "Sequence[Image.Image]", *, milliseconds: int) -> tuple[bytes, bytes]:
    """Encode moments as an endless animation in WebP and its first one alone, no larger than MAX_BYTES.

    Args:
        moments: all of one size.
        milliseconds: that each is shown.
    """
    still = _encode(moments[:1], milliseconds, QUALITIES[0])
    for quality in QUALITIES:
        data = _encode(moments, milliseconds, quality)
        if len(data) <= MAX_BYTES:
            return data, still
    return animate(moments[::2], milliseconds=2 * milliseconds)


def _encode(moments: "Sequence[Image.Image]", milliseconds: int, quality: int) -> bytes:
    buffer = io.BytesIO()
    moments[0].save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=list(moments[1:]),
        duration=milliseconds,
        loop=0,
        quality=quality,
        method=4,
    )
    return buffer.getvalue()


def uris(data: bytes, still: bytes) -> tuple[str, str]:
    """Write both into the page."""
    return data_uri(data, kind="webp"), data_uri(still, kind="webp")
