"""What a build makes of every frame of a drop: the output of its model, or what its devices recorded.

Pictures come from `cv_quality.tasks.video.pictures`, models from `cv_quality.inference.video`; outputs are
scored in `cv_quality.tasks.video.frame_scores`. A frame without an output has its row, with the reason as status.
"""

import io
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.tables import CLIPS, VALIDATED_STREAMS
from cv_quality.drops.tablewriter import TableWriter
from cv_quality.errors import FrameError, ModelError
from cv_quality.freshness import StageContext
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.video.entry import RecordedVideoEntry, VideoEntry
from cv_quality.inference.video.in_order import in_order
from cv_quality.inference.video.models import load_video_model
from cv_quality.inference.video.outputs import VideoModel
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.video.flow import opencv
from cv_quality.tasks.video.clip_walk import NO_PICTURE, StreamPicture
from cv_quality.tasks.video.pictures import DropPictures
from cv_quality.tasks.video.tables import CLIP_FRAMES, PREDICTIONS
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

OK, AS_RECORDED = "ok", "as_recorded"
GROUP_BYTES, GROUP_FRAMES = 24 << 20, 64
"""Of outputs that are encoded together; one may be larger. Two such groups may be in memory at a time."""
AHEAD_BYTES = 24 << 20
"""Of decoded pictures that wait for the model; one may be larger."""
_ITEM_BYTES: Final = 256
"""Of what waits without a picture, about."""
LEAST_GROUP_ROWS: Final = 256
"""A stream is read by itself, and its row group with it: groups end with a stream once they have so many rows."""
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
    entry, lake = context.entry, context.lake
    pictures = DropPictures(context.workspace.landing, lake, context.drop)
    if isinstance(entry, RecordedVideoEntry):
        return take_results(lake, pictures=pictures, entry=entry, drop=context.drop, threads=context.threads)
    model = loaded_video_model(context.workspace, cast(VideoEntry, entry))
    return predict_drop(lake, pictures=pictures, model=model, drop=context.drop, threads=context.threads)


def predict_drop(
    lake: Lake, *, pictures: DropPictures, model: VideoModel, drop: str, threads: int = 2
) -> PredictionSummary:
    """Run a build's model over every stream of a drop, and write what it gives.

    Args:
        lake: read and written.
        pictures: of the drop.
        model: of the build.
        drop: its identity.
        threads: that encode.

    Raises:
        ModelError: the model does not fit the pictures, or the drop has none.
        DropError: pictures are no longer those that were indexed.
    """
    clips = lake.read(CLIPS, TableKey(drop=drop), columns=["stream_id", "scene"])
    scenes: dict[str, str | None] = dict(clips.iter_rows())
    statuses: set[str] = set()

    def noted(frames: Iterable[StreamPicture]) -> Iterator[StreamPicture]:
        for frame in frames:
            statuses.add(frame.status)
            yield frame

    def streams() -> Iterator[tuple[str, Generator[Prediction, None, None]]]:
        for stream in pictures.streams:
            frames = noted(pictures.frames(stream))
            yield stream, predict_stream(frames, model, stream=stream, scene=scenes.get(stream))
        if statuses == {NO_PICTURE}:
            build = model.entry.build_id
            raise ModelError(
                f"drop {drop} has no pictures to run the model of {build} on; deliver clips or frames, or, to evaluate "
                f"what its devices recorded, let {build}.yaml have 'recorded: true' in place of a model"
            )

    made = _Made(model.entry.build_id, drop, model.entry.output, model.entry.model_sha256)
    return _write(lake, streams(), made=made, threads=threads)


def take_results(
    lake: Lake, *, pictures: DropPictures, entry: RecordedVideoEntry, drop: str, threads: int = 2
) -> PredictionSummary:
    """Write what devices recorded of every frame of a drop; boxes and landmarks stay where they are, as events.

    Args:
        lake: read and written.
        pictures: of the drop, with the results.
        entry: of the build.
        drop: its identity.
        threads: that encode.

    Raises:
        MissingTable: the drop's clips are not read.
    """
    key = TableKey(drop=drop)
    frames = lake.read(CLIP_FRAMES, key, columns=["stream_id", "frame_number"]).sort("stream_id", "frame_number")
    logged = lake.read(VALIDATED_STREAMS, key, columns=["stream_id", "frame_number", "is_dropped"])
    dropped = set(logged.filter("is_dropped").select("stream_id", "frame_number").iter_rows())
    streams = (
        (str(stream), _recorded_stream(str(stream), rows["frame_number"], pictures, dropped=dropped, entry=entry))
        for (stream,), rows in frames.group_by("stream_id", maintain_order=True)
    )
    return _write(lake, streams, made=_Made(entry.build_id, drop, entry.output, None), threads=threads)


def loaded_video_model(workspace: Workspace, entry: VideoEntry) -> VideoModel:
    """Load a build's model, once per process."""
    if entry.build_id not in workspace.models:
        workspace.models[entry.build_id] = load_video_model(
            entry, registry=workspace.registry, threads=workspace.settings.threads
        )
    return cast(VideoModel, workspace.models[entry.build_id])


def predict_stream(
    frames: Iterable[StreamPicture], model: VideoModel, *, stream: str = "", scene: str | None = None
) -> Generator[Prediction, None, None]:
    """Run a model over a stream from its beginning, while the next pictures are decoded.

    To be closed when it is left before its end.

    Args:
        frames: of the stream, by rising number.
        model: begins the stream anew.
        stream, scene: by which prompts are found.

    Raises:
        ModelError: the pictures do not fit the model.
    """
    model.reset(stream=stream, scene=scene)
    waiting: deque[tuple[int, str | None]] = deque()
    with closing(read_ahead(iter(frames), most_bytes=AHEAD_BYTES, size=_size)) as ahead:

        def pictures() -> Iterator[Frame]:
            for frame in ahead:
                waiting.append((frame.frame_number, frame.failure))
                if frame.image is not None:
                    yield frame.image

        with closing(model.outputs(pictures())) as outputs:
            for output in outputs:
                yield from _without_output(waiting)
                number, _ = waiting.popleft()
                yield Prediction(number, output.status, output.value)
        yield from _without_output(waiting)


def _without_output(waiting: deque[tuple[int, str | None]]) -> Iterator[Prediction]:
    """Take the frames before the next one that has a picture."""
    while waiting and (failure := waiting[0][1]) is not None:
        yield Prediction(waiting.popleft()[0], failure)


def _size(frame: StreamPicture) -> int:
    return 0 if frame.image is None else frame.image.nbytes


def read_ahead(
    items: Iterator[Item], *, most_bytes: int = 1, size: Callable[[Item], int] = lambda _: 1
) -> Generator[Item, None, None]:
    """Make the next items in a thread while those before are used; what is raised there is raised here.

    To be closed when it is left before its end, so that the thread ends.

    Args:
        items: to be made.
        most_bytes: that wait to be used; one more item may be made beyond them.
        size: of an item, in bytes.
    """
    made: _BoundedQueue[tuple[Item | None, BaseException | None]] = _BoundedQueue(most_bytes)
    is_wanted = True

    def make() -> None:
        try:
            for item in items:
                made.put((item, None), size(item))
                if not is_wanted:
                    return
        except BaseException as error:  # raised where the items are used
            made.put((None, error), 0)
        else:
            made.put((None, None), 0)

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
        made.unbind()
        thread.join()


class _BoundedQueue(Generic[Item]):
    """A queue between two threads that is full when it holds so many bytes; an empty one takes any item."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._items: deque[tuple[Item, int]] = deque()
        self._changed = Condition()

    def put(self, item: Item, size: int) -> None:
        """Add an item of so many bytes, once there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < self._most_bytes)
            self._items.append((item, size + _ITEM_BYTES))
            self._bytes += size + _ITEM_BYTES
            self._changed.notify()

    def get(self) -> Item:
        """Take the oldest item, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._items)
            item, size = self._items.popleft()
            self._bytes -= size
            self._changed.notify()
        return item

    def unbind(self) -> None:
        """Let no one wait for room any more."""
        with self._changed:
            self._most_bytes = sys.maxsize
            self._changed.notify()


def _recorded_stream(
    stream: str,
    numbers: Iterable[int],
    pictures: DropPictures,
    *,
    dropped: Set[tuple[str, int]],
    entry: RecordedVideoEntry,
) -> Generator[Prediction, None, None]:
    """What a device recorded of the frames of a stream.

    Args:
        stream, numbers: which frames.
        pictures: tell which of them have a result.
        dropped: frames that the device skipped, by stream and number.
        entry: says what they are.
    """
    read = {"mask": pictures.labels, "depth": pictures.depth, "image": pictures.image}.get(entry.output)
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
    lake: Lake, streams: "Iterable[tuple[str, Generator[Prediction, None, None]]]", *, made: "_Made", threads: int
) -> PredictionSummary:
    """Write the predictions of a drop in the order in which they come, some of them while the next are made.

    Args:
        lake: written.
        streams: each with its predictions.
        made: by which build, of which drop.
        threads: that encode.
    """
    by_status: Counter[str] = Counter()
    n_streams = 0
    with (
        lake.writing(PREDICTIONS, TableKey(build=made.build, drop=made.drop)) as path,
        closing(TableWriter(PREDICTIONS, path)) as writer,
        ThreadPoolExecutor(threads) as pool,
        ThreadPoolExecutor(1) as writing,
    ):

        def groups() -> Generator[tuple[str, list[Prediction]], None, None]:
            nonlocal n_streams
            for stream, predictions in streams:
                n_streams += 1
                with closing(predictions):
                    for group in _groups(predictions):
                        by_status.update(item.status for item in group)
                        yield stream, group
                yield stream, []

        def write(group: tuple[str, list[Prediction]]) -> None:
            if group[1]:
                writer.add(made.rows(*group, pool=pool))
            else:
                writer.end_group(least_rows=LEAST_GROUP_ROWS)

        with closing(groups()) as found, closing(in_order(writing, write, found, ahead=1)) as written:
            deque(written, maxlen=0)
    return PredictionSummary(made.build, made.drop, n_streams, by_status.total(), dict(sorted(by_status.items())))


def _groups(predictions: Iterator[Prediction]) -> Iterator[list[Prediction]]:
    """Cut predictions into what may be in memory together."""
    group: list[Prediction] = []
    size = 0
    for item in predictions:
        group.append(item)
        size += 0 if item.value is None else item.value.nbytes
        if len(group) == GROUP_FRAMES or size > GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class _Made:
    """What all rows of a file have in common."""

    build: str
    drop: str
    output: str
    model_sha256: str | None

    def rows(self, stream: str, predictions: Sequence[Prediction], *, pool: ThreadPoolExecutor) -> "pa.Table":
        import pyarrow as pa

        values = [item.value for item in predictions]
        nothing = [None] * len(values)
        columns: dict[str, Sequence[object]] = {
            "build_id": [self.build] * len(values),
            "drop_id": [self.drop] * len(values),
            "stream_id": [stream] * len(values),
            "frame_number": [item.frame_number for item in predictions],
            "status": [item.status for item in predictions],
            "output": [self.output] * len(values),
            "picture": list(pool.map(_encoded, values)) if self.output in ("mask", "depth", "image") else nothing,
            "points_px": [_listed(value) for value in values] if self.output == "landmarks" else nothing,
            "embedding": [_listed(value) for value in values] if self.output == "embedding" else nothing,
            "model_sha256": [self.model_sha256] * len(values),
        }
        return pa.table(columns, schema=PREDICTIONS.arrow_schema)


def _listed(value: NDArray[Any] | None) -> list[float] | None:
    return None if value is None else cast(list[float], value.ravel().tolist())


def decoded_labels(picture: bytes) -> NDArray[np.uint8]:
    """Decode the labels that a row of `predictions` holds, uint8 `[height, width]`.

    They were written here: pictures of others are decoded in `cv_quality.drops.images`, which trusts none.
    """
    cv2 = opencv()
    return np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def _encoded(value: NDArray[Any] | None) -> bytes | None:
    """PNG of labels, of depth in whole mm, or of a picture."""
    from PIL import Image

    if value is None:
        return None
    pixels = value if value.dtype == np.uint8 else np.rint(value).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()
