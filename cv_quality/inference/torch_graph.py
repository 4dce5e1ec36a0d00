"""Torch-export programs loaded and judged: a straight line of listed operators that changes nothing but its own values.

The archive has been made harmless by `cv_quality.inference.archive`, which also judges the operators by name; what
only the loaded graph shows (arguments as the schema places them, views of weights) is judged here, before it runs.
"""

from typing import TYPE_CHECKING, cast

from cv_quality.errors import ModelError
from cv_quality.inference.archive import harmless_archive
from cv_quality.inference.operators import TRAINING_ARGUMENTS

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

_INDEX = "index.Tensor"
_INSTANCE_NORM = "instance_norm.default"
_VIEWS_AT_TIMES = frozenset(
    f"aten::{name}" for name in ("alpha_dropout", "dropout", "einsum", "feature_dropout", "meshgrid", "type_as")
)
"""Operators that may return what they were given, or a view of it, although their schema does not say so."""


def load_program(data: bytes, *, name: str) -> "ExportedProgram":
    """Load an archive's bytes as a program that is safe to run.

    Raises:
        ModelError: the archive is unsafe, damaged or of another torch version, or its graph draws random numbers,
            changes its input or its weights, or makes sizes from pixels.
    """
    import torch

    archive = harmless_archive(data, name=name)
    try:
        program = torch.export.load(archive)
    except Exception as error:  # torch raises anything from AssertionError to sympy's own errors here
        raise ModelError(f"{name}: torch cannot load the archive: {type(error).__name__}: {error}") from error
    _judge_graph(program, name=name)
    return program


def _judge_graph(program: "ExportedProgram", *, name: str) -> None:
    fresh: set[torch.fx.Node] = set()
    """Values of which no part is an input or a weight."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    for node in calls:
        operator, where = _operator(node), f"{name}: {node.name}"
        arguments = _arguments(node)
        _judge_arguments(operator, arguments, where=where)
        schema = getattr(node.target, "_schema", None)
        if any(_is_written(schema, argument) and value not in fresh for argument, value in arguments.items()):
            raise ModelError(f"{where}: {operator} would change the model's input or its weights in place")
        if _is_new(schema) or all(value in fresh for value in node.all_input_nodes):
            fresh.add(node)
    outputs = {item.kind.name for item in program.graph_signature.output_specs}
    if outputs != {"USER_OUTPUT"}:
        raise ModelError(f"{name}: expected a model that only returns its output, found {', '.join(sorted(outputs))}")
    if any(_operator(node) == _INDEX for node in calls):
        _refuse_sizes_from_data(program, name=name)


def _operator(node: "torch.fx.Node") -> str:
    return str(node.target).removeprefix("aten.")


def _arguments(node: "torch.fx.Node") -> dict[str, object]:
    """The arguments of a call by the names that the operator's schema gives to their places."""
    schema = getattr(node.target, "_schema", None)
    names = [item.name for item in schema.arguments] if schema else []
    return dict(zip(names, node.args, strict=False)) | node.kwargs


def _judge_arguments(operator: str, arguments: dict[str, object], *, where: str) -> None:
    import torch

    training = TRAINING_ARGUMENTS.get(operator, "")
    if arguments.get(training, False) not in (False, 0):
        raise ModelError(f"{where}: expected {operator} with {training} off; export the model in eval()")
    if operator == _INSTANCE_NORM and arguments["use_input_stats"] and arguments["running_mean"] is not None:
        raise ModelError(f"{where}: {operator} would change its running statistics; export the model in eval()")
    for value in arguments.values():
        if isinstance(value, torch.layout) and value is not torch.strided:
            raise ModelError(f"{where}: expected dense tensors, found {value}")
        if isinstance(value, torch.device) and value.type != "cpu":
            raise ModelError(f"{where}: expected tensors on the cpu, found {value}")
        if isinstance(value, torch.dtype) and (value.is_complex or str(value).startswith("torch.q")):
            raise ModelError(f"{where}: expected real numbers, found {value}")


def _is_written(schema: object, argument: str) -> bool:
    arguments = cast("torch.FunctionSchema", schema).arguments if schema else []
    return any(item.name == argument and item.alias_info and item.alias_info.is_write for item in arguments)


def _is_new(schema: object) -> bool:
    """Whether what an operator returns is memory of its own, never a view of what it was given."""
    if schema is None:
        return False
    known = cast("torch.FunctionSchema", schema)
    return known.name not in _VIEWS_AT_TIMES and not any(item.alias_info for item in known.returns)


def _refuse_sizes_from_data(program: "ExportedProgram", *, name: str) -> None:
    """Run the program on tensors that have shapes and no numbers: a size that depends on a number cannot be told."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    examples = [nodes[name].meta["val"] for name in program.graph_signature.user_inputs if name in nodes]
    try:
        inputs = [
            torch.zeros(
                [_example_size(size) for size in getattr(value, "shape", ())],
                dtype=getattr(value, "dtype", torch.float32),
            )
            for value in examples
        ]
        with torch.inference_mode(), FakeTensorMode(allow_non_fake_inputs=True):
            program.module()(*inputs)
    except Exception as error:  # as on loading; a size from data is torch's DynamicOutputShapeException
        raise ModelError(
            f"{name}: {_INDEX}: the sizes of the model's tensors cannot be told from the shape of its input: "
            f"{type(error).__name__}: {error}; index by whole numbers, not by masks"
        ) from error


def _example_size(size: "int | torch.SymInt") -> int:
    return size if isinstance(size, int) else int(size.node.hint or 2)
