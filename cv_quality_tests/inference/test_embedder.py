"""Embeddings are unit rows or an honest status, and a model that does not fit its entry never gets to run."""

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, ModelError
from cv_quality.inference.embedder import Embedder, load_embedder
from cv_quality.inference.registry import ModelRegistry
from cv_quality.inference.runners import OnnxRunner
from cv_quality_tests.modalities import MODALITIES

Registered = Callable[..., str]


def frames(count: int, *, seed: int = 0) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 256, size=(count, 16, 16), dtype=np.uint8))


def loaded(uri: str, *, batch_size: int = 4) -> Embedder:
    registry = ModelRegistry(uri, modalities=MODALITIES)
    return load_embedder(registry.model_entry("toy-1"), registry=registry, threads=1, batch_size=batch_size)


def exported(net: Any, *, shape: tuple[int, ...] = (1, 16, 16), batch: int | None = None) -> bytes:
    import torch

    size = None if batch is not None else ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.export.export(net.eval(), (torch.zeros(batch or 2, *shape),), dynamic_shapes=size)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def test_embeddings_are_unit_rows_of_what_the_model_says(archive: bytes, registered: Registered) -> None:
    import torch

    pixels = frames(5)
    batch = loaded(registered(archive)).embed(pixels, illuminance_lux=[None] * 5)
    prepared = (np.stack(pixels)[:, None] / 255 - 0.5) / 0.25
    model = torch.export.load(io.BytesIO(archive)).module()
    raw = model(torch.from_numpy(prepared.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(batch.embeddings, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-5)
    assert batch.status == ("ok",) * 5
    assert batch.embeddings.dtype == np.float32


def test_no_frames_give_an_empty_batch(archive: bytes, registered: Registered) -> None:
    batch = loaded(registered(archive)).embed([], illuminance_lux=[])
    assert batch.embeddings.shape == (0, 8)
    assert batch.status == ()


def test_the_batch_size_and_neighbours_do_not_change_an_embedding(archive: bytes, registered: Registered) -> None:
    uri = registered(archive)
    pixels = frames(9)
    whole = loaded(uri, batch_size=64).embed(pixels, illuminance_lux=[None] * 9)
    for batch_size in (1, 2, 4):
        parts = loaded(uri, batch_size=batch_size).embed(pixels, illuminance_lux=[None] * 9)
        np.testing.assert_allclose(parts.embeddings, whole.embeddings, atol=1e-6)


def test_mixed_sizes_and_channels_pass(archive: bytes, registered: Registered) -> None:
    grey, colour = np.zeros((30, 20), dtype=np.uint8), np.zeros((9, 11, 3), dtype=np.uint8)
    batch = loaded(registered(archive)).embed([grey, colour, grey], illuminance_lux=[None, 3.0, 4.0])
    assert batch.status == ("ok", "ok", "ok")
    np.testing.assert_allclose(batch.embeddings[0], batch.embeddings[1], atol=1e-6)


def test_one_illuminance_a_frame_is_required(archive: bytes, registered: Registered) -> None:
    with pytest.raises(ModelError, match="one illuminance a frame"):
        loaded(registered(archive)).embed(frames(2), illuminance_lux=[None])


def test_mirroring_adds_the_mirrored_frames_embedding(archive: bytes, registered: Registered) -> None:
    pixels = frames(3)
    plain = loaded(registered(archive))
    mirrored = plain.embed([frame[:, ::-1] for frame in pixels], illuminance_lux=[None] * 3).embeddings
    total = plain.embed(pixels, illuminance_lux=[None] * 3).embeddings + mirrored
    both = loaded(registered(archive, flip_augment=True)).embed(pixels, illuminance_lux=[None] * 3).embeddings
    np.testing.assert_allclose(both, total / np.linalg.norm(total, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("flip_augment", [False, True])
def test_numbers_that_are_not_finite_fail_and_never_become_an_embedding(
    registered: Registered, flip_augment: bool
) -> None:
    import torch

    class Reciprocal(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (1 / x.flatten(1)[:, :2]) - (1 / x.flatten(1)[:, 1:3])

    uri = registered(exported(Reciprocal()), embedding_dim=2, preprocessing=["gray"], flip_augment=flip_augment)
    good = np.arange(1, 257, dtype=np.int64).reshape(16, 16) % 255 + 1
    bad = np.zeros((16, 16), dtype=np.uint8)
    batch = loaded(uri).embed([good.astype(np.uint8), bad], illuminance_lux=[None, None])
    assert batch.status == ("ok", "non_finite")
    assert np.isnan(batch.embeddings[1]).all()
    assert np.isfinite(batch.embeddings[0]).all()


def test_an_embedding_without_direction_fails(registered: Registered) -> None:
    import torch

    class Corner(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :2]

    uri = registered(exported(Corner()), embedding_dim=2, preprocessing=["gray"])
    batch = loaded(uri).embed([np.zeros((16, 16), dtype=np.uint8), *frames(1)], illuminance_lux=[None, None])
    assert batch.status == ("zero_norm", "ok")
    assert np.isnan(batch.embeddings[0]).all()


def test_a_model_with_a_fixed_batch_size_serves_any_number_of_frames(registered: Registered) -> None:
    import torch

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 8))
    embedder = loaded(registered(exported(net, batch=3)))
    one = embedder.embed(frames(7)[:1], illuminance_lux=[None])
    many = embedder.embed(frames(7), illuminance_lux=[None] * 7)
    np.testing.assert_allclose(many.embeddings[0], one.embeddings[0], atol=1e-6)
    assert many.status == ("ok",) * 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_dim": 9}, r"embedding_dim 9.*\[1, 8\]"),
        ({"preprocessing": ["gray", {"resize": [20, 16]}]}, r"\[1, 16, 20\].*\[1, 16, 16\]"),
        ({"preprocessing": ["rgb", {"resize": [16, 16]}]}, r"\[3, 16, 16\].*\[1, 16, 16\]"),
    ],
)
def test_a_model_that_does_not_fit_its_entry_is_refused_on_load(
    archive: bytes, registered: Registered, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelDoesNotFit, match=message):
        loaded(registered(archive, **changes))


def test_a_model_with_two_inputs_or_a_flat_input_is_refused(registered: Registered) -> None:
    import torch

    with pytest.raises(ModelDoesNotFit, match="expected one input"):
        loaded(registered(exported(torch.nn.Linear(16, 8), shape=(16,))))


def test_frames_that_reach_the_model_in_another_shape_are_refused(archive: bytes, registered: Registered) -> None:
    embedder = loaded(registered(archive, preprocessing=["gray"]))
    with pytest.raises(ModelDoesNotFit, match="preprocessing gives frames"):
        embedder.embed([np.zeros((20, 16), dtype=np.uint8)], illuminance_lux=[None])


def test_an_altered_model_is_refused_and_the_digest_is_carried(
    archive: bytes, registered: Registered, tmp_path: Any
) -> None:
    uri = registered(archive)
    embedder = loaded(uri)
    assert embedder.model_sha256 == embedder.entry.sha256
    (tmp_path / "toy-1.pt2").write_bytes(archive + b" ")
    with pytest.raises(ModelError, match="expected sha256"):
        loaded(uri)


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x07" * 100])
def test_bytes_that_are_no_onnx_model_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"junk\.onnx"):
        OnnxRunner(data, name="junk.onnx", threads=1)


def test_importing_this_room_loads_no_runtime() -> None:
    script = (
        "import sys, cv_quality.inference.embedder;"
        "print([name for name in ('torch', 'onnxruntime', 'boto3') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
