"""Pseudonyms of people, and the private file that tells who they are.

The file stays with whoever has the pictures: no drop, lake or report has a name. Who is in it keeps the pseudonym, so
that the drops of several builds name a person alike.
"""

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cv_quality.errors import DropError
from cv_quality.lake.store import atomic_path

N_RANDOM_BYTES: Final = 6


class PseudonymKey(msgspec.Struct, forbid_unknown_fields=True):
    """What the key file holds.

    Attributes:
        people: names by pseudonym.
        pictures: by drop, the paths of pictures by the names that they have in it.
        others: of devices, sessions and the like, by pseudonym.
    """

    people: dict[str, str]
    pictures: dict[str, dict[str, str]]
    others: dict[str, str] = {}


def read_key(path: Path) -> PseudonymKey:
    """Read a key file; an empty key where there is none.

    Raises:
        DropError: it is no key file.
    """
    if not path.exists():
        return PseudonymKey({}, {})
    try:
        return msgspec.json.decode(path.read_bytes(), type=PseudonymKey)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DropError(f"{path}: expected the key of pseudonyms that an import wrote, found: {error}") from error


def pseudonyms_of(names: Iterable[str], key: PseudonymKey, *, are_people: bool = True) -> Mapping[str, str]:
    """Give every name its pseudonym, a new one where the key has none; those are added to it.

    Args:
        names: to be replaced.
        key: what is known, and gets to know.
        are_people: whether they name people; otherwise devices, sessions and the like.
    """
    kept, mark = (key.people, "p") if are_people else (key.others, "x")
    known = {name: pseudonym for pseudonym, name in kept.items()}
    for name in names:
        if name not in known:
            known[name] = f"{mark}-{secrets.token_hex(N_RANDOM_BYTES)}"
            kept[known[name]] = name
    return known


def write_key(path: Path, key: PseudonymKey) -> None:
    """Write a key file that only its owner may read.

    Raises:
        StoreError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(key), indent=1))
