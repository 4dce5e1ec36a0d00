"""Archives that would run code when torch reads them: every one is refused or defused, and no marker file appears."""

import contextlib
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cv_quality.errors import ModelError
from cv_quality.inference import archive as archive_module
from cv_quality.inference.archive import harmless_archive
from cv_quality.inference.runners import TorchExportRunner

Records = dict[str, bytes]
GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"


class Payload:
    """Creates a marker file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def records_of(data: bytes) -> Records:
    import torch

    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    return {name: reader.get_record(name) for name in reader.get_all_records()}


def written(records: Records) -> bytes:
    import torch

    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, data in records.items():
        if name not in {"version", "byteorder", ".data/version", ".data/serialization_id"}:
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return buffer.getvalue()


def saved(marker: Path) -> bytes:
    """What `torch.load(weights_only=False)` would unpickle."""
    import torch

    buffer = io.BytesIO()
    torch.save((Payload(marker),), buffer)
    return buffer.getvalue()


def hostile_weight(records: Records, marker: Path) -> None:
    config = json.loads(records[WEIGHTS])
    row = next(iter(config["config"].values()))
    row["use_pickle"] = True
    records[f"data/weights/{row['path_name']}"] = saved(marker)
    records[WEIGHTS] = json.dumps(config).encode()


def add_constant(records: Records, *, path_name: str, data: bytes, use_pickle: bool) -> None:
    row = {"path_name": path_name, "is_param": False, "use_pickle": use_pickle, "tensor_meta": None}
    records[CONSTANTS] = json.dumps({"config": {"evil": row}}).encode()
    records[f"data/constants/{path_name}"] = data


def hostile_constant(records: Records, marker: Path) -> None:
    add_constant(records, path_name="tensor_0", data=saved(marker), use_pickle=True)


def hostile_opaque_object(records: Records, marker: Path) -> None:
    add_constant(records, path_name="opaque_obj_0", data=pickle.dumps(Payload(marker)), use_pickle=True)


def hostile_custom_object(records: Records, marker: Path) -> None:
    add_constant(records, path_name="custom_obj_0", data=pickle.dumps(Payload(marker)), use_pickle=True)


def legacy_weights(records: Records, marker: Path) -> None:
    records["data/weights/model.pt"] = saved(marker)


def legacy_constants(records: Records, marker: Path) -> None:
    records["data/constants/model.pt"] = saved(marker)


def compiled_code(records: Records, marker: Path) -> None:
    records["data/aotinductor/model/wrapper.so"] = str(marker).encode()


def second_program(records: Records, marker: Path) -> None:
    records["models/other.json"] = records[GRAPH]
    records["data/sample_inputs/other.pt"] = saved(marker)


def edited(records: Records, edit: Callable[[Any], None]) -> None:
    program = json.loads(records[GRAPH])
    edit(program)
    records[GRAPH] = json.dumps(program).encode()


def hostile_expression(records: Records, marker: Path) -> None:
    text = f"__import__('os').mkdir('{marker}')"
    old = re.compile(rb'"expr_str": "(?:[^"\\\\]|\\\\.)*"')
    assert old.search(records[GRAPH])
    records[GRAPH] = old.sub(json.dumps({"expr_str": text}).encode()[1:-1], records[GRAPH])


def hostile_operator(records: Records, marker: Path) -> None:
    def edit(program: Any) -> None:
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.os.mkdir"
        node["inputs"] = [{"name": "path", "arg": {"as_string": str(marker)}, "kind": 1}]

    edited(records, edit)


def file_operator(records: Records, marker: Path) -> None:
    def edit(program: Any) -> None:
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.ops.aten.from_file.default"
        node["inputs"] = [
            {"name": "filename", "arg": {"as_string": str(marker)}, "kind": 1},
            {"name": "shared", "arg": {"as_bool": True}, "kind": 1},
            {"name": "size", "arg": {"as_int": 4}, "kind": 1},
        ]

    edited(records, edit)


def hostile_name(records: Records, marker: Path) -> None:
    text = f"x=__import__('os').mkdir('{marker}')"
    records[GRAPH] = records[GRAPH].replace(b'"name": "conv2d"', json.dumps({"name": text}).encode()[1:-1])


def hostile_tree(records: Records, marker: Path) -> None:  # noqa: ARG001
    def edit(program: Any) -> None:
        leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
        context = json.dumps({"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []})
        tree = {"type": "collections.defaultdict", "context": context, "children_spec": [leaf]}
        for call in program["graph_module"]["module_call_graph"]:
            if call["signature"] is not None:
                call["signature"]["in_spec"] = json.dumps([1, tree])

    edited(records, edit)


def foreign_device(records: Records, marker: Path) -> None:  # noqa: ARG001
    records[WEIGHTS] = records[WEIGHTS].replace(b'"type": "cpu"', b'"type": "meta"')


def giant_tensor(records: Records, marker: Path) -> None:  # noqa: ARG001
    config = json.loads(records[WEIGHTS])
    row = next(iter(config["config"].values()))
    row["tensor_meta"]["sizes"] = [{"as_int": 2**40}]
    records[f"data/weights/{row['path_name']}"] = b""
    records[WEIGHTS] = json.dumps(config).encode()


UNPICKLED = [hostile_weight, hostile_constant, hostile_opaque_object, legacy_weights, legacy_constants]
REFUSED = [
    *UNPICKLED,
    hostile_custom_object,
    compiled_code,
    second_program,
    hostile_expression,
    hostile_operator,
    file_operator,
    hostile_name,
    hostile_tree,
    foreign_device,
    giant_tensor,
]


def hostile_sample_inputs(records: Records, marker: Path) -> None:
    records[SAMPLE_INPUTS] = saved(marker)


def hostile_guard(records: Records, marker: Path) -> None:
    def edit(program: Any) -> None:
        program["guards_code"] = [f"__import__('os').mkdir('{marker}') is None"]

    edited(records, edit)


@pytest.mark.parametrize("attack", REFUSED, ids=lambda attack: attack.__name__)
def test_a_hostile_archive_is_refused_without_running_it(
    archive: bytes, tmp_path: Path, attack: Callable[[Records, Path], None]
) -> None:
    marker = tmp_path / "marker"
    records = records_of(archive)
    attack(records, marker)
    with pytest.raises(ModelError) as caught:
        TorchExportRunner(written(records), name="evil.pt2", threads=1)
    assert "evil.pt2" in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("attack", [hostile_sample_inputs, hostile_guard], ids=lambda attack: attack.__name__)
def test_members_that_are_not_needed_are_dropped_unread(
    archive: bytes, tmp_path: Path, attack: Callable[[Records, Path], None]
) -> None:
    marker = tmp_path / "marker"
    records = records_of(archive)
    attack(records, marker)
    runner = TorchExportRunner(written(records), name="odd.pt2", threads=1)
    assert runner(np.zeros((1, 1, 16, 16), dtype=np.float32)).shape == (1, 8)
    assert not marker.exists()


@pytest.mark.parametrize(
    "attack", [*UNPICKLED, hostile_sample_inputs, hostile_expression], ids=lambda attack: attack.__name__
)
def test_the_same_archive_does_run_code_when_torch_loads_it_directly(
    archive: bytes, tmp_path: Path, attack: Callable[[Records, Path], None]
) -> None:
    """The control: without it, a marker that never appears would prove nothing."""
    import torch

    marker = tmp_path / "marker"
    records = records_of(archive)
    attack(records, marker)
    with contextlib.suppress(Exception):
        torch.export.load(io.BytesIO(written(records)))
    assert marker.is_dir()


def test_a_refusal_names_the_member(archive: bytes, tmp_path: Path) -> None:
    records = records_of(archive)
    legacy_weights(records, tmp_path / "marker")
    with pytest.raises(ModelError, match=r"data/weights/model\.pt.*unpickled"):
        harmless_archive(written(records), name="evil.pt2")


def test_two_members_of_one_name_are_refused(archive: bytes) -> None:
    buffer = io.BytesIO(archive)
    with zipfile.ZipFile(buffer, "a") as crafted:
        graph = next(name for name in crafted.namelist() if name.endswith(GRAPH))
        with pytest.warns(UserWarning, match="Duplicate name"):
            crafted.writestr(graph, b"{}")
    with pytest.raises(ModelError):
        harmless_archive(buffer.getvalue(), name="evil.pt2")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_archive_is_a_typed_error(archive: bytes, share: float) -> None:
    with pytest.raises(ModelError, match=r"cut\.pt2"):
        TorchExportRunner(archive[: int(len(archive) * share)], name="cut.pt2", threads=1)


def test_a_plain_pickle_under_the_name_of_an_archive_is_not_read(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for data in (pickle.dumps(Payload(marker)), saved(marker)):
        with pytest.raises(ModelError):
            TorchExportRunner(data, name="evil.pt2", threads=1)
    assert not marker.exists()


def test_an_oversized_archive_is_refused(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_ARCHIVE_BYTES", len(archive) - 1)
    with pytest.raises(ModelError, match="at most"):
        harmless_archive(archive, name="big.pt2")


def test_the_rebuilt_archive_computes_what_the_original_does(archive: bytes) -> None:
    import torch

    batch = np.random.default_rng(0).normal(size=(7, 1, 16, 16)).astype(np.float32)
    expected = torch.export.load(io.BytesIO(archive)).module()(torch.from_numpy(batch)).detach().numpy()
    np.testing.assert_array_equal(TorchExportRunner(archive, name="toy.pt2", threads=1)(batch), expected)


def test_a_model_with_symbolic_arithmetic_still_loads() -> None:
    import torch

    class Folding(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, x]).reshape(2, x.shape[0], -1).softmax(dim=2).mean(dim=0)

    batch = torch.export.Dim("n", min=2, max=64)
    program = torch.export.export(Folding(), (torch.zeros(3, 1, 4, 4),), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    runner = TorchExportRunner(buffer.getvalue(), name="folding.pt2", threads=1)
    assert runner(np.zeros((5, 1, 4, 4), dtype=np.float32)).shape == (5, 16)
