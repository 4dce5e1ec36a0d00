"""A picture on a page: the image itself, within the page, or the words that stand in its place."""

import base64
from dataclasses import dataclass
from typing import Literal

NO_CONSENT = "no consent for images"
NO_FRAME = "no image in the drop"
UNREADABLE = "image cannot be read"
GONE = "the drop's images are no longer there"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as a data URI, or the words that stand in its place."""

    uri: str | None
    placeholder: str | None = None


def data_uri(data: bytes, *, kind: Literal["png", "webp"]) -> str:
    """Write an encoded image as a URI that holds it.

    Args:
        data: the image.
        kind: how it is encoded.
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
