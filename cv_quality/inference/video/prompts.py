"""What promptable models are asked: points and boxes of objects, by stream or scene, in a YAML or JSON file.

How they reach a model is the business of `cv_quality.inference.video.promptable`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import RegistryError
from cv_quality.inference.preprocessing import is_number
from cv_quality.inference.registry import Fields, load_yaml
from cv_quality.inference.video.postprocessing import MAX_LABEL

BACKGROUND, FOREGROUND, BOX_START, BOX_END, PADDING = 0, 1, 2, 3, -1
"""What a point is, in the numbers of SAM's decoders; the last fills up a fixed number of points."""
_WHERE: Final = frozenset({"streams", "scenes", "default"})
_EXPECTED_POINTS: Final = "a list of [x, y, 1 of the object, 0 not of it or -1 for padding]"


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPrompt:
    """What is said of one object.

    Attributes:
        label: of its pixels in the mask.
        points: float64 `[n, 2]`, x and y in px of the picture; the corners of a box are two of them.
        kinds: int64 `[n]`: whether each is of the object, or not, or a corner.
    """

    label: int
    points: NDArray[np.float64]
    kinds: NDArray[np.int64]


Prompts = tuple[ObjectPrompt, ...]


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The prompts of a build; those of a stream go before those of its scene, and these before the default."""

    streams: Mapping[str, Prompts]
    scenes: Mapping[str, Prompts]
    default: Prompts

    def of(self, stream: str, scene: str | None) -> Prompts:
        """The prompts of a stream; none where nothing is said of it."""
        return self.streams.get(stream) or self.scenes.get(scene or "") or self.default


def parse_prompts(data: bytes, *, file: str) -> PromptFile:
    """Read a file of prompts strictly.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    fields = Fields(load_yaml(data, file=file), where=file)
    fields.check(required=frozenset(), optional=_WHERE)
    default = _objects(fields.value("default"), where=f"{file}: default") if "default" in fields else ()
    prompts = PromptFile(_by_name(fields, "streams"), _by_name(fields, "scenes"), default)
    if not (prompts.streams or prompts.scenes or prompts.default):
        raise RegistryError(f"{file}: expected prompts under {', '.join(sorted(_WHERE))}, found none")
    return prompts


def _by_name(fields: Fields, key: str) -> dict[str, Prompts]:
    value = fields.value(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise fields.unexpected(key, "objects by name")
    return {str(name): _objects(items, where=f"{fields.where}: {key}.{name}") for name, items in value.items()}


def _objects(value: object, *, where: str) -> Prompts:
    if not isinstance(value, list) or not value:
        raise RegistryError(f"{where}: expected a list of objects, found {value!r}")
    objects = tuple(_object(item, where=f"{where}[{index}]") for index, item in enumerate(value))
    labels = [item.label for item in objects]
    if len(set(labels)) != len(labels):
        raise RegistryError(f"{where}: expected each label once, found {labels}")
    return objects


def _object(value: object, *, where: str) -> ObjectPrompt:
    fields = Fields(value, where=where)
    fields.check(required={"label"}, optional={"points", "box"})
    label = fields.value("label")
    if type(label) is not int or not 1 <= label <= MAX_LABEL:
        raise fields.unexpected("label", f"a label from 1 to {MAX_LABEL}")
    rows = [*_points(fields), *_corners(fields)]
    if not rows:
        raise RegistryError(f"{where}: expected points or a box, found neither")
    numbers = np.array(rows, np.float64)
    return ObjectPrompt(label, numbers[:, :2], numbers[:, 2].astype(np.int64))


def _points(fields: Fields) -> list[list[float]]:
    value = fields.value("points")
    rows = [] if value is None else value
    if not isinstance(rows, list) or not all(
        isinstance(row, list)
        and len(row) == 3
        and all(map(is_number, row))
        and row[2] in (BACKGROUND, FOREGROUND, PADDING)
        for row in rows
    ):
        raise fields.unexpected("points", _EXPECTED_POINTS)
    return cast(list[list[float]], rows)


def _corners(fields: Fields) -> list[list[float]]:
    value = fields.value("box")
    if value is None:
        return []
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)) or min(value[2:]) <= 0:
        raise fields.unexpected("box", "[left, top, width, height] in px of the picture")
    left, top, width, height = value
    return [[left, top, BOX_START], [left + width, top + height, BOX_END]]
