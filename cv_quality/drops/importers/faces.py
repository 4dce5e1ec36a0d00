"""Turns a folder of face images into a drop: one folder per person, or file names that say person and condition.

The images stay byte for byte what they were, damaged ones included: taking the drop in, by
`cv_quality.drops.ingest`, quarantines those by name, so that every image of the folder is accounted for.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Literal

from cv_quality.drops.manifest import Protocol
from cv_quality.drops.writer import DropWriter
from cv_quality.errors import DropError
from cv_quality.lake.schema import IDENTIFIER
from cv_quality.lake.store import Store
from cv_quality.modality import Modality

Layout = Literal["folders", "file_names", "auto"]

DEVICE = "import"
UNKNOWN_DATE = datetime(2000, 1, 1, tzinfo=UTC)
EYEWEAR = {"glasses": "glasses", "noglasses": "none", "sunglasses": "sunglasses"}
COVERING = {"mask": "mask", "scarf": "scarf"}

_IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"})
_DOCUMENT = re.compile(r"readme.*|\..*|.*\.(csv|html?|json|md|pdf|txt|xml|ya?ml)", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Face:
    """One image: where it lies, whose it is, and the condition that its name states."""

    path: Path
    subject_id: str
    condition: str | None


def import_faces(
    folder: str | Path,
    *,
    landing: Store,
    modality: Modality,
    build_id: str,
    drop_id: str | None = None,
    layout: Layout = "auto",
    protocol: Protocol = "all_pairs",
    enrol_first_n: int = 1,
    site: str = "import",
    captured: datetime = UNKNOWN_DATE,
    has_image_consent: bool = False,
) -> str:
    """Write the images below `folder` as one drop; returns its drop_id.

    With protocol "all_pairs" every image is an enrolment under its own reference and an attempt. With "enrolled" the
    first `enrol_first_n` images of a person, numbers in names counted as numbers, make the reference and the others
    are attempts at it. Read-me files and tables are passed over and logged.

    Args:
        landing, modality: where drops arrive; that of faces, whose conditions names may state.
        build_id: the build that the drop is for.
        drop_id: by default `<date>_<build_id>_<site>`.
        layout: "folders" names a person by the image's folder, "file_names" by `<person>.<condition>[.<suffix>]`
            (the condition becomes `condition_label`, and eyewear or covering where it says so); "auto" takes
            "file_names" when every name has that form.
        captured: when the images were taken, with a time zone; events follow one another by a millisecond.
        has_image_consent: whether the images may be shown in reports.

    Raises:
        DropError: there are no images, or a name cannot become an identifier.
    """
    root = Path(folder)
    faces = _faces(root, _images(root), layout=layout)
    name = drop_id or f"{captured:%Y-%m-%d}_{build_id}_{site}"
    writer = DropWriter(
        landing,
        modality=modality,
        drop_id=name,
        build_id=build_id,
        site=site,
        protocol=protocol,
        captured_from=captured,
        captured_until=captured + max(timedelta(days=1), timedelta(milliseconds=len(faces))),
    )
    with writer as drop:
        drop.add_event("device", event_id="device", occurred_at=captured, device_id=DEVICE, device_model=DEVICE)
        for number, face, position in _numbered(faces):
            drop.add_frame(_frame(root, face), face.path.read_bytes())
            if position == 0:
                drop.add_event(
                    "subject",
                    event_id=f"subject-{number:06d}",
                    occurred_at=captured,
                    subject_id=face.subject_id,
                    has_image_consent=has_image_consent,
                )
        _add_samples(drop, root, faces, captured=captured, first_n=None if protocol == "all_pairs" else enrol_first_n)
    return name


def _add_samples(
    drop: DropWriter, root: Path, faces: Sequence[_Face], *, captured: datetime, first_n: int | None
) -> None:
    """With `first_n` None every image is an enrolment and an attempt, under a reference of its own."""
    for number, face, position in _numbered(faces):
        sample = _sample(root, face, occurred_at=captured + timedelta(milliseconds=number))
        reference = f"reference-{number:06d}" if first_n is None else f"reference-{face.subject_id}"
        if first_n is None or position < first_n:
            drop.add_event("enrol", event_id=f"enrol-{number:06d}", reference_id=reference, is_enrolled=True, **sample)
        if first_n is None or position >= first_n:
            drop.add_event(
                "attempt",
                event_id=f"attempt-{number:06d}",
                claimed_subject_id=face.subject_id,
                transaction_id=f"transaction-{number:06d}",
                attempt_number=1,
                presentation="bona_fide",
                reference_id=None if first_n is None else reference,
                device_stage="matching",
                **sample,
            )


def _images(root: Path) -> list[Path]:
    """Every file that is no document, in natural order."""
    files = sorted((path for path in root.rglob("*") if path.is_file()), key=lambda path: _natural(root, path))
    documents = [path for path in files if _DOCUMENT.fullmatch(path.name)]
    for path in documents:
        logger.info("%s is a document, not an image: passed over", path.relative_to(root))
    images = [path for path in files if path not in set(documents)]
    if not images:
        raise DropError(f"{root}: expected face images, found none among {len(files)} files; check the folder")
    return images


def _natural(root: Path, path: Path) -> list[tuple[int, str]]:
    """`s2/10.pgm` after `s2/9.pgm`."""
    parts = re.split(r"([0-9]+)", path.relative_to(root).as_posix())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _faces(root: Path, images: Sequence[Path], *, layout: Layout) -> list[_Face]:
    """The images by person; a person's images are neighbours."""
    named = [_from_name(path) for path in images]
    faces: list[_Face]
    if layout == "file_names" or (layout == "auto" and None not in named):
        strange = [path for path, face in zip(images, named, strict=True) if face is None]
        if strange:
            raise DropError(f"{root}: expected names <person>.<condition>[.<suffix>], found {strange[0].name!r}")
        faces = [face for face in named if face is not None]
    else:
        loose = [path for path in images if path.parent == root]
        if loose:
            raise DropError(f"{root}: expected every image in its person's folder, found {loose[0].name!r} outside")
        faces = [_Face(path, path.parent.name, None) for path in images]
    for face in faces:
        if not re.fullmatch(IDENTIFIER, face.subject_id):
            raise DropError(
                f"{face.path}: expected a person's name that matches {IDENTIFIER}; rename the folder or file"
            )
    return sorted(faces, key=lambda face: face.subject_id)


def _from_name(path: Path) -> _Face | None:
    stem = path.stem if path.suffix.lower() in _IMAGE_SUFFIXES else path.name
    subject_id, dot, condition = stem.partition(".")
    return _Face(path, subject_id, condition) if dot and subject_id and condition and "." not in condition else None


def _numbered(faces: Iterable[_Face]) -> Iterator[tuple[int, _Face, int]]:
    """Each face with its number in the drop and its position among its person's."""
    number = 0
    for _, group in groupby(faces, key=lambda face: face.subject_id):
        for position, face in enumerate(group):
            yield number, face, position
            number += 1


def _frame(root: Path, face: _Face) -> str:
    return face.path.relative_to(root).as_posix()


def _sample(root: Path, face: _Face, *, occurred_at: datetime) -> dict[str, str | datetime | None]:
    """What an enrolment and an attempt with one image have in common."""
    condition = face.condition or ""
    return {
        "occurred_at": occurred_at,
        "subject_id": face.subject_id,
        "device_id": DEVICE,
        "session_id": face.subject_id,
        "frame": _frame(root, face),
        "eyewear": EYEWEAR.get(condition),
        "covering": COVERING.get(condition),
        "condition_label": face.condition,
    }
