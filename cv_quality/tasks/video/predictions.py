"""What a build makes of every frame of a drop: the output of its model, or what its devices recorded.

Pictures come from `cv_quality.tasks.video.pictures`, models from `cv_quality.inference.video.models`; outputs are
scored in `cv_quality.tasks.video.frame_scores`. A frame without an output has its row, with the reason as status.
"""

import io
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.tables import CLIPS, VALIDATED_STREAMS
from cv_quality.drops.tablewriter import TableWriter
from cv_quality.errors import FrameError, ModelError
from cv_quality.freshness import StageContext
from cv_quality.inference.video.entry import RecordedVideoEntry, VideoEntry
from cv_quality.inference.video.models import FrameOutput, VideoModel, load_video_model
from cv_quality.lake.lake import TableKey
from cv_quality.tasks.video.pictures import NO_PICTURE, Content, DropPictures, StreamPicture
from cv_quality.tasks.video.tables import CLIP_FRAMES, PREDICTIONS
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

OK, AS_RECORDED = "ok", "as_recorded"
CHUNK_BYTES, CHUNK_FRAMES = 24 << 20, 64
"""Decoded pictures that are run together; one may be larger. Three such chunks are in memory at a time."""
_PNG_LEVEL: Final = 1
"""Of compression: level 6 takes three times as long for a tenth less."""
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A frame with what was made of it; see `PREDICTIONS`."""

    frame_number: int
    status: str
    value: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """What a build made of a drop: streams, frames, and frames by status."""

    build: str
    drop: str
    streams: int
    frames: int
    by_status: dict[str, int]


def predict(context: StageContext) -> PredictionSummary:
    """Write the output of a build for every frame of a drop to `predictions`.

    Raises:
        ModelError: the model cannot be loaded or does not fit the pictures, or the drop has none.
        DropError: pictures are no longer those that were indexed.
    """
    entry = context.entry
    pictures = DropPictures(context.workspace.landing, context.lake, context.drop)
    if isinstance(entry, RecordedVideoEntry):
        recorded = _recorded_streams(context, pictures, entry=entry)
        return _write(context, recorded, output=entry.output, model_sha256=None, threads=context.threads)
    model = loaded_video_model(context.workspace, cast(VideoEntry, entry))
    predicted = _predicted_streams(context, pictures, model=model)
    return _write(
        context, predicted, output=model.entry.output, model_sha256=model.entry.model_sha256, threads=context.threads
    )


def loaded_video_model(workspace: Workspace, entry: VideoEntry) -> VideoModel:
    """Load a build's model, once per process."""
    if entry.build_id not in workspace.models:
        workspace.models[entry.build_id] = load_video_model(
            entry, registry=workspace.registry, threads=workspace.settings.threads
        )
    return cast(VideoModel, workspace.models[entry.build_id])


def predict_stream(
    frames: Iterable[StreamPicture], model: VideoModel, *, stream: str = "", scene: str | None = None
) -> Iterator[Prediction]:
    """Run a model over a stream from its beginning, while the next pictures are decoded.

    Args:
        frames: of the stream, by rising number.
        model: begins the stream anew.
        stream, scene: by which prompts are found.

    Raises:
        ModelError: the pictures do not fit the model.
    """
    model.reset(stream=stream, scene=scene)
    with closing(read_ahead(_chunks(frames))) as chunks:
        for chunk in chunks:
            outputs = iter(model.run([frame.image for frame in chunk if frame.image is not None]))
            for frame in chunk:
                yield _prediction(frame.frame_number, frame.failure, outputs)


def _prediction(number: int, failure: str | None, outputs: Iterator[FrameOutput]) -> Prediction:
    if failure is not None:
        return Prediction(number, failure)
    output = next(outputs)
    return Prediction(number, output.status, output.value)


def _chunks(frames: Iterable[StreamPicture]) -> Iterator[list[StreamPicture]]:
    """Cut a stream into what may be in memory together."""
    chunk: list[StreamPicture] = []
    size = 0
    for frame in frames:
        more = 0 if frame.image is None else frame.image.nbytes
        if chunk and (len(chunk) == CHUNK_FRAMES or size + more > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(frame)
        size += more
    if chunk:
        yield chunk


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Make the next item in a thread while the one before is used; what is raised there is raised here.

    To be closed when it is left before its end, so that the thread ends.
    """
    made: Queue[tuple[Item | None, BaseException | None]] = Queue(maxsize=1)
    is_wanted = True

    def make() -> None:
        try:
            for item in items:
                made.put((item, None))
                if not is_wanted:
                    return
        except BaseException as error:  # raised where the items are used
            made.put((None, error))
        else:
            made.put((None, None))

    thread = Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        is_wanted = False
        while thread.is_alive():
            _drain(made)
            thread.join(timeout=0.01)


def _drain(queue: Queue[Any]) -> None:
    while not queue.empty():
        queue.get_nowait()


def _predicted_streams(
    context: StageContext, pictures: DropPictures, *, model: VideoModel
) -> Iterator[tuple[str, Iterator[Prediction]]]:
    clips = context.lake.read(CLIPS, TableKey(drop=context.drop), columns=["stream_id", "scene"])
    scenes: dict[str, str | None] = dict(clips.iter_rows())
    statuses: set[str] = set()

    def noted(frames: Iterable[StreamPicture]) -> Iterator[StreamPicture]:
        for frame in frames:
            statuses.add(frame.status)
            yield frame

    for stream in pictures.streams:
        frames = noted(pictures.frames(stream))
        yield stream, predict_stream(frames, model, stream=stream, scene=scenes.get(stream))
    if statuses == {NO_PICTURE}:
        raise ModelError(
            f"drop {context.drop} has no pictures to run the model of {context.build} on; deliver clips or frames, or, "
            f"to evaluate what its devices recorded, let {context.build}.yaml have 'recorded: true' in place of a model"
        )


def _recorded_streams(
    context: StageContext, pictures: DropPictures, *, entry: RecordedVideoEntry
) -> Iterator[tuple[str, Iterator[Prediction]]]:
    """What devices recorded of each frame; boxes and landmarks stay where they are, as events."""
    key = TableKey(drop=context.drop)
    frames = context.lake.read(CLIP_FRAMES, key, columns=["stream_id", "frame_number"])
    logged = context.lake.read(VALIDATED_STREAMS, key, columns=["stream_id", "frame_number", "is_dropped"])
    dropped = set(logged.filter("is_dropped").select("stream_id", "frame_number").iter_rows())
    read = {"mask": pictures.labels, "depth": pictures.depth, "image": pictures.image}.get(entry.output)
    for (stream,), rows in frames.sort("stream_id", "frame_number").group_by("stream_id", maintain_order=True):
        yield str(stream), _recorded_stream(str(stream), rows["frame_number"], pictures, dropped=dropped, read=read)


def _recorded_stream(
    stream: str,
    numbers: Iterable[int],
    pictures: DropPictures,
    *,
    dropped: Set[tuple[str, int]],
    read: "Callable[[Content, str, int], NDArray[Any] | None] | None",
) -> Iterator[Prediction]:
    """What a device recorded of the frames of a stream.

    Args:
        stream, numbers: which frames.
        pictures: tell which of them have a result.
        dropped: frames that the device skipped, by stream and number.
        read: a result; None for outputs that are no pictures.
    """
    has = frozenset(pictures.numbers("results", stream)) if read else frozenset()
    for number in numbers:
        if read and number in has:
            try:
                yield Prediction(number, AS_RECORDED, read("results", stream, number))
            except FrameError:
                yield Prediction(number, "damaged_frame")
        elif (stream, number) in dropped:
            yield Prediction(number, "dropped_frame")
        else:
            yield Prediction(number, "missing_frame" if has else AS_RECORDED)


def _write(
    context: StageContext,
    streams: Iterator[tuple[str, Iterator[Prediction]]],
    *,
    output: str,
    model_sha256: str | None,
    threads: int,
) -> PredictionSummary:
    """Write the predictions of a drop in the order in which they come, a few hundred in memory at a time."""
    by_status: Counter[str] = Counter()
    key = TableKey(build=context.build, drop=context.drop)
    constants = {"build_id": context.build, "drop_id": context.drop, "output": output, "model_sha256": model_sha256}
    n_streams = 0
    with context.lake.writing(PREDICTIONS, key) as path, ThreadPoolExecutor(threads) as pool:
        writer = TableWriter(PREDICTIONS, path)
        try:
            for stream, predictions in streams:
                n_streams += 1
                for some in _groups(predictions):
                    by_status.update(item.status for item in some)
                    writer.add(_rows(some, stream=stream, output=output, constants=constants, pool=pool))
        finally:
            writer.close()
    return PredictionSummary(context.build, context.drop, n_streams, by_status.total(), dict(sorted(by_status.items())))


def _groups(predictions: Iterator[Prediction]) -> Iterator[list[Prediction]]:
    group: list[Prediction] = []
    for item in predictions:
        group.append(item)
        if (
            len(group) == CHUNK_FRAMES
            or sum(0 if one.value is None else one.value.nbytes for one in group) > CHUNK_BYTES
        ):
            yield group
            group = []
    if group:
        yield group


def _rows(
    predictions: Sequence[Prediction],
    *,
    stream: str,
    output: str,
    constants: dict[str, str | None],
    pool: ThreadPoolExecutor,
) -> "pa.Table":
    import pyarrow as pa

    values = [item.value for item in predictions]
    is_picture, is_points = output in ("mask", "depth", "image"), output == "landmarks"
    columns: dict[str, list[object]] = {name: [value] * len(values) for name, value in constants.items()}
    nothing: list[object] = [None] * len(values)
    columns |= {
        "stream_id": [stream] * len(values),
        "frame_number": [item.frame_number for item in predictions],
        "status": [item.status for item in predictions],
        "picture": list(pool.map(_encoded, values)) if is_picture else nothing,
        "points_px": [_listed(value) for value in values] if is_points else nothing,
        "embedding": [_listed(value) for value in values] if output == "embedding" else nothing,
    }
    return pa.table({name: columns[name] for name in PREDICTIONS.names}, schema=PREDICTIONS.arrow_schema)


def _listed(value: NDArray[Any] | None) -> list[float] | None:
    return None if value is None else value.ravel().tolist()


def _encoded(value: NDArray[Any] | None) -> bytes | None:
    """PNG of labels, of depth in whole mm, or of a picture."""
    from PIL import Image

    if value is None:
        return None
    pixels = value if value.dtype == np.uint8 else np.rint(value).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()
