"""A backbone from a folder gives unit vectors of what its model says, and a folder that is not sound says why."""

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from cv_quality.drops.images import decode_image
from cv_quality.errors import ModelDoesNotFit, ModelError, RegistryError
from cv_quality.inference.backbone import DESCRIPTION, load_backbone, parse_backbone
from cv_quality.inference.preprocessing import parse_steps, prepare

STEPS: list[object] = ["gray", {"resize": [16, 16]}, {"scale": {"mean": 0.5, "std": 0.25}}]
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def frames(count: int, *, seed: int = 0) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 256, size=(count, 20, 16), dtype=np.uint8))


def exported(net: Any) -> bytes:
    import torch

    size = ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.export.export(net.eval(), (torch.zeros(2, 1, 16, 16),), dynamic_shapes=size)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def written(folder: Path, model: bytes, *, file: str = "toy.pt2", **changes: Any) -> Path:
    (folder / file).write_bytes(model)
    entry = {"file": file, "format": "torch_export", "sha256": hashlib.sha256(model).hexdigest()}
    entry |= {"preprocessing": STEPS, **changes}  # type: ignore[dict-item]
    kept = {key: value for key, value in entry.items() if value != "absent"}
    (folder / DESCRIPTION).write_text(yaml.safe_dump(kept))
    return folder


def model_output(model: bytes, pixels: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """What torch itself says, of the same preprocessing."""
    import torch

    batch = prepare(pixels, steps=parse_steps(STEPS, where="test"), illuminance_lux=[None] * len(pixels))
    output: NDArray[np.float32] = (
        torch.export.load(io.BytesIO(model)).module()(torch.from_numpy(batch)).detach().numpy()
    )
    return output


def test_vectors_are_unit_rows_of_the_models_output(archive: bytes, tmp_path: Path) -> None:
    backbone = load_backbone(written(tmp_path, archive), threads=2)
    pixels = frames(21)
    batch = backbone.embed(pixels)
    raw = model_output(archive, pixels)
    np.testing.assert_allclose(batch.embeddings, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-5)
    assert batch.status == ("ok",) * 21
    assert (backbone.name, backbone.dimension) == ("toy.pt2", 8)


@pytest.mark.parametrize(("shape", "axes"), [("tokens", 1), ("maps", (2, 3))])
def test_tokens_and_feature_maps_become_their_mean(tmp_path: Path, shape: str, axes: int | tuple[int, int]) -> None:
    import torch

    class Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = torch.nn.Conv2d(1, 6, 4, stride=4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps: torch.Tensor = self.features(x)
            return maps.flatten(2).transpose(1, 2) if shape == "tokens" else maps

    torch.manual_seed(1)
    model, pixels = exported(Features()), frames(3)
    raw = model_output(model, pixels)
    assert raw.shape == ((3, 16, 6) if shape == "tokens" else (3, 6, 4, 4))
    pooled = raw.mean(axis=axes)
    batch = load_backbone(written(tmp_path, model), threads=1).embed(pixels)
    np.testing.assert_allclose(batch.embeddings, pooled / np.linalg.norm(pooled, axis=1, keepdims=True), atol=1e-5)


def test_no_frames_give_an_empty_batch(archive: bytes, tmp_path: Path) -> None:
    batch = load_backbone(written(tmp_path, archive), threads=1).embed([])
    assert batch.embeddings.shape == (0, 8)


def test_a_frame_without_direction_is_a_row_of_nan(tmp_path: Path) -> None:
    import torch

    class Corner(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :2]

    folder = written(tmp_path, exported(Corner()), preprocessing=["gray", {"resize": [16, 16]}])
    batch = load_backbone(folder, threads=1).embed([np.zeros((9, 9), np.uint8), np.ones((9, 9, 3), np.uint8)])
    assert batch.status == ("zero_norm", "ok")
    assert np.isnan(batch.embeddings[0]).all()


def test_the_tone_curve_reads_the_illuminance_of_each_frame(archive: bytes, tmp_path: Path) -> None:
    steps: list[object] = ["gray", {"resize": [16, 16]}, {"tone_curve": {"below_lux": 10, "gamma": 0.3}}]
    backbone = load_backbone(written(tmp_path, archive, preprocessing=steps), threads=1)
    pixels = frames(1)
    dark, unknown = (backbone.embed(pixels, [lux]).embeddings for lux in (5.0, None))
    assert np.abs(dark - unknown).max() > 1e-3
    with pytest.raises(ModelError, match="one illuminance a frame"):
        backbone.embed(pixels, [1.0, 2.0])


@pytest.fixture
def face_folder(shared_data: Callable[[str], Path], tmp_path: Path) -> Path:
    """MobileFaceNet as a backbone."""
    shutil.copy(shared_data("model_mobilefacenet") / "MobileFaceNet.onnx", tmp_path)
    model = (tmp_path / "MobileFaceNet.onnx").read_bytes()
    steps = ["rgb", {"resize": [112, 112]}, {"scale": IMAGENET}]
    return written(tmp_path, model, file="MobileFaceNet.onnx", format="onnx", preprocessing=steps)


def test_a_real_onnx_model_puts_images_of_one_person_nearer_than_of_two(
    face_folder: Path, shared_data: Callable[[str], Path]
) -> None:
    root = shared_data("face_orl_att")
    names = [(person, shot) for person in range(1, 9) for shot in (1, 2)]
    images = [decode_image((root / f"s{person}" / f"{shot}.pgm").read_bytes()) for person, shot in names]
    vectors = load_backbone(face_folder, threads=2).embed(images).embeddings
    assert vectors.shape == (16, 128)
    cosines = vectors @ vectors.T
    others = np.ones((16, 16), bool) & ~np.kron(np.eye(8), np.ones((2, 2))).astype(bool)
    assert cosines[::2, 1::2].diagonal().mean() > cosines[others].mean() + 0.3


def test_an_onnx_output_is_read_by_name_and_an_unknown_name_is_refused(face_folder: Path) -> None:
    import onnxruntime

    model = (face_folder / "MobileFaceNet.onnx").read_bytes()
    (name,) = (item.name for item in onnxruntime.InferenceSession(model).get_outputs())
    entry = yaml.safe_load((face_folder / DESCRIPTION).read_text())
    plain = load_backbone(face_folder, threads=1).embed(frames(2)).embeddings
    (face_folder / DESCRIPTION).write_text(yaml.safe_dump(entry | {"output": name}))
    np.testing.assert_array_equal(load_backbone(face_folder, threads=1).embed(frames(2)).embeddings, plain)
    (face_folder / DESCRIPTION).write_text(yaml.safe_dump(entry | {"output": "pooler"}))
    with pytest.raises(ModelDoesNotFit, match="no output 'pooler'; known:"):
        load_backbone(face_folder, threads=1)


def test_a_folder_without_description_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"found no backbone\.yaml.*file, format, sha256, preprocessing"):
        load_backbone(tmp_path, threads=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "absent"}, "missing key 'file'"),
        ({"file": "../toy.pt2"}, "the name of a file in the same folder, found '../toy.pt2'"),
        ({"file": ".."}, "the name of a file in the same folder"),
        ({"format": "pickle"}, "format: expected torch_export or onnx, found 'pickle'"),
        ({"sha256": "abc"}, "sha256: expected 64 lowercase hex digits, found 'abc'"),
        ({"sha256": 12}, "sha256: expected text, found 12"),
        ({"preprocessing": ["grey"]}, "did you mean gray"),
        ({"output": "tokens"}, "output: expected no output name for a torch_export model"),
        ({"ouput": "tokens"}, "unknown key 'ouput'; did you mean output"),
    ],
)
def test_a_malformed_description_names_the_key(changes: dict[str, object], message: str) -> None:
    entry = {"file": "toy.pt2", "format": "torch_export", "sha256": "0" * 64, "preprocessing": STEPS} | changes
    kept = {key: value for key, value in entry.items() if value != "absent"}
    with pytest.raises(RegistryError, match=message):
        parse_backbone(yaml.safe_dump(kept).encode())


@pytest.mark.parametrize("data", [b"", b"- a\n- b\n", b"a: [", b"\xff\xfe\x00"])
def test_what_is_no_mapping_is_refused(data: bytes) -> None:
    with pytest.raises(RegistryError, match=r"expected a mapping|not YAML"):
        parse_backbone(data)


def test_a_missing_altered_or_foreign_model_file_is_refused(archive: bytes, tmp_path: Path) -> None:
    folder = written(tmp_path, archive)
    (folder / "toy.pt2").write_bytes(archive + b"x")
    with pytest.raises(ModelError, match="expected sha256"):
        load_backbone(folder, threads=1)
    (folder / "toy.pt2").unlink()
    with pytest.raises(ModelError, match=r"no file 'toy\.pt2' in the folder"):
        load_backbone(folder, threads=1)
    with pytest.raises(ModelError, match="expected a plain ONNX model"):
        load_backbone(written(tmp_path, archive, format="onnx"), threads=1)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, buffer)
    with pytest.raises(ModelError, match=r"would be unpickled|not part of a plain exported model"):
        load_backbone(written(tmp_path, buffer.getvalue()), threads=1)


def test_steps_and_outputs_that_do_not_fit_are_refused_at_loading(archive: bytes, tmp_path: Path) -> None:
    import torch

    class Flag(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).sum(1)

    folder = written(tmp_path, archive, preprocessing=["rgb", {"resize": [16, 16]}])
    with pytest.raises(ModelDoesNotFit, match=r"\[3, 16, 16\], toy\.pt2 takes \[1, 16, 16\]"):
        load_backbone(folder, threads=1)
    with pytest.raises(ModelDoesNotFit, match=r"expected an output \[n, d\].*found \[1\]"):
        load_backbone(written(tmp_path, exported(Flag())), threads=1)
