"""Every step against plain scalar arithmetic or Pillow, and batches of mixed sizes against one frame at a time."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cv_quality.drops.images import MAX_SIDE_PX
from cv_quality.errors import ModelError
from cv_quality.inference.framing import Resize, resampling_bands
from cv_quality.inference.preprocessing import WORK_BYTES, Gray, Rgb, Scale, Step, ToneCurve, prepare


def frame(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def prepared(
    *frames: NDArray[np.uint8], steps: list[Step], lux: list[float | None] | None = None
) -> NDArray[np.float32]:
    return prepare(frames, steps=steps, illuminance_lux=lux or [None] * len(frames))


def test_without_steps_a_frame_is_divided_by_255_channels_first() -> None:
    colour = frame(3, 2, 3)
    result = prepared(colour, steps=[])
    assert result.dtype == np.float32
    for row, column, channel in np.ndindex(3, 2, 3):
        assert result[0, channel, row, column] == pytest.approx(colour[row, column, channel] / 255)


def test_gray_is_the_luma_of_bt601() -> None:
    colour = frame(4, 5, 3)
    luma = np.asarray(Image.fromarray(colour).convert("L"), dtype=np.float64)
    np.testing.assert_allclose(prepared(colour, steps=[Gray()])[0, 0] * 255, luma, atol=0.51)


def test_gray_leaves_a_grey_frame_and_rgb_repeats_it() -> None:
    grey = frame(4, 5)
    assert prepared(grey, steps=[Gray()]).shape == (1, 1, 4, 5)
    repeated = prepared(grey, steps=[Rgb()])
    assert repeated.shape == (1, 3, 4, 5)
    np.testing.assert_array_equal(repeated[0, 0], repeated[0, 2])


@pytest.mark.parametrize("size", [(64, 64), (7, 40), (200, 31), (92, 112)])
def test_resize_is_pillows_antialiased_bilinear(size: tuple[int, int]) -> None:
    grey = frame(112, 92)
    reference = Image.fromarray(grey.astype(np.float32) / 255, mode="F").resize(size, Image.Resampling.BILINEAR)
    result = prepared(grey, steps=[Resize(width_px=size[0], height_px=size[1])])
    np.testing.assert_allclose(result[0, 0], np.asarray(reference), atol=2e-6)


def test_the_tone_curve_touches_only_frames_known_to_be_dark() -> None:
    grey = frame(6, 6)
    curve = ToneCurve(below_lux=10, gamma=0.5)
    result = prepared(grey, grey, grey, grey, steps=[curve], lux=[9.99, 10.0, None, float("nan")])
    np.testing.assert_allclose(result[0, 0], np.sqrt(grey / 255.0), rtol=1e-6)
    for untouched in result[1:, 0]:
        np.testing.assert_allclose(untouched, grey / 255.0, rtol=1e-6)


def test_scale_works_for_all_channels_and_for_each() -> None:
    colour = frame(2, 2, 3)
    one = prepared(colour, steps=[Scale(mean=(0.5,), std=(0.25,))])
    each = prepared(colour, steps=[Scale(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))])
    for row, column, channel in np.ndindex(2, 2, 3):
        value = colour[row, column, channel] / 255
        assert one[0, channel, row, column] == pytest.approx((value - 0.5) / 0.25, abs=1e-6)
        expected = (value - (0.1, 0.2, 0.3)[channel]) / (1.0, 2.0, 4.0)[channel]
        assert each[0, channel, row, column] == pytest.approx(expected, abs=1e-6)


def test_a_scale_for_three_channels_does_not_fit_a_grey_frame() -> None:
    with pytest.raises(ModelError, match=r"scale\.mean has 3 numbers, the frames have 1"):
        prepared(frame(2, 2), steps=[Scale(mean=(0.0, 0.0, 0.0), std=(1.0,))])


def test_the_order_of_steps_matters_and_is_kept() -> None:
    grey = frame(8, 8)
    curve, small = ToneCurve(below_lux=10, gamma=0.5), Resize(width_px=4, height_px=4)
    first = prepared(grey, steps=[curve, small], lux=[1.0])
    second = prepared(grey, steps=[small, curve], lux=[1.0])
    assert not np.allclose(first, second)


def test_mixed_sizes_give_what_each_frame_gives_alone_in_order() -> None:
    frames = [frame(8, 6, seed=1), frame(5, 9, 3, seed=2), frame(8, 6, seed=3), frame(20, 20, seed=4)]
    lux = [1.0, 2.0, None, 50.0]
    steps: list[Step] = [
        Gray(),
        ToneCurve(below_lux=10, gamma=0.5),
        Resize(width_px=7, height_px=7),
        Scale((0.5,), (0.2,)),
    ]
    together = prepare(frames, steps=steps, illuminance_lux=lux)
    for index, single in enumerate(frames):
        alone = prepare([single], steps=steps, illuminance_lux=[lux[index]])
        np.testing.assert_allclose(together[index], alone[0], atol=1e-6)


def test_steps_that_leave_different_shapes_are_an_error() -> None:
    with pytest.raises(ModelError, match="different shapes"):
        prepared(frame(4, 4), frame(5, 4), steps=[Gray()])


def test_the_callers_frames_are_never_written_to() -> None:
    grey = frame(4, 4)
    before = grey.copy()
    prepared(grey, steps=[ToneCurve(below_lux=10, gamma=0.5), Scale((0.5,), (0.5,))], lux=[1.0])
    np.testing.assert_array_equal(grey, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_frame_is_resized_in_bands_to_the_same_pixels(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = list(np.random.default_rng(5).integers(0, 256, (3, 211, 301, channels), dtype=np.uint8).squeeze())
    steps: list[Step] = [
        Gray(),
        ToneCurve(below_lux=5, gamma=0.6),
        Resize(width_px=40, height_px=24),
        Scale((0.5,), (0.2,)),
    ]
    whole = prepare(frames, steps=steps, illuminance_lux=[1, None, 9])
    for work_bytes in (1, 4 * frames[0].size // 3, 4 * frames[0].size, 10 * frames[0].size):
        monkeypatch.setattr("cv_quality.inference.preprocessing.WORK_BYTES", work_bytes)
        np.testing.assert_allclose(prepare(frames, steps=steps, illuminance_lux=[1, None, 9]), whole, atol=1e-5)


def test_the_largest_frame_takes_little_more_than_itself() -> None:
    frame = np.zeros((2048, 16384, 3), dtype=np.uint8)
    tracemalloc.start()
    batch = prepare([frame], steps=[Gray(), Resize(width_px=64, height_px=64)], illuminance_lux=[None])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch.shape == (1, 1, 64, 64)
    assert peak < 3 * WORK_BYTES


def test_weights_of_the_longest_side_are_made_a_band_at_a_time() -> None:
    tracemalloc.start()
    resampling_bands(MAX_SIDE_PX, 4096)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
