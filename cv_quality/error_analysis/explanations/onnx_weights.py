"""The weights inside an ONNX file, put in another order: the file stays the same network, which has learnt nothing.

ONNX files are protocol buffers; only as much of the encoding is read as it takes to find the tensors. What the redrawn
network is for is said in `cv_quality.error_analysis.explanations.sanity`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cv_quality.errors import ModelError

# Field numbers of onnx.proto: a model's graph, a graph's initializers, a tensor's type and the two homes of its floats.
_GRAPH, _INITIALIZER = 7, 5
_DATA_TYPE, _FLOAT_DATA, _RAW_DATA = 2, 4, 9
_FLOAT = 1
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: where its content lies, or the number that it is."""

    number: int
    wire: int
    start: int
    stop: int
    value: int


def permuted_weights(model: bytes, *, seed: int) -> bytes | None:
    """Permute the numbers of each float32 initializer of a model; None where it has no such tensor.

    Tensors in files of their own, of other types, or given by constant nodes stay as they are.

    Raises:
        ModelError: the bytes are no protocol buffer.
    """
    places = list(_weights(model))
    rng, redrawn = np.random.default_rng(seed), bytearray(model)
    for start, stop in places:
        redrawn[start:stop] = rng.permutation(np.frombuffer(model[start:stop], "<f4")).tobytes()
    return bytes(redrawn) if places else None


def _weights(model: bytes) -> Iterator[tuple[int, int]]:
    """Where the floats of each initializer with more than one lie."""
    graphs = (field for field in _fields(model, 0, len(model)) if (field.number, field.wire) == (_GRAPH, _LENGTH))
    inside = (field for graph in graphs for field in _fields(model, graph.start, graph.stop))
    for tensor in inside:
        if (tensor.number, tensor.wire) != (_INITIALIZER, _LENGTH):
            continue
        fields = list(_fields(model, tensor.start, tensor.stop))
        is_float = any((field.number, field.value) == (_DATA_TYPE, _FLOAT) for field in fields)
        for field in fields if is_float else ():
            is_content = field.number in (_FLOAT_DATA, _RAW_DATA) and field.wire == _LENGTH
            if is_content and field.stop - field.start > 4:
                yield field.start, field.stop


def _fields(data: bytes, start: int, stop: int) -> Iterator[_Field]:
    place = start
    while place < stop:
        key, place = _varint(data, place, stop)
        number, wire, value = key >> 3, key & 7, 0
        if wire in (_VARINT, _LENGTH):
            value, place = _varint(data, place, stop)
        size = {_VARINT: 0, _EIGHT_BYTES: 8, _LENGTH: value, _FOUR_BYTES: 4}.get(wire)
        if size is None or place + size > stop:
            raise ModelError(f"expected an ONNX model, found no protocol buffer at byte {place}")
        yield _Field(number, wire, place, place + size, value)
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
