"""Understands a folder of images of people before a drop is made of it: who is on them, and under which conditions.

Layouts are told in `cv_quality.drops.importers.layouts` and `iris_names`, tables in `sample_tables`, what a reader has
to know in `sample_doubts`; the drop is written in `sample_drops`.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cv_quality.drops.importers.declaring import PictureConditions, Values, declare, typed
from cv_quality.drops.importers.folders import PictureFolder, list_pictures, some
from cv_quality.drops.importers.iris_names import EYE, read_eyes
from cv_quality.drops.importers.layouts import Layout, LayoutReading, NamedSample, read_layout
from cv_quality.drops.importers.pictures import check_picture
from cv_quality.drops.importers.sample_doubts import CheckedSamples, Unusable, doubts, require_one_eye
from cv_quality.drops.importers.sample_tables import ROLES, Role, SampleTable, read_sample_table
from cv_quality.errors import DropError, FrameError
from cv_quality.lake.schema import IDENTIFIER
from cv_quality.modality import Modality

MAX_NAME_LENGTH: Final = 100
"""Of a person in the drop: ids of references and sessions are made of it."""
NO_PICTURE: Final = "no_such_picture"
NO_REFERENCE: Final = "no_reference"


@dataclass(frozen=True, slots=True)
class SampleFolder:
    """A folder of images of people as it is understood.

    Attributes:
        samples: the readable images by person, in natural order.
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
    samples: tuple[NamedSample, ...]
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
        return len({sample.subject for sample in self.samples})

    @property
    def n_eyes(self) -> int:
        """Of all people; 0 where samples are not of eyes."""
        return len({sample.instance for sample in self.samples if sample.eye})

    @property
    def n_sessions(self) -> int:
        """Of all people; 0 where none is told."""
        return len({(sample.subject, sample.session) for sample in self.samples if sample.session})

    @property
    def key_file(self) -> Path:
        """Where the names behind pseudonyms are kept."""
        return self.kept / f"{self.folder.root.resolve().name}.pseudonyms.json"

    @property
    def unusable_file(self) -> Path:
        """Where what the drop goes without is listed."""
        return self.kept / f"{self.folder.root.resolve().name}.unusable.csv"


def read_samples(
    folder: str | Path,
    *,
    modality: Modality,
    layout: Layout = "auto",
    pattern: str | None = None,
    table: Path | None = None,
    missing: Sequence[str] = (),
    kept: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SampleFolder:
    """Understand a folder of images of people, and decode every image once; nothing is written.

    Args:
        folder: with the images.
        modality: theirs, whose conditions names and tables may state; of instances `eye`, they are of eyes.
        layout, pattern: as of `read_layout`, or of `read_eyes`.
        table: keyed by path, as of `read_sample_table`; its subjects are taken in place of a layout.
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
            f"{files.root}: expected {modality.name} images, found none: {some(found) or 'it is empty'}; unpack "
            "archives, and name the folder itself where a link leads to one"
        )
    return understand(
        files,
        check=lambda: _checked(files, progress),
        modality=modality,
        layout=layout,
        pattern=pattern,
        table=table,
        missing=missing,
        kept=kept,
    )


def understand(
    files: PictureFolder,
    *,
    check: Callable[[], CheckedSamples],
    modality: Modality,
    layout: Layout = "auto",
    pattern: str | None = None,
    table: Path | None = None,
    missing: Sequence[str] = (),
    kept: Path | None = None,
    subjects: Mapping[str, str] | None = None,
    eyes: Mapping[str, str] | None = None,
) -> SampleFolder:
    """Understand samples that are listed; they are looked into once it is plain whose they are.

    Args:
        files: the list.
        check: looks into every sample.
        modality, layout, pattern, table, missing, kept: as of `read_samples`.
        subjects, eyes: whose and which eye, as the samples themselves say; a table counts before them.

    Raises:
        DropError: no sample can be read, whose they are is not plain, or a condition does not fit.
        TableError: the table cannot be used.
    """
    has_eyes = modality.instance == EYE
    said = None
    if table is not None:
        names = files.pictures
        said = read_sample_table(table, root=files.root, pictures=names, missing=missing, has_eyes=has_eyes)
    told = {**(eyes or {}), **(said.eyes if said else {})} if has_eyes else None
    people = said.subjects if said and said.subjects else subjects or {}
    reading = _who_is_who(files, people, said=said, layout=layout, pattern=pattern, eyes=told)
    checked = check()
    where = f"{table or files.root}"
    samples = _without(reading.samples, checked.unusable)
    if has_eyes:
        require_one_eye(samples, checked.digests, where=where)
    roles = _roles(samples, said, where=where)
    unreferenced = _unreferenced(samples, roles)
    unusable = [*checked.unusable, *unreferenced]
    samples = _without(samples, unreferenced)
    if not samples:
        raise DropError(f"{files.root}: none of {len(unusable):,} images can be used: {_shown(unusable)}")
    absent = [Unusable(name, NO_PICTURE, "the table has a row, the folder no picture") for name in _absent(said)]
    return SampleFolder(
        folder=files,
        samples=samples,
        layout=reading.words,
        conditions=_conditions(samples, said, modality=modality, where=where),
        roles={sample.name: roles[sample.name] for sample in samples} if roles else {},
        consents=_consents(samples, said),
        turned=checked.turned,
        unusable=(*unusable, *absent),
        needs_pseudonyms=any(
            len(sample.subject) > MAX_NAME_LENGTH or not re.fullmatch(IDENTIFIER, sample.subject) for sample in samples
        ),
        notes=(*_notes(reading, samples, said), *doubts(samples, checked, links=files.links)),
        kept=kept or files.root.resolve().parent,
    )


def _who_is_who(
    files: PictureFolder,
    people: Mapping[str, str],
    *,
    said: SampleTable | None,
    layout: Layout,
    pattern: str | None,
    eyes: Mapping[str, str] | None,
) -> LayoutReading:
    """People as they are told, else by names; sessions of the table count before those of names.

    Args:
        files: the pictures.
        people: by picture, as a table or the samples themselves say; empty where they do not.
        said: by a table.
        layout, pattern: as of `read_layout`.
        eyes: those that are told beside the names; None where samples are not of eyes.
    """
    subjects = people if pattern is None and layout == "auto" else {}
    strange = [name for name in files.pictures if subjects and name not in subjects]
    if strange:
        raise DropError(
            f"{files.root}: expected a subject for every picture, as for others, found {len(strange):,} without: "
            f"{some(strange)}; complete the table, or give --pattern or --layout"
        )
    if eyes is not None:
        reading = read_eyes(
            files.root,
            files.pictures,
            layout=layout,
            pattern=pattern,
            subjects=subjects or None,
            eyes=eyes,
            numbers=said.numbers if said else None,
        )
    elif subjects:
        samples = (NamedSample(name, subjects[name]) for name in files.pictures)
        reading = LayoutReading(tuple(samples), "people by the table")
    else:
        reading = read_layout(files.root, files.pictures, layout=layout, pattern=pattern)
    sessions = said.sessions if said else {}
    return replace(
        reading,
        samples=tuple(replace(sample, session=sessions.get(sample.name, sample.session)) for sample in reading.samples),
    )


def _without(samples: Sequence[NamedSample], unusable: Sequence[Unusable]) -> tuple[NamedSample, ...]:
    """The other images, by person."""
    lost = {item.name for item in unusable}
    return tuple(sorted((sample for sample in samples if sample.name not in lost), key=lambda sample: sample.subject))


def _checked(files: PictureFolder, progress: Callable[[int, int], None] | None) -> CheckedSamples:
    turned: list[str] = []
    unreadable: list[Unusable] = []
    contents: dict[str, bytes] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for number, name in enumerate(files.pictures, start=1):
        try:
            picture = check_picture(files.root / name)
        except FrameError as error:
            unreadable.append(Unusable(name, error.reason, str(error)))
        except OSError as error:
            unreadable.append(Unusable(name, "unreadable_file", error.strerror or str(error)))
        else:
            contents[name], sizes[name] = picture.digest, picture.size
            turned += [name] * picture.is_turned
        if progress:
            progress(number, len(files.pictures))
    return CheckedSamples(tuple(unreadable), contents, sizes, frozenset(turned))


def _absent(table: SampleTable | None) -> tuple[str, ...]:
    return table.absent if table else ()


def _shown(items: Sequence[Unusable]) -> str:
    return some([f"{item.name} ({item.detail})" for item in items])


def _conditions(
    samples: Sequence[NamedSample], table: SampleTable | None, *, modality: Modality, where: str
) -> PictureConditions:
    """What names and the table say; the table counts where both speak of one."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        for name, value in (sample.fields or {}).items():
            texts[name][sample.name] = value
    readable = {sample.name for sample in samples}
    said = table.columns if table else {}
    columns: dict[str, Values] = {name: typed(values) for name, values in texts.items()}
    columns |= {name: {key: cell for key, cell in cells.items() if key in readable} for name, cells in said.items()}
    if any(sample.eye for sample in samples):
        columns[EYE] = {sample.name: sample.eye for sample in samples}
    return declare(columns, modality=modality, where=where)


def _roles(samples: Sequence[NamedSample], table: SampleTable | None, *, where: str) -> dict[str, Role]:
    """What every image is in the protocol; nothing where none is told."""
    named = {sample.name: sample.role for sample in samples if sample.role}
    strange = sorted({role for role in named.values() if role.lower() not in ROLES})
    if strange:
        raise DropError(f"{where}: expected roles among {', '.join(ROLES)}, found {some(strange)}")
    roles: dict[str, Role] = {name: ROLES[role.lower()] for name, role in named.items()}
    roles |= table.roles if table else {}
    if not roles:
        return {}
    without = [sample.name for sample in samples if sample.name not in roles]
    if without:
        raise DropError(
            f"{where}: expected every image to be reference or probe, found {len(without):,} that are neither: "
            f"{some(without)}; complete the column, or take those images out of the folder"
        )
    return roles


def _unreferenced(samples: Sequence[NamedSample], roles: Mapping[str, Role]) -> list[Unusable]:
    """The probes of people of whom no reference can be read."""
    referenced = {sample.instance for sample in samples if not roles or roles[sample.name] == "reference"}
    return [
        Unusable(
            sample.name,
            NO_REFERENCE,
            f"a probe of {' '.join(filter(None, sample.instance))}, of whom there is no reference",
        )
        for sample in samples
        if sample.instance not in referenced
    ]


def _consents(samples: Sequence[NamedSample], table: SampleTable | None) -> frozenset[str] | None:
    """The people of whom every image has consent."""
    if table is None or not table.consents:
        return None
    refused = {sample.subject for sample in samples if not table.consents.get(sample.name, False)}
    return frozenset(sample.subject for sample in samples) - refused


def _notes(reading: LayoutReading, samples: Sequence[NamedSample], table: SampleTable | None) -> tuple[str, ...]:
    notes = list(table.notes) if table else []
    if table and table.n_unlisted:
        notes.append(f"{table.n_unlisted:,} pictures without a row in the table: no conditions")
    if table and table.empty:
        notes.append(f"columns without a value passed over: {some(table.empty, most=8)}")
    lost = sorted({sample.subject for sample in reading.samples} - {sample.subject for sample in samples})
    if lost:
        notes.append(
            f"{len(lost):,} people left out, as no image of theirs, or no reference, can be read: {some(lost)}"
        )
    folders = Counter(
        unicodedata.normalize("NFC", folder)
        for folder in {sample.name.rpartition("/")[0] for sample in reading.samples}
    )
    alike = [folder for folder, n in folders.items() if n > 1]
    if alike:
        notes.append(f"folders that differ in how accents are stored taken as one person: {some(alike)}")
    return tuple(notes)
