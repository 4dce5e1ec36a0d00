"""Understands a folder of face images before a drop is made of it: who is on them, and under which conditions.

Layouts are told in `cv_quality.drops.importers.layouts`, tables in `face_tables`; the drop is written in `faces`.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cv_quality.drops.importers.declaring import PictureConditions, Values, declare, typed
from cv_quality.drops.importers.face_tables import ROLES, FaceTable, Role, read_face_table
from cv_quality.drops.importers.folders import PictureFolder, list_pictures, some
from cv_quality.drops.importers.layouts import Layout, LayoutReading, NamedFace, read_layout
from cv_quality.drops.importers.pictures import check_picture
from cv_quality.errors import DropError, FrameError
from cv_quality.lake.schema import IDENTIFIER
from cv_quality.modality import Modality

MAX_NAME_LENGTH: Final = 100
"""Of a person in the drop: ids of references and sessions are made of it."""
NO_PICTURE: Final = "no_such_picture"
NO_REFERENCE: Final = "no_reference"


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
        kept: the folder of what stays with whoever imports.
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
    kept: Path

    @property
    def n_people(self) -> int:
        return len({face.subject for face in self.faces})

    @property
    def n_sessions(self) -> int:
        """Of all people; 0 where none is told."""
        return len({(face.subject, face.session) for face in self.faces if face.session})

    @property
    def key_file(self) -> Path:
        """Where the names behind pseudonyms are kept."""
        return self.kept / f"{self.folder.root.resolve().name}.pseudonyms.json"

    @property
    def unusable_file(self) -> Path:
        """Where what the drop goes without is listed."""
        return self.kept / f"{self.folder.root.resolve().name}.unusable.csv"


def read_faces(
    folder: str | Path,
    *,
    modality: Modality,
    layout: Layout = "auto",
    pattern: str | None = None,
    table: Path | None = None,
    missing: Sequence[str] = (),
    kept: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FaceFolder:
    """Understand a folder of face images, and decode every image once; nothing is written.

    Args:
        folder: with the images.
        modality: that of faces, whose conditions names and tables may state.
        layout, pattern: as of `read_layout`.
        table: keyed by path, as of `read_face_table`; its subjects are taken in place of a layout.
        missing: cells of the table that mean missing, in every column.
        kept: where files for whoever imports are to be written; by default beside the folder.
        progress: called with the images done and the images in all.

    Raises:
        DropError: there are no images that can be read, who is on them is not plain, or a condition does not fit.
        TableError: the table cannot be used.
    """
    files = list_pictures(Path(folder))
    if not files.pictures:
        found = [*files.others, *files.links, *files.leftovers]
        raise DropError(
            f"{files.root}: expected face images, found none: {some(found) or 'it is empty'}; unpack archives, and "
            "name the folder itself where a link leads to one"
        )
    said = read_face_table(table, root=files.root, pictures=files.pictures, missing=missing) if table else None
    reading = _who_is_who(files, said, layout=layout, pattern=pattern)
    turned, unreadable, contents = _checked(files, progress)
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
        notes=(*_notes(reading, faces, said), *_doubts(faces, contents, links=files.links)),
        kept=kept or files.root.resolve().parent,
    )


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


def _checked(
    files: PictureFolder, progress: Callable[[int, int], None] | None
) -> tuple[list[str], list[Unusable], dict[str, bytes]]:
    """The images that must be turned, those that cannot be read, and the digests of the others."""
    turned: list[str] = []
    unreadable: list[Unusable] = []
    contents: dict[str, bytes] = {}
    for number, name in enumerate(files.pictures, start=1):
        try:
            picture = check_picture(files.root / name)
        except FrameError as error:
            unreadable.append(Unusable(name, error.reason, str(error)))
        except OSError as error:
            unreadable.append(Unusable(name, "unreadable_file", error.strerror or str(error)))
        else:
            contents[name] = picture.digest
            turned += [name] * picture.is_turned
        if progress:
            progress(number, len(files.pictures))
    return turned, unreadable, contents


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
        Unusable(face.name, NO_REFERENCE, f"a probe of {face.subject}, of whom there is no reference")
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
    return tuple(notes)


def _doubts(faces: Sequence[NamedFace], contents: Mapping[str, bytes], *, links: Sequence[str]) -> list[str]:
    """What is taken as it is, and may not be meant."""
    spelled: dict[str, set[str]] = defaultdict(set)
    shown: dict[bytes, dict[str, str]] = defaultdict(dict)
    pictures = Counter(face.subject for face in faces)
    for face in faces:
        spelled[_bare(face.subject)].add(face.subject)
        shown[contents[face.name]].setdefault(face.subject, face.name)
    doubts = [
        f"names that are nearly alike are different people: {' and '.join(map(repr, sorted(names)))}"
        for names in spelled.values()
        if len(names) > 1
    ]
    twice = [" and ".join(names.values()) for names in shown.values() if len(names) > 1]
    if twice:
        doubts.append(f"the same image, byte for byte, is of several people ({len(twice):,}): {some(twice)}")
    if links:
        doubts.append(f"links to folders are not followed ({len(links):,}): {some(links)}")
    if len(pictures) == 1:
        doubts.append("one person alone: there is nobody to be taken for somebody else, so no FMR and no threshold")
    if max(pictures.values()) == 1:
        doubts.append("one image of each person: nothing to compare it with, so no FNMR")
    return doubts


def _bare(name: str) -> str:
    """A name without what people add unawares: case, blanks, leading zeros, the mark of a copied folder."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    plain = re.sub(r"( ?\([0-9]+\)|[ _-]+(copy|kopie|copie|copia)( ?[0-9]+)?)+$", "", plain)
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", re.sub(r"[\s_-]+", " ", plain).strip())
