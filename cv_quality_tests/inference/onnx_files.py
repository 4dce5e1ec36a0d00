"""ONNX files written field by field, so that a test can say what no exporter would."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64 = 1, 7


def varint(value: int) -> bytes:
    """A number as protocol buffers write it."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64], *, more: bytes = b"") -> bytes:
    """The content of a TensorProto with raw data."""
    kind = INT64 if values.dtype == np.int64 else FLOAT
    dims = b"".join(number(1, size) for size in values.shape)
    return dims + number(2, kind) + message(8, name) + message(9, values.tobytes()) + more


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], *, more: bytes = b"") -> bytes:
    """The content of a NodeProto; `more` holds attributes or a domain."""
    names = b"".join(message(1, name) for name in inputs) + b"".join(message(2, name) for name in outputs)
    return names + message(4, operator) + more


def value_info(name: str, shape: Sequence[int | str], *, kind: int = FLOAT) -> bytes:
    dims = b"".join(message(1, number(1, size) if isinstance(size, int) else message(2, size)) for size in shape)
    return message(1, name) + message(2, message(1, number(1, kind) + message(2, dims)))


def model(
    nodes: Sequence[bytes],
    *,
    tensors: Sequence[bytes] = (),
    inputs: Sequence[bytes] = (value_info("x", ["n", 1, 16, 16]),),
    outputs: Sequence[bytes] = (value_info("y", ["n", 8]),),
    more: bytes = b"",
) -> bytes:
    """A ModelProto of opset 18: by default grey 16 x 16 images `x` in, 8 numbers `y` out."""
    parts = [(1, nodes), (5, tensors), (11, inputs), (12, outputs)]
    graph = message(2, "g") + b"".join(message(field, item) for field, items in parts for item in items)
    return number(1, 8) + message(7, graph) + message(8, message(1, "") + number(2, 18)) + more


FLATTEN = node("Flatten", ["x"], ["flat"])
WEIGHTS = tensor("w", np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32))
LINEAR = (FLATTEN, node("MatMul", ["flat", "w"], ["y"]))
