"""Templates of other tools become packed codes, whatever their layout; no pickle is opened."""

import base64
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from cv_quality.cli import main
from cv_quality.drops.images import decode_image
from cv_quality.drops.importers.iris_codes import (
    CodeLayout,
    ReadyTemplate,
    picture_of,
    ready_table,
)
from cv_quality.drops.importers.iris_drops import TemplateFrames, understand_templates, write_build
from cv_quality.drops.importers.iris_templates import read_templates
from cv_quality.drops.importers.sample_drops import write_samples
from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import VALIDATED_ATTEMPTS
from cv_quality.drops.validation import validate_drop
from cv_quality.errors import DropError
from cv_quality.inference.iris.encoder import load_iris_encoder
from cv_quality.inference.iris.entry import IrisEntry
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import open_store
from cv_quality.metrics.iris.codes import pack, unpack
from cv_quality.tasks.verification.modalities.iris import IRIS

Bits = NDArray[np.bool_]
WAVELETS = (2, 4, 16, 2)
"""Wavelets, rows, columns and parts, as open-iris holds a template; its text has wavelets after columns."""
SHAPE = (4, 16, 2, 2)


def template(seed: int) -> tuple[Bits, Bits]:
    rng = np.random.default_rng(seed)
    return rng.random(WAVELETS) < 0.5, rng.random(WAVELETS) < 0.8


def text_of(array: Bits) -> str:
    """Bits as open-iris serialises them: wavelets after columns, the first bit highest, base64."""
    return base64.b64encode(np.packbits(array.transpose(1, 2, 0, 3)).tobytes()).decode()


def document(seed: int, **more: object) -> dict[str, object]:
    code, mask = template(seed)
    return {"iris_codes": text_of(code), "mask_codes": text_of(mask), "iris_code_version": "v2.1", **more}


def write(folder: Path, **documents: object) -> Path:
    folder.mkdir(exist_ok=True)
    for name, found in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(found))
    return folder


def bit(words: NDArray[np.uint64], number: int) -> int:
    return int(words[number // 64]) >> (number % 64) & 1


def test_a_bit_lies_at_its_column_then_row_then_plane(tmp_path: Path) -> None:
    found = read_templates(write(tmp_path / "t", a_L_1=document(0)), shape=SHAPE)
    code, mask = template(0)
    assert (found.layout.rows, found.layout.columns, found.layout.planes, found.layout.step) == (4, 16, 4, 16)
    words = found.packed[found.places["a_L_1"]]
    for wavelet, row, column, part in np.ndindex(*WAVELETS):
        number = column * 16 + row * 4 + wavelet * 2 + part
        assert bit(words[1], number) == mask[wavelet, row, column, part]
        assert bit(words[0], number) == (code & mask)[wavelet, row, column, part]


def test_bits_that_fill_no_word_are_padded_with_zeros() -> None:
    bits = np.ones((1, 3, 7, 1), dtype=bool)
    packed, layout = pack(bits, bits), CodeLayout(3, 7, 1)
    assert (packed.tolist(), layout.words) == ([[[2**21 - 1]] * 2], 1)
    assert all((part == bits).all() for part in unpack(packed, rows=3, columns=7, planes=1))


def test_text_lists_npz_lines_and_arrays_give_one_template(tmp_path: Path) -> None:
    code, mask = template(3)
    texts = write(tmp_path / "texts", a_L_1=document(3))
    (texts / "b.jsonl").write_text(json.dumps(document(3, image_id="a_L_2")) + "\n")
    lists = {"iris_codes": code.tolist(), "mask_codes": mask.tolist(), "iris_code_version": "v2.1"}
    measured = {"pupil_to_iris_property": {"pupil_to_iris_diameter_ratio": 0.4}, "sharpness_score": 461.5}
    metadata = {"image_id": "a_5", "eye_side": "left", **measured}
    write(texts, a_L_3=lists, out={"iris_template": document(3), "metadata": metadata})
    np.savez(texts / "a_L_4.npz", iris_codes=code, mask_codes=mask, iris_code_version="v2.1")
    old_code, old_mask = (part.transpose(1, 2, 0, 3) for part in (code, mask))
    np.savez(texts / "a_L_6.npz", iris_codes=old_code, mask_codes=old_mask, iris_code_version="v2.1")
    found = read_templates(texts, shape=SHAPE)
    assert found.folder.pictures == ("a_5", "a_L_1", "a_L_2", "a_L_3", "a_L_4", "a_L_6")
    assert found.eyes == {"a_5": "left"}
    assert found.figures == {"a_5": {"pupil_iris_ratio": 0.4, "sharpness": 461.5}}
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    for name, whole in (("codes", code), ("masks", mask)):
        np.save(arrays / f"{name}.npy", whole.transpose(1, 2, 0, 3).reshape(1, 4, 16, 4).astype(np.uint8))
    (arrays / "names.txt").write_text("a_L_7\n")
    other = read_templates(arrays)
    assert (np.unique(np.concatenate([found.packed, other.packed]), axis=0)).shape[0] == 1


def test_a_pipeline_without_a_template_and_a_mask_of_zeros_fail_to_acquire(tmp_path: Path) -> None:
    code, _ = template(1)
    empty = {"iris_codes": text_of(code), "mask_codes": text_of(np.zeros_like(code)), "iris_code_version": "v2.1"}
    lost = {"iris_template": None, "error": {"error_type": "OcclusionError"}, "metadata": {"eye_side": "right"}}
    found = read_templates(write(tmp_path / "t", a_L_1=document(0), a_L_2=empty, a_R_1=lost), shape=SHAPE)
    assert found.failures == {"a_L_2": "its mask keeps no bit", "a_R_1": "OcclusionError"}
    assert list(found.places) == ["a_L_1", "a_L_2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.json", b'{"iris_codes": "AAAA"', "expected JSON in UTF-8"),
        ("b.json", b'{"codes": []}', "expected iris_codes and mask_codes, found codes"),
        ("b.json", b'{"iris_codes": "AAAA", "mask_codes": "AAAA"}', "expected 256 bits, 4 x 16 x 2 x 2, found 24"),
        ("b.json", b'{"iris_codes": "?", "mask_codes": "AAAA"}', "iris_codes: expected bits as base64"),
        ("b.json", b'{"iris_codes": [[[0, 2, 1]]], "mask_codes": [[[1, 1, 1]]]}', "expected bits, 0 or 1"),
        ("b.json", b'{"iris_codes": [[[0, 1]], [[0]]], "mask_codes": [[[0]]]}', "expected wavelets of one shape"),
        ("b.npz", b"PK\x03\x04", "expected an NPZ file of plain arrays"),
    ],
)
def test_a_file_that_is_no_template_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (write(tmp_path / "t", a_L_1=document(0)) / name).write_bytes(content)
    with pytest.raises(DropError, match=f"{name}.*{message}"):
        read_templates(tmp_path / "t", shape=SHAPE)


def test_codes_of_other_lengths_or_versions_do_not_mix(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", a_L_1=document(0))
    code, mask = (array[:, :, :12] for array in template(1))
    np.savez(folder / "a_L_2.npz", iris_codes=code, mask_codes=mask, iris_code_version="v2.1")
    with pytest.raises(DropError, match=r"a_L_2.*expected 256 bits, .* as .*a_L_1.* has, found 192 bits"):
        read_templates(folder, shape=SHAPE)
    (folder / "a_L_2.npz").unlink()
    write(folder, a_L_2={**document(1), "iris_code_version": "v3.0"})
    with pytest.raises(DropError, match=r"expected iris_code_version 'v2.1', .* found 'v3.0'"):
        read_templates(folder, shape=SHAPE)


@pytest.mark.parametrize("name", ["../a_L_1", "a/../../b_L_1", "a_L_1\n", ""])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    code, mask = template(0)
    np.savez(folder / "t.npz", iris_codes=code[None], mask_codes=mask[None], names=np.array([name]))
    with pytest.raises(DropError, match="expected a name or a relative path"):
        read_templates(folder)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "a_L_1.pickle").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(DropError, match="a pickle runs code when it is opened"):
        read_templates(folder)
    np.savez(folder / "a_L_1.npz", iris_codes=np.array([None, 1], dtype=object), mask_codes=np.zeros(2))
    with pytest.raises(DropError, match="arrays of objects are pickles"):
        read_templates(folder)


def test_one_code_under_two_people_is_refused(tmp_path: Path) -> None:
    found = read_templates(write(tmp_path / "t", a_L_1=document(0), b_L_1=document(0), b_L_2=document(1)), shape=SHAPE)
    with pytest.raises(DropError, match=r"a_L_1 \(a left\) and b_L_1 \(b left\)"):
        understand_templates(found, modality=IRIS)


def test_templates_give_a_drop_a_table_and_an_entry(tmp_path: Path, lake: Lake) -> None:
    landing, registry = (open_store(str(tmp_path / name)) for name in ("landing", "registry"))
    lost = {"iris_template": None, "error": "no iris"}
    taken = [f"{who}_{eye}_{n}" for who in "ab" for eye in "LR" for n in "12"]
    names = {name: document(number) for number, name in enumerate(taken)}
    for site, documents in (("one", {**names, "c_L_1": lost}), ("two", names)):
        found = read_templates(write(tmp_path / site, **documents), shape=SHAPE)
        frames = TemplateFrames(found)
        folder = understand_templates(found, modality=IRIS)
        drop = write_samples(folder, landing=landing, modality=IRIS, build_id="b", site=site, render=frames.draw)
        is_new = write_build(registry, frames, build_id="b", drop_id=drop)
        assert is_new is (site == "one")
        assert ingest_drop(landing=landing, lake=lake, drop_id=drop, modalities={"iris": IRIS}).rows_quarantined == 0
        assert validate_drop(landing=landing, lake=lake, drop_id=drop, schema=DropSchema(IRIS)).rows_rejected == 0
    table = pl.read_parquet(tmp_path / "registry" / "b.parquet")
    attempts = lake.read(VALIDATED_ATTEMPTS, TableKey(drop="2000-01-01_b_one"))
    assert (attempts.height, table.height) == (9, 16)
    assert set(attempts["frame"]) - set(table["frame"]) == {"2000-01-01_b_one/c_L_1.png"}
    again = read_templates(tmp_path / "registry" / "b.parquet")
    assert (again.packed[again.places["2000-01-01_b_two/a_L_1.png"]] == found.packed[found.places["a_L_1"]]).all()


def test_a_frame_is_a_picture_of_its_code() -> None:
    code, mask = (array[0] for array in template(5))
    packed = pack(code[None], mask[None])[0]
    pixels = decode_image(picture_of(packed, CodeLayout(4, 16, 2))).reshape(2, 4, 16).transpose(1, 2, 0)
    assert (pixels == np.where(mask, np.where(code, 255, 0), 128)).all()


def test_a_table_of_another_layout_or_without_its_metadata_is_refused(tmp_path: Path) -> None:
    words = np.ones((2, 4), dtype=np.uint64)
    path = tmp_path / "t.parquet"
    path.write_bytes(ready_table([ReadyTemplate("d/a_L_1.png", words, "a", "left")], CodeLayout(4, 16, 4), drop_id="d"))
    assert read_templates(path).layout == CodeLayout(4, 16, 4)
    pl.read_parquet(path).write_parquet(path)
    with pytest.raises(DropError, match="rows, columns, planes missing"):
        read_templates(path)
    path.write_bytes(
        ready_table([ReadyTemplate("d/a_L_1.png", words[:, :3], "a", "left")], CodeLayout(4, 16, 4), drop_id="d")
    )
    with pytest.raises(DropError, match="expected 32 bytes a code and a mask"):
        read_templates(path)


def cvq(home: Path, *arguments: str) -> Result:
    environment = {"CVQ_HOME": str(home / "home"), "CVQ_REGISTRY": str(home / "registry")}
    return CliRunner().invoke(main, arguments, env=environment)


def test_one_command_makes_a_build_that_encodes_its_drop(tmp_path: Path) -> None:
    code, _ = template(1)
    empty = {"iris_codes": text_of(code), "mask_codes": text_of(np.zeros_like(code)), "iris_code_version": "v2.1"}
    lost = {"iris_template": None, "error": "no iris"}
    taken = {name: document(number) for number, name in enumerate(["a_L_1", "a_L_2", "a_R_1", "b_L_1"])}
    taken["a_L_1"] = {"iris_template": taken["a_L_1"], "metadata": {"sharpness_score": 461.5}}
    folder = write(tmp_path / "t", **taken, b_R_1=empty, b_R_2=lost)
    (tmp_path / "registry").mkdir()
    told = ["import", "iris", str(folder), "--templates", "--build", "oi-1", "--shape", "4,16,2,2"]
    for site in ("one", "two"):
        made = cvq(tmp_path, *told, "--site", site)
        assert made.exit_code == 0, made.output
    assert "without a valid template, each a failure to acquire of the build (2)" in made.output
    registry = ModelRegistry(str(tmp_path / "registry"), modalities={"iris": IRIS})
    entry = registry.entry("oi-1")
    assert isinstance(entry, IrisEntry)
    names = [f"2000-01-01_oi-1_{site}/{name}.png" for site in ("one", "two") for name in ("a_L_1", "b_R_1", "b_R_2")]
    encoded = load_iris_encoder(entry, registry, 1).encode([np.zeros((16, 16), np.uint8)] * 6, [{}] * 6, names)
    assert list(encoded.statuses) == ["ok", "mask_too_small", "no_template"] * 2
    assert np.array_equal(encoded.measured["sharpness"], [461.5, np.nan, np.nan] * 2, equal_nan=True)
    one = read_templates(folder, shape=SHAPE)
    assert (encoded.templates[0] == one.packed[one.places["a_L_1"]]).all()


def test_templates_do_not_join_a_build_that_makes_its_own(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    entry = (
        "build_id: own\nmodality: iris\nfollows: null\ninput: strip\ncomparison: {shifts: 3}\ndecision_threshold: 0.4\n"
    )
    (tmp_path / "registry" / "own.yaml").write_text(entry)
    folder = write(tmp_path / "t", a_L_1=document(0), b_L_1=document(1))
    made = cvq(tmp_path, "import", "iris", str(folder), "--templates", "--build", "own", "--shape", "4,16,2,2")
    assert (made.exit_code, "expected a new build, or one with 'templates: own.parquet'" in made.output) == (2, True)
    assert not list((tmp_path / "home").rglob("manifest.json"))
