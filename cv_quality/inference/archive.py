"""Torch-export archives made harmless before torch reads them: no pickle, no code, no shared library survives.

`torch.export.load` unpickles several members, executes guard strings, parses symbolic expressions with `eval`, and
resolves operator names by attribute. So an archive is read record by record, judged against an allow-list, and
rebuilt in memory from what was judged; only the rebuilt archive is loaded (see `cv_quality.inference.torch_graph`).
"""

import ast
import io
import json
import math
import re
from collections.abc import Iterator
from typing import Protocol, cast

from cv_quality.errors import ModelError
from cv_quality.inference.operators import TORCH_OPERATORS

MAX_ARCHIVE_BYTES = 2**30
MAX_JSON_BYTES = 16 * 2**20
MAX_ELEMENTS = 2**30
MAX_DEPTH = 64

_GRAPH = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
_CONSTANTS_CONFIG = "data/constants/model_constants_config.json"
_PAYLOAD = re.compile(r"data/(?:weights/weight|constants/tensor)_\d+")
_BOOKKEEPING = frozenset({"archive_format", "archive_version", "byteorder", "version", ".data/version"})
_IGNORED = frozenset({".data/serialization_id", _SAMPLE_INPUTS})
_EXPECTED_TEXT = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}

_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_.+<=:-]{0,512}")  # no quote, bracket, blank or newline: cannot become a call
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_SYMBOL = re.compile(r"[su]\d{1,9}")
_ATEN = "torch.ops.aten."
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_ARITHMETIC = ("getitem", "add", "sub", "mul", "floordiv", "mod", "neg", *_COMPARISONS)
_SCALAR_TARGETS = frozenset(
    {f"_operator.{name}" for name in _ARITHMETIC}
    | {f"torch.{name}" for name in ("sym_int", "sym_max", "sym_min", "sym_not", "sym_float")}
)
_SYMBOLIC_CALLS = frozenset({"Symbol", "Integer", "Add", "Mul", "Max", "Min", "Mod", "FloorDiv", "CeilDiv"})
_EXPRESSION_NODES = (ast.Expression, ast.Call, ast.Name, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Load)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub)
_TREE_TYPES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict"})

_STRIDED = 7  # as torch's schema of archives numbers layouts, and below types: integers, floats, bool and bfloat16
_REAL_TYPES = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 12, 13})

_DAMAGE = (RuntimeError, ValueError, OverflowError, MemoryError)  # what the zip reader raises on damaged bytes

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


class _Reader(Protocol):
    """The part of `torch._C.PyTorchFileReader` that is used here."""

    def get_all_records(self) -> list[str]: ...
    def get_record_size(self, name: str) -> int: ...
    def get_record(self, name: str) -> bytes: ...


def harmless_archive(data: bytes, *, name: str) -> io.BytesIO:
    """Judge a `.pt2` archive and rebuild it from its judged members alone, without sample inputs or metadata.

    The same reader that torch uses lists the members, so a crafted zip cannot show one content here and another there.

    Raises:
        ModelError: names the member and what in it would need a pickle, run code, or exceed a limit.
    """
    import torch

    if len(data) > MAX_ARCHIVE_BYTES:
        raise ModelError(f"{name}: expected at most {MAX_ARCHIVE_BYTES} bytes, found {len(data)}")
    records = _records(data, name=name)
    weights = _judged_payloads(records, _WEIGHTS_CONFIG, prefix="weight_", name=name)
    constants = _judged_payloads(records, _CONSTANTS_CONFIG, prefix="tensor_", name=name)
    graph = _judged_graph(_json(records, _GRAPH, name=name), name=f"{name}: {_GRAPH}")
    rebuilt = {key: value for key, value in records.items() if _PAYLOAD.fullmatch(key)}
    rebuilt |= {_WEIGHTS_CONFIG: weights, _CONSTANTS_CONFIG: constants, _GRAPH: graph, _SAMPLE_INPUTS: b""}
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for member, content in (rebuilt | _EXPECTED_TEXT).items():
        writer.write_record(member, content, len(content))
    writer.write_end_of_file()
    buffer.seek(0)
    return buffer


def _records(data: bytes, *, name: str) -> dict[str, bytes]:
    import torch

    try:
        reader = cast(_Reader, torch._C.PyTorchFileReader(io.BytesIO(data)))
        members = reader.get_all_records()
    except _DAMAGE as error:
        raise ModelError(f"{name}: expected a torch.export archive: {_first_line(error)}") from error
    if len(set(members)) != len(members):
        raise ModelError(f"{name}: two members of the archive have one name")
    for member in members:
        _refuse_member(member, name=name)
    kept = [member for member in members if member not in _IGNORED]
    total = sum(reader.get_record_size(member) for member in kept)
    if total > len(data):
        raise ModelError(f"{name}: expected members as they are, found {total} bytes packed into {len(data)}")
    try:
        records = {member: reader.get_record(member) for member in kept}
    except _DAMAGE as error:
        raise ModelError(f"{name}: damaged archive: {_first_line(error)}") from error
    for member, expected in _EXPECTED_TEXT.items():
        if records.get(member, expected) != expected or (member == "archive_format" and member not in records):
            raise ModelError(f"{name}: {member}: expected {expected!r}, found {records.get(member)!r}")
    return records


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _refuse_member(member: str, *, name: str) -> None:
    if member in _BOOKKEEPING | _IGNORED | {_GRAPH, _WEIGHTS_CONFIG, _CONSTANTS_CONFIG} or _PAYLOAD.fullmatch(member):
        return
    if member.startswith("data/aotinductor/"):
        reason = "is compiled code"
    elif member.endswith((".pt", ".pkl")) or "custom_obj" in member or "opaque_obj" in member:
        reason = "would be unpickled, which runs code that the file chooses"
    else:
        reason = "is not part of a plain exported model named 'model'"
    raise ModelError(f"{name}: member {member!r} {reason}; save the model with torch.export.save of this torch version")


def _json(records: dict[str, bytes], member: str, *, name: str) -> dict[str, Json]:
    if member not in records:
        raise ModelError(f"{name}: member {member!r} is missing; save the model with torch.export.save")
    if len(records[member]) > MAX_JSON_BYTES:
        raise ModelError(f"{name}: member {member!r}: expected at most {MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(records[member])
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name}: member {member!r} is not JSON: {error}") from error
    return _mapping(value, where=f"{name}: {member}")


def _judged_payloads(records: dict[str, bytes], member: str, *, prefix: str, name: str) -> bytes:
    """The weights or constants table, once every row of it is known to be a plain CPU tensor that is in the archive."""
    where = f"{name}: {member}"
    config = _mapping(_json(records, member, name=name).get("config"), where=where)
    folder = member.rpartition("/")[0]
    for key, value in config.items():
        row = _mapping(value, where=f"{where}: {key}")
        if row.get("use_pickle") is not False:
            raise ModelError(f"{where}: {key!r} would be unpickled (use_pickle is not false)")
        path = row.get("path_name")
        if not isinstance(path, str) or not path.startswith(prefix) or f"{folder}/{path}" not in records:
            raise ModelError(f"{where}: {key!r}: expected a plain tensor '{prefix}N' in the archive, found {path!r}")
        _refuse_tensor(_mapping(row.get("tensor_meta"), where=f"{where}: {key}"), where=f"{where}: {key}")
    for key, item in _pairs(config, where=where):
        _refuse_text(key, where=where)
        if isinstance(item, str):
            _refuse_text(item, where=where)
    return json.dumps({"config": config}).encode()


def _refuse_tensor(meta: dict[str, Json], *, where: str) -> None:
    if _mapping(meta.get("device"), where=where).get("type") != "cpu":
        raise ModelError(f"{where}: expected a tensor on the cpu, found device {meta.get('device')!r}")
    if meta.get("layout") != _STRIDED or meta.get("dtype") not in _REAL_TYPES:
        raise ModelError(
            f"{where}: expected a dense tensor of real numbers, found layout {meta.get('layout')!r} and type "
            f"{meta.get('dtype')!r}"
        )
    sizes = [_whole(size, where=where) for size in _list(meta.get("sizes"), where=where)]
    if math.prod(sizes) > MAX_ELEMENTS:
        raise ModelError(f"{where}: expected at most {MAX_ELEMENTS} elements, found sizes {sizes}")


def _judged_graph(program: dict[str, Json], *, name: str) -> bytes:
    """The program without guards and metadata, once its operators, names and expressions are known to be plain."""
    program = {**program, "guards_code": []}
    module = _mapping(program.get("graph_module"), where=name)
    program["graph_module"] = module = {**module, "metadata": {}, "treespec_namedtuple_fields": {}}
    graph = _mapping(module.get("graph"), where=name)
    nodes = [_judged_node(node, name=name) for node in _list(graph.get("nodes"), where=name)]
    module["graph"] = {**graph, "nodes": nodes}
    _refuse_strings(program, name=name)
    return json.dumps(program).encode()


def _judged_node(value: Json, *, name: str) -> Json:
    node = _mapping(value, where=name)
    target = node.get("target")
    is_listed = isinstance(target, str) and (
        target in _SCALAR_TARGETS or (target.startswith(_ATEN) and target.removeprefix(_ATEN) in TORCH_OPERATORS)
    )
    if not is_listed:
        raise ModelError(
            f"{name}: operator {str(target)[:120]!r} is not one that inference needs, and is refused unseen; export "
            "the model in eval() without it, or see cv_quality/inference/operators.py"
        )
    return {**node, "metadata": {}}


def _refuse_strings(program: dict[str, Json], *, name: str) -> None:
    for key, value in _pairs(program, where=name):
        if key == "expr_str":
            _refuse_expression(value, where=name)
        elif key in {"in_spec", "out_spec"} and isinstance(value, str):
            _refuse_tree(value, where=f"{name}: {key}")
        elif key == "name" and isinstance(value, str) and _IDENTIFIER.fullmatch(value) is None:
            raise ModelError(f"{name}: expected an identifier as name, found {value!r}")
        elif key in _FORBIDDEN_ARGUMENTS and value is not None:
            raise ModelError(f"{name}: {key}: arguments of this kind are refused; they may carry code")
        elif isinstance(value, str):
            _refuse_text(value, where=name)
        _refuse_text(key, where=name)


_FORBIDDEN_ARGUMENTS = frozenset({"as_custom_obj", "as_graph", "as_operator", "as_complex"})


def _refuse_text(text: str, *, where: str) -> None:
    if _PLAIN_TEXT.fullmatch(text) is None:
        raise ModelError(f"{where}: expected a plain name, found {text[:120]!r}, which could end up in generated code")


def _refuse_tree(text: str, *, where: str) -> None:
    """Allow nested tuples, lists and dicts only; other containers may import modules when they are read."""
    try:
        specification = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: not JSON: {error}") from error
    for key, value in _pairs(specification, where=where):
        if key == "type" and value not in _TREE_TYPES:
            raise ModelError(f"{where}: expected tuples, lists and dicts, found {value!r}")
        if key not in {"type", "context", "children_spec", ""}:
            raise ModelError(f"{where}: unexpected key {key!r}")
        if key == "context" and isinstance(value, str) and re.fullmatch(r"[\[\]\"A-Za-z0-9_, ]{0,512}", value) is None:
            raise ModelError(f"{where}: expected a plain context, found {value!r}")


def _refuse_expression(text: Json, *, where: str) -> None:
    """Allow symbols, integers and simple arithmetic; torch hands the string to sympy, which evaluates it."""
    problem = ModelError(f"{where}: expected a symbol, an integer or simple arithmetic, found {str(text)[:120]!r}")
    if not isinstance(text, str) or len(text) > 512:
        raise problem
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise problem from error
    if not all(_is_plain_expression(node) for node in nodes):
        raise problem


def _is_plain_expression(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _SYMBOLIC_CALLS
    if isinstance(node, ast.Name):
        return node.id in _SYMBOLIC_CALLS or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _SYMBOL.fullmatch(node.value) is not None
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool) or (isinstance(node.value, int) and abs(node.value) < 2**63)
    if isinstance(node, ast.keyword):
        return node.arg in {"positive", "integer", "nonnegative"} and isinstance(node.value, ast.Constant)
    return isinstance(node, _EXPRESSION_NODES + _OPERATORS)


def _pairs(value: Json, *, where: str, key: str = "", depth: int = 0) -> Iterator[tuple[str, Json]]:
    """Every (key, leaf or container) of a JSON value; the items of a list carry the list's key."""
    if depth > MAX_DEPTH:
        raise ModelError(f"{where}: nested deeper than {MAX_DEPTH}")
    yield key, value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _pairs(item, where=where, key=name, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item, where=where, key=key, depth=depth + 1)


def _mapping(value: Json, *, where: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ModelError(f"{where}: expected a mapping, found {type(value).__name__}")
    return value


def _list(value: Json, *, where: str) -> list[Json]:
    if not isinstance(value, list):
        raise ModelError(f"{where}: expected a list, found {type(value).__name__}")
    return value


def _whole(value: Json, *, where: str) -> int:
    number = _mapping(value, where=where).get("as_int")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ModelError(f"{where}: expected a size, found {value!r}")
    return number
