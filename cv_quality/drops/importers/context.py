"""Rows of logs that are no events but say under which conditions events happened: sensors, positions, loads.

They are read before the events, kept by what agrees with them and by time, and asked for when events are judged. What
belongs to an event is said in `ContextRule`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.importers.mapping import ContextRule, Take

if TYPE_CHECKING:
    import polars as pl

TIME: Final = "time of the context"
_Ints = NDArray[np.int64]
_Reals = NDArray[np.float64]


@dataclass
class Context:
    """The rows of one rule.

    Attributes:
        rule: which rows belong to an event, and what is taken of them.
    """

    rule: ContextRule
    _parts: "list[pl.DataFrame]" = field(default_factory=list)
    _series: "dict[str, _SortedRows]" = field(default_factory=dict)

    def add(self, rows: "pl.DataFrame") -> None:
        """Keep rows: the fields that agree, `TIME`, and the conditions."""
        self._parts.append(rows)

    @property
    def n_rows(self) -> int:
        return sum(map(len, self._parts))

    def conditions_of(self, events: "pl.DataFrame") -> "Iterator[pl.Series]":
        """What the rows say of events, a condition at a time; null where no row belongs to one.

        Args:
            events: with the fields that agree, and `occurred_at`.
        """
        for name, take in self.rule.takes.items():
            if name not in self._series:
                self._series[name] = _SortedRows.of(self._parts, name, self.rule)
            since, until = self._series[name].ranges(events, self.rule, take=take)
            yield self._series[name].taken(since, until, take=take).alias(name)


@dataclass(frozen=True, slots=True)
class _SortedRows:
    """The rows that have a value of one condition, by group and time.

    Attributes:
        groups: what agrees, with the number of the group.
        keys: group and rank of the time of every row, as one number that grows.
        times: different ones, in order.
        starts: the first row of every group, and the number of rows.
        values: of the condition.
    """

    groups: "pl.DataFrame"
    keys: _Ints
    times: _Ints
    starts: _Ints
    values: "pl.Series"

    @classmethod
    def of(cls, parts: "list[pl.DataFrame]", name: str, rule: ContextRule) -> "_SortedRows":
        import polars as pl

        by = list(rule.by)
        rows = pl.concat([part.select(*by, TIME, name).drop_nulls([*by, name]) for part in parts])
        groups = (
            rows.select(by).unique(maintain_order=True).with_row_index("group") if by else pl.DataFrame({"group": [0]})
        )
        rows = rows.join(groups, on=by, how="left", maintain_order="left") if by else rows.with_columns(group=pl.lit(0))
        rows = rows.with_columns(pl.col("group").cast(pl.Int64)).sort("group", TIME, maintain_order=True)
        moments = rows[TIME].to_physical().fill_null(0).to_numpy()
        times = np.unique(moments)
        group = rows["group"].to_numpy()
        keys = group * (len(times) + 1) + np.searchsorted(times, moments)
        starts = np.searchsorted(group, np.arange(len(groups) + 1))
        return cls(groups, keys, times, starts, rows[name])

    def ranges(self, events: "pl.DataFrame", rule: ContextRule, *, take: Take) -> tuple[_Ints, _Ints]:
        """The rows from and before which, in their order, belong to each event."""
        import polars as pl

        by = list(rule.by)
        found = events.join(self.groups, on=by, how="left", maintain_order="left")["group"] if by else None
        is_known = found.is_not_null().to_numpy() if found is not None else np.ones(len(events), bool)
        group = (
            found.fill_null(0).cast(pl.Int64).to_numpy() if found is not None else np.zeros(len(events), dtype=np.int64)
        )
        since, until = self.starts[group], self.starts[np.minimum(group + 1, len(self.starts) - 1)]
        if rule.within_us is not None or take == "last":
            moments = events["occurred_at"].to_physical().to_numpy()
            until = np.searchsorted(self.keys, self._key(group, moments, side="right"))
            if rule.within_us is not None:
                since = np.searchsorted(self.keys, self._key(group, moments - rule.within_us, side="left"))
        return since, np.where(is_known, until, since)

    def taken(self, since: _Ints, until: _Ints, *, take: Take) -> "pl.Series":
        """What is taken of each range of rows; null of an empty one."""
        import polars as pl

        is_empty = until <= since
        if take == "last":
            places = pl.Series(np.maximum(until - 1, 0)).set(pl.Series(is_empty), None)
            return self.values.gather(places) if len(self.values) else self.values.clear(len(since))
        if take == "count":
            return pl.Series(until - since).set(pl.Series(is_empty), None)
        pairs, place = np.unique(np.stack([since, until]), axis=1, return_inverse=True)
        is_filled = pairs[0] < pairs[1]
        found = np.zeros(pairs.shape[1])
        found[is_filled] = _AGGREGATES[take](self.values.cast(pl.Float64).to_numpy(), *pairs[:, is_filled])
        values = pl.Series(found[place.ravel()]).set(pl.Series(is_empty), None)
        return values.cast(self.values.dtype)

    def _key(self, group: _Ints, moments: _Ints, *, side: str) -> _Ints:
        ranks = np.searchsorted(self.times, moments, side="right" if side == "right" else "left")
        return group * (len(self.times) + 1) + ranks


def _reduced(fold: np.ufunc) -> Callable[[_Reals, _Ints, _Ints], _Reals]:
    """Fold ranges of values; every second result is that of a gap between two of them."""

    def reduce(values: _Reals, since: _Ints, until: _Ints) -> _Reals:
        places = np.stack([since, until], axis=1).ravel()
        found: _Reals = fold.reduceat(np.append(values, 0.0), places)[::2]
        return found

    return reduce


def _medians(values: _Reals, since: _Ints, until: _Ints) -> _Reals:
    return np.array([np.median(values[first:last]) for first, last in zip(since, until, strict=True)])


_AGGREGATES: Final[Mapping[Take, Callable[[_Reals, _Ints, _Ints], _Reals]]] = {
    "mean": lambda values, since, until: _reduced(np.add)(values, since, until) / (until - since),
    "min": _reduced(np.minimum),
    "max": _reduced(np.maximum),
    "median": _medians,
}
