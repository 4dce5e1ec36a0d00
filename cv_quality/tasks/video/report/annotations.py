"""What lies over the frames that a page shows: their ground truth, and what each model, or the device, made of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.images import decode_image, decode_labels
from cv_quality.drops.tables import BOXES, CLIPS, LANDMARKS, MASK_CLASSES
from cv_quality.errors import FrameError
from cv_quality.inference.registry import load_yaml
from cv_quality.inference.video.entry import RecordedVideoEntry, VideoEntry
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.modality import of_modality
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.report.overlay import IGNORED, Annotation, class_numbers
from cv_quality.tasks.video.tables import PREDICTIONS

if TYPE_CHECKING:
    pass

FrameName = tuple[str, int]
NO_ANNOTATION = Annotation()


class LabelPictures(Protocol):
    """Pictures of labels, as `cv_quality.tasks.video.pictures.DropPictures` reads them."""

    def truth(self, stream: str, frame: int, *, size: tuple[int, int]) -> NDArray[np.uint8] | None: ...

    def labels(self, content: Any, stream: str, frame: int) -> NDArray[np.uint8] | None: ...


class Annotations:
    """The ground truth and the outputs of some frames of one drop.

    Args:
        source: what the page is made from.
        drop: whose frames they are.
        wanted: their numbers, by stream.
        pictures: of labels.
    """

    def __init__(
        self, source: ReportSource, drop: str, wanted: Mapping[str, set[int]], *, pictures: LabelPictures
    ) -> None:
        self._pictures = pictures
        key = TableKey(drop=drop)
        kinds = source.lake.read(CLIPS, key, columns=["stream_id", "mask_kind"])
        self._kinds: dict[str, str | None] = dict(kinds.iter_rows())
        told = source.lake.read(MASK_CLASSES, key).sort("label").to_dicts()
        self._truth_classes = {row["label"]: None if row["is_ignored"] else row["class_name"] or "" for row in told}
        self._classes = {model: classes_of(source, model) for model in source.scope.models}
        names = {name for name in self._truth_classes.values() if name}
        names.update(name for classes in self._classes.values() for name in classes)
        self._scored = set(self._classes[source.scope.build]) or names
        self._numbers = {name: place for place, name in enumerate(sorted(names), 1)}
        self._boxes = _by_frame(source, BOXES, key, wanted)
        self._landmarks = _by_frame(source, LANDMARKS, key, wanted)
        self._outputs = {
            model: _by_frame(source, PREDICTIONS, TableKey(build=model, drop=drop), wanted)
            for model in source.scope.models
        }

    def truth(self, stream: str, frame: int, *, size: tuple[int, int]) -> Annotation:
        """Find what is true of a frame; what cannot be read is left out.

        Args:
            stream, frame: which frame.
            size: height and width of its picture.
        """
        try:
            labels = self._pictures.truth(stream, frame, size=size)
        except FrameError:
            labels = None
        classes = None
        if labels is not None:
            by_label = {
                label: IGNORED if name is None else self._numbers.get(name, 0) if name in self._scored else 0
                for label, name in self._truth_classes.items()
            }
            classes = class_numbers(labels, {} if self._kinds.get(stream) == "instances" else by_label)
        points = self._points_of(stream, frame, "truth")
        has_boxes = classes is None or len(self._boxes_of(stream, frame, "device")) > 0
        return Annotation(classes, self._boxes_of(stream, frame, "truth" if has_boxes else ""), points)

    def output(self, model: str, stream: str, frame: int) -> Annotation:
        """Find what a model made of a frame, or as the device recorded it."""
        rows = self._outputs[model].get((stream, frame), [])
        row = rows[0] if rows else {"picture": None, "points_px": None, "output": None}
        points = _points(row["points_px"]) if row["points_px"] else self._points_of(stream, frame, "device")
        boxes = self._boxes_of(stream, frame, "device")
        try:
            decode = decode_labels if row["output"] == "mask" else decode_image
            found = decode(row["picture"]) if row["picture"] is not None else None
            if found is None and row["output"] == "mask":
                found = self._pictures.labels("results", stream, frame)
        except FrameError:
            found = None
        if found is None:
            return Annotation(boxes=boxes, points=points)
        if row["output"] == "mask" and found.ndim == 2:
            return Annotation(self._output_classes(model, stream, found), boxes, points)
        image = np.repeat(found[..., None], 3, axis=-1) if found.ndim == 2 else found
        return Annotation(boxes=boxes, points=points, image=image if row["output"] == "image" else None)

    def _output_classes(self, model: str, stream: str, labels: NDArray[np.uint8]) -> NDArray[np.int16]:
        if self._kinds.get(stream) == "instances":
            return class_numbers(labels, {})
        if classes := self._classes[model]:
            return class_numbers(
                labels, {label: self._numbers[name] for name, own in classes.items() for label in own}, others=0
            )
        return class_numbers(
            labels, {label: self._numbers.get(name or "", 0) for label, name in self._truth_classes.items()}
        )

    def _boxes_of(self, stream: str, frame: int, source: str) -> NDArray[np.float64]:
        edges = ("left_px", "top_px", "width_px", "height_px")
        rows = (row for row in self._boxes.get((stream, frame), []) if row["source"] == source)
        return np.array([[row[name] for name in edges] for row in rows], dtype=np.float64).reshape(-1, 4)

    def _points_of(self, stream: str, frame: int, source: str) -> NDArray[np.float64]:
        rows = (row for row in self._landmarks.get((stream, frame), []) if row["source"] == source)
        return next((_points(row["points_px"]) for row in rows), np.zeros((0, 2)))


def _points(values: list[float]) -> NDArray[np.float64]:
    return np.asarray(values[: len(values) // 2 * 2], dtype=np.float64).reshape(-1, 2)


def classes_of(source: ReportSource, model: str) -> Mapping[str, tuple[int, ...]]:
    """Find which labels of a model's output are which class; empty where they are those of the truth."""
    if model == source.scope.build and isinstance(source.entry, VideoEntry | RecordedVideoEntry):
        return source.entry.classes
    if model not in source.entry_files:
        return {}
    entry = load_yaml(source.entry_files[model], file=f"{model}.yaml")
    classes = entry.get("classes") if isinstance(entry, Mapping) else None
    found = classes if isinstance(classes, Mapping) else {}
    return {
        str(name): tuple(int(label) for label in (labels if isinstance(labels, list) else [labels]))
        for name, labels in found.items()
    }


def _by_frame(
    source: ReportSource, table: Table, key: TableKey, wanted: Mapping[str, set[int]]
) -> dict[FrameName, list[dict[str, Any]]]:
    """Read the rows of some frames.

    Args:
        source, table, key: to read from.
        wanted: numbers by stream.
    """
    import polars as pl

    frames: dict[FrameName, list[dict[str, Any]]] = {}
    is_wanted = pl.any_horizontal(
        pl.lit(value=False),
        *(
            (pl.col("stream_id") == stream) & pl.col("frame_number").is_in(sorted(own))
            for stream, own in wanted.items()
        ),
    )
    rows: pl.DataFrame = source.lake.scan(of_modality(table, source.modality), [key]).filter(is_wanted).collect()
    for row in rows.to_dicts():
        frames.setdefault((row["stream_id"], row["frame_number"]), []).append(row)
    return frames
