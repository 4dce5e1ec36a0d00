"""Tells who is who in a folder of pictures: from folders, from file names, or as a pattern says.

A layout is taken by itself only where the names prove it. Where another reading of them would give other people, the
folder is refused with every reading and the pattern that chooses it: two persons merged cost more than an option.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cv_quality.drops.importers.folders import encodable, some, stem_of
from cv_quality.drops.importers.patterns import ROLE, SESSION, SUBJECT, Fields, match_pattern
from cv_quality.errors import DropError

Layout = Literal["auto", "folders", "sessions", "file_names"]

EYEWEAR: Final = {"glasses": "glasses", "noglasses": "none", "sunglasses": "sunglasses"}
COVERING: Final = {"mask": "mask", "scarf": "scarf"}
FOLDERS: Final = "{subject}/{file}"
OWN_FOLDER: Final = "{_:(.+/)?}{subject}/{file}"
SESSIONS: Final = "{subject}/{session:.+}/{file}"
SOME_SESSIONS: Final = "{subject}/{session:(.+/)?}{file}"
WHOLE_PATH: Final = "{subject:.+}/{file}"
FILE_NAMES: Final = "{subject:[^./]+}.{condition_label:[^./]+}"
NUMBERED: Final = "{subject}_{n}"
FIRST_PART: Final = "{subject:[^_/]+}_{_}"

_GROUP = re.compile(
    r"(train(ing)?|tests?|val|valid(ation)?|dev|eval(uation)?|gallery|probes?|query|references?|enrol(l?ment|l?ed)?)"
    r"|(no|sun)?glasses|masks?|scarf|bright|dark|day|night|indoors?|outdoors?|normal|real|(fe)?males?|(wo)?men"
    r"|faces|images?|photos|pictures|data",
    re.IGNORECASE,
)
_NOBODY = re.compile(
    r"[_. ]*(unknowns?|unsorted|unlabell?ed|unassigned|misc(ellaneous)?|others?|strangers?|distractors?|background|junk"
    r"|noise|rejected|duplicates?)[_. ]*",
    re.IGNORECASE,
)
_SESSION = re.compile(
    r"(sess|sessions?|videos?|vid|clip|seq|sequence|visit|day|take|trial|recording)[-_ ]?[0-9]+"
    r"|(19|20)[0-9]{2}[-_.]?[0-9]{2}[-_.]?[0-9]{2}.*",
    re.IGNORECASE,
)
_PERSON = re.compile(r"(id|person|subject|subj|sub|user|participant|n|p)[-_ ]?[0-9]+", re.IGNORECASE)
_CLOCK = re.compile(r".*[0-9]{6}.*")


@dataclass(frozen=True, slots=True)
class NamedSample:
    """What the name of a picture says.

    Attributes:
        name: the path below the folder.
        subject: whose it is, in composed letters.
        session: when it was taken, apart from the person's others; empty where names do not say.
        role: "reference" or "probe", as written; empty where names do not say.
        fields: conditions by name.
        eye: which eye of the person; empty where samples are not of eyes.
        sample: its number among the person's of a session; the two eyes of one number are one moment.
    """

    name: str
    subject: str
    session: str = ""
    role: str = ""
    fields: Mapping[str, str] | None = None
    eye: str = ""
    sample: str = ""

    @property
    def instance(self) -> tuple[str, str]:
        """What is compared with its like: a person, or one eye of theirs."""
        return self.subject, self.eye


@dataclass(frozen=True, slots=True)
class LayoutReading:
    """The pictures as they are understood, and the layout in words."""

    samples: tuple[NamedSample, ...]
    words: str


def read_layout(root: Path, names: Sequence[str], *, layout: Layout, pattern: str | None) -> LayoutReading:
    """Tell who is on every picture.

    Args:
        root: the folder, for errors.
        names: paths of its pictures.
        layout: "folders" names a person by the picture's own folder, "sessions" by the first one, "file_names" by
            `<person>.<condition>[.<suffix>]`; "auto" takes what the names prove.
        pattern: in place of a layout.

    Raises:
        DropError: the names do not have that layout, or can be read so that other people come out.
    """
    try:
        if pattern is not None:
            return LayoutReading(_samples(names, pattern), f"names of the form {pattern}")
        if layout == "auto":
            layout = _proven(names)
        if layout == "file_names":
            return LayoutReading(_with_wear(_samples(names, FILE_NAMES)), "person and condition in the file name")
        _require_folders(names)
        if layout == "sessions":
            return LayoutReading(
                _samples(names, SOME_SESSIONS), "a folder a person, with folders of sessions or videos in it"
            )
        return LayoutReading(_samples(names, OWN_FOLDER), "a folder a person")
    except DropError as error:
        raise DropError(f"{root}: {error}") from error


def _samples(names: Sequence[str], pattern: str) -> tuple[NamedSample, ...]:
    return tuple(map(_sample, names, match_pattern(names, pattern)))


def _sample(name: str, fields: Fields) -> NamedSample:
    known = {key: unicodedata.normalize("NFC", encodable(value)) for key, value in fields.items()}
    subject, session, role = known.pop(SUBJECT), known.pop(SESSION, "").rstrip("/"), known.pop(ROLE, "")
    return NamedSample(name, subject, session, role, {key.lower(): value for key, value in known.items()})


def _with_wear(samples: Sequence[NamedSample]) -> tuple[NamedSample, ...]:
    """Complete the condition of a name by the eyewear or covering that it is."""

    def fields(sample: NamedSample) -> Fields:
        label = dict(sample.fields or {})["condition_label"]
        wear = {"eyewear": EYEWEAR.get(label), "covering": COVERING.get(label)}
        return {"condition_label": label, **{key: value for key, value in wear.items() if value}}

    return tuple(NamedSample(sample.name, sample.subject, fields=fields(sample)) for sample in samples)


def _require_folders(names: Sequence[str]) -> None:
    loose = [name for name in names if "/" not in name]
    if loose:
        raise DropError(
            f"expected every picture in its person's folder, found {some([repr(name) for name in loose])} outside; "
            'where file names say who it is, say how, as in --pattern "{subject}_{n}" or --layout file_names'
        )


def _proven(names: Sequence[str]) -> Layout:
    """The layout that the names prove.

    Raises:
        DropError: they prove none.
    """
    folders = [name.split("/")[:-1] for name in names]
    n_levels = {len(parts) for parts in folders}
    if len({tuple(parts) for parts in folders}) == 1 and _is_person_and_condition(names):
        return "file_names"
    if n_levels == {0}:
        raise DropError(
            choice("file names say who is who, but not how", names, [NUMBERED, FIRST_PART, FILE_NAMES, "{subject}"])
        )
    _require_folders(names)
    nobody = sorted({name for parts in folders for name in parts if _NOBODY.fullmatch(name)})
    if nobody:
        raise DropError(
            f"folders called {some(nobody)} hold pictures of nobody in particular; take them out, or give --layout or "
            "--pattern if they are people"
        )
    first = {parts[0] for parts in folders}
    return _proven_of_people(names, first) if n_levels == {1} else _proven_of_nested(names, folders)


def _proven_of_people(names: Sequence[str], folders: set[str]) -> Layout:
    readings = [FOLDERS, "{session}/{subject}_{n}", "{session}/{subject}"]
    if all(_GROUP.fullmatch(name) or _SESSION.fullmatch(name) for name in folders):
        raise DropError(choice(f"folders called {some(sorted(folders))} are hardly people", names, readings))
    if len(folders) == 1:
        raise DropError(choice("all pictures lie in one folder", names, readings))
    for separator in "_- .":
        if _is_grid(folders, separator):
            parted = f"{{subject:.+}}{separator}{{condition:[^{separator}/]+}}/{{file}}"
            problem = f"folders called {some(sorted(folders))} may be people under several conditions"
            raise DropError(choice(problem, names, [FOLDERS, parted]))
    return "folders"


def _is_grid(folders: set[str], separator: str) -> bool:
    """Whether names are `<person><separator><condition>`: every first part recurs, and so does every last one."""
    parted = [name.rpartition(separator)[::2] for name in folders]
    people, conditions = Counter(first for first, _ in parted), Counter(last for _, last in parted)
    return all(person and n > 1 for person, n in people.items()) and min(conditions.values()) > 1


def _proven_of_nested(names: Sequence[str], folders: Sequence[Sequence[str]]) -> Layout:
    first, own = {parts[0] for parts in folders}, {parts[-1] for parts in folders}
    is_first, is_own = _names_persons(first), _names_persons(own)
    if not (is_first or is_own):
        second = {parts[1] for parts in folders if len(parts) > 1}
        is_first = all(map(_SESSION.fullmatch, second)) or _are_videos(names, folders)
        is_own = not is_first and _repeat_own_folder(names, folders)
    parents = defaultdict(set)
    for parts in folders:
        parents[parts[-1]].add(tuple(parts[:-1]))
    recurring = sorted(name for name, above in parents.items() if len(above) > 1)
    if is_first and not is_own and len(first) > 1 and not any(map(_GROUP.fullmatch, first)):
        return "sessions"
    if is_own and not is_first and not recurring:
        return "folders"
    recur = f"; {some(recurring)} recur{'s' if len(recurring) == 1 else ''} under several" if recurring else ""
    raise DropError(
        choice(
            f"folders lie in folders{recur}",
            names,
            [SESSIONS, SOME_SESSIONS, "{_}/{subject}/{file}", OWN_FOLDER, WHOLE_PATH],
        )
    )


def _names_persons(folders: set[str]) -> bool:
    return all(map(_PERSON.fullmatch, folders))


def _are_videos(names: Sequence[str], folders: Sequence[Sequence[str]]) -> bool:
    """Whether names are `person/video/video.frame`, with whole numbers for video and frame."""
    own = [parts[-1] for parts in folders]
    return {len(parts) for parts in folders} == {2} and all(
        video.isdecimal() and re.fullmatch(rf"{video}\.[0-9]+", stem_of(name.rpartition("/")[2]))
        for name, video in zip(names, own, strict=True)
    )


def _repeat_own_folder(names: Sequence[str], folders: Sequence[Sequence[str]]) -> bool:
    """Whether every picture is called like its folder, which is no number of a session."""
    own = [parts[-1] for parts in folders]
    return all(
        not any(char.isdecimal() for char in person) and name.rpartition("/")[2].startswith(f"{person}_")
        for name, person in zip(names, own, strict=True)
    )


def _is_person_and_condition(names: Sequence[str]) -> bool:
    """Whether file names are `<person>.<condition>`: several people, of whom pictures under conditions recur."""
    parted = [stem_of(name.rpartition("/")[2]).split(".") for name in names]
    if any(len(parts) != 2 or not all(parts) or parts[1].isdecimal() or _CLOCK.match(parts[0]) for parts in parted):
        return False
    people, conditions = Counter(parts[0] for parts in parted), Counter(parts[1] for parts in parted)
    is_known = not conditions.keys().isdisjoint({*EYEWEAR, *COVERING})
    return len(people) > 1 and max(people.values()) > 1 and (max(conditions.values()) > 1 or is_known)


def choice(problem: str, names: Sequence[str], patterns: Sequence[str]) -> str:
    """Show what every reading of the names would give, and the pattern that chooses it.

    Args:
        problem: why it has to be chosen.
        names: paths of the pictures.
        patterns: the readings; those that do not fit are left out.
    """
    shown: dict[tuple[str, ...], str] = {}
    for pattern in patterns:
        try:
            subjects = tuple(sample.subject for sample in _samples(names, pattern))
        except DropError:
            continue
        people = sorted(set(subjects))
        count = f"{len(people):,} {'person' if len(people) == 1 else 'people'}"
        shown.setdefault(subjects, f'  --pattern "{pattern}": {count}, {some(people)}')
    first = {name.rpartition("/")[0].partition("/")[0] for name in names}
    inner = [f"  or give the folder {first.pop()!r} in it"] if len(first) == 1 and first != {""} else []
    readings = [*(shown.values() or ['  --pattern "{subject}_{n}", with fields as the names have them']), *inner]
    return "\n".join([f"{problem}, so who is who depends on how {some(names, most=2)} are read; say it:", *readings])
