"""Writes a folder of face images that was understood, `FaceFolder`, as a drop.

Images stay byte for byte what they were, but for those that EXIF turns; unreadable ones stay out of the drop and are
listed beside the folder. Who is on them is told in `cv_quality.drops.importers.face_folders`.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

from cv_quality.drops.importers.face_folders import FaceFolder
from cv_quality.drops.importers.face_tables import Role
from cv_quality.drops.importers.folders import PICTURE_SUFFIXES, encodable
from cv_quality.drops.importers.layouts import NamedFace
from cv_quality.drops.importers.pictures import upright
from cv_quality.drops.importers.pseudonyms import pseudonyms_of, read_key, write_key
from cv_quality.drops.manifest import Protocol
from cv_quality.drops.writer import DropWriter, Scalar, is_safe_member
from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER
from cv_quality.lake.store import Store, atomic_path
from cv_quality.modality import Modality

DEVICE = "import"
UNKNOWN_DATE = datetime(2000, 1, 1, tzinfo=UTC)
"""When images were taken; events follow one another by a millisecond."""


def write_faces(
    faces: FaceFolder,
    *,
    landing: Store,
    modality: Modality,
    build_id: str,
    drop_id: str | None = None,
    protocol: Protocol = "all_pairs",
    enrol_first_n: int = 1,
    site: str = "import",
    has_image_consent: bool = False,
    has_pseudonyms: bool = False,
) -> str:
    """Write a folder that was understood as one drop; returns its drop_id.

    With protocol "all_pairs" every image is an enrolment under its own reference and an attempt. With "enrolled" the
    first `enrol_first_n` images of a person, numbers in names counted as numbers, make the reference and the others
    are attempts at it. Where the folder has roles, those make the protocol "enrolled".

    Args:
        faces: as understood.
        landing, modality: where drops arrive; that of faces.
        build_id: the build that the drop is for.
        drop_id: by default `<date>_<build_id>_<site>`.
        has_image_consent: whether the images may be shown in reports, where no table says.
        has_pseudonyms: whether people get pseudonyms although their names would do; the key is written to `key_file`.

    Raises:
        DropError: a manifest or key file cannot be.
        StoreError: something cannot be written.
    """
    place = re.sub(NOT_IN_IDENTIFIER, "-", site) or "import"
    name = drop_id or f"{UNKNOWN_DATE:%Y-%m-%d}_{build_id}_{place}"
    samples = _samples(faces, drop_id=name, has_pseudonyms=has_pseudonyms or faces.needs_pseudonyms)
    _write_unusable(faces)
    is_paired = protocol == "all_pairs" and not faces.roles
    writer = DropWriter(
        landing,
        modality=modality,
        drop_id=name,
        build_id=build_id,
        site=place,
        protocol="all_pairs" if is_paired else "enrolled",
        captured_from=UNKNOWN_DATE,
        captured_until=UNKNOWN_DATE + max(timedelta(days=1), timedelta(milliseconds=len(samples))),
        conditions=faces.conditions.declared,
    )
    with writer as drop:
        drop.add_event("device", event_id="device", occurred_at=UNKNOWN_DATE, device_id=DEVICE, device_model=DEVICE)
        for number, sample in enumerate(samples):
            data = (faces.folder.root / sample.face.name).read_bytes()
            drop.add_frame(sample.frame, upright(data) if sample.face.name in faces.turned else data)
            if sample.position == 0:
                consents = has_image_consent if faces.consents is None else sample.face.subject in faces.consents
                _add_subject(drop, sample, number=number, has_image_consent=consents)
        for number, sample in enumerate(samples):
            role: Role = "reference" if sample.position < enrol_first_n else "probe"
            role = faces.roles.get(sample.face.name, role)
            _add_sample(drop, sample, number=number, role=None if is_paired else role)
    return name


@dataclass(frozen=True, slots=True)
class _Sample:
    """One image as the drop has it; `position` is that among its person's."""

    face: NamedFace
    subject_id: str
    session_id: str
    frame: str
    position: int
    conditions: Mapping[str, Scalar]


def _samples(faces: FaceFolder, *, drop_id: str, has_pseudonyms: bool) -> list[_Sample]:
    """The images by person; pseudonyms, where they are wanted, with their key written."""
    people = {face.subject: face.subject for face in faces.faces}
    key = read_key(faces.key_file) if has_pseudonyms else None
    if key is not None:
        people = dict(pseudonyms_of(sorted(people), key))
    samples: list[_Sample] = []
    ordered = sorted(faces.faces, key=lambda face: people[face.subject])
    for subject_id, position, face, session in _positioned(ordered, people):
        number = len(samples)
        samples.append(
            _Sample(
                face,
                subject_id,
                _session_id(subject_id, face.session, session, is_named=key is None),
                _frame(faces, face, number=number, folder=None if key is None else f"{subject_id}/{position:05d}"),
                position,
                {name: cells.get(face.name) for name, cells in faces.conditions.values.items()},
            )
        )
    if key is not None:
        key.pictures[drop_id] = {sample.frame: encodable(sample.face.name) for sample in samples}
        write_key(faces.key_file, key)
    return samples


def _positioned(faces: Sequence[NamedFace], people: Mapping[str, str]) -> Iterator[tuple[str, int, NamedFace, int]]:
    """Each image with its person's id, its position among theirs and the number of its session."""
    for subject_id, group in groupby(faces, key=lambda face: people[face.subject]):
        sessions: dict[str, int] = {}
        for position, face in enumerate(group):
            yield subject_id, position, face, sessions.setdefault(face.session, len(sessions) + 1)


def _session_id(subject_id: str, session: str, number: int, *, is_named: bool) -> str:
    if not session:
        return subject_id
    name = f"{subject_id}.{session}"
    return name if is_named and re.fullmatch(IDENTIFIER, name) else f"{subject_id}.{number}"


def _frame(faces: FaceFolder, face: NamedFace, *, number: int, folder: str | None) -> str:
    """The name of the image in the drop: its path, unless that would tell a name or be unsafe."""
    suffix = Path(face.name).suffix.lower()
    suffix = suffix if suffix in PICTURE_SUFFIXES else ""
    if face.name in faces.turned:
        return f"{folder or _plain(face.name, number)}.upright.png"
    return f"{folder}{suffix}" if folder else _plain(face.name, number)


def _plain(name: str, number: int) -> str:
    return name if is_safe_member(f"{name}.upright.png") else f"image-{number:06d}"


def _add_subject(drop: DropWriter, sample: _Sample, *, number: int, has_image_consent: bool) -> None:
    drop.add_event(
        "subject",
        event_id=f"subject-{number:06d}",
        occurred_at=UNKNOWN_DATE,
        subject_id=sample.subject_id,
        has_image_consent=has_image_consent,
    )


def _add_sample(drop: DropWriter, sample: _Sample, *, number: int, role: Role | None) -> None:
    """Without a role an image is an enrolment and an attempt, under a reference of its own."""
    fields: dict[str, Scalar] = {
        "occurred_at": UNKNOWN_DATE + timedelta(milliseconds=number),
        "subject_id": sample.subject_id,
        "device_id": DEVICE,
        "session_id": sample.session_id,
        "frame": sample.frame,
        **sample.conditions,
    }
    reference = f"reference-{number:06d}" if role is None else f"reference-{sample.subject_id}"
    if role != "probe":
        drop.add_event("enrol", event_id=f"enrol-{number:06d}", reference_id=reference, is_enrolled=True, **fields)
    if role != "reference":
        drop.add_event(
            "attempt",
            event_id=f"attempt-{number:06d}",
            claimed_subject_id=sample.subject_id,
            transaction_id=f"transaction-{number:06d}",
            attempt_number=1,
            presentation="bona_fide",
            reference_id=None if role is None else reference,
            device_stage="matching",
            **fields,
        )


def _write_unusable(faces: FaceFolder) -> None:
    if not faces.unusable:
        return
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["path", "reason", "detail"])
    rows.writerows((item.name, item.reason, item.detail) for item in faces.unusable)
    with atomic_path(faces.unusable_file) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")
