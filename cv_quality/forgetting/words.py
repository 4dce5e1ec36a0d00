"""What a subject is found by: its id, and the names that are its own alone, in any text that a file decodes to.

How files become texts is in `cv_quality.forgetting.reading`, which files there are in `places`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

SHORTEST: Final = 6
"""Ids of fewer characters, or of digits alone, are looked for in fields for subjects only: elsewhere they are words."""
REPLACED: Final = "[forgotten]"


@dataclass(frozen=True)
class Words:
    """The words that stand for a subject.

    Attributes:
        subject: its id.
        others: ids of other subjects that hold the id, such as "a-1-2" of "a-1".
        names: of its events, pictures, sessions and the like, and digests of its pictures.
    """

    subject: str
    others: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @cached_property
    def _literals(self) -> tuple[str, ...]:
        """Everything looked for, without names that the subject's id finds."""
        if is_plain(self.subject):
            own = [self.subject]
        else:
            own = [f'subject_id":{space}"{self.subject}"' for space in ("", " ")]
        pattern = _whole(self.subject) if is_plain(self.subject) else None
        further = (name for name in self.names if is_plain(name) and not (pattern and pattern.search(name)))
        return (*own, *(form for name in sorted(set(further)) for form in {name, name.encode().decode("latin-1")}))

    def are_in(self, texts: Sequence[str]) -> bool:
        """Tell whether one of them stands in one of these texts."""
        return any(True for _ in self._found(texts))

    def replaced(self, text: str) -> str:
        """Write a text without them."""
        for start, end in sorted(self._spans(text), reverse=True):
            text = f"{text[:start]}{REPLACED}{text[end:]}"
        return text

    def _found(self, texts: Sequence[str]) -> Iterable[str]:
        import polars as pl

        texts = [text if text.isascii() else text.encode(errors="replace").decode() for text in texts]
        may_hold = pl.Series(texts, dtype=pl.String).str.contains_any([*self._literals])
        return (text for text, may in zip(texts, may_hold, strict=True) if may and self._spans(text))

    def _spans(self, text: str) -> list[tuple[int, int]]:
        hidden = [match.span() for other in self.others for match in _whole(other).finditer(text)]
        spans: list[tuple[int, int]] = []
        for literal in self._literals:
            if literal in text:
                found = (match.span() for match in _whole(literal).finditer(text))
                spans += [span for span in found if not any(a <= span[0] and span[1] <= b for a, b in hidden)]
        return _disjoint(spans)


def is_plain(word: str) -> bool:
    """Tell whether a word is long enough to be looked for anywhere."""
    return len(word) >= SHORTEST and not word.isdigit()


def holds(word: str, within: str) -> bool:
    """Tell whether a word stands in another one, as "a-1" in "a-1-2"."""
    return word != within and _whole(word).search(within) is not None


def _whole(literal: str) -> re.Pattern[str]:
    start, end = (
        (r"(?<![A-Za-z0-9])" if literal[0].isalnum() else ""),
        (r"(?![A-Za-z0-9])" if literal[-1].isalnum() else ""),
    )
    return re.compile(f"{start}{re.escape(literal)}{end}")


def _disjoint(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if kept and start < kept[-1][1]:
            kept[-1] = kept[-1][0], max(end, kept[-1][1])
        else:
            kept.append((start, end))
    return kept
