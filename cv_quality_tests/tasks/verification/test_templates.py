"""Frames on their way to a model: decoded a few at a time, whatever their size."""

import io

import numpy as np
import pytest
from PIL import Image

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.tables import FRAME_INDEX
from cv_quality.tasks.verification.templates import read_images
from cv_quality_tests.drops.small_drops import DROP_ID, Site, open_site, tar


@pytest.fixture
def reader(tmp_path_factory: pytest.TempPathFactory) -> FrameReader:
    """Twelve frames, each of 10 x 10 pixels of a grey level of its own."""
    site: Site = open_site(tmp_path_factory.mktemp("site"))
    site.deliver_files({"frames-0.tar": tar(*((f"{number:02}.png", frame(number)) for number in range(12)))})
    site.ingest()
    return FrameReader(site.landing, DROP_ID, site.rows(FRAME_INDEX))


def frame(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10), (level, level, level)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("n_frames", "n_bytes", "expected"),
    [(512, 10**9, [12]), (5, 10**9, [5, 5, 2]), (512, 900, [3] * 4), (512, 1, [1] * 12)],
)
def test_frames_are_decoded_in_chunks_of_number_and_size(
    reader: FrameReader, monkeypatch: pytest.MonkeyPatch, n_frames: int, n_bytes: int, expected: list[int]
) -> None:
    monkeypatch.setattr("cv_quality.tasks.verification.templates.CHUNK_FRAMES", n_frames)
    monkeypatch.setattr("cv_quality.tasks.verification.templates.CHUNK_BYTES", n_bytes)
    names = [f"{number:02}.png" for number in range(12)]
    chunks = list(read_images(reader, names, threads=2))
    assert [len(images) for _, images in chunks] == expected
    assert [name for chunk, _ in chunks for name in chunk] == names
    levels = [image[0, 0, 0] for _, images in chunks for image in images if isinstance(image, np.ndarray)]
    assert levels == list(range(12))
