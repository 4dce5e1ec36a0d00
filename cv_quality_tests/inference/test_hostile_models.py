"""Models that would read elsewhere, never end, ask for all memory, or answer otherwise than promised: typed errors."""

import io
import json
import os
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cv_quality.errors import ModelDoesNotFit, ModelError
from cv_quality.inference import probe
from cv_quality.inference.detection import HEADS, MAX_CANDIDATES, FaceDetector
from cv_quality.inference.embedder import Embedder, load_embedder
from cv_quality.inference.onnx_graph import judge_onnx
from cv_quality.inference.operators import ONNX_OPERATORS, TORCH_OPERATORS
from cv_quality.inference.registry import ModelRegistry
from cv_quality.inference.runners import OnnxRunner, TorchExportRunner
from cv_quality_tests.inference.onnx_files import (
    FLATTEN,
    FLOAT,
    INT64,
    LINEAR,
    WEIGHTS,
    message,
    model,
    node,
    number,
    tensor,
    value_info,
)
from cv_quality_tests.inference.test_archive import GRAPH, edited, records_of, written
from cv_quality_tests.inference.test_archive import WEIGHTS as WEIGHTS_TABLE
from cv_quality_tests.inference.test_embedder import exported
from cv_quality_tests.modalities import MODALITIES

Registered = Callable[..., str]
EXTERNAL = message(13, message(1, "location") + message(2, "secret.bin")) + number(14, 1)


def sizes(name: str, *values: int) -> bytes:
    return tensor(name, np.array(values, np.int64))


def loaded(uri: str, *, cache: Path | None = None) -> Embedder:
    registry = ModelRegistry(uri, modalities=MODALITIES, cache=cache)
    return load_embedder(registry.model_entry("toy-1"), registry=registry, threads=1, batch_size=4)


def constant(attribute: bytes) -> bytes:
    return node("Constant", [], ["c"], more=message(5, message(1, "value") + attribute))


LOOP_BODY = message(2, "body") + message(1, node("Identity", ["keep"], ["kept"]))
LOOP = node("Loop", ["trips", "", "flat"], ["y"], more=message(5, message(1, "body") + message(6, LOOP_BODY)))
PIXEL_SIZE = [
    FLATTEN,
    node("ReduceMax", ["x"], ["top"], more=message(5, message(1, "keepdims") + number(3, 0) + number(20, 2))),
    node("Cast", ["top"], ["size"], more=message(5, message(1, "to") + number(3, 7) + number(20, 2))),
    node("Expand", ["flat", "size"], ["y"]),
]
REFUSED_ONNX = {
    "weights in a file beside": model(LINEAR, tensors=[tensor("w", np.ones((256, 8), np.float32), more=EXTERNAL)]),
    "a constant in a file beside": model([constant(message(5, sizes("v", 1) + EXTERNAL)), *LINEAR], tensors=[WEIGHTS]),
    "a place of data beyond 32 bits": model(LINEAR, tensors=[WEIGHTS + number(14, 2**32 + 1)]),
    "a loop": model([FLATTEN, LOOP], tensors=[sizes("trips", 2**62)]),
    "random numbers": model([node("RandomNormalLike", ["x"], ["y"])]),
    "a dropout that draws": model([node("Dropout", ["x", "r", "t"], ["y"])], tensors=[sizes("r", 1), sizes("t", 1)]),
    "another domain": model([node("Gelu", ["x"], ["y"], more=message(7, "com.microsoft"))]),
    "an import of another domain": model(LINEAR, tensors=[WEIGHTS], more=message(8, message(1, "evil") + number(2, 1))),
    "a function": model(LINEAR, tensors=[WEIGHTS], more=message(25, message(1, "f"))),
    "a sparse tensor": model([constant(message(22, b"")), *LINEAR], tensors=[WEIGHTS]),
    "training": model(LINEAR, tensors=[WEIGHTS], more=message(20, b"")),
    "two operators in a node": model([node("Flatten", ["x"], ["y"], more=message(4, "Relu"))]),
    "a size from pixels": model(PIXEL_SIZE),
    "pixels that count": model([node("NonZero", ["x"], ["y"])]),
    "a value from nowhere": model([node("Flatten", ["later"], ["y"]), node("Relu", ["x"], ["later"])]),
}


@pytest.mark.parametrize("data", REFUSED_ONNX.values(), ids=REFUSED_ONNX)
def test_an_onnx_file_is_refused_before_the_runtime_sees_it(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"evil\.onnx: "):
        judge_onnx(data, name="evil.onnx")


def test_the_refusal_of_weights_elsewhere_says_how_to_save_the_model(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.ones((256, 8), np.float32).tofile(tmp_path / "secret.bin")
    monkeypatch.chdir(tmp_path)
    uri = registered(REFUSED_ONNX["weights in a file beside"], format="onnx")
    with pytest.raises(ModelError, match="digest does not cover; save the model with its weights inside"):
        loaded(uri)


def test_a_plain_onnx_model_gives_its_product() -> None:
    batch = np.random.default_rng(1).normal(size=(3, 1, 16, 16)).astype(np.float32)
    weights = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
    found = OnnxRunner(model(LINEAR, tensors=[WEIGHTS]), name="plain.onnx", threads=1)(batch)
    np.testing.assert_allclose(found, batch.reshape(3, -1) @ weights, rtol=1e-4, atol=1e-4)


def test_sizes_that_follow_from_the_shape_of_the_input_are_allowed() -> None:
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["n"]),
        node("Concat", ["n", "rest"], ["wanted"], more=message(5, message(1, "axis") + number(3, 0) + number(20, 2))),
        node("Reshape", ["x", "wanted"], ["flat"]),
        LINEAR[1],
    ]
    data = model(nodes, tensors=[WEIGHTS, sizes("first", 0), sizes("rest", 256)])
    assert OnnxRunner(data, name="shaped.onnx", threads=1)(np.zeros((5, 1, 16, 16), np.float32)).shape == (5, 8)


PRODUCT = (FLATTEN, node("MatMul", ["flat", "w"], ["z"]))
TO_INT64 = message(5, message(1, "to") + number(3, 7) + number(20, 2))
BROKEN_PROMISES = {
    "no input": (model([], tensors=[tensor("y", np.ones((1, 8), np.float32))], inputs=[]), "expected one input"),
    "one image only": (
        model([node("Reshape", ["x", "one"], ["flat"]), LINEAR[1]], tensors=[WEIGHTS, sizes("one", 1, 256)]),
        "fails on a batch",
    ),
    "one row for all": (
        model(
            [*PRODUCT, node("ReduceMean", ["z", "axis"], ["y"])],
            tensors=[WEIGHTS, sizes("axis", 0)],
        ),
        r"expected an output \[2, 8\] for 2 frames, found \[1, 8\]",
    ),
    "another length": (model(LINEAR, tensors=[tensor("w", np.ones((256, 9), np.float32))]), r"\[1, 9\]"),
    "whole numbers": (
        model(
            [
                *PRODUCT,
                node("Cast", ["z"], ["y"], more=TO_INT64),
            ],
            tensors=[WEIGHTS],
            outputs=[value_info("y", ["n", 8], kind=7)],
        ),
        "expected floating numbers",
    ),
    "no finite number": (
        model(
            [*PRODUCT, node("Div", ["z", "zero"], ["q"]), node("Sub", ["q", "q"], ["y"])],
            tensors=[WEIGHTS, tensor("zero", np.zeros(1, np.float32))],
        ),
        "no finite number",
    ),
    "neighbours that count": (
        model(
            [
                *PRODUCT,
                node("ReduceMean", ["z", "axis"], ["mean"]),
                node("Sub", ["z", "mean"], ["d"]),
                node("Add", ["d", "one"], ["y"]),
            ],
            tensors=[WEIGHTS, sizes("axis", 0), tensor("one", np.ones(1, np.float32))],
        ),
        "depends on the other frames",
    ),
    "a thousand gigabytes": (
        model(
            [
                *LINEAR[:1],
                node("ConstantOfShape", ["big_shape"], ["big"]),
                node("ReduceMax", ["big"], ["top"]),
                node("MatMul", ["flat", "w"], ["z"]),
                node("Add", ["z", "top"], ["y"]),
            ],
            tensors=[WEIGHTS, sizes("big_shape", 2**38)],
        ),
        r"toy-1\.pt2",
    ),
}


@pytest.mark.parametrize(("data", "words"), BROKEN_PROMISES.values(), ids=BROKEN_PROMISES)
def test_a_model_that_breaks_its_promise_is_refused_when_loaded(
    registered: Registered, data: bytes, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        loaded(registered(data, format="onnx"))


def test_a_model_that_runs_too_long_is_stopped(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "MAX_SECONDS", 8)
    square = node("Expand", ["top", "square"], ["m0"])
    mean = node("ReduceMean", ["x"], ["top"], more=message(5, message(1, "keepdims") + number(3, 0) + number(20, 2)))
    products = [node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(2000)]
    nodes = [*LINEAR[:1], mean, square, *products, node("ReduceMax", ["m2000"], ["last"])]
    nodes += [node("MatMul", ["flat", "w"], ["z"]), node("Add", ["z", "last"], ["y"])]
    uri = registered(model(nodes, tensors=[WEIGHTS, sizes("square", 2048, 2048)]), format="onnx")
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"took longer than 8 s and was stopped"):
        loaded(uri)
    assert time.monotonic() - started < probe.MAX_SECONDS * 10


def test_a_process_that_breaks_down_is_a_typed_error() -> None:
    with pytest.raises(ModelError, match="ended with code -6 and no answer"):
        probe.run_apart(break_down, name="evil.onnx", max_bytes=2**30, runtimes=())


def break_down() -> None:
    os.abort()


def test_what_was_proven_is_not_tried_again(
    archive: bytes, registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(probe, "run_apart", lambda _, *, name, **__: tried.append(name))
    uri = registered(archive, decision_threshold=0.123)
    for _ in range(2):
        monkeypatch.setattr(probe.Prover, "_proven", set())
        loaded(uri, cache=tmp_path / "cache")
    assert tried == ["toy-1.pt2"]
    loaded(registered(archive, decision_threshold=0.124), cache=tmp_path / "cache")
    assert len(tried) == 2


OUTSIDE = [
    "_sparse_coo_tensor_unsafe.default", "rand.default", "randn_like.default", "bernoulli.default", "rrelu.default",
    "empty.memory_format", "empty_like.default", "new_empty.default", "as_strided.default", "resize_.default",
    "set_.source_Tensor", "from_file.default", "nonzero.default", "masked_select.default", "item.default",
    "_local_scalar_dense.default", "one_hot.default", "_unsafe_index.Tensor", "index_put_.default", "conv2d.evil",
    "view.dtype", "quantize_per_tensor.default", "_print.default", "native_dropout.default",
]  # fmt: skip


@pytest.mark.parametrize("operator", OUTSIDE)
def test_an_operator_off_the_list_is_refused_by_name(archive: bytes, operator: str) -> None:
    def rename(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = f"torch.ops.aten.{operator}"

    records = records_of(archive)
    edited(records, rename)
    with pytest.raises(ModelError, match=rf"evil\.pt2.*{re.escape(operator)}.*not one that inference needs"):
        TorchExportRunner(written(records), name="evil.pt2", threads=1)


@pytest.mark.parametrize("target", ["torch.ops.higher_order.while_loop", "torch.ops.mine.op.default", "torch.ops.aten"])
def test_graphs_in_graphs_and_other_namespaces_are_refused(archive: bytes, target: str) -> None:
    def rename(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    records = records_of(archive)
    edited(records, rename)
    with pytest.raises(ModelError, match="not one that inference needs"):
        TorchExportRunner(written(records), name="evil.pt2", threads=1)


def test_every_listed_operator_is_known_to_torch_and_plain() -> None:
    import torch

    for listed in TORCH_OPERATORS:
        name, overload = listed.split(".")
        operator = getattr(getattr(torch.ops.aten, name), overload)
        written_to = [item for item in operator._schema.arguments if item.alias_info and item.alias_info.is_write]
        assert not written_to or name.endswith("_"), listed
        assert torch.Tag.inplace_view not in operator.tags or name == "detach_", listed
    assert {"Loop", "If", "Scan", "RandomNormal", "NonZero", "Compress", "Unique"}.isdisjoint(ONNX_OPERATORS)


def first(x: Any) -> Any:
    return x.flatten(1)[:, :8]


def dropping(_: Any, x: Any) -> Any:
    import torch

    return first(torch.nn.functional.dropout(x, 0.5, training=True))


def attending(_: Any, x: Any) -> Any:
    import torch

    return first(torch.nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5))


def learning(net: Any, x: Any) -> Any:
    import torch

    return first(torch.nn.functional.batch_norm(x, net.norm.running_mean, net.norm.running_var, training=True))


def complex_numbers(_: Any, x: Any) -> Any:
    import torch

    return first(x.to(torch.complex64)).abs()


REFUSED_TORCH: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a dropout that draws": (dropping, "with train off"),
    "attention that draws": (attending, "with dropout_p off"),
    "a norm that learns": (learning, "with training off|only returns its output"),
    "changed weights": (lambda net, x: first(x) + net.norm.running_mean.mul_(1.01), "in place|only returns its output"),
    "a changed view of weights": (
        lambda net, x: first(x) + net.norm.running_mean.view(1, 1).mul_(1.01),
        "in place|only returns its output",
    ),
    "a changed input": (lambda _, x: first(x[:, :, :8].mul_(2)), "in place|only returns its output"),
    "complex numbers": (complex_numbers, "expected real numbers"),
    "a mask": (lambda _, x: first(x) + x[x > 0].sum(), "expected a plain name"),
}


def of_forward(forward: Callable[[Any, Any], Any]) -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return forward(self, x)  # type: ignore[no-any-return]

    return Net()


@pytest.mark.parametrize(("forward", "words"), REFUSED_TORCH.values(), ids=REFUSED_TORCH)
def test_a_torch_program_is_refused_for_what_its_steps_do(forward: Callable[[Any, Any], Any], words: str) -> None:
    with pytest.raises(ModelError, match=rf"evil\.pt2.*({words})"):
        TorchExportRunner(exported(of_forward(forward), batch=2), name="evil.pt2", threads=1)


def test_sizes_from_pixels_are_refused_where_whole_numbers_as_indices_are_not() -> None:
    def gather(_: Any, x: Any) -> Any:
        flat = x.flatten()
        return first(x) + flat[(flat > 0).long()].sum()

    def index_by_mask(program: Any) -> None:
        (node,) = (item for item in program["graph_module"]["graph"]["nodes"] if ".to.dtype" in item["target"])
        (dtype,) = (item for item in node["inputs"] if item["name"] == "dtype")
        dtype["arg"] = {"as_scalar_type": 12}

    data = exported(of_forward(gather), batch=2)
    assert TorchExportRunner(data, name="plain.pt2", threads=1)(np.ones((2, 1, 16, 16), np.float32)).shape == (2, 8)
    records = records_of(data)
    edited(records, index_by_mask)
    with pytest.raises(ModelError, match="cannot be told from the shape of its input"):
        TorchExportRunner(written(records), name="evil.pt2", threads=1)


def test_steps_in_place_on_values_of_its_own_are_allowed() -> None:
    import torch

    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten())
    runner = TorchExportRunner(exported(net), name="plain.pt2", threads=1)
    assert runner(np.zeros((3, 1, 16, 16), np.float32)).shape == (3, 2 * 14 * 14)


def typical(name: str) -> Any:
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Parameter(torch.zeros(1, 1, 8))
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.heads = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = nn.functional.avg_pool2d(x, 4).flatten(2).transpose(1, 2).repeat(1, 1, 8)
            tokens = self.layer(torch.cat([self.start.expand(x.shape[0], -1, -1), tokens], dim=1))
            return self.heads(tokens, tokens, tokens)[0][:, 0]  # type: ignore[no-any-return]

    convolutions = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 8, 3, groups=8),
        nn.Hardswish(inplace=True), nn.MaxPool2d(2), nn.GroupNorm(2, 8), nn.SiLU(), nn.Dropout(0.4),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8),
    )  # fmt: skip
    return {"attention": Attention(), "convolutions": convolutions}[name]


@pytest.mark.parametrize("name", ["attention", "convolutions"])
@pytest.mark.parametrize("is_decomposed", [False, True])
def test_typical_networks_load_as_exported_and_decomposed(name: str, is_decomposed: bool) -> None:
    import torch

    net = typical(name).eval()
    batch = torch.rand(4, 1, 16, 16)
    program = torch.export.export(net, (batch,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},))
    buffer = io.BytesIO()
    torch.export.save(program.run_decompositions() if is_decomposed else program, buffer)
    found = TorchExportRunner(buffer.getvalue(), name="typical.pt2", threads=1)(batch.numpy())
    np.testing.assert_allclose(found, net(batch).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(("key", "value"), [("layout", 1), ("dtype", 10), ("dtype", 29)])
def test_weights_that_are_not_dense_real_numbers_are_refused(archive: bytes, key: str, value: int) -> None:
    records = records_of(archive)
    table = json.loads(records[WEIGHTS_TABLE])
    next(iter(table["config"].values()))["tensor_meta"][key] = value
    records[WEIGHTS_TABLE] = json.dumps(table).encode()
    with pytest.raises(ModelError, match="expected a dense tensor of real numbers"):
        TorchExportRunner(written(records), name="evil.pt2", threads=1)


def test_weights_that_reach_beyond_their_bytes_are_refused(archive: bytes) -> None:
    records = records_of(archive)
    table = json.loads(records[WEIGHTS_TABLE])
    next(iter(table["config"].values()))["tensor_meta"]["storage_offset"] = {"as_int": 2**40}
    records[WEIGHTS_TABLE] = json.dumps(table).encode()
    with pytest.raises(ModelError, match=r"evil\.pt2"):
        TorchExportRunner(written(records), name="evil.pt2", threads=1)


def test_an_archive_with_packed_members_is_refused_before_unpacking(archive: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as plain, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, bytes(2**26) if name.endswith(GRAPH) else plain.read(name))
    with pytest.raises(ModelError, match=r"expected members as they are, found \d+ bytes packed into"):
        TorchExportRunner(buffer.getvalue(), name="bomb.pt2", threads=1)


def detector(value: float, *, kind: int = FLOAT) -> bytes:
    """Heads as YuNet declares them, of one number everywhere."""
    widths = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    shapes = {name: (1, (640 // int(name.split("_")[1])) ** 2, widths[name.split("_")[0]]) for name in HEADS}
    to = message(5, message(1, "to") + number(3, kind) + number(20, 2))
    nodes = [node("Expand", ["v", f"{name}_shape"], [f"{name}_f"]) for name in HEADS]
    nodes += [node("Cast", [f"{name}_f"], [name], more=to) for name in HEADS]
    tensors = [tensor("v", np.array(value, np.float32)), *(sizes(f"{n}_shape", *shape) for n, shape in shapes.items())]
    outputs = [value_info(name, shape, kind=kind) for name, shape in shapes.items()]
    return model(nodes, tensors=tensors, inputs=[value_info("x", [1, 3, 640, 640])], outputs=outputs)


def test_a_detector_that_sees_a_face_everywhere_answers_in_seconds() -> None:
    found = FaceDetector(detector(0.9), name="all.onnx", score_threshold=0.5, threads=1)
    started = time.monotonic()
    assert 0 < len(found.detect(np.zeros((64, 64), np.uint8))) <= MAX_CANDIDATES
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("value", [np.inf, 1e30, np.nan])
def test_a_detector_without_finite_places_finds_no_face(value: float) -> None:
    found = FaceDetector(detector(value), name="odd.onnx", score_threshold=0.5, threads=1)
    assert found.detect(np.zeros((64, 64), np.uint8)) == []


def test_a_detector_of_whole_numbers_is_refused() -> None:
    found = FaceDetector(detector(1.0, kind=INT64), name="whole.onnx", score_threshold=0.5, threads=1)
    with pytest.raises(ModelDoesNotFit, match="expected floating numbers"):
        found.detect(np.zeros((64, 64), np.uint8))
