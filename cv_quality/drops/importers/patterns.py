"""Patterns of file names and paths, `{subject}_{light}_{n}`: which part of a name says what.

A field stands for one or more characters without "/"; `{n}`, `{number}` and `{frame}` for digits; `{light:[a-z]+}` for
what a regular expression of its own says. A pattern with "/" between its fields is that of the path below the folder,
else of the file name; the suffix of a picture is no part of either.
"""

import re
from collections.abc import Sequence
from typing import Final

from cv_quality.drops.importers.folders import some, stem_of
from cv_quality.errors import DropError

SUBJECT: Final = "subject"
SESSION: Final = "session"
ROLE: Final = "role"
NUMBERS: Final = frozenset({"n", "number", "frame"})
IGNORED: Final = frozenset({*NUMBERS, "file", "image", "_"})
"""Fields that tell the pictures of a person apart and say nothing else."""
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::((?:[^{}]|\{[0-9,]+\})+))?\}")

Fields = dict[str, str]


def match_pattern(names: Sequence[str], pattern: str) -> list[Fields]:
    """Take names apart; the fields of each, without those that are ignored.

    Args:
        names: paths of pictures below the folder.
        pattern: as above.

    Raises:
        DropError: the pattern is none, a name does not fit, or one can be read in two ways.
    """
    longest, shortest = _compiled(pattern, ""), _compiled(pattern, "?")
    is_of_path = "/" in _FIELD.sub("", pattern)
    found: list[Fields] = []
    strange: list[str] = []
    for name in names:
        text = stem_of(name) if is_of_path else stem_of(name).rpartition("/")[2]
        one, other = longest.fullmatch(text), shortest.fullmatch(text)
        if one is None or other is None:
            strange.append(name)
            continue
        if one.groupdict() != other.groupdict():
            raise DropError(
                f"{name!r} fits {pattern} in two ways, {_shown(one.groupdict())} and {_shown(other.groupdict())}; "
                "say what a field may hold, as in {light:[^_]+}, {n:[0-9]+} or {light:dark|bright}"
            )
        found.append(one.groupdict())
    if strange:
        raise DropError(
            f"expected names of the form {pattern}, found {len(strange):,} of {len(names):,} that are not: "
            f"{some([repr(name) for name in strange])}; the suffix is no part of the pattern, and one with '/' is that "
            "of the path below the folder"
        )
    return found


def _compiled(pattern: str, greed: str) -> re.Pattern[str]:
    _check(pattern)
    text, place = "", 0
    for field in _FIELD.finditer(pattern):
        name, own = field[1], field[2]
        form = own or (f"[0-9]+{greed}" if name in NUMBERS else f"[^/]+{greed}")
        text += re.escape(pattern[place : field.start()])
        text += f"(?:{form})" if name in IGNORED else f"(?P<{name}>{form})"
        place = field.end()
    return re.compile(text + re.escape(pattern[place:]))


def _check(pattern: str) -> None:
    """Refuse what is no pattern, or does not name the subject once."""
    fields = _FIELD.findall(pattern)
    names = [name for name, _ in fields if name not in IGNORED]
    rest = _FIELD.sub("", pattern)
    problem = ""
    if "{" in rest or "}" in rest:
        problem = "braces that hold no field"
    elif SUBJECT not in names:
        problem = "no {subject}"
    elif len(set(names)) < len(names):
        problem = f"{{{next(name for name in names if names.count(name) > 1)}}} twice"
    for name, own in fields:
        try:
            re.compile(f"(?P<{name}>{own})")
        except re.error as error:
            problem = f"{own!r}, which is no regular expression: {error}"
    if problem:
        raise DropError(f"pattern {pattern!r}: expected fields such as {{subject}}_{{light}}_{{n}}, found {problem}")


def _shown(fields: Fields) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in fields.items())
