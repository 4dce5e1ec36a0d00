"""Outputs lie in the pixels of the picture, states are passed on, and what does not fit is refused with a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from cv_quality.errors import ModelDoesNotFit, ModelError
from cv_quality.inference.video.outputs import FrameOutput, VideoModel
from cv_quality_tests.inference.video.own_models import (
    COLUMNS,
    GREEN,
    KEEP,
    RED,
    ROWS,
    exported,
    memory_file,
    redness_file,
    scene,
    square,
)
from cv_quality_tests.inference.video.registries import loaded, of_size

THRESHOLD = [{"threshold": 0.3}]
SHAPE = (1, 3, ROWS, COLUMNS)


def value_of(output: FrameOutput) -> Any:
    assert (output.status, output.value is None) == ("ok", False)
    return output.value


def mask_of(model: VideoModel, *frames: np.ndarray[Any, Any]) -> list[Any]:
    return [value_of(output) for output in model.run(frames)]


def test_a_free_batch_gives_what_single_pictures_give(tmp_path: Path) -> None:
    model = loaded(tmp_path, redness_file(tmp_path), threads=2, postprocessing=THRESHOLD)
    frames = [scene((2 * step, 2, RED), (40, 24, GREEN)) for step in range(20)]
    together = mask_of(model, *frames)
    for step, (frame, mask) in enumerate(zip(frames, together, strict=True)):
        np.testing.assert_array_equal(mask, square(2 * step, 2))
        np.testing.assert_array_equal(mask, mask_of(model, frame)[0])


def test_states_are_passed_on_and_begin_at_zero(tmp_path: Path) -> None:
    states = {"memory": "memory_out"}
    model = loaded(tmp_path, memory_file(tmp_path), postprocessing=[{"threshold": 0.4}], states=states)
    frames = [scene((4 * step, 10, RED)) for step in range(6)]
    redness = [(frame[..., 0].astype(float) - frame[..., 1:].max(axis=2)) / 255 for frame in frames]
    memory, expected = np.zeros((ROWS, COLUMNS)), []
    for values in redness:
        memory = KEEP * memory + (1 - KEEP) * values
        expected.append(memory >= 0.4)
    assert not expected[0].any()
    assert expected[-1].any()
    first = mask_of(model, *frames[:4]) + mask_of(model, *frames[4:])
    np.testing.assert_array_equal(first, expected)
    model.reset()
    np.testing.assert_array_equal(mask_of(model, *frames), expected)


@pytest.mark.parametrize(
    ("steps", "after"),
    [
        ([{"letterbox": [COLUMNS, ROWS]}], "nearest_exact"),
        ([{"letterbox": {"size": [COLUMNS, ROWS], "align": "top_left"}}], "bilinear"),
        ([{"resize": [COLUMNS, ROWS]}], "nearest"),
        ([{"crop": [30, 14, 96, 72]}, {"resize": [COLUMNS, ROWS]}], "nearest_exact"),
        ([{"resize_short": 60}, {"centre_crop": [COLUMNS, ROWS]}], "nearest_exact"),
    ],
)
def test_masks_find_their_way_back_to_the_picture(tmp_path: Path, steps: list[Any], after: str) -> None:
    model = loaded(
        tmp_path,
        redness_file(tmp_path),
        preprocessing=["rgb", *steps],
        postprocessing=[{"resize": after}, *THRESHOLD],
    )
    picture = np.full((100, 150, 3), 90, np.uint8)
    picture[40:72, 60:92] = RED
    [mask] = mask_of(model, picture)
    truth = square(60, 40, rows=100, columns=150, side=32)
    assert mask.shape == truth.shape
    assert (truth & (mask > 0)).sum() / (truth | (mask > 0)).sum() > 0.85
    assert mask[:10].max() == 0


class Depth(nn.Module):
    def forward(self, frame: Tensor) -> Tensor:
        return 2 * frame[:, 0]


class Tokens(nn.Module):
    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        pooled = frame.mean(dim=(2, 3))
        return pooled, pooled[:, None].repeat(1, 5, 1) * 2


class Inverted(nn.Module):
    def forward(self, frame: Tensor) -> Tensor:
        return 1 - frame


class Infinite(nn.Module):
    def forward(self, frame: Tensor) -> Tensor:
        return frame[:, :1] / (frame.mean(dim=(1, 2, 3))[:, None, None, None] - frame[0, 0, 0, 0])


def test_depth_is_in_millimetres_of_the_picture(tmp_path: Path) -> None:
    after = [{"multiply": 1000}]
    model = loaded(tmp_path, exported(tmp_path, Depth, SHAPE), output="depth", postprocessing=after)
    [depth] = mask_of(model, scene((0, 0, RED)))
    assert (depth.dtype, depth.shape) == (np.float32, (ROWS, COLUMNS))
    assert depth[5, 5] == pytest.approx(2000 * 220 / 255)
    inverse = loaded(tmp_path, exported(tmp_path, Depth, SHAPE), output="depth", postprocessing=["reciprocal", *after])
    assert mask_of(inverse, scene((0, 0, RED)))[0][5, 5] == pytest.approx(1000 / (2 * 220 / 255), rel=1e-5)


def test_tokens_become_one_vector_of_unit_length(tmp_path: Path) -> None:
    model = loaded(
        tmp_path,
        exported(tmp_path, Tokens, SHAPE),
        output="embedding",
        output_name="output1",
        postprocessing=["unit_length"],
    )
    [vector] = mask_of(model, np.full((ROWS, COLUMNS, 3), (30, 40, 0), np.uint8))
    np.testing.assert_allclose(vector, [0.6, 0.8, 0], atol=1e-6)


def test_a_picture_comes_back_in_the_size_of_the_one_given(tmp_path: Path) -> None:
    file = exported(tmp_path, Inverted, SHAPE)
    picture = np.full((30, 90, 3), (10, 100, 250), np.uint8)
    model = loaded(tmp_path, file, output="image", preprocessing=["rgb", {"resize": [COLUMNS, ROWS]}])
    np.testing.assert_array_equal(mask_of(model, picture)[0], 255 - picture)
    kept = loaded(
        tmp_path,
        file,
        output="image",
        preprocessing=["rgb", {"resize": [COLUMNS, ROWS]}],
        postprocessing=[{"resize": "none"}],
    )
    assert mask_of(kept, picture)[0].shape == (ROWS, COLUMNS, 3)


def test_numbers_that_are_not_finite_give_no_output(tmp_path: Path) -> None:
    model = loaded(tmp_path, exported(tmp_path, Infinite, SHAPE), postprocessing=THRESHOLD)
    whole, flat = scene((10, 10, RED)), np.zeros((ROWS, COLUMNS, 3), np.uint8)
    assert [output.status for output in model.run([whole, flat])] == ["ok", "non_finite"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_name": "outptu"}, r"output_name: no output 'outptu'; did you mean output"),
        ({"states": {"memory": "output"}}, r"states: no input 'memory'"),
        ({"layout": "nhwc", "postprocessing": THRESHOLD}, r"preprocessing gives pictures \[48, 64, 3\] in layout nhwc"),
        (
            {"preprocessing": of_size(50), "postprocessing": THRESHOLD},
            r"gives pictures \[3, 50, 50\].*takes \[3, 48, 64\]",
        ),
        ({"postprocessing": []}, r"expected one whole-number label a pixel, found 1 channels of float32; add 'argmax'"),
        (
            {"preprocessing": [{"crop": [60, 0, 64, 48]}]},
            r"a crop of 64 x 48 pixels at 60, 0 leaves a frame of 64 x 48",
        ),
    ],
)
def test_a_model_that_does_not_fit_its_entry_says_why(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        loaded(tmp_path, redness_file(tmp_path), **changes).run([scene()])


def test_an_input_beside_the_picture_must_be_a_state(tmp_path: Path) -> None:
    with pytest.raises(
        ModelDoesNotFit, match=r"expected one input of pictures beside the states, found 'frame', 'memory'"
    ):
        loaded(tmp_path, memory_file(tmp_path), postprocessing=THRESHOLD)


def test_an_altered_model_is_not_loaded(tmp_path: Path) -> None:
    file = redness_file(tmp_path)
    with pytest.raises(ModelError, match=r"model\.pt2: expected sha256 0{64}, found"):
        loaded(tmp_path, file, sha256="0" * 64)
