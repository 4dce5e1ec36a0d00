"""Every frame of a drop has a row: the model's output, what the device recorded, or why there is none."""

import io
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from cv_quality.errors import ModelError
from cv_quality.inference.video import picture_input, proving
from cv_quality.inference.video.entry import RecordedVideoEntry
from cv_quality.inference.video.outputs import FrameOutput, VideoModel
from cv_quality.inference.video.postprocessing import Output
from cv_quality.lake.lake import TableKey
from cv_quality.tasks.video import predictions
from cv_quality.tasks.video.clip_walk import StreamPicture
from cv_quality.tasks.video.predictions import decoded_labels, predict_drop, predict_stream, read_ahead, take_results
from cv_quality.tasks.video.stream_inputs import Outputs
from cv_quality.tasks.video.tables import PREDICTIONS
from cv_quality_tests.drops.clip_files import write_clip
from cv_quality_tests.inference.video.own_models import (
    COLUMNS,
    RED,
    ROWS,
    exported,
    memory_file,
    redness_file,
    scene,
    square,
)
from cv_quality_tests.inference.video.registries import BUILD, digest, loaded
from cv_quality_tests.inference.video.test_models import Depth
from cv_quality_tests.tasks.video.video_drops import VIDEO_DROP, VideoSite, png, video_site

CORNER = square(0, 0, rows=120, columns=160)
"""Where pictures of `clip_files` are red."""
STEPS = ["rgb", {"resize": [COLUMNS, ROWS]}]


@pytest.fixture
def site(tmp_path: Path) -> VideoSite:
    return video_site(tmp_path)


def redness(folder: Path, **changes: Any) -> VideoModel:
    return loaded(
        folder, redness_file(folder), **{"preprocessing": STEPS, "postprocessing": [{"threshold": 0.3}], **changes}
    )


def rows_of(site: VideoSite) -> list[dict[str, Any]]:
    rows = site.lake.read(PREDICTIONS, TableKey(build=BUILD, drop=VIDEO_DROP)).sort("stream_id", "frame_number")
    return list(rows.iter_rows(named=True))


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


def recorded(output: Output) -> RecordedVideoEntry:
    return RecordedVideoEntry(BUILD, "video", "video", None, output)


def test_a_clip_becomes_masks_of_its_size(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("clip-1", write_clip(tmp_path / "a.mp4", range(20)))
    summary = predict_drop(site.lake, pictures=site.pictures, model=redness(tmp_path), drop=VIDEO_DROP)
    rows = rows_of(site)
    assert (summary.streams, summary.frames, summary.by_status) == (1, 20, {"ok": 20})
    assert [row["frame_number"] for row in rows] == list(range(20))
    for row in rows:
        mask = pixels(row["picture"])
        assert (row["output"], row["embedding"], row["points_px"]) == ("mask", None, None)
        assert row["model_sha256"] == digest(tmp_path / "model.pt2")
        assert (CORNER & (mask == 1)).sum() / (CORNER | (mask > 0)).sum() > 0.8


def test_a_stream_is_read_without_most_of_the_others(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        for name in "abcdefgh":
            drop.clip(name, write_clip(tmp_path / f"{name}.mp4", range(80)))
    model = redness(tmp_path)
    predict_drop(site.lake, pictures=site.pictures, model=model, drop=VIDEO_DROP)
    path = site.lake.path(PREDICTIONS, TableKey(build=BUILD, drop=VIDEO_DROP))
    with parquet.ParquetFile(path) as file:
        groups = [file.read_row_group(place)["stream_id"].unique().to_pylist() for place in range(file.num_row_groups)]
    assert groups == [list("abcd"), list("efgh")]
    rows = list(Outputs(path).of("f"))
    assert [row.frame_number for row in rows] == list(range(80))
    for row, output in zip(rows, predict_stream(site.pictures.frames("f"), model), strict=True):
        assert row.picture is not None
        np.testing.assert_array_equal(decoded_labels(row.picture), output.value)


def test_frames_without_a_picture_say_why(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("clip-1", None)
        names = ["000.png", None, None, "003.png"]
        for name in ("000.png", "003.png"):
            drop.writer.add_frame(name, png(scene((8, 8, RED))))
        drop.frames("clip-1", range(4), frame=names)
    predict_drop(site.lake, pictures=site.pictures, model=redness(tmp_path), drop=VIDEO_DROP)
    rows = rows_of(site)
    assert [row["status"] for row in rows] == ["ok", "missing_frame", "missing_frame", "ok"]
    assert [row["picture"] is None for row in rows] == [False, True, True, False]
    np.testing.assert_array_equal(pixels(rows[3]["picture"]), square(8, 8))


def test_a_drop_without_pictures_is_no_drop_for_a_model(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("clip-1", None)
        drop.frames("clip-1", range(3))
    with pytest.raises(ModelError, match=r"has no pictures to run the model of seg-1 on.*'recorded: true'"):
        predict_drop(site.lake, pictures=site.pictures, model=redness(tmp_path), drop=VIDEO_DROP)
    assert not site.lake.has(PREDICTIONS, TableKey(build=BUILD, drop=VIDEO_DROP))


def test_depth_is_kept_in_16_bits_of_millimetres(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("clip-1", None)
        drop.writer.add_frame("0.png", png(scene((8, 8, RED))))
        drop.frames("clip-1", [0], frame=["0.png"])
    file = exported(tmp_path, Depth, (1, 3, ROWS, COLUMNS))
    model = loaded(tmp_path, file, output="depth", postprocessing=[{"multiply": 40_000}])
    predict_drop(site.lake, pictures=site.pictures, model=model, drop=VIDEO_DROP)
    [row] = rows_of(site)
    depth = pixels(row["picture"])
    assert (depth[10, 10], depth[40, 40]) == (65_535, round(80_000 * 90 / 255))


def test_vectors_of_frames_are_kept_as_they_are(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("clip-1", write_clip(tmp_path / "a.mp4", range(2)))
    model = redness(tmp_path, output="embedding", postprocessing=[])
    predict_drop(site.lake, pictures=site.pictures, model=model, drop=VIDEO_DROP)
    found = [row["embedding"] for row in rows_of(site)]
    frames = [frame.image for frame in site.pictures.frames("clip-1")]
    expected = [
        output.value.tolist() for output in model.run([f for f in frames if f is not None]) if output.value is not None
    ]
    assert found == expected


def frames_of(numbers: range) -> Iterator[StreamPicture]:
    for number in numbers:
        image = scene((2 * number, 10, RED)) if number % 5 != 3 else None
        yield StreamPicture(number, number, "ok" if image is not None else "corrupt_frame", number / 30, image)


def picture_bytes() -> int:
    return scene().nbytes


def test_waiting_for_room_does_not_break_the_states_of_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"states": {"memory": "memory_out"}, "postprocessing": [{"threshold": 0.4}]}
    model = loaded(tmp_path, memory_file(tmp_path), **changes)
    whole = list(predict_stream(frames_of(range(20)), model))
    monkeypatch.setattr(predictions, "AHEAD_BYTES", 1)
    cut = list(predict_stream(frames_of(range(20)), model))
    assert [item.frame_number for item in whole] == list(range(20))
    assert [item.status for item in whole[:5]] == ["ok", "ok", "ok", "damaged_frame", "ok"]
    for one, other in zip(whole, cut, strict=True):
        assert (one.frame_number, one.status) == (other.frame_number, other.status)
        assert (one.value is None) == (other.value is None)
        if one.value is not None:
            np.testing.assert_array_equal(one.value, other.value)


def test_a_stream_is_held_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "AHEAD_BYTES", 4 * picture_bytes())
    monkeypatch.setattr(picture_input, "BATCH_BYTES", 4 * picture_bytes())
    monkeypatch.setattr(proving, "BATCH_BYTES", 16 * picture_bytes())
    model = redness(tmp_path, preprocessing=["rgb"])
    begun = 0

    def frames() -> Iterator[StreamPicture]:
        nonlocal begun
        for frame in frames_of(range(400)):
            begun = frame.frame_number + 1
            yield frame

    for item in predict_stream(frames(), model):
        # Two batches of each stage, one that is taken from, and what waits; a fifth of the frames have no picture.
        assert begun <= item.frame_number + (5 * 16 + 4 + 2) * 5 / 4


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_reading_ahead_ends_with_its_reader_and_passes_errors_on() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ModelError("no more")

    ahead = read_ahead(broken())
    assert next(ahead) == 1
    with pytest.raises(ModelError, match="no more"):
        next(ahead)
    endless = read_ahead(iter(range(10**9)))
    assert [next(endless), next(endless)] == [0, 1]
    endless.close()
    assert not threads_of("read-ahead")


def test_what_waits_to_be_used_is_bounded_in_bytes() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for size in (3000, 3000, 3000, 9000, 3000):
            begun.append(size)
            yield size

    ahead = read_ahead(items(), most_bytes=4000, size=int)
    assert next(ahead) == 3000
    deadline = time.monotonic() + 5
    while len(begun) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert begun == [3000, 3000, 3000, 9000]
    assert list(ahead) == [3000, 3000, 9000, 3000]


def test_a_picture_that_does_not_fit_ends_a_stream_and_its_threads(tmp_path: Path) -> None:
    model = redness(tmp_path, preprocessing=["rgb", {"crop": [0, 0, COLUMNS, ROWS]}])

    def frames() -> Iterator[StreamPicture]:
        for number in range(10**6):
            yield StreamPicture(number, number, "ok", number / 30, scene()[: ROWS - (number == 40)])

    made = predict_stream(frames(), model)
    with pytest.raises(ModelError, match=r"a crop of 64 x 48 pixels.*leaves a frame"):
        for _ in made:
            pass
    assert not threads_of("read-ahead")


def test_an_interrupt_leaves_no_thread_and_no_table(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("clip-1", write_clip(tmp_path / "a.mp4", range(60)))
    model = redness(tmp_path)
    begun = 0

    class Interrupted:
        entry = model.entry
        reset = staticmethod(model.reset)
        run = staticmethod(model.run)

        @staticmethod
        def outputs(frames: Iterable[Any]) -> Generator[FrameOutput, None, None]:
            nonlocal begun
            with closing(model.outputs(frames)) as outputs:
                for begun, output in enumerate(outputs):
                    if begun == 20:
                        raise KeyboardInterrupt
                    yield output

    with pytest.raises(KeyboardInterrupt):
        predict_drop(site.lake, pictures=site.pictures, model=Interrupted(), drop=VIDEO_DROP)
    assert begun == 20
    assert not threads_of("read-ahead")
    assert not site.lake.has(PREDICTIONS, TableKey(build=BUILD, drop=VIDEO_DROP))
    assert predict_drop(site.lake, pictures=site.pictures, model=model, drop=VIDEO_DROP).by_status == {"ok": 60}


def test_outputs_that_cannot_be_written_stop_the_model(
    site: VideoSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "GROUP_FRAMES", 4)
    with site.drop() as drop:
        drop.clip("clip-1", write_clip(tmp_path / "a.mp4", range(60)))
    model = redness(tmp_path)
    ran = 0

    class Talking:
        entry = model.entry
        reset = staticmethod(model.reset)
        run = staticmethod(model.run)

        @staticmethod
        def outputs(frames: Iterable[Any]) -> Generator[FrameOutput, None, None]:
            nonlocal ran
            for _ in frames:
                ran += 1
                yield FrameOutput("ok", np.array(["no picture"]))

    with pytest.raises(TypeError, match="rint"):
        predict_drop(site.lake, pictures=site.pictures, model=Talking(), drop=VIDEO_DROP)
    assert ran <= 8
    assert not threads_of("read-ahead")


def test_results_of_devices_are_taken_as_recorded(site: VideoSite, tmp_path: Path) -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[30:60, 40:90] = 5
    with site.drop() as drop:
        drop.clip("clip-1", write_clip(tmp_path / "a.mp4", range(4)))
        drop.frames("clip-1", range(4), is_dropped=[False, True, False, False])
        drop.label(5, "car")
        drop.picture("results", "clip-1", 0, mask)
        drop.picture("results", "clip-1", 3, png(np.zeros((120, 160, 3), np.uint8) + np.array([1, 2, 3], np.uint8)))
    site.read()
    summary = take_results(site.lake, pictures=site.pictures, entry=recorded("mask"), drop=VIDEO_DROP)
    rows = rows_of(site)
    assert [row["status"] for row in rows] == ["as_recorded", "dropped_frame", "missing_frame", "damaged_frame"]
    assert summary.by_status == {"as_recorded": 1, "damaged_frame": 1, "dropped_frame": 1, "missing_frame": 1}
    np.testing.assert_array_equal(pixels(rows[0]["picture"]), mask)
    assert {row["model_sha256"] for row in rows} == {None}


def test_boxes_and_landmarks_of_devices_stay_events(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("clip-1", write_clip(tmp_path / "a.mp4", range(3)))
        drop.frames("clip-1", range(3), is_dropped=[False, False, True])
        drop.event("landmarks", "clip-1", 0, source="device", points_px=[1.0, 2.0])
    site.read()
    take_results(site.lake, pictures=site.pictures, entry=recorded("landmarks"), drop=VIDEO_DROP)
    rows = rows_of(site)
    assert [row["status"] for row in rows] == ["as_recorded", "as_recorded", "dropped_frame"]
    assert {(row["picture"], row["points_px"], row["output"]) for row in rows} == {(None, None, "landmarks")}
