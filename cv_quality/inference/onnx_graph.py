"""ONNX files judged by their bytes before ONNX Runtime sees them: one self-contained straight line of listed operators.

Refused: tensors in other files (they would be read from outside of what the digest covers), other domains than ONNX's
own, functions, graphs inside of nodes (loops), and sizes that are computed from pixels. So what a model costs follows
from the shape of its input. Running it is the business of `cv_quality.inference.runners`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cv_quality.errors import ModelError
from cv_quality.inference.operators import ONNX_OPERATORS
from cv_quality.inference.protobuf import Field, read_fields

# Numbers of onnx.proto's fields: those that a message may have, then those that are looked into.
_MODEL_FIELDS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14})
_GRAPH_FIELDS: Final = frozenset({1, 2, 5, 10, 11, 12, 13, 14, 16})
_NODE_FIELDS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 9})
_ATTRIBUTE_FIELDS: Final = frozenset({1, 2, 3, 4, 5, 7, 8, 9, 13, 20})
_TENSOR_FIELDS: Final = frozenset({1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 14, 16})
_MODEL_GRAPH, _MODEL_OPSET, _OPSET_DOMAIN = 7, 8, 1
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_TENSOR, _INPUT_NAME, _TENSOR_NAME = 5, 1, 8
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_OWN_DOMAINS: Final = frozenset({"", "ai.onnx"})
_SHAPES_ONLY: Final = frozenset({"Shape", "Size"})
_DROPOUT_TRAINING: Final = 2
"""Place of the input that makes a Dropout draw random numbers."""


@dataclass(frozen=True, slots=True)
class _Judge:
    """A model's bytes, and the name of the file for errors."""

    data: bytes
    name: str

    def model(self) -> None:
        graphs = []
        for field in self._fields(None, allowed=_MODEL_FIELDS, what="model"):
            if field.number == _MODEL_GRAPH:
                graphs.append(field)
            elif field.number == _MODEL_OPSET:
                self._domain(self._texts(field, _OPSET_DOMAIN))
        # A second graph field continues the first, as protocol buffers have it.
        parts = [part for graph in graphs for part in self._fields(graph, allowed=_GRAPH_FIELDS, what="graph")]
        tensors = [part for part in parts if part.number == _GRAPH_TENSOR]
        for tensor in tensors:
            self._tensor(tensor)
        constants = {text for tensor in tensors for text in self._texts(tensor, _TENSOR_NAME)}
        inputs = {text for part in parts if part.number == _GRAPH_INPUT for text in self._texts(part, _INPUT_NAME)}
        known, from_pixels = constants | inputs | {""}, inputs - constants
        for node in (part for part in parts if part.number == _GRAPH_NODE):
            self._node(node, known=known, from_pixels=from_pixels)

    def _node(self, node: Field, *, known: set[str], from_pixels: set[str]) -> None:
        """Judge a node, and add its outputs to the known values and to those that depend on pixels."""
        fields = list(self._fields(node, allowed=_NODE_FIELDS, what="node"))
        inputs, outputs, types, domains = (
            [self._text(field) for field in fields if field.number == number]
            for number in (_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE, _NODE_DOMAIN)
        )
        self._domain(domains)
        for attribute in (field for field in fields if field.number == _NODE_ATTRIBUTE):
            for part in self._fields(attribute, allowed=_ATTRIBUTE_FIELDS, what="attribute"):
                if part.number == _ATTRIBUTE_TENSOR:
                    self._tensor(part)
        operator = types[0] if len(types) == 1 else ""
        if operator not in ONNX_OPERATORS:
            raise ModelError(
                f"{self.name}: operator {operator[:120]!r} is not one that inference needs, and is refused unseen; "
                "export the model without it, or see cv_quality/inference/operators.py"
            )
        if operator == "Dropout" and any(inputs[_DROPOUT_TRAINING:]):
            raise ModelError(f"{self.name}: Dropout could draw random numbers; export the model for inference")
        strangers = [item for item in inputs if item not in known]
        if strangers:
            raise ModelError(f"{self.name}: {operator}: no node before it gives {strangers[0][:120]!r}")
        sizes = {inputs[place] for place in ONNX_OPERATORS[operator] if place < len(inputs)}
        if sizes & from_pixels:
            raise ModelError(
                f"{self.name}: {operator} would make a size from pixels, so that what it costs depends on the image; "
                "export the model with sizes that follow from the input's shape"
            )
        known.update(outputs)
        if operator not in _SHAPES_ONLY and from_pixels & set(inputs):
            from_pixels.update(outputs)

    def _tensor(self, tensor: Field) -> None:
        for field in self._fields(tensor, allowed=_TENSOR_FIELDS | {_EXTERNAL_DATA}, what="tensor"):
            if field.number == _EXTERNAL_DATA or (field.number == _DATA_LOCATION and field.value != 0):
                raise ModelError(
                    f"{self.name}: a tensor lies in another file, which the digest does not cover; save the model "
                    "with its weights inside of it (onnx.save with save_as_external_data=False)"
                )

    def _domain(self, domains: list[str]) -> None:
        foreign = [domain for domain in domains if domain not in _OWN_DOMAINS]
        if foreign:
            raise ModelError(
                f"{self.name}: expected operators of ONNX's own domain only, found domain {foreign[0][:120]!r}"
            )

    def _fields(self, field: Field | None, *, allowed: frozenset[int], what: str) -> Iterator[Field]:
        start, stop = (0, len(self.data)) if field is None else (field.start, field.stop)
        for part in read_fields(self.data, start, stop):
            if part.number not in allowed:
                raise ModelError(
                    f"{self.name}: expected a plain ONNX {what}, found field {part.number} of onnx.proto: functions, "
                    "graphs inside of nodes, sparse tensors and training are refused; export a plain model"
                )
            yield part

    def _texts(self, field: Field, number: int) -> list[str]:
        return [self._text(part) for part in read_fields(self.data, field.start, field.stop) if part.number == number]

    def _text(self, field: Field) -> str:
        return self.data[field.start : field.stop].decode(errors="backslashreplace")


def judge_onnx(data: bytes, *, name: str) -> None:
    """Judge a model's bytes.

    Args:
        data: of the file.
        name: of the file, for errors.

    Raises:
        ModelError: the bytes are no ONNX model, or hold what is refused; the message says what, and what to do.
    """
    try:
        _Judge(data, name).model()
    except ModelError as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise ModelError(f"{name}: {error}") from None
