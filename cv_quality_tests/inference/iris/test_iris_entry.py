"""The registry entry of an iris build says no precisely, and its digest is that of all that makes a template."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cv_quality.errors import RegistryError
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality_tests.inference.iris.drawn_eyes import BUILD, entry_of, eye_entry, strip_entry

CODE = {"rows": 2, "columns": 40, "planes": 1}
READY = {"input": None, "templates": "codes.parquet", "sha256": "0" * 64, "code": CODE}


def test_defaults_make_an_entry_whole(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, strip_entry())
    assert entry.comparison == HammingRule(bits=2_592, step=24, shifts=15, norm="raw", minimum_bits=259)
    assert entry.encoder is not None
    assert entry.encoder.bits == 2_592


def test_settings_decide_the_bits_that_are_compared(tmp_path: Path) -> None:
    encoder = {"rows": 24, "columns": 216, "planes": ["real", "imaginary"]}
    comparison = {"shifts": 31, "norm": "daugman", "minimum_bits": 500}
    rule = entry_of(tmp_path, strip_entry(encoder=encoder, comparison=comparison)).comparison
    assert rule == HammingRule(bits=10_368, step=48, shifts=31, norm="daugman", minimum_bits=500)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": {"sigma_on_f": 0.5}},
        {"mask": {"bright_from": 240}},
        {"acquire": {"min_usable": 0.4}},
        {"strip": {"height": 48, "width": 432, "resize": True}},
        {"segmentation": {"gamma": 0.8}},
        {"mask": {"lids_up_to_deg": 20}},
    ],
)
def test_whatever_changes_templates_changes_the_digest(tmp_path: Path, changes: dict[str, Any]) -> None:
    before = entry_of(tmp_path, eye_entry(tmp_path)).sha256
    assert entry_of(tmp_path, eye_entry(tmp_path, **changes)).sha256 != before


def test_what_changes_no_template_leaves_the_digest(tmp_path: Path) -> None:
    before = entry_of(tmp_path, eye_entry(tmp_path)).sha256
    elsewhere: dict[str, Any] = {"segmentation": {"file": "elsewhere/parts.onnx"}, "decision_threshold": 0.3}
    assert entry_of(tmp_path, eye_entry(tmp_path, comparison={"shifts": 7}, **elsewhere)).sha256 == before


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"input": "face"}, "input: expected strip or eye_image, found 'face'"),
        ({"encoder": {"row": 12}}, "encoder: unknown key 'row'"),
        ({"encoder": {"rows": 13}}, "rows: expected a divisor of the strip's 48"),
        ({"encoder": {"columns": 100}}, "columns: expected a divisor of the strip's 432"),
        ({"encoder": {"sigma_on_f": 1.0}}, "sigma_on_f: expected a number from 0.05 to 0.95"),
        ({"encoder": {"planes": ["real", "real"]}}, "planes: expected each plane once"),
        ({"encoder": {"planes": ["phase"]}}, "planes: expected a list of real, imaginary, magnitude"),
        ({"strip": {"height": 48}}, "strip: missing key 'width'"),
        ({"mask": {"dark_below": 250}}, "mask: expected dark_below under bright_from"),
        ({"mask": {"lids": 3}}, "mask: unknown key 'lids'"),
        ({"acquire": {"min_usable": -1}}, "acquire: min_usable: expected a number from 0"),
        ({"comparison": {"shifts": 4}}, "comparison: expected an odd number of shifts"),
        ({"comparison": {"shifts": 109}}, "comparison: a code of 108 columns has no 109 different shifts"),
        ({"comparison": {"shifts": 15, "norm": "loud"}}, "comparison: norm: expected raw or linear or daugman"),
        ({"comparison": {"shifts": 15, "minimum_bits": 3_000}}, "minimum_bits: expected a whole number from 1 to 2592"),
        ({"input": "eye_image"}, "segmentation: eye images need a model"),
        ({"templates": "codes.parquet"}, "missing key|unknown key"),
        (READY | {"code": CODE | {"rows": 0}}, "code: rows: expected a whole number from 1"),
        (READY | {"sha256": "1"}, "sha256: expected 64 lowercase hex digits"),
        (READY | {"encoder": {}}, "unknown key 'encoder'"),
    ],
)
def test_entries_that_cannot_be_are_refused_by_key(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(RegistryError, match=match):
        entry_of(tmp_path, strip_entry(**changes))


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        ({"classes": {"iris": 2, "pupil": 3}}, "classes: missing key 'sclera'"),
        ({"classes": {"sclera": 1, "iris": 2, "pupil": 2}}, "classes: expected labels that are of one part"),
        ({"classes": {"sclera": 1, "iris": [], "pupil": 2}}, "iris: expected a label from 0 to 255"),
        ({"classes": {"sclera": 1, "iris": True, "pupil": 2}}, "iris: expected a label from 0 to 255"),
        ({"format": "pickle"}, "format: expected torch_export or onnx"),
        ({"height": 0}, "height: expected a whole number from 8"),
        ({"gamma": 0}, "gamma: expected a number from 0.01"),
    ],
)
def test_segmentation_models_are_declared_strictly(tmp_path: Path, segmentation: dict[str, Any], match: str) -> None:
    with pytest.raises(RegistryError, match=match):
        entry_of(tmp_path, eye_entry(tmp_path, segmentation=segmentation))


def test_entries_on_the_page_about_irises_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "iris.md").read_text()
    entries = [yaml.safe_load(block.split("```")[0]) for block in page.split("```yaml\n")[1:]]
    read = [entry_of(tmp_path, fields | {"build_id": BUILD}) for fields in entries]
    assert len(read) == 4
    assert read[0].sha256 == read[1].sha256
    assert read[0].comparison == read[1].comparison
