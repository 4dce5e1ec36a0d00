"""Turns a folder of face images into a drop, in two steps: `read_faces` understands it, `write_faces` writes the drop.

Between them stands what was understood, `FaceFolder`, for people to see before anything is written. Images stay byte
for byte what they were, but for those that EXIF turns; unreadable ones stay out of the drop and are listed.
"""

import csv
import io
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

from cv_quality.drops.importers.declaring import PictureConditions, Values, declare, typed
from cv_quality.drops.importers.face_tables import ROLES, FaceTable, Role, read_face_table
from cv_quality.drops.importers.folders import PICTURE_SUFFIXES, PictureFolder, encodable, list_pictures, some
from cv_quality.drops.importers.layouts import Layout, LayoutReading, NamedFace, read_layout
from cv_quality.drops.importers.pictures import check_picture, upright
from cv_quality.drops.importers.pseudonyms import pseudonyms_of, read_key, write_key
from cv_quality.drops.manifest import Protocol
from cv_quality.drops.writer import DropWriter, Scalar, is_safe_member
from cv_quality.errors import DropError, FrameError
from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER
from cv_quality.lake.store import Store, atomic_path
from cv_quality.modality import Modality

DEVICE = "import"
UNKNOWN_DATE = datetime(2000, 1, 1, tzinfo=UTC)
MAX_NAME_LENGTH = 100
"""Of a person in the drop: ids of references and sessions are made of it."""
NO_PICTURE = "no_such_picture"


@dataclass(frozen=True, slots=True)
class Unusable:
    """A picture, or a path of the table, that the drop goes without."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class FaceFolder:
    """A folder of face images as it is understood.

    Attributes:
        faces: the readable images by person, in natural order.
        layout: in words.
        roles: by image, where names or a table say them of all.
        consents: people whose images may be shown; None where no table says.
        turned: images that EXIF turns.
        unusable: unreadable images, probes of people without a reference, paths of the table that are no image.
        needs_pseudonyms: whether a name is not of the letters of identifiers.
        notes: what else was understood, for people.
    """

    folder: PictureFolder
    faces: tuple[NamedFace, ...]
    layout: str
    conditions: PictureConditions
    roles: Mapping[str, Role]
    consents: frozenset[str] | None
    turned: frozenset[str]
    unusable: tuple[Unusable, ...]
    needs_pseudonyms: bool
    notes: tuple[str, ...]

    @property
    def n_people(self) -> int:
        return len({face.subject for face in self.faces})

    @property
    def n_sessions(self) -> int:
        """Of all people; 0 where none is told."""
        return len({(face.subject, face.session) for face in self.faces if face.session})

    @property
    def key_file(self) -> Path:
        """Where the names behind pseudonyms are kept: beside the folder."""
        return _beside(self.folder.root, "pseudonyms.json")

    @property
    def unusable_file(self) -> Path:
        """Where what the drop goes without is listed: beside the folder."""
        return _beside(self.folder.root, "unusable.csv")


def read_faces(
    folder: str | Path,
    *,
    modality: Modality,
    layout: Layout = "auto",
    pattern: str | None = None,
    table: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FaceFolder:
    """Understand a folder of face images, and decode every image once; nothing is written.

    Args:
        folder: with the images.
        modality: that of faces, whose conditions names and tables may state.
        layout, pattern: as of `read_layout`.
        table: keyed by path, as of `read_face_table`; its subjects are taken in place of a layout.
        progress: called with the images done and the images in all.

    Raises:
        DropError: there are no images that can be read, who is on them is not plain, or a condition does not fit.
        TableError: the table cannot be used.
    """
    files = list_pictures(Path(folder))
    if not files.pictures:
        n_files = len(files.leftovers) + len(files.others)
        raise DropError(f"{files.root}: expected face images, found none among {n_files} files; check the folder")
    said = read_face_table(table, root=files.root, pictures=files.pictures) if table else None
    reading = _who_is_who(files, said, layout=layout, pattern=pattern)
    turned, unreadable = _checked(files, progress)
    where = f"{table or files.root}"
    faces = _without(reading.faces, unreadable)
    roles = _roles(faces, said, where=where)
    unreferenced = _unreferenced(faces, roles)
    unusable = [*unreadable, *unreferenced]
    faces = _without(faces, unreferenced)
    if not faces:
        raise DropError(f"{files.root}: none of {len(unusable):,} images can be used: {_shown(unusable)}")
    absent = [Unusable(name, NO_PICTURE, "the table has a row, the folder no picture") for name in _absent(said)]
    return FaceFolder(
        folder=files,
        faces=faces,
        layout=reading.words,
        conditions=_conditions(faces, said, modality=modality, where=where),
        roles={face.name: roles[face.name] for face in faces} if roles else {},
        consents=_consents(faces, said),
        turned=frozenset(turned),
        unusable=(*unusable, *absent),
        needs_pseudonyms=any(
            len(face.subject) > MAX_NAME_LENGTH or not re.fullmatch(IDENTIFIER, face.subject) for face in faces
        ),
        notes=_notes(reading, faces, said),
    )


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
    captured: datetime = UNKNOWN_DATE,
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
        captured: when the images were taken, with a time zone; events follow one another by a millisecond.
        has_image_consent: whether the images may be shown in reports, where no table says.
        has_pseudonyms: whether people get pseudonyms although their names would do; the key is written to `key_file`.

    Raises:
        DropError: a manifest or key file cannot be.
        StoreError: the drop, or a file beside the folder, cannot be written.
    """
    place = re.sub(NOT_IN_IDENTIFIER, "-", site) or "import"
    name = drop_id or f"{captured:%Y-%m-%d}_{build_id}_{place}"
    samples = _samples(faces, drop_id=name, has_pseudonyms=has_pseudonyms or faces.needs_pseudonyms)
    if faces.unusable:
        _write_unusable(faces)
    is_paired = protocol == "all_pairs" and not faces.roles
    writer = DropWriter(
        landing,
        modality=modality,
        drop_id=name,
        build_id=build_id,
        site=place,
        protocol="all_pairs" if is_paired else "enrolled",
        captured_from=captured,
        captured_until=captured + max(timedelta(days=1), timedelta(milliseconds=len(samples))),
        conditions=faces.conditions.declared,
    )
    with writer as drop:
        drop.add_event("device", event_id="device", occurred_at=captured, device_id=DEVICE, device_model=DEVICE)
        for number, sample in enumerate(samples):
            data = (faces.folder.root / sample.face.name).read_bytes()
            drop.add_frame(sample.frame, upright(data) if sample.face.name in faces.turned else data)
            if sample.position == 0:
                consents = faces.consents
                drop.add_event(
                    "subject",
                    event_id=f"subject-{number:06d}",
                    occurred_at=captured,
                    subject_id=sample.subject_id,
                    has_image_consent=has_image_consent if consents is None else sample.face.subject in consents,
                )
        for number, sample in enumerate(samples):
            role: Role = "reference" if sample.position < enrol_first_n else "probe"
            given = None if is_paired else faces.roles.get(sample.face.name, role)
            _add_sample(drop, sample, number=number, role=given, occurred_at=captured + timedelta(milliseconds=number))
    return name


def import_faces(
    folder: str | Path,
    *,
    landing: Store,
    modality: Modality,
    build_id: str,
    protocol: Protocol = "all_pairs",
    enrol_first_n: int = 1,
    site: str = "import",
) -> str:
    """Understand a folder of a layout that proves itself, and write it as a drop; returns its drop_id.

    Args:
        folder: as of `read_faces`.
        landing, modality, build_id, protocol, enrol_first_n, site: as of `write_faces`.
    """
    return write_faces(
        read_faces(folder, modality=modality),
        landing=landing,
        modality=modality,
        build_id=build_id,
        protocol=protocol,
        enrol_first_n=enrol_first_n,
        site=site,
    )


def _beside(root: Path, ending: str) -> Path:
    folder = root.resolve()
    return folder.parent / f"{folder.name}.{ending}"


def _who_is_who(files: PictureFolder, table: FaceTable | None, *, layout: Layout, pattern: str | None) -> LayoutReading:
    """People by the table where it has them, else by names; sessions of the table count before those of names."""
    if table is None:
        return read_layout(files.root, files.pictures, layout=layout, pattern=pattern)
    if not table.subjects or pattern is not None or layout != "auto":
        reading = read_layout(files.root, files.pictures, layout=layout, pattern=pattern)
    else:
        strange = [name for name in files.pictures if name not in table.subjects]
        if strange:
            raise DropError(
                f"{files.root}: expected a subject in the table for every picture, found {len(strange):,} without: "
                f"{some(strange)}; complete the table, or give --pattern or --layout"
            )
        faces = (NamedFace(name, table.subjects[name]) for name in files.pictures)
        reading = LayoutReading(tuple(faces), "people by the table")
    sessions = table.sessions
    return replace(
        reading, faces=tuple(replace(face, session=sessions.get(face.name, face.session)) for face in reading.faces)
    )


def _without(faces: Sequence[NamedFace], unusable: Sequence[Unusable]) -> tuple[NamedFace, ...]:
    """The other images, by person."""
    lost = {item.name for item in unusable}
    return tuple(sorted((face for face in faces if face.name not in lost), key=lambda face: face.subject))


def _checked(files: PictureFolder, progress: Callable[[int, int], None] | None) -> tuple[list[str], list[Unusable]]:
    """The images that must be turned, and those that cannot be read."""
    turned: list[str] = []
    unreadable: list[Unusable] = []
    for number, name in enumerate(files.pictures, start=1):
        try:
            if check_picture(files.root / name):
                turned.append(name)
        except FrameError as error:
            unreadable.append(Unusable(name, error.reason, str(error)))
        except OSError as error:
            unreadable.append(Unusable(name, "unreadable_file", error.strerror or str(error)))
        if progress:
            progress(number, len(files.pictures))
    return turned, unreadable


def _absent(table: FaceTable | None) -> tuple[str, ...]:
    return table.absent if table else ()


def _shown(items: Sequence[Unusable]) -> str:
    return some([f"{item.name} ({item.detail})" for item in items])


def _conditions(
    faces: Sequence[NamedFace], table: FaceTable | None, *, modality: Modality, where: str
) -> PictureConditions:
    """What names and the table say; the table counts where both speak of one."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for face in faces:
        for name, value in (face.fields or {}).items():
            texts[name][face.name] = value
    readable = {face.name for face in faces}
    said = table.columns if table else {}
    columns: dict[str, Values] = {name: typed(values) for name, values in texts.items()}
    columns |= {name: {key: cell for key, cell in cells.items() if key in readable} for name, cells in said.items()}
    return declare(columns, modality=modality, where=where)


def _roles(faces: Sequence[NamedFace], table: FaceTable | None, *, where: str) -> dict[str, Role]:
    """What every image is in the protocol; nothing where none is told."""
    named = {face.name: face.role for face in faces if face.role}
    strange = sorted({role for role in named.values() if role.lower() not in ROLES})
    if strange:
        raise DropError(f"{where}: expected roles among {', '.join(ROLES)}, found {some(strange)}")
    roles: dict[str, Role] = {name: ROLES[role.lower()] for name, role in named.items()}
    roles |= table.roles if table else {}
    if not roles:
        return {}
    without = [face.name for face in faces if face.name not in roles]
    if without:
        raise DropError(
            f"{where}: expected every image to be reference or probe, found {len(without):,} that are neither: "
            f"{some(without)}; complete the column, or take those images out of the folder"
        )
    return roles


def _unreferenced(faces: Sequence[NamedFace], roles: Mapping[str, Role]) -> list[Unusable]:
    """The probes of people of whom no reference can be read."""
    referenced = {face.subject for face in faces if not roles or roles[face.name] == "reference"}
    return [
        Unusable(face.name, "no_reference", f"a probe of {face.subject}, of whom there is no reference")
        for face in faces
        if face.subject not in referenced
    ]


def _consents(faces: Sequence[NamedFace], table: FaceTable | None) -> frozenset[str] | None:
    """The people of whom every image has consent."""
    if table is None or not table.consents:
        return None
    refused = {face.subject for face in faces if not table.consents.get(face.name, False)}
    return frozenset(face.subject for face in faces) - refused


def _notes(reading: LayoutReading, faces: Sequence[NamedFace], table: FaceTable | None) -> tuple[str, ...]:
    notes = list(table.notes) if table else []
    if table and table.n_unlisted:
        notes.append(f"{table.n_unlisted:,} pictures without a row in the table: no conditions")
    if table and table.empty:
        notes.append(f"columns without a value passed over: {some(table.empty, most=8)}")
    lost = sorted({face.subject for face in reading.faces} - {face.subject for face in faces})
    if lost:
        notes.append(
            f"{len(lost):,} people left out, as no image of theirs, or no reference, can be read: {some(lost)}"
        )
    folders = Counter(
        unicodedata.normalize("NFC", folder) for folder in {face.name.rpartition("/")[0] for face in reading.faces}
    )
    alike = [folder for folder, n in folders.items() if n > 1]
    if alike:
        notes.append(f"folders that differ in how accents are stored taken as one person: {some(alike)}")
    spelled = defaultdict(set)
    for face in faces:
        spelled[face.subject.casefold().strip()].add(face.subject)
    notes += [
        f"names that differ in case or blanks are different people: {' and '.join(map(repr, sorted(names)))}"
        for names in spelled.values()
        if len(names) > 1
    ]
    return tuple(notes)


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


def _add_sample(drop: DropWriter, sample: _Sample, *, number: int, role: Role | None, occurred_at: datetime) -> None:
    """Without a role an image is an enrolment and an attempt, under a reference of its own."""
    fields: dict[str, Scalar] = {
        "occurred_at": occurred_at,
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
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["path", "reason", "detail"])
    rows.writerows((item.name, item.reason, item.detail) for item in faces.unusable)
    with atomic_path(faces.unusable_file) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")
