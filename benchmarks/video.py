"""Rates of the stages of video against the bare engines: decoding, the model over a clip, masks, and what is measured.

    python -m benchmarks.video

Clips and masks are drawn and encoded here. Each ratio is of two sides that run in turn, the median of several rounds; a
decoder is a process of its own, so decoding is in wall time and the others in processor time. The model is in both:
while it runs pictures are prepared on another processor, if one is free.
"""

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from cv_quality.drops.clips import ClipFrame, ClipReader
from cv_quality.inference.registry import ModelRegistry
from cv_quality.inference.video.entry import VideoEntry
from cv_quality.inference.video.models import load_video_model
from cv_quality.metrics.video.flow import dis_flow, farneback_flow
from cv_quality.metrics.video.masks import MaskClass, score_masks
from cv_quality.simulation.video.filming import encode_clip
from cv_quality.tasks.video.clip_walk import OK, StreamPicture
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.picture_measures import PictureMeter
from cv_quality.tasks.video.predictions import predict_stream

ROUNDS = 5
FRAMES = 150
WIDTH, HEIGHT = 320, 240
Pixels = NDArray[np.uint8]


def pictures(frames: int, *, width: int, height: int) -> list[Pixels]:
    """Draw a textured wall with a bright disk that crosses it."""
    rng = np.random.default_rng(0)
    wall = np.repeat(np.repeat(rng.integers(40, 160, (height // 8, width // 8, 3), np.uint8), 8, 0), 8, 1)
    found = []
    for number in range(frames):
        picture = wall.copy()
        picture[disk(number, width=width, height=height)] = (230, 120, 60)
        found.append(picture)
    return found


def disk(number: int, *, width: int, height: int) -> NDArray[np.bool_]:
    """The pixels of the disk in one frame."""
    y, x = np.ogrid[:height, :width]
    found: NDArray[np.bool_] = (x - number * 3 % width) ** 2 + (y - height // 2) ** 2 < (height // 5) ** 2
    return found


def median_seconds(*sides: Callable[[], object], clock: Callable[[], float]) -> list[float]:
    """Time sides in turn; the median of each."""
    spent: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, seconds in zip(sides, spent, strict=True):
            started = clock()
            side()
            seconds.append(clock() - started)
    return [statistics.median(seconds) for seconds in spent]


def decode_bare(path: Path) -> None:
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")


def read_clip(path: Path) -> Iterator[StreamPicture]:
    """The frames of a clip as stages get them."""
    with ClipReader(path) as reader:
        for frame in reader:
            assert isinstance(frame, ClipFrame)
            yield StreamPicture(frame.index, frame.index, OK, None, frame.image, frame.change)


@contextmanager
def embedding_model(folder: Path) -> Iterator[tuple[VideoEntry, ModelRegistry, Callable[[], object]]]:
    """A registry with an untrained network of 224 x 224 pixels, and the bare network on a tensor of all frames."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in ((3, 24), (24, 48), (48, 96), (96, 192)):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    batch = torch.export.Dim("n", min=1, max=4096)
    program = torch.export.export(net, (torch.zeros(2, 3, 224, 224),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "net.pt2")
    entry = {
        "build_id": "net",
        "modality": "video",
        "follows": None,
        "format": "torch_export",
        "file": "net.pt2",
        "sha256": hashlib.sha256((folder / "net.pt2").read_bytes()).hexdigest(),
        "output": "embedding",
        "preprocessing": ["rgb", {"resize": [224, 224]}],
    }
    (folder / "net.yaml").write_text(yaml.safe_dump(entry))
    registry = ModelRegistry(str(folder), modalities={"video": VIDEO_MODALITY})
    found, module, frames = registry.entry("net"), program.module(), torch.rand(16, 3, 224, 224)
    assert isinstance(found, VideoEntry)

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, FRAMES, len(frames)):
                module(frames[: min(len(frames), FRAMES - start)])

    yield found, registry, bare


def main() -> None:
    """Print every rate and ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn, path = pictures(FRAMES, width=WIDTH, height=HEIGHT), folder / "clip.mp4"
        path.write_bytes(encode_clip(drawn, range(FRAMES)))
        bare, ours = median_seconds(lambda: decode_bare(path), lambda: list(read_clip(path)), clock=time.perf_counter)
        rate = f"{FRAMES / ours:,.0f} frames/s, {bare / ours:.2f} of PyAV bare"
        print(f"decode {WIDTH}x{HEIGHT}, its start included: {rate}")
        with embedding_model(folder) as (entry, registry, run_bare):
            model = load_video_model(entry, registry=registry, threads=1)

            def chain() -> None:
                model.reset()
                assert all(made.status == "ok" for made in predict_stream(read_clip(path), model, stream="s"))

            bare, ours = median_seconds(run_bare, chain, clock=time.perf_counter)
            rate = f"{FRAMES / ours:,.0f} frames/s, {bare / ours:.2f} of the bare model on tensors"
            bare, ours = (1000 * spent / FRAMES for spent in median_seconds(run_bare, chain, clock=time.process_time))
            print(f"model over a clip: {rate}; {ours:.2f} ms of processor time a picture, {bare:.2f} bare")
        meter = PictureMeter()
        (measured,) = median_seconds(
            lambda: [meter.measure(picture, number, None) for number, picture in enumerate(drawn)],
            clock=time.process_time,
        )
        print(f"light and motion of a picture: {FRAMES / measured:,.0f} frames/s")
    masks()
    flows()


def masks() -> None:
    """J and F of 480p masks."""
    shapes = [disk(number, width=854, height=480).astype(np.uint8) for number in range(40)]
    pairs = list(pairwise(shapes))
    (spent,) = median_seconds(
        lambda: score_masks(pairs, [MaskClass("disk", (1,))]).boundary_f(), clock=time.process_time
    )
    print(f"J and F of 480p masks: {len(pairs) / spent:,.0f} frames/s")


def flows() -> None:
    """Flow of one pair, as conditions and temporal consistency take it."""
    one, other = (picture[..., 1].copy() for picture in pictures(2, width=WIDTH, height=HEIGHT))
    slow, fast = median_seconds(
        lambda: farneback_flow(other, one), lambda: dis_flow(other, one), clock=time.process_time
    )
    print(f"flow {WIDTH}x{HEIGHT}: Farneback {1000 * slow:.1f} ms, DIS {1000 * fast:.1f} ms")


if __name__ == "__main__":
    main()
