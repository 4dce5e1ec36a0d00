"""Reads the table that says more of pictures than their names: conditions, consent, what each is in the protocol.

The table is keyed by path below the folder of pictures. Dialects are the business of `cv_quality.tables`; what is made
of the columns is told in `cv_quality.drops.importers.declaring`.
"""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from cv_quality.drops.importers.declaring import Values
from cv_quality.drops.importers.folders import some, stem_of
from cv_quality.drops.writer import Scalar
from cv_quality.errors import TableError, near
from cv_quality.tables.reading import opened_table

if TYPE_CHECKING:
    import polars as pl

Role = Literal["reference", "probe"]

PATH: Final = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "picture",
    "img",
)
SUBJECT: Final = ("subject", "subject_id", "person", "person_id", "identity")
SESSION: Final = ("session", "session_id")
CONSENT: Final = ("consent", "image_consent", "has_image_consent")
ROLE: Final = ("role", "protocol")
EYE: Final = ("eye", "laterality", "eye_side")
SAMPLE: Final = ("sample", "sample_number")
YES: Final = ("yes", "y", "true", "t", "1")
NO: Final = ("no", "n", "false", "f", "0")
ROLES: Final[Mapping[str, Role]] = {
    **dict.fromkeys(("reference", "gallery", "enrol", "enrolment", "enroll", "enrollment", "template"), "reference"),
    **dict.fromkeys(("probe", "query", "attempt", "test", "verification", "verify"), "probe"),
}
_Meaning = TypeVar("_Meaning")


@dataclass(frozen=True, slots=True)
class SampleTable:
    """What a table says, by picture; a picture without a value is not among those of the column.

    Attributes:
        subjects, sessions: by names of their own.
        eyes, numbers: which eye, as written, and which sample of it; empty where samples are not of eyes.
        consents: whether reports may show the picture.
        roles: in the protocol.
        columns: all others, by the name as written.
        empty: columns without a value for any picture.
        absent: paths of the table that are no picture of the folder.
        n_unlisted: pictures without a row.
        notes: how the table was read.
    """

    subjects: Mapping[str, str]
    sessions: Mapping[str, str]
    eyes: Mapping[str, str]
    numbers: Mapping[str, str]
    consents: Mapping[str, bool]
    roles: Mapping[str, Role]
    columns: Mapping[str, Values]
    empty: tuple[str, ...]
    absent: tuple[str, ...]
    n_unlisted: int
    notes: tuple[str, ...]


def read_sample_table(
    path: Path, *, root: Path, pictures: Sequence[str], missing: Sequence[str] = (), has_eyes: bool = False
) -> SampleTable:
    """Read a table keyed by the paths of pictures.

    Args:
        path: the table.
        root: the folder of pictures.
        pictures: their paths below it.
        missing: cells that mean missing, in every column.
        has_eyes: whether a column may say which eye it is, and which sample.

    Raises:
        TableError: it has no column of paths or none of the pictures, names a picture twice, or says of consent or role
            what is neither.
    """
    with opened_table(
        path, ids=_written(*PATH, *SUBJECT, *SESSION, *(SAMPLE if has_eyes else ())), missing=missing
    ) as table:
        rows = table.rows.collect()
        notes = table.notes
    names = {name.strip().lower(): name for name in rows.columns}
    key = _column(names, PATH, where=path)
    if key is None:
        raise TableError(
            f"{path}: expected a column {PATH[0]!r} with paths below {root}: {near(PATH[0], rows.columns)}"
        )
    places, loose = _places([str(cell or "") for cell in rows[key]], root=root, pictures=pictures)
    found = [(number, picture) for number, (_, picture) in enumerate(places) if picture is not None]
    absent = tuple(written for written, picture in places if picture is None)
    _require_once([picture for _, picture in found], absent=absent, where=path)
    roles = (SUBJECT, SESSION, CONSENT, ROLE, *((EYE, SAMPLE) if has_eyes else ()))
    special = {role: _column(names, role, where=path) for role in roles}

    def values(column: str | None) -> dict[str, Scalar]:
        return {} if column is None else _values(rows[column], found)

    columns = {name: values(name) for name in rows.columns if name not in {key, *special.values()}}
    return SampleTable(
        subjects=_texts(values(special[SUBJECT])),
        sessions=_texts(values(special[SESSION])),
        eyes=_texts(values(special.get(EYE))),
        numbers=_texts(values(special.get(SAMPLE))),
        consents=_meant(values(special[CONSENT]), {**dict.fromkeys(YES, True), **dict.fromkeys(NO, False)}, where=path),
        roles=_meant(values(special[ROLE]), ROLES, where=path),
        columns={name: column for name, column in columns.items() if column},
        empty=tuple(name for name, column in columns.items() if not column),
        absent=absent,
        n_unlisted=len(pictures) - len(found),
        notes=(*notes, *loose),
    )


def _written(*names: str) -> tuple[str, ...]:
    """The ways in which people write the name of a column."""
    return tuple({form for name in names for form in (name, name.upper(), name.title(), name.capitalize())})


def _column(names: Mapping[str, str], known: Collection[str], *, where: Path) -> str | None:
    found = [names[name] for name in known if name in names]
    if len(found) > 1:
        raise TableError(f"{where}: expected one of the columns {' and '.join(map(repr, found))}: leave the others out")
    return found[0] if found else None


def _places(
    cells: Sequence[str], *, root: Path, pictures: Sequence[str]
) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Each path as written with the picture that it names, and what was overlooked to find it.

    A start that all paths have in common is taken off; where a path is still none of a picture, its suffix, case and,
    if it has no folder, those of the pictures do not count, as long as one picture alone is meant.
    """
    known = {unicodedata.normalize("NFC", name): name for name in pictures}
    texts = [unicodedata.normalize("NFC", cell).replace("\\", "/").strip("'\"").removeprefix("./") for cell in cells]
    starts = ["", f"{root.resolve().as_posix()}/", f"{root.as_posix()}/", f"{root.resolve().name}/"]
    common = posixpath.commonprefix([text.split("/")[:-1] for text in texts if text])
    starts += ["/".join(common[:n]) + "/" for n in range(1, len(common) + 1)]
    rests = [[text.removeprefix(start) for start in starts] for text in texts]
    whole = _by_likeness({name: name for name in known})
    last = _by_likeness({name: name.rpartition("/")[2] for name in known})
    places: list[tuple[str, str | None]] = []
    n_alike = 0
    for cell, forms in zip(cells, rests, strict=True):
        exact = next((form for form in forms if form in known), None)
        alike = exact or next((found for form in forms if (found := whole.get(_likeness(form)))), None)
        alike = alike or last.get(_likeness(forms[0]))
        n_alike += exact is None and alike is not None
        places.append((cell, known[alike] if alike else None))
    return places, [f"paths found without their suffix, case or folder: {n_alike:,}"] if n_alike else []


def _by_likeness(names: Mapping[str, str]) -> dict[str, str]:
    """Pictures by what a name of theirs is like; without those of which several are alike."""
    counts = Counter(map(_likeness, names.values()))
    return {form: picture for picture, name in names.items() if counts[form := _likeness(name)] == 1}


def _likeness(path: str) -> str:
    return stem_of(path).casefold()


def _require_once(pictures: Sequence[str], *, absent: Sequence[str], where: Path) -> None:
    if not pictures:
        raise TableError(
            f"{where}: expected paths of pictures below the folder, found none among {len(absent):,} rows, such as "
            f"{some([repr(name) for name in absent])}"
        )
    picture, n_rows = Counter(pictures).most_common(1)[0]
    if n_rows > 1:
        raise TableError(f"{where}: expected one row a picture, found {n_rows} of {picture!r}; leave one of them")


def _values(column: "pl.Series", found: Sequence[tuple[int, str]]) -> dict[str, Scalar]:
    cells = column.to_list()
    known = ((picture, cells[number]) for number, picture in found)
    return {
        picture: cell if isinstance(cell, bool | int | float) else str(cell)
        for picture, cell in known
        if cell is not None
    }


def _texts(values: Mapping[str, Scalar]) -> dict[str, str]:
    return {picture: unicodedata.normalize("NFC", str(value)) for picture, value in values.items()}


def _meant(values: Mapping[str, Scalar], words: Mapping[str, _Meaning], *, where: Path) -> dict[str, _Meaning]:
    found: dict[str, _Meaning] = {}
    for picture, value in values.items():
        word = str(value).strip().lower()
        if word not in words:
            raise TableError(f"{where}: {picture}: expected one of {', '.join(words)}, found {str(value)!r}")
        found[picture] = words[word]
    return found
