"""What makes a line an event: the strict decoder of a drop's schema, and the reason when a line is none.

This is the slow, explaining judge, asked only about blocks that the fast reader in `cv_quality.drops.parsing` does
not accept whole. Both judge by the same fields; rules that need other rows are in `cv_quality.drops.validation`.
"""

import json
import re
from datetime import datetime

import msgspec

from cv_quality.drops.lines import MAX_LINE_BYTES, RAW_BYTES
from cv_quality.drops.quarantine import Rejection
from cv_quality.drops.schema import DropSchema
from cv_quality.errors import near
from cv_quality.lake.schema import Column, Kind

_ID_CHARACTERS = 128
_DETAIL_CHARACTERS = 500
_FOUND_CHARACTERS = 80
_FORMS: dict[Kind, str] = {
    "instant": "a time in UTC such as 2026-09-01T12:30:00Z or 2026-09-01T12:30:00.123456Z, with at most six digits of "
    "a second, no other offset, and no number",
    "text": "text in quotes",
    "real": "a finite number, not in quotes",
    "integer": "a whole number without a point, of at most 64 bits",
    "flag": "true or false, not in quotes",
    "reals": "a list of finite numbers, not in quotes",
}


def judge(line: bytes, *, number: int, schema: DropSchema) -> str | Rejection:
    """The kind of the event that `line` holds, or why it holds none.

    Args:
        number: of the line in its file, from 1.
        schema: the contract of the drop.
    """
    if len(line) > MAX_LINE_BYTES:
        return too_long(line[:RAW_BYTES], number=number, size=len(line))
    try:
        if not line.isascii():
            line.decode()
        event = schema.decoder.decode(line)
        datetime.fromisoformat(event.occurred_at)  # type: ignore[attr-defined]
    except UnicodeDecodeError as error:
        return _rejected(line, number, "not_utf8", f"expected UTF-8, found bytes that are none: {error}")
    except msgspec.ValidationError as error:
        return _rejected(line, number, *_reason(str(error), line, schema))
    except (msgspec.DecodeError, RecursionError) as error:
        return _malformed(line, number, str(error))
    except ValueError as error:
        told = _expected("occurred_at", line, schema)
        return _rejected(line, number, "wrong_type", f"{told}: {error}")
    return type(event).__name__


def too_long(head: bytes, *, number: int, size: int) -> Rejection:
    detail = f"expected at most {MAX_LINE_BYTES} bytes, found {size}"
    return Rejection(number, "line_too_long", detail, head, size)


def refused(line: bytes, *, number: int, detail: str) -> Rejection:
    """A line that `judge` lets pass and the reader of columns does not, such as a key given twice."""
    reason = "malformed_json" if "parse error" in detail else "wrong_type"
    if twice := re.search(r"Column\(/(.*)\) was specified twice", detail):
        detail = f"expected each key once, found {twice[1]!r} again"
    return _rejected(line, number, reason, detail)


def _reason(message: str, line: bytes, schema: DropSchema) -> tuple[str, str]:
    """The code of what a decoder says, and its words for people who never saw the decoder."""
    if missing := re.search(r"missing required field `(\w+)`", message):
        return "missing_field", f"expected the field {missing[1]!r}{_meaning(missing[1], schema)}, found none"
    if unknown := re.fullmatch(r"Invalid value '(.*)' - at `\$\.kind`", message, re.DOTALL):
        kind = unknown[1][:_ID_CHARACTERS]
        return "unknown_kind", f"event kind {kind!r}: {near(kind, schema.raw)}"
    place = re.search(r" - at `\$\.(\w+)`$", message)
    if place is None:
        return "wrong_type", f"expected a JSON object, found {line[:_FOUND_CHARACTERS].decode(errors='replace')}"
    reason = "not_finite" if message.startswith("Number out of range") else "wrong_type"
    return reason, _expected(place[1], line, schema)


def _expected(name: str, line: bytes, schema: DropSchema) -> str:
    """What a field is to be, in words, and what it is."""
    try:
        found = json.loads(line).get(name)
    except (ValueError, RecursionError):
        found = "something else"
    shown = json.dumps(found, ensure_ascii=False)[:_FOUND_CHARACTERS]
    column = _column(name, schema)
    if column is None:
        return f"{name}: expected text, found {shown}"
    none = ", or the field left out" if column.nullable else ""
    return f"{name}: expected {_FORMS[column.kind]}{none}, found {shown}"


def _meaning(name: str, schema: DropSchema) -> str:
    column = _column(name, schema)
    return f" ({column.meaning})" if column else ""


def _column(name: str, schema: DropSchema) -> Column | None:
    return next((column for fields in schema.fields.values() for column in fields if column.name == name), None)


def _malformed(line: bytes, number: int, message: str) -> Rejection:
    """JSON has no NaN and no infinity, yet loggers write them: name them instead of a byte offset."""
    literals: list[str] = []
    try:
        json.loads(line, parse_constant=literals.append)
    except (ValueError, RecursionError):
        literals.clear()
    if not literals:
        told = message.removeprefix("JSON is malformed: ")
        return _rejected(line, number, "malformed_json", f"expected one JSON object, found text that is none: {told}")
    return _rejected(line, number, "not_finite", f"expected finite numbers, found {', '.join(sorted(set(literals)))}")


def _rejected(line: bytes, number: int, reason: str, detail: str) -> Rejection:
    """The kind and event_id are told as far as a broken line still says them."""
    head = line[:RAW_BYTES]
    kind = re.search(rb'"kind"\s*:\s*"([a-z_]{1,32})"', head)
    event_id = re.search(rb'"event_id"\s*:\s*"([A-Za-z0-9._-]{1,%d})"' % _ID_CHARACTERS, head)
    return Rejection(
        number,
        reason,
        detail[:_DETAIL_CHARACTERS],
        head,
        len(line),
        event_kind=kind[1].decode() if kind else None,
        event_id=event_id[1].decode() if event_id else None,
    )
