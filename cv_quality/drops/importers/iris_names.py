"""Tells whose eye, and which one, is on every picture of a folder: from folders, from file names, or as a pattern says.

Words for an eye ("left", "R", "OS") are taken out of a path first; the rest is read as a layout of people is, by
`cv_quality.drops.importers.layouts`. What can be read in two ways, or contradicts itself, is refused: two eyes merged
or swapped cost more than an option.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from cv_quality.drops.importers.folders import some, stem_of
from cv_quality.drops.importers.layouts import Layout, LayoutReading, NamedSample, choice, read_layout
from cv_quality.errors import DropError

Eye = Literal["left", "right", "unknown"]

EYE: Final = "eye"
SAMPLE: Final = "sample"
LEFT: Final = ("left", "lefteye", "eyeleft", "l", "os", "le")
RIGHT: Final = ("right", "righteye", "eyeright", "r", "od", "re")
EYES: Final[Mapping[str, Eye]] = {**dict.fromkeys(LEFT, "left"), **dict.fromkeys(RIGHT, "right")}
SHORT: Final = frozenset({"l", "r", "os", "od"})
"""Words that may be something else, so that names prove them only where every name has one."""
WORDS: Final = EYES.keys() - {"le", "re"}
"""That count in names unasked; Le is a name of people."""
UNKNOWN: Final = ("unknown", "unk", "u", "na", "none")
NUMBERED: Final = "{subject:[^_]+}_{sample:[0-9]+}"
"""`ID_N`, as the normalised strips of IIT Delhi are called."""
IN_ONE_FOLDER: Final = (
    NUMBERED,
    "{subject}_{eye:[^_]+}_{sample:[0-9]+}",
    "{subject}_{eye:[^_]+}",
    "{subject}_{_:[^_]+}",
    "{subject}",
    "{subject}/{file}",
)
WITH_EYES: Final = (
    "{subject}/{eye:[^/]+}/{file}",
    "{eye:[^/]+}/{subject}/{file}",
    "{subject}/{session}/{eye:[^/]+}/{file}",
    "{subject}/{session}/{_:[^_/]+}_{eye:[^_/]+}_{sample:[0-9]+}",
    "{subject}/{_:[^/]+}/{eye:[^/]+}/{file}",
    "{subject}/{_:[^/]+}_{eye:[^_/]+}/{file}",
)
_NUMBER_FIELD = re.compile(r"\{(?:n|number)\}")
_COMPACT = re.compile(r"(.*[0-9])([LR])([0-9]+)")
_TOKEN = re.compile(r"([_\-. ]+)")


def read_eyes(
    root: Path,
    names: Sequence[str],
    *,
    layout: Layout,
    pattern: str | None,
    subjects: Mapping[str, str] | None = None,
    eyes: Mapping[str, str] | None = None,
    numbers: Mapping[str, str] | None = None,
) -> LayoutReading:
    """Tell whose eye is on every picture, and which sample of it; where nothing says which eye, it is "unknown".

    Args:
        root: the folder, for errors.
        names: paths of its pictures.
        layout: of the people, once the words for an eye are taken out.
        pattern: in place of a layout, with {subject}, {eye} and {sample}.
        subjects: by picture, in place of both.
        eyes, numbers: eyes and sample numbers by picture, from a table; they count before names.

    Raises:
        DropError: who is on them is not plain, or what is said of an eye contradicts itself.
    """
    reading = _people(root, names, layout=layout, pattern=pattern, subjects=subjects)
    told = [replace(sample, sample=(numbers or {}).get(sample.name, sample.sample)) for sample in reading.samples]
    found = [_with_eye(sample, said=(eyes or {}).get(sample.name), where=root) for sample in told]
    if pattern is None and not eyes:
        _require_proven(found, where=root)
    _require_plain(found, where=root)
    return replace(reading, samples=tuple(found))


def told_eyes(path: str) -> dict[str, Eye]:
    """Find the words of a path that say which eye it is.

    >>> told_eyes("left/001_R_2"), told_eyes("S1001L01"), told_eyes("lea/1")
    ({'left': 'left', 'R': 'right'}, {'L': 'left'}, {})
    """
    *folders, file = path.split("/")
    found = [word for folder in folders for word in _taken_apart(folder)[1]] + _file_taken_apart(file)[1]
    return {word: EYES[_plain(word)] for word in found}


def _people(
    root: Path, names: Sequence[str], *, layout: Layout, pattern: str | None, subjects: Mapping[str, str] | None
) -> LayoutReading:
    """Whose the pictures are, with the sample numbers, and with the eyes that a pattern says."""
    if pattern is not None:
        return _of_pattern(root, names, pattern)
    bare = [_without_eye(stem_of(name)) for name in names]
    if subjects is not None:
        samples = (
            NamedSample(name, subjects[name], sample=_number(rest)) for name, rest in zip(names, bare, strict=True)
        )
        return LayoutReading(tuple(samples), "people by the table")
    if layout == "auto" and not any("/" in rest for rest in bare):
        reading = _of_numbers(root, names, bare)
    else:
        reading = _of_folders(root, names, bare, layout=layout)
    return replace(
        reading,
        samples=tuple(
            replace(sample, name=name, sample=sample.sample or _number(rest))
            for sample, name, rest in zip(reading.samples, names, bare, strict=True)
        ),
    )


def _of_pattern(root: Path, names: Sequence[str], pattern: str) -> LayoutReading:
    numbered = pattern if f"{{{SAMPLE}" in pattern else _NUMBER_FIELD.sub(f"{{{SAMPLE}:[0-9]+}}", pattern, count=1)
    reading = read_layout(root, names, layout="auto", pattern=numbered)
    samples = []
    for sample in reading.samples:
        fields = dict(sample.fields or {})
        eye, number = fields.pop(EYE, ""), fields.pop(SAMPLE, "")
        samples.append(replace(sample, eye=eye, sample=number.lstrip("0") or number[:1], fields=fields))
    return LayoutReading(tuple(samples), f"names of the form {pattern}")


def _of_folders(root: Path, names: Sequence[str], bare: Sequence[str], *, layout: Layout) -> LayoutReading:
    try:
        return read_layout(root, bare, layout=layout, pattern=None)
    except DropError as error:
        if layout != "auto" or list(bare) == [stem_of(name) for name in names]:
            raise
        problem, _, asked = str(error).partition("\n")[0].removeprefix(f"{root}: ").partition(", so who is who")
        if not asked:
            problem = "without its words for an eye, a path says too little of the person"
        raise _asked(root, problem, names, WITH_EYES) from error


def _asked(root: Path, problem: str, names: Sequence[str], patterns: Sequence[str]) -> DropError:
    """Ask for one of the readings whose eyes are eyes."""
    fitting = []
    for pattern in patterns:
        try:
            samples = _of_pattern(root, names, pattern).samples
        except DropError:
            continue
        if all(_plain(sample.eye) in EYES for sample in samples if EYE in pattern):
            fitting.append(pattern)
    return DropError(f"{root}: {choice(problem, names, fitting)}")


def _of_numbers(root: Path, names: Sequence[str], bare: Sequence[str]) -> LayoutReading:
    """Names `<subject>_<number>` in one folder, where several subjects have the same numbers.

    Raises:
        DropError: the names are not of that form, or do not prove it.
    """
    parted = [re.fullmatch(r"([^_]+)_([0-9]+)", rest) for rest in bare]
    found = [(match[1], match[2].lstrip("0") or "0") for match in parted if match]
    shared = Counter(number for _, number in set(found))
    if len(found) < len(names) or len({subject for subject, _ in found}) < 2 or max(shared.values()) < 2:
        raise _asked(root, "file names say whose eye it is, but not how", names, IN_ONE_FOLDER)
    samples = (NamedSample(name, who, sample=number) for name, (who, number) in zip(names, found, strict=True))
    return LayoutReading(tuple(samples), "person and sample number in the file name")


def _with_eye(sample: NamedSample, *, said: str | None, where: Path) -> NamedSample:
    """The eye as a pattern or a table says it, else as the words of the path do; all of them must agree."""
    written = said if said is not None else sample.eye
    person = rf"(?<![^\W_]){re.escape(sample.subject)}(?![^\W_])"
    words = told_eyes(re.sub(person, "", stem_of(sample.name), count=1))
    eye = _eye(written, name=sample.name, where=where) if written else next(iter(words.values()), "unknown")
    others = [f"{word!r} ({other})" for word, other in words.items() if other != eye != "unknown"]
    if others:
        told = f"{written!r} ({eye})" if written else f"{next(iter(words))!r} ({eye})"
        raise DropError(
            f"{where}: {sample.name!r}: expected one eye, found {told} and {', '.join(others)}; correct the name or "
            'the folder, or say which part names the eye, as in --pattern "{eye}/{subject}_{sample}"'
        )
    return replace(sample, eye=eye)


def _eye(written: str, *, name: str, where: Path) -> Eye:
    plain = _plain(written)
    if plain in UNKNOWN or not plain:
        return "unknown"
    if plain not in EYES:
        known = ", ".join((*LEFT[:4], *RIGHT[:4], UNKNOWN[0]))
        raise DropError(f"{where}: {name!r}: expected an eye among {known}, found {written!r}")
    return EYES[plain]


def _require_proven(samples: Sequence[NamedSample], *, where: Path) -> None:
    """Refuse short words for an eye that only some names have: they may be initials."""
    without = [sample.name for sample in samples if sample.eye == "unknown"]
    short = [sample.name for sample in samples if SHORT & set(map(_plain, told_eyes(stem_of(sample.name))))]
    if short and without:
        forms = (*IN_ONE_FOLDER, *WITH_EYES)
        problem = f"{short[0]!r} may tell an eye, and {without[0]!r} tells none"
        raise _asked(where, problem, [sample.name for sample in samples], forms)


def _require_plain(samples: Sequence[NamedSample], *, where: Path) -> None:
    """Refuse a person with a known eye and an unknown one, which may be the same."""
    eyes: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        eyes[sample.subject].setdefault(sample.eye, sample.name)
    torn = [person for person, found in eyes.items() if "unknown" in found and len(found) > 1]
    if torn:
        shown = [f"{name} ({eye})" for eye, name in sorted(eyes[torn[0]].items())]
        raise DropError(
            f"{where}: expected the eye of every image of a person or of none, found {len(torn):,} people with "
            f"both: {some(torn)}, such as {' beside '.join(shown)}; complete the names, or say it "
            "by a column 'eye' of --table"
        )


def _without_eye(path: str) -> str:
    """A path without its words for an eye.

    >>> _without_eye("L/001/S1001L01"), _without_eye("001_right/3"), _without_eye("7_OD_2"), _without_eye("7/left")
    ('001/S1001_01', '001/3', '7_2', '7/eye')
    """
    *folders, file = path.split("/")
    bare = [_taken_apart(folder)[0] for folder in folders]
    return "/".join([*filter(None, bare), _file_taken_apart(file)[0] or EYE])


def _file_taken_apart(stem: str) -> tuple[str, list[str]]:
    """As of a folder; a file name may also have an L or R between its numbers."""
    compact = _COMPACT.fullmatch(stem)
    return (f"{compact[1]}_{compact[3]}", [compact[2]]) if compact else _taken_apart(stem)


def _taken_apart(part: str) -> tuple[str, list[str]]:
    """A folder or file name without its words for an eye, and those words."""
    pieces = _TOKEN.split(part)
    words, separators = pieces[::2], ["", *pieces[1::2]]
    spans = list(_eye_spans(words))
    taken = {place for start, end in spans for place in range(start, end)}
    kept = [(separators[place], word) for place, word in enumerate(words) if place not in taken]
    rest = "".join(separator * (number > 0) + word for number, (separator, word) in enumerate(kept))
    return rest, ["_".join(words[start:end]) for start, end in spans]


def _eye_spans(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where words name an eye; "left_eye" is one name of two words."""
    place = 0
    while place < len(words):
        pair = _plain("".join(words[place : place + 2]))
        if len(words) > place + 1 and pair in WORDS and "eye" in pair:
            yield place, place + 2
            place += 1
        elif _plain(words[place]) in WORDS:
            yield place, place + 1
        place += 1


def _plain(word: str) -> str:
    return re.sub(r"[_\-. ]+", "", word).casefold()


def _number(rest: str) -> str:
    """The last number of a file name, which counts the samples; empty where there is none."""
    found = re.findall(r"[0-9]+", rest.rpartition("/")[2])
    return (found[-1].lstrip("0") or "0") if found else ""
