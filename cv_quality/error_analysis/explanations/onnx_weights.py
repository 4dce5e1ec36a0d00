"""The weights inside an ONNX file, put in another order: the file stays the same network, which has learnt nothing.

What the redrawn network is for is said in `cv_quality.error_analysis.explanations.sanity`.
"""

from collections.abc import Iterator

import numpy as np

from cv_quality.inference.protobuf import LENGTH, read_fields

# Field numbers of onnx.proto: a model's graph, a graph's initializers, a tensor's type and the two homes of its floats.
_GRAPH, _INITIALIZER = 7, 5
_DATA_TYPE, _FLOAT_DATA, _RAW_DATA = 2, 4, 9
_FLOAT = 1


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
    graphs = (field for field in read_fields(model, 0, len(model)) if (field.number, field.wire) == (_GRAPH, LENGTH))
    inside = (field for graph in graphs for field in read_fields(model, graph.start, graph.stop))
    for tensor in inside:
        if (tensor.number, tensor.wire) != (_INITIALIZER, LENGTH):
            continue
        fields = list(read_fields(model, tensor.start, tensor.stop))
        is_float = any((field.number, field.value) == (_DATA_TYPE, _FLOAT) for field in fields)
        for field in fields if is_float else ():
            is_content = field.number in (_FLOAT_DATA, _RAW_DATA) and field.wire == LENGTH
            if is_content and field.stop - field.start > 4:
                yield field.start, field.stop
