"""Protocol buffers, read only as far as it takes to find a field: ONNX files are judged and altered on this.

What the numbers of fields mean is the business of `cv_quality.inference.onnx_graph` and of
`cv_quality.error_analysis.explanations.onnx_weights`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cv_quality.errors import ModelError

VARINT: Final = 0
LENGTH: Final = 2
_EIGHT_BYTES, _FOUR_BYTES = 1, 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: where its content lies, or the number that it is."""

    number: int
    wire: int
    start: int
    stop: int
    value: int


def read_fields(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[Field]:
    """Read the fields of a message, those of unknown numbers too, in the order of the bytes.

    Args:
        data: the bytes that the message is part of.
        start, stop: where in them it lies; by default they are the message.

    Raises:
        ModelError: the bytes are no protocol buffer.
    """
    stop = len(data) if stop is None else stop
    place = start
    while place < stop:
        key, place = _varint(data, place, stop)
        number, wire, value = key >> 3, key & 7, 0
        if wire in (VARINT, LENGTH):
            value, place = _varint(data, place, stop)
        size = {VARINT: 0, _EIGHT_BYTES: 8, LENGTH: value, _FOUR_BYTES: 4}.get(wire)
        if size is None or place + size > stop:
            raise ModelError(f"expected an ONNX model, found no protocol buffer at byte {place}")
        yield Field(number, wire, place, place + size, value)
        place += size


def _varint(data: bytes, place: int, stop: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place + shift // 7 >= stop:
            break
        byte = data[place + shift // 7]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place + shift // 7 + 1
    raise ModelError(f"expected an ONNX model, found no protocol buffer at byte {place}")
