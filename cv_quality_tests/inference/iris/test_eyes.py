"""Eye images: the same iris gives the same code however it is seen, and what cannot be encoded has its reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, ModelError
from cv_quality.inference.encoded import Encoded
from cv_quality.inference.iris.entry import IrisEntry
from cv_quality.metrics.iris.hamming import compare
from cv_quality_tests.inference.iris.drawn_eyes import (
    HEIGHT,
    WIDTH,
    draw,
    encoded,
    encoder_of,
    entry_of,
    eye_entry,
    levels_model,
    texture,
)
from cv_quality_tests.inference.onnx_files import message, model, node, number, tensor, value_info
from cv_quality_tests.metrics.iris.plain import rotate


def eye(seed: int = 1, **drawn: Any) -> NDArray[np.uint8]:
    return draw(strip=texture(seed), **drawn)[0]


def distances(found: Encoded, entry: IrisEntry) -> NDArray[np.float64]:
    """Of all templates from the first one."""
    others = np.arange(len(found.templates))
    rows = np.zeros(len(found.templates), np.int64), others
    return compare(found.templates, found.templates, rows, entry.comparison).hd_norm


def test_an_iris_is_itself_under_light_gaze_lids_and_tilt(tmp_path: Path) -> None:
    fields = eye_entry(tmp_path)
    tilted = np.roll(texture(1), 12, axis=1)
    own = [
        eye(),
        eye(pupil=36),
        eye(off_axis_deg=25, towards=0.4),
        eye(opening=0.8),
        eye(x=150, y=126, iris=60, pupil=22),
        draw(strip=tilted)[0],
    ]
    others = [eye(seed) for seed in range(2, 8)]
    found = encoded(encoder_of(tmp_path, fields), own + others)
    assert set(found.statuses) == {"ok"}
    hd = distances(found, entry_of(tmp_path, fields))
    assert hd[1 : len(own)].max() < 0.3 < 0.4 < hd[len(own) :].min()


def test_figures_are_those_of_the_drawn_eye(tmp_path: Path) -> None:
    frames = [eye(), eye(off_axis_deg=35, towards=1.0), eye(pupil=42, pupil_off=7), eye(highlight=8)]
    found = encoded(encoder_of(tmp_path, eye_entry(tmp_path)), frames)
    figures = {name: values.tolist() for name, values in found.measured.items()}
    assert figures["pupil_iris_ratio"] == pytest.approx([25 / 70, 25 / 70, 0.6, 25 / 70], abs=0.01)
    assert figures["off_axis_deg"][1] == pytest.approx(35, abs=1.5)
    assert figures["iris_diameter_px"] == pytest.approx([140] * 4, abs=2)
    assert figures["centre_distance"] == pytest.approx([0, 0, 0.1, 0], abs=0.015)
    ring = np.pi * (70**2 - 25**2)
    assert figures["specular_area"] == pytest.approx([0, 0, 0, np.pi * 64 / ring], abs=0.005)
    assert figures["usable_area"][0] > 0.99 > figures["usable_area"][3] > 0.95


def test_reasons_for_no_template_are_told_in_their_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases: dict[str, list[NDArray[np.uint8]]] = {
        "no_eye": [
            np.zeros((HEIGHT, WIDTH), np.uint8),
            rng.integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8),
            np.full((1, 1), 25, np.uint8),
            np.full((3, 900, 3), 105, np.uint8),
            eye(iris=22, pupil=8),
        ],
        "gaze": [eye(off_axis_deg=60), eye(off_axis_deg=60, opening=0.4)],
        "occlusion": [eye(opening=0.15)],
        "dilation": [eye(pupil=52)],
        "constriction": [eye(pupil=6)],
        "specular": [eye(highlight=60)],
        "lens": [draw(strip=texture(1) + 2 * np.sign(np.sin(np.arange(432) * (2 * np.pi / 432 * 40))))[0]],
    }
    frames = [frame for some in cases.values() for frame in some]
    found = encoded(encoder_of(tmp_path, eye_entry(tmp_path)), frames)
    assert list(found.statuses) == [reason for reason, some in cases.items() for _ in some]
    assert np.isnan(found.measured["usable_area"]).all()


@pytest.mark.parametrize(
    ("acquire", "reason"),
    [
        ({"min_sharpness": 1e6}, "sharpness"),
        ({"max_centre_distance": 0.05}, "off_centre"),
        ({"min_usable": 0.99}, "mask_too_small"),
        ({"min_usable": 0.99, "min_sharpness": 1e6, "max_off_axis_deg": 10}, "gaze"),
    ],
)
def test_thresholds_of_the_entry_decide(tmp_path: Path, acquire: dict[str, float], reason: str) -> None:
    encoder = encoder_of(tmp_path, eye_entry(tmp_path, acquire=acquire))
    frame = eye(pupil_off=7, off_axis_deg=20, opening=0.8)
    assert list(encoded(encoder, [frame]).statuses) == [reason]


def test_lids_are_masked_only_as_far_off_axis_as_the_entry_says(tmp_path: Path) -> None:
    frames = [eye(opening=0.75), eye(opening=0.75, off_axis_deg=30)]
    careful = encoded(encoder_of(tmp_path, eye_entry(tmp_path)), frames).measured["usable_area"]
    fields = eye_entry(tmp_path, mask={"lids_up_to_deg": 15})
    careless = encoded(encoder_of(tmp_path, fields), frames).measured["usable_area"]
    assert careless[0] == careful[0] < 0.95
    assert careful[1] < 0.95
    assert careless[1] == 1.0


def test_pictures_of_any_size_are_fitted_into_the_model(tmp_path: Path) -> None:
    encoder, frame = encoder_of(tmp_path, eye_entry(tmp_path)), eye()
    larger = np.repeat(np.repeat(frame, 2, axis=0), 2, axis=1)
    padded = np.pad(frame, ((0, 0), (50, 30)), constant_values=150)
    found = encoded(encoder, [frame, larger, padded, np.repeat(frame[:, :, None], 3, axis=2)])
    assert list(found.statuses) == ["ok"] * 4
    assert found.measured["iris_diameter_px"] == pytest.approx([140, 280, 140, 140], abs=3)
    hd = distances(found, entry_of(tmp_path, eye_entry(tmp_path)))
    assert hd[1:].max() < 0.12
    assert hd[3] == 0


def test_batches_and_threads_change_no_template(tmp_path: Path) -> None:
    frames = [eye(seed, pupil=20 + seed) for seed in range(12)] * 6
    one = encoder_of(tmp_path, eye_entry(tmp_path))
    whole = encoded(encoder_of(tmp_path, eye_entry(tmp_path), threads=2), frames)
    for at in (0, 7, 70):
        alone = encoded(one, frames[at : at + 1])
        assert np.array_equal(alone.templates[0], whole.templates[at])
        assert all(values[0] == whole.measured[name][at] for name, values in alone.measured.items())


def test_a_column_of_tilt_is_a_rotation_of_the_code(tmp_path: Path) -> None:
    fields = eye_entry(tmp_path)
    rule = entry_of(tmp_path, fields).comparison
    frames = [draw(strip=np.roll(texture(3), shift, axis=1))[0] for shift in (0, 4)]
    templates = encoded(encoder_of(tmp_path, fields), frames).templates.astype(np.uint64)
    turned = rotate(templates[:1], rule=rule, shift=1)
    straight = np.bitwise_count(turned[0, 0] ^ templates[1, 0]).sum() / rule.bits
    assert straight < 0.06


def test_a_model_of_three_classes_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    fields = eye_entry(tmp_path, levels_model(classes=3))
    with pytest.raises(ModelDoesNotFit, match=r"parts\.onnx: expected \[1, at least 4 classes"):
        encoder_of(tmp_path, fields)


def test_a_model_of_another_input_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelDoesNotFit, match="the entry feeds"):
        encoder_of(tmp_path, eye_entry(tmp_path, segmentation={"height": 120, "width": 160}))


def test_a_model_file_that_was_replaced_is_refused(tmp_path: Path) -> None:
    fields = eye_entry(tmp_path)
    (tmp_path / "parts.onnx").write_bytes(levels_model(classes=5 - 1) + b"\0")
    with pytest.raises(ModelError, match="sha256"):
        encoder_of(tmp_path, fields)


def test_a_model_that_mixes_the_pictures_of_a_batch_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("Mul", ["x", "x"], ["q"]),
        node("ReduceMean", ["q", "axes"], ["m"]),
        node("Sub", ["planes", "m"], ["y"]),
    ]
    tensors = [tensor("axes", np.array([0], np.int64))]
    mixing = [node("Concat", ["x", "x", "x", "x"], ["planes"], more=axis(1)), *nodes]
    shapes = [value_info(name, ["n", channels, HEIGHT, WIDTH]) for name, channels in (("x", 1), ("y", 4))]
    data = model(mixing, tensors=tensors, inputs=shapes[:1], outputs=shapes[1:])
    with pytest.raises(ModelDoesNotFit, match="other parts for the same picture"):
        encoder_of(tmp_path, eye_entry(tmp_path, data))


def axis(value: int) -> bytes:
    """The attribute of that name of an ONNX node."""
    return message(5, message(1, "axis") + number(3, value) + number(20, 2))
