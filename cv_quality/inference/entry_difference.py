"""What differs between the registry entries of two builds, value by value: often a cause is one line there.

Entries are compared as they are written, whatever keys their modality has; what they mean is in
`cv_quality.inference.registry`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cv_quality.inference.registry import load_yaml

IDENTITY = ("build_id", "follows")
"""Keys that always differ, and say nothing."""


@dataclass(frozen=True, slots=True)
class EntryDifference:
    """One value that differs; None where an entry does not have it.

    Attributes:
        key: the path to it, such as "preprocessing: tone_curve: gamma".
    """

    key: str
    before: str | None
    after: str | None


def entry_differences(before: bytes, after: bytes) -> tuple[EntryDifference, ...]:
    """Compare two entries as they are written, in the order of the later one.

    Raises:
        RegistryError: one of them is no YAML.

    >>> one, other = (f"preprocessing:\\n- gray\\n- tone_curve: {{gamma: {gamma}}}\\n".encode() for gamma in (0.5, 1.4))
    >>> entry_differences(one, other)
    (EntryDifference(key='preprocessing: tone_curve: gamma', before='0.5', after='1.4'),)
    """
    old, new = (dict(_values(load_yaml(data, file=name))) for data, name in ((before, "before"), (after, "after")))
    keys = dict.fromkeys([*new, *old])
    return tuple(
        EntryDifference(": ".join(key), old.get(key), new.get(key))
        for key in keys
        if old.get(key) != new.get(key) and key[0] not in IDENTITY
    )


def _values(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every value with the path to it; steps of a list go by their name, or by their place where they have none."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _values(item, (*path, str(key)))
    elif isinstance(value, list) and all(isinstance(item, str | Mapping) for item in value):
        seen: dict[str, int] = {}
        for item in value:
            name = item if isinstance(item, str) else next(iter(map(str, item)), "")
            seen[name] = seen.get(name, 0) + 1
            place = (name,) if seen[name] == 1 else (name, str(seen[name]))
            inner = None if isinstance(item, str) else item[next(iter(item))] if len(item) == 1 else dict(item)
            yield from _values("yes" if inner is None else inner, (*path, *place))
        yield (*path, "order"), " ".join(item if isinstance(item, str) else str(next(iter(item), "")) for item in value)
    else:
        yield path, "null" if value is None else str(value)
