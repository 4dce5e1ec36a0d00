"""YAML that people declare a study or a policy in, read strictly: what is not understood is refused under its key path.

Scalars are those of YAML 1.2 (`off` is a text, `1e-4` a number, `2026-07-06` no date); a key that stands twice, an
alias and a file beyond `MAX_BYTES` are refused. What the keys mean is said where they are taken.
"""

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from typing import TypeVar, cast

import yaml

from cv_quality.errors import CvQualityError, near

MAX_BYTES = 1_000_000
NO_UNITS: Mapping[str, float] = {}
PERCENT: Mapping[str, float] = {"%": 0.01, "pp": 0.01}
T = TypeVar("T")
_WITH_UNIT = re.compile(r"([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9]+)")


class _Loader(yaml.SafeLoader):
    """Reads plain YAML: no alias, no key twice, no scalar that YAML 1.2 has not."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias: write out what it stands for")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _whole = re.compile(f"(?:{_pattern})$")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, [*_first, *([""] if _tag == "null" else [])])
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(cast(yaml.ScalarNode, node)))
)
_Loader.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(cast(yaml.ScalarNode, node)))
)


class StrictFields:
    """A mapping whose values are checked as they are taken; an error names the path of the key.

    Attributes:
        where: the file and the keys that lead here.
    """

    def __init__(self, value: object, *, where: str, error: type[CvQualityError]) -> None:
        """Take a mapping over.

        Args:
            value: what was read.
            where: the file, and the keys that lead here.
            error: raised of what is not as it should be.
        """
        self._error = error
        self.where = where
        if not isinstance(value, dict):
            raise self.error(f"expected a mapping, found {_kind(value)}")
        self._value: Mapping[str, object] = value

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def error(self, message: str, key: str | None = None) -> CvQualityError:
        """Make an error about this mapping, or about a key of it."""
        return self._error(f"{self.where if key is None else self._path(key)}: {message}")

    def unexpected(self, key: str, expected: str) -> CvQualityError:
        """Make the error that names the key, what was expected and what was found."""
        return self.error(f"expected {expected}, found {self._value.get(key)!r}", key)

    def check(self, *, required: Set[str], optional: Set[str] = frozenset()) -> None:
        """Refuse a key that is neither required nor optional, and the lack of a required one."""
        for key in self._value:
            if key not in required | optional:
                raise self.error(f"unknown key {key!r}; {near(str(key), required | optional)}")
        missing = sorted(required - self._value.keys())
        if missing:
            raise self.error(f"missing key {', '.join(map(repr, missing))}")

    def value(self, key: str) -> object:
        return self._value.get(key)

    def names(self) -> Sequence[str]:
        return [str(key) for key in self._value]

    def text(self, key: str, expected: str, pattern: str = r"(?s).*\S.*") -> str:
        value = self.value(key)
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise self.unexpected(key, expected)
        return value

    def choice(self, key: str, allowed: Sequence[str], *, default: str | None = None) -> str:
        value = self._value.get(key, default)
        if value not in allowed:
            hint = f"; {near(value, allowed)}" if isinstance(value, str) else ""
            raise self.error(f"expected {' or '.join(allowed)}, found {value!r}{hint}", key)
        return cast(str, value)

    def number(
        self,
        key: str,
        expected: str,
        is_allowed: Callable[[float], bool],
        *,
        units: Mapping[str, float] = NO_UNITS,
    ) -> float:
        """Take a number, or a text of a number and a unit.

        Args:
            key: of the value.
            expected: what it is, for an error.
            is_allowed: tells whether a number is in range.
            units: what a number in each unit is multiplied by.
        """
        value = self.value(key)
        match = _WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
        if match is not None and match[2] in units:
            value = float(f"{float(match[1]) * units[match[2]]:.15g}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.unexpected(key, expected)
        if not math.isfinite(value) or not is_allowed(value):
            raise self.unexpected(key, expected)
        return float(value)

    def whole(self, key: str, *, low: int, high: int) -> int:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.unexpected(key, f"a whole number from {low:,} to {high:,}")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self._value.get(key, default)
        if not isinstance(value, bool):
            raise self.unexpected(key, "true or false")
        return value

    def within(self, key: str) -> "StrictFields":
        """The mapping under a key; an empty one where the key is not there."""
        return StrictFields(self._value.get(key, {}), where=self._path(key), error=self._error)

    def each(self, key: str, read: "Callable[[StrictFields], T]") -> tuple[T, ...]:
        """Read every mapping of the list under a key."""
        value = self.value(key)
        if not isinstance(value, list) or not value:
            raise self.unexpected(key, "a list of mappings")
        at = (f"{self._path(key)}[{number}]" for number in range(len(value)))
        return tuple(
            read(StrictFields(item, where=where, error=self._error)) for item, where in zip(value, at, strict=True)
        )

    def texts(self, key: str, expected: str, pattern: str = r"(?s).*\S.*") -> tuple[str, ...]:
        """The texts of a list, none twice; none where the key is not there."""
        value = self._value.get(key, [])
        if not isinstance(value, list):
            raise self.unexpected(key, f"a list of {expected}")
        for item in value:
            if not isinstance(item, str) or re.fullmatch(pattern, item) is None:
                raise self.error(f"expected {expected}, found {item!r}", key)
        self._once(key, value)
        return tuple(value)

    def numbers(self, key: str, expected: str, is_allowed: Callable[[float], bool]) -> tuple[float, ...]:
        """The numbers of a list, none twice."""
        value = self.value(key)
        if not isinstance(value, list) or not value:
            raise self.unexpected(key, f"a list of {expected}")
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int | float) or not is_allowed(item):
                raise self.error(f"expected {expected}, found {item!r}", key)
        self._once(key, value)
        return tuple(map(float, value))

    def _once(self, key: str, items: Sequence[object]) -> None:
        twice = next((item for number, item in enumerate(items) if item in items[:number]), None)
        if twice is not None:
            raise self.error(f"{twice!r} stands twice", key)

    def _path(self, key: str) -> str:
        joint = ": " if self.where.endswith((".yaml", ".yml")) else "."
        return f"{self.where}{joint}{key}"


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


def read_fields(data: bytes, *, file: str, error: type[CvQualityError]) -> StrictFields:
    """Read a YAML file whose content is a mapping.

    Args:
        data: its bytes.
        file: its name, ending in `.yaml`, as errors give it.
        error: raised of what is not as it should be; those of the mapping are of this type too.
    """
    if len(data) > MAX_BYTES:
        raise error(f"{file}: expected at most {MAX_BYTES:,} bytes, found {len(data):,}")
    try:
        value = yaml.load(data.decode(), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as fault:
        raise error(f"{file}: not YAML as it is read here: {fault}") from fault
    return StrictFields(value, where=file, error=error)
