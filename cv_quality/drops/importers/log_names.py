"""The names of people, devices and sessions in logs, as drops may have them: those that do not fit get pseudonyms.

Who is who stays in the key of `cv_quality.drops.importers.pseudonyms`. Names of classes, such as a device model or an
attack species, say something themselves: they keep their words, joined by hyphens.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cv_quality.drops.importers.field_rules import FieldRule
from cv_quality.drops.importers.pseudonyms import PseudonymKey, pseudonyms_of, read_key
from cv_quality.drops.importers.values import texts_of, without_missing
from cv_quality.errors import MappingError
from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER, Column

if TYPE_CHECKING:
    import polars as pl

_PEOPLE: Final = frozenset(["subject_id", "claimed_subject_id", "reference_id", "family_id"])
_CLASSES: Final = frozenset(["device_model", "presentation"])
_UNNAMED: Final = frozenset(["event_id"])
_HIDDEN: Final = ("<private>", "<redacted>")
"""What systems write in place of a name: not one person's, but everybody's."""


@dataclass
class LogNames:
    """Replaces names that no drop can have.

    Attributes:
        file: of the key.
        is_wanted: whether names that would do get pseudonyms, too.
        key: who is who, from earlier imports and this one.
        n_replaced: names that got a pseudonym in this import.
        classes: names of classes as they were written, by field and what they have become.
    """

    file: Path
    is_wanted: bool = False
    key: PseudonymKey = field(init=False)
    n_replaced: int = 0
    classes: dict[tuple[str, str], str] = field(default_factory=dict)
    _known: dict[tuple[bool, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = read_key(self.file)

    @property
    def is_used(self) -> bool:
        """Whether somebody or something has a pseudonym."""
        return self.n_replaced > 0

    @property
    def notes(self) -> list[str]:
        """What became of names, for people."""
        told = [f"{old} is written {new}" for (_, new), old in self.classes.items() if old != new]
        if self.is_used:
            names = "name has a pseudonym" if self.n_replaced == 1 else "names have pseudonyms"
            told.append(f"{self.n_replaced:,} {names}; their key, which stays with you: {self.file}")
        return told

    def applied(self, cells: "pl.Series", column: Column, rule: FieldRule) -> "pl.Series":
        """The cells of a field, with what may stand in a drop in place of what may not.

        Args:
            cells: of the log.
            column: the field.
            rule: how the log writes it; where it has levels, those say what its words are.
        """
        if column.pattern != IDENTIFIER or column.name in _UNNAMED or rule.levels:
            return cells
        text = without_missing(texts_of(cells))
        text = text.set(text.is_in(_HIDDEN).fill_null(False), None)
        names = text.unique(maintain_order=True).drop_nulls()
        if column.name in _CLASSES:
            changed = {name: self._class_name(name, column.name) for name in names}
        else:
            unfit = names.filter(~names.str.contains(f"^(?:{IDENTIFIER})$"))
            changed = self._pseudonyms(names if self.is_wanted else unfit, are_people=column.name in _PEOPLE)
        return text.replace(changed)

    def _pseudonyms(self, names: "pl.Series", *, are_people: bool) -> dict[str, str]:
        plain = {name: unicodedata.normalize("NFC", name) for name in names}
        new = sorted({name for name in plain.values() if (are_people, name) not in self._known})
        if new:
            found = pseudonyms_of(new, self.key, are_people=are_people)
            self._known |= {(are_people, name): found[name] for name in new}
            self.n_replaced += len(new)
        return {name: self._known[are_people, written] for name, written in plain.items()}

    def _class_name(self, name: str, column: str) -> str:
        """Words joined by hyphens; the name itself where there are none."""
        joined = re.sub(f"{NOT_IN_IDENTIFIER}+", "-", name).strip("-")
        joined = name if re.fullmatch(IDENTIFIER, name) or not re.search("[A-Za-z0-9]", joined) else joined
        other = self.classes.setdefault((column, joined), name)
        if other != name:
            raise MappingError(
                f"field {column!r}: {other!r} and {name!r} would both be {joined!r}; say what they are by 'levels'"
            )
        return joined
