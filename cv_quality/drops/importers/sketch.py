"""Proposes a mapping of foreign logs from their names and first rows: what is plain as text, the rest as questions.

A proposal is a start for a person: every guess has its samples beside it, and what is not known is a comment.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cv_quality.drops.importers.field_rules import FieldRule
from cv_quality.drops.importers.logs import LogSource
from cv_quality.drops.importers.presets import known_preset
from cv_quality.drops.importers.queries import LogQuery, queried_log
from cv_quality.drops.importers.sources import LINE, Opener, opened_log
from cv_quality.drops.importers.values import read_values, texts_of
from cv_quality.drops.tables import ATTEMPT_FIELDS, DEVICE_FIELDS, SUBJECT_FIELDS
from cv_quality.lake.schema import Column, Kind
from cv_quality.tables.outcomes import FAILS, NO, PASSES, YES

if TYPE_CHECKING:
    import polars as pl

SKETCHED_ROWS: Final = 1_000
_SAMPLES: Final = 4
_MOST: Final = 0.9
"""A column is of a type that so many of its cells are; the others are set aside at import."""
_MAX_LEVELS: Final = 20
_WORDS: Final = {
    "occurred_at": ("timestamp", "time", "ts", "datetime", "occurred", "date", "when", "zeit"),
    "subject_id": ("subject", "user", "person", "uid", "userid", "enrollee", "identity", "participant", "nutzer"),
    "claimed_subject_id": ("claimed", "claim", "claimedid", "target"),
    "device_id": ("device", "deviceid", "serial", "imei", "handset", "phone", "terminal", "unit"),
    "device_model": ("model", "devicemodel", "product"),
    "os_version": ("os", "osversion", "android", "ios"),
    "session_id": ("session", "sessionid", "sid"),
    "transaction_id": ("transaction", "transactionid", "txn"),
    "attempt_number": ("attempt", "attemptno", "try", "retry"),
    "event_id": ("eventid", "id", "uuid", "guid"),
    "presentation": ("presentation", "attack", "attacktype", "pai", "species"),
    "device_score": ("score", "similarity", "sim", "confidence", "matchscore"),
    "is_device_accepted": ("accepted", "result", "decision", "outcome", "verdict", "success", "passed"),
    "device_latency_ms": ("latency", "duration", "elapsed", "took"),
    "frame": ("frame", "image", "img", "picture", "photo", "file", "path"),
    "age_band": ("age", "ageband", "agegroup"),
    "sex": ("sex", "gender"),
}
_TIMES: Final = (
    *("iso", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S"),
    *("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%m-%d %H:%M:%S%.f", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"),
)
_UNITS: Final = {"ns": "ns", "us": "us", "ms": "ms", "s": "s", "sec": "s", "secs": "s", "seconds": "s", "min": "min"}
_FIELDS: Final = {column.name: column for column in (*DEVICE_FIELDS, *SUBJECT_FIELDS, *ATTEMPT_FIELDS)}
_NAMES: Final = re.compile(r"(^|_)(id|fw|firmware|version|model|code|serial|build|release)(_|$)")
"""Columns whose digits are names: 2.10 is another firmware than 2.1."""
_NEEDED: Final = ("occurred_at", "subject_id", "device_id")


def sketch_mapping(sources: Sequence[LogSource], *, preset: str | None = None) -> str:
    """Write a mapping, as YAML, that the first rows of every log suggest.

    Args:
        sources: logs; where they differ is told in comments.
        preset: how they are taken apart.

    Raises:
        TableError: a log cannot be read.
        MappingError: there is no such preset.
    """
    known = known_preset(preset)
    heads = [_head_of(source, known.opener if known else None) for source in sources]
    cells: dict[str, pl.Series] = {}
    for head in heads:
        cells |= {name: head.rows[name] for name in head.rows.columns if name not in cells}
    taken = _taken(cells)
    of = heads[0].name if len(heads) == 1 else f"each of {len(heads)} logs"
    lines = [_field_lines(field, name, cells[name], _words_of(heads, name)) for field, name in taken.items()]
    return "\n".join(
        [
            f"# Proposed from the first {len(heads[0].rows):,} rows of {of}: check it, and answer the questions (?).",
            *_differences(heads),
            "build: BUILD            # ? the build of the model registry that the devices ran, or {column: NAME}",
            "site: SITE              # ? where the logs were recorded, or {column: NAME}",
            *([f"preset: {preset}"] if preset else []),
            "kind: attempt           # ? or {column: NAME, levels: {VERIFY: attempt, ENROL: enrol}}",
            *_zone_lines(cells, taken),
            "fields:",
            *(line for of_field in lines for line in of_field),
            *(f"  # {name}: COLUMN      # ? needed: {_FIELDS[name].meaning}" for name in _NEEDED if name not in taken),
            "conditions:             # ? what else may explain a failure; remove what may not",
            *(line for name in cells if name not in taken.values() for line in _condition(name, cells[name])),
        ]
    )


def _taken(cells: "Mapping[str, pl.Series]") -> dict[str, str]:
    """The columns that are fields, by field."""
    taken: dict[str, str] = {}
    for name, column in cells.items():
        field = _field_of(name)
        if field is not None and field not in taken and _may_be(field, column):
            taken[field] = name
    clock = next((name for name in cells if name not in taken.values() and _is_clock(cells[name])), None)
    if "occurred_at" not in taken and clock is not None:
        taken["occurred_at"] = clock
    return taken


@dataclass(frozen=True, slots=True)
class _Head:
    """The first rows of one log, as text."""

    name: str
    rows: "pl.DataFrame"
    notes: tuple[str, ...]


def _head_of(source: LogSource, opener: Opener | None) -> _Head:
    with queried_log(source) if isinstance(source, LogQuery) else opened_log(source, opener) as log:
        names = [name for name in log.names if not name.startswith(".")]
        batch = next(log.batches(names))
        rows = batch.rows.drop(LINE).head(SKETCHED_ROWS)
        return _Head(log.path.name, rows.select(texts_of(rows[name]).alias(name) for name in names), log.notes)


def _words_of(heads: "Sequence[_Head]", name: str) -> list[str]:
    """The different words of a column in all logs."""
    found = [word for head in heads if name in head.rows.columns for word in head.rows[name].drop_nulls()]
    return list(dict.fromkeys(found))


def _differences(heads: "Sequence[_Head]") -> Iterator[str]:
    """What a log has that the first one has not, and the other way round."""
    first = heads[0]
    for head in heads[1:]:
        told = [f"no column {name!r}" for name in first.rows.columns if name not in head.rows.columns]
        told += [f"also a column {name!r}" for name in head.rows.columns if name not in first.rows.columns]
        for name in first.rows.columns:
            forms = [_form(item.rows[name]) for item in (first, head) if name in item.rows.columns]
            if len(forms) == 2 and forms[0] != forms[1] and None not in forms:
                told.append(f"{name!r} is {forms[1]}, not {forms[0]}")
        told += [note for note in head.notes if note not in first.notes]
        if told:
            yield f"# ? {head.name} differs from {first.name}: {'; '.join(told)}"


def _form(cells: "pl.Series") -> str | None:
    """How the cells of a column are written; None of one without any."""
    if not cells.count():
        return None
    decimal = _decimal(cells)
    if decimal is not None and not cells.drop_nulls().str.contains(r"^\d{10,}$").all():
        return {".": "numbers", ",": "numbers with a decimal comma"}[decimal]
    form = _time_format(cells)
    return f"times of the form {form}" if form else "numbers" if decimal else "text"


def _decimal(cells: "pl.Series") -> Literal[".", ","] | None:
    """The decimal mark of numbers; None where the cells are none."""
    column = Column("number", "real", "", nullable=True)
    if _fits(cells, column, FieldRule()):
        return "."
    return "," if _fits(cells, column, FieldRule(decimal=",")) else None


def _field_of(name: str) -> str | None:
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    candidates = {"".join(words), *words[-1:], *words}
    if name in _FIELDS:
        return name
    joined = "".join(words)
    exact = next((field for field, known in _WORDS.items() if joined in known), None)
    return exact or next((field for field, known in _WORDS.items() if candidates & set(known)), None)


def _may_be(field: str, cells: "pl.Series") -> bool:
    if field == "occurred_at":
        return _time_format(cells) is not None
    if field in ("age_band", "sex", "presentation", "is_device_accepted"):
        return texts_of(cells).n_unique() <= _MAX_LEVELS
    column = _FIELDS[field]
    return column.kind != "real" or any(_fits(cells, column, FieldRule(decimal=mark)) for mark in ".,")


def _fits(cells: "pl.Series", column: Column, rule: FieldRule) -> bool:
    """Whether nearly all cells that say something can be read as the column's values."""
    n_given = texts_of(cells).count()
    return n_given > 0 and read_values(cells, column, rule)[0].count() >= _MOST * n_given


def _time_format(cells: "pl.Series") -> str | None:
    """The first form that all cells have; of numbers the one that gives years from 2000 to 2100."""
    for form in _TIMES:
        if _fits(cells, _FIELDS["occurred_at"], FieldRule(format=form, zone="UTC")):
            years = read_values(cells, _FIELDS["occurred_at"], FieldRule(format=form, zone="UTC"))[0].dt.year()
            if years.drop_nulls().is_between(2000, 2100).all():
                return form
    return None


def _is_clock(cells: "pl.Series") -> bool:
    return texts_of(cells).count() > 0 and _time_format(cells) is not None


def _zone_lines(rows: "Mapping[str, pl.Series]", taken: dict[str, str]) -> Iterator[str]:
    if "occurred_at" not in taken:
        return
    cells = rows[taken["occurred_at"]]
    form = str(_time_format(cells))
    reasons = [d.reason for d in read_values(cells, _FIELDS["occurred_at"], FieldRule(format=form))[1] if d.rows.any()]
    if "no_time_zone" in reasons:
        yield "zone: UTC               # ? times have no offset: the zone of the devices' clocks, as Europe/Berlin"


def _field_lines(field: str, name: str, cells: "pl.Series", words: Sequence[str]) -> Iterator[str]:
    said = [f"column: {_quoted(name)}"]
    question = ""
    if field == "occurred_at" and (form := _time_format(cells)) != "iso":
        said.append(f"format: {_quoted(str(form))}")
        question = " ? day before month, or the other way" if "/" in str(form) else ""
    if field == "device_latency_ms":
        unit = next((_UNITS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in _UNITS), None)
        question = "" if unit else " ? in which unit: from: s, to: ms"
        said += [f"from: {unit}", "to: ms"] if unit and unit != "ms" else []
    if _FIELDS[field].kind == "real" and _decimal(cells) == ",":
        said.append('decimal: ","')
    levels = _FIELDS[field].levels or (field in ("is_device_accepted", "presentation") and ("",))
    if levels:
        guesses = {word: _level(field, word) for word in words}
        if any(word != level for word, level in guesses.items()):
            said.append(
                "levels: {" + ", ".join(f"{_quoted(w)}: {_quoted(level)}" for w, level in guesses.items()) + "}"
            )
            question = " ? is that what the words mean"
    yield f"  {field}: {{{', '.join(said)}}}  #{question and question + ','} {_samples(cells)}"


def _level(field: str, word: str) -> str:
    small = word.lower()
    if field == "is_device_accepted":
        if small in PASSES | YES | {"accept", "accepted", "match"}:
            return "true"
        return "false" if small in FAILS | NO | {"reject", "rejected", "no match", "nomatch"} else "TRUE_OR_FALSE"
    if field == "presentation":
        return "bona_fide" if small in PASSES | {"bonafide", "bona fide", "genuine", "live", "real"} else word
    known = {"m": "male", "f": "female", "w": "female", "man": "male", "woman": "female"}
    return known.get(small, small) if field == "sex" else word


def _condition(name: str, cells: "pl.Series") -> Iterator[str]:
    column = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")
    column = column if re.match(r"[a-z]", column) else f"c_{column}"
    column = f"{column}_logged" if column in _FIELDS else column
    texts = texts_of(cells).drop_nulls()
    if not len(texts):
        yield f"  # {column}: {{column: {_quoted(name)}}}  # no value in the first rows"
        return
    kind: Kind = "text"
    is_name = _NAMES.search(column) is not None or texts.str.contains(r"^0\d").any()
    guesses: tuple[Kind, ...] = () if is_name else ("integer", "real")
    for guess in guesses:
        if _fits(cells, Column(column, guess, "", nullable=True), FieldRule()):
            kind = guess
            break
    comma = [] if is_name or kind != "text" or _decimal(cells) != "," else ['decimal: ","']
    kind = "real" if comma else kind
    said = [f"column: {_quoted(name)}", f"type: {kind}", *comma]
    words = sorted(texts.unique().to_list())
    question = " ? its unit" if kind != "text" else ""
    if kind == "text" and len(words) == len(texts) > _MAX_LEVELS:
        yield f"  # {column}: {{{', '.join(said)}}}  # every value is another: {_samples(cells)}"
        return
    yield f"  {column}: {{{', '.join(said)}}}  #{question and question + ','} {_samples(cells)}"


def _samples(cells: "pl.Series") -> str:
    found = texts_of(cells).drop_nulls().unique(maintain_order=True).head(_SAMPLES).to_list()
    return "such as " + ", ".join(word[:40].replace("\n", " ") for word in found) if found else "empty"


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", text) else json.dumps(text, ensure_ascii=False)
