"""Frames that are strips already: taken, resized where the entry says so, or failed; and templates that are ready."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cv_quality.errors import ModelError
from cv_quality.metrics.iris.codes import pack
from cv_quality_tests.inference.iris.drawn_eyes import encoded, encoder_of, strip_entry


def strip(seed: int = 0, *, height: int = 48, width: int = 432, top: int = 230) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, top, (height, width), dtype=np.uint8)


def test_strips_of_other_sizes_fail_unless_they_may_be_resized(tmp_path: Path) -> None:
    frames = [strip(), strip(height=64, width=512), strip(height=432, width=48), strip()[:, :431]]
    found = encoded(encoder_of(tmp_path, strip_entry()), frames)
    assert list(found.statuses) == ["ok", "strip_size", "strip_size", "strip_size"]
    resizing = strip_entry(strip={"height": 48, "width": 432, "resize": True})
    resized = encoded(encoder_of(tmp_path, resizing), frames)
    assert list(resized.statuses) == ["ok"] * 4
    assert np.array_equal(resized.templates[0], found.templates[0])


def test_colour_and_grey_of_one_strip_are_one_template(tmp_path: Path) -> None:
    frame = strip()
    found = encoded(encoder_of(tmp_path, strip_entry()), [frame, np.repeat(frame[:, :, None], 3, axis=2)])
    differing = np.bitwise_count(found.templates[0, 0] ^ found.templates[1, 0]).sum()
    assert differing <= 2


def test_strips_that_are_white_black_or_flat_have_reasons(tmp_path: Path) -> None:
    fields = strip_entry(mask={"dark_below": 10}, acquire={"min_sharpness": 0.5})
    frames = [np.full((48, 432), level, np.uint8) for level in (255, 0, 128)] + [strip()]
    frames.append(np.where(np.arange(432) < 120, 255, strip()).astype(np.uint8))
    found = encoded(encoder_of(tmp_path, fields), frames)
    assert list(found.statuses) == ["sharpness", "sharpness", "sharpness", "ok", "specular"]
    assert found.measured["specular_area"].tolist()[3:] == pytest.approx([0.0, 120 / 432])


def test_figures_and_templates_are_those_of_each_frame(tmp_path: Path) -> None:
    frames = [strip(seed) for seed in range(150)]
    whole = encoded(encoder_of(tmp_path, strip_entry(), threads=2), frames)
    for at in (0, 63, 64, 149):
        alone = encoded(encoder_of(tmp_path, strip_entry()), frames[at : at + 1])
        assert np.array_equal(alone.templates[0], whole.templates[at])
        assert alone.measured["sharpness"][0] == whole.measured["sharpness"][at]


def test_no_frames_have_no_templates(tmp_path: Path) -> None:
    assert len(encoded(encoder_of(tmp_path, strip_entry()), []).templates) == 0


CODE = {"rows": 2, "columns": 40, "planes": 1}


def ready(folder: Path, rows: pl.DataFrame | None = None, *, told: Any = None, **changes: Any) -> dict[str, Any]:
    """An entry of ready templates, whose table is written: `a` and `b`, and `empty` without a valid bit."""
    if rows is None:
        rng = np.random.default_rng(0)
        masks = np.ones((3, 2, 40, 1), np.bool_)
        masks[2] = False
        templates = pack(rng.integers(0, 2, (3, 2, 40, 1)), masks)
        sides = {
            name: [one.astype("<u8").tobytes() for one in templates[:, at]] for at, name in enumerate(("code", "mask"))
        }
        rows = pl.DataFrame({"frame": ["a", "b", "empty"], **sides})
    metadata = {key: str(value) for key, value in (CODE if told is None else told).items()}
    rows.write_parquet(folder / "codes.parquet", metadata=metadata)
    digest = hashlib.sha256((folder / "codes.parquet").read_bytes()).hexdigest()
    return strip_entry(input=None, templates="codes.parquet", sha256=digest, code=CODE) | changes


def test_ready_templates_are_found_by_the_name_of_the_frame(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, ready(tmp_path))
    blank = np.zeros((1, 1), np.uint8)
    found = encoder.encode([blank] * 4, [{}] * 4, ["b", "nobody", "a", "empty"])
    assert list(found.statuses) == ["ok", "no_template", "ok", "mask_too_small"]
    kept = pl.read_parquet(tmp_path / "codes.parquet")
    assert found.templates[0, 0].astype("<u8").tobytes() == kept["code"][1]
    assert found.measured["usable_area"].tolist()[0] == 1.0
    assert np.bitwise_count(found.templates[:, 1]).sum(axis=1).tolist() == [80, 0, 80, 0]


@pytest.mark.parametrize(
    ("rows", "told", "match"),
    [
        (pl.DataFrame({"frame": ["a"], "code": [b"1" * 8], "mask": [b"1" * 8]}), None, "expected 16 bytes"),
        (pl.DataFrame({"frame": ["a"], "code": [b"1" * 16]}), None, "mask missing"),
        (pl.DataFrame({"frame": ["a", "a"], "code": [b"1" * 16] * 2, "mask": [b"1" * 16] * 2}), None, "stands twice"),
        (None, {"rows": 4, "columns": 20, "planes": 1}, "expected codes of"),
        (None, {}, "rows, columns, planes missing"),
        (None, {"rows": 0, "columns": 40, "planes": 1}, "whole numbers above 0"),
        (pl.DataFrame({"frame": ["a"], "code": ["1" * 16], "mask": ["1" * 16]}), None, "expected 16 bytes"),
    ],
)
def test_tables_of_other_codes_are_refused_when_loaded(
    tmp_path: Path, rows: pl.DataFrame | None, told: dict[str, int] | None, match: str
) -> None:
    with pytest.raises(ModelError, match=match):
        encoder_of(tmp_path, ready(tmp_path, rows, told=told))


def test_bits_beyond_the_code_are_refused(tmp_path: Path) -> None:
    rows = pl.DataFrame({"frame": ["a"], "code": [b"\xff" * 16], "mask": [b"\xff" * 16]})
    with pytest.raises(ModelError, match="beyond"):
        encoder_of(tmp_path, ready(tmp_path, rows))


def test_a_table_that_was_changed_is_refused(tmp_path: Path) -> None:
    fields = ready(tmp_path)
    (tmp_path / "codes.parquet").write_bytes(b"PAR1")
    with pytest.raises(ModelError, match="sha256"):
        encoder_of(tmp_path, fields)


def test_a_pickle_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "codes.parquet").write_bytes(b"\x80\x04N.")
    digest = hashlib.sha256(b"\x80\x04N.").hexdigest()
    fields = strip_entry(input=None, templates="codes.parquet", sha256=digest, code=CODE)
    with pytest.raises(ModelError, match="Parquet"):
        encoder_of(tmp_path, fields)
