"""Pictures of frames with their truth outlined and an output laid over them; which frames is decided elsewhere.

Only pixels are made here, at the size at which they are shown: nothing of the original file travels along.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.reports.pictures import Picture, data_uri

if TYPE_CHECKING:
    from PIL import Image

Rgb = NDArray[np.uint8]
Classes = NDArray[np.int16]
Colour = tuple[int, int, int]

WEBP_QUALITY = 78
FILL = 0.5
"""Weight of an output's colour over the picture."""
INKS: tuple[Colour, ...] = ((255, 122, 41), (98, 182, 240), (95, 208, 165), (207, 155, 234), (229, 194, 74))
"""Colours of classes, or of objects, in turn; a sixth begins anew."""
OUTLINE: Colour = (255, 255, 255)
HALO: Colour = (16, 18, 22)
IGNORED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What is known, or claimed, of a frame; in pixels of the picture.

    Attributes:
        classes: number of the class of every pixel, 0 for none and -1 where it counts for nothing; None without a mask.
        boxes: left, top, width, height of each object, shape (n, 4).
        points: x, y of each landmark, shape (n, 2).
        image: what an output shows in place of the picture: an enhanced one, or depth in grey.
    """

    classes: Classes | None = None
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    points: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    image: Rgb | None = None

    @property
    def is_empty(self) -> bool:
        return self.classes is None and not len(self.boxes) and not len(self.points) and self.image is None


def class_numbers(labels: NDArray[np.uint8], numbers: Mapping[int, int], *, others: int | None = None) -> Classes:
    """Turn a picture of labels into numbers of classes.

    Args:
        labels: uint8 `[height, width]`.
        numbers: of the class by its label.
        others: number of a label that is not among them; its own by default.

    >>> class_numbers(np.array([[0, 1, 255]], np.uint8), {1: 4, 255: IGNORED}, others=0).tolist()
    [[0, 4, -1]]
    """
    table = np.arange(256, dtype=np.int16) if others is None else np.full(256, others, dtype=np.int16)
    for label, number in numbers.items():
        table[label] = number
    found: Classes = table[labels]
    return found


def draw_frame(picture: Rgb, *, truth: Annotation, output: Annotation, width: int) -> "Image.Image":
    """Draw a frame as wide as it is shown, the output filled in colour and the truth outlined in white over it.

    Args:
        picture: uint8 `[height, width, 3]`.
        truth, output: what lies over it.
        width: of what is drawn; a narrower picture stays as it is.
    """
    from PIL import Image

    height_px, width_px = picture.shape[:2]
    scale = min(width / width_px, 1.0)
    size = (max(round(width_px * scale), 1), max(round(height_px * scale), 1))
    base = output.image if output.image is not None else picture
    drawn = np.asarray(Image.fromarray(base).convert("RGB").resize(size, Image.Resampling.LANCZOS)).copy()
    if output.classes is not None:
        _fill(drawn, _resized(output.classes, size))
    if truth.classes is not None:
        _outline(drawn, _resized(truth.classes, size))
    image = Image.fromarray(drawn)
    _draw_objects(image, output, INKS, scale=scale)
    _draw_objects(image, truth, (OUTLINE,), scale=scale)
    return image


def encoded(image: "Image.Image") -> Picture:
    """Encode a drawn frame for a page."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=WEBP_QUALITY, method=4)
    return Picture(uri=data_uri(buffer.getvalue(), kind="webp"))


def _resized(classes: Classes, size: tuple[int, int]) -> Classes:
    """Nearest pixels, as classes have no middle between them."""
    rows = np.minimum((np.arange(size[1]) + 0.5) * classes.shape[0] / size[1], classes.shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(size[0]) + 0.5) * classes.shape[1] / size[0], classes.shape[1] - 1).astype(int)
    found: Classes = classes[np.ix_(rows, columns)]
    return found


def _fill(drawn: Rgb, classes: Classes) -> None:
    for number in np.unique(classes[classes > 0]):
        inside = classes == number
        ink = np.asarray(INKS[(int(number) - 1) % len(INKS)])
        drawn[inside] = ((1 - FILL) * drawn[inside] + FILL * ink).astype(np.uint8)


def _outline(drawn: Rgb, classes: Classes) -> None:
    """White on the inner edge of every class, and dark around it: seen on any picture."""
    classes = np.maximum(classes, 0)
    inside, edge = classes > 0, np.zeros(classes.shape, dtype=np.bool_)
    across, down = classes[:, 1:] != classes[:, :-1], classes[1:] != classes[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    drawn[edge & ~inside] = HALO
    drawn[edge & inside] = OUTLINE


def _draw_objects(image: "Image.Image", found: Annotation, inks: Sequence[Colour], *, scale: float) -> None:
    """Draw boxes and points.

    Args:
        image: drawn on.
        found: their places, in pixels of the picture.
        inks: colours of the objects in turn.
        scale: from pixels of the picture to those of the image.
    """
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    for place, (left, top, width, height) in enumerate(found.boxes * scale):
        corners = (float(left), float(top), float(left + width), float(top + height))
        pen.rectangle(corners, outline=inks[place % len(inks)], width=2)
    for x, y in found.points * scale:
        pen.ellipse((float(x) - 1.5, float(y) - 1.5, float(x) + 1.5, float(y) + 1.5), fill=inks[0], outline=HALO)
