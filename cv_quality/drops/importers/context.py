"""Rows of logs that are no events but say under which conditions events happened: sensors, positions, loads.

They are read before the events, kept by what agrees with them and by time, and asked for when events are judged. What
belongs to an event is said in `ContextRule`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

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
        n_rows: that are kept.
    """

    rule: ContextRule
    n_rows: int = 0
    _parts: "list[pl.DataFrame]" = field(default_factory=list)

    def add(self, rows: "pl.DataFrame") -> None:
        """Keep rows: the fields that agree, `TIME`, and the conditions."""
        self._parts.append(rows.drop_nulls(list(self.rule.by)))
        self.n_rows += len(rows)

    def conditions_of(self, events: "pl.DataFrame") -> "Iterator[pl.Series]":
        """What the rows say of events, a condition at a time; null where no row belongs to one.

        Args:
            events: with the fields that agree, and `occurred_at`.
        """
        for name, take in self.rule.takes.items():
            rows = self._sorted[name]
            since, until = rows.ranges(events, self.rule, take=take)
            yield rows.taken(since, until, take=take).alias(name)

    @cached_property
    def _sorted(self) -> "dict[str, _SortedRows]":
        """The rows by condition; asked for when all of them are kept, which they then are no longer twice."""
        import polars as pl

        by = list(self.rule.by)
        rows = pl.concat(self._parts)
        self._parts.clear()
        groups = rows.select(by).unique(maintain_order=True).with_row_index("group") if by else None
        if groups is not None:
            rows = rows.join(groups, on=by, how="left", maintain_order="left").drop(by)
        else:
            rows = rows.with_columns(group=pl.lit(0, pl.UInt32))
        rows = rows.sort("group", TIME, maintain_order=True)
        moments = rows[TIME].to_physical().fill_null(0).to_numpy()
        times = np.unique(moments)
        keys = rows["group"].to_numpy() * np.int64(len(times) + 1) + np.searchsorted(times, moments)
        starts = np.arange((len(groups) if groups is not None else 1) + 1) * (len(times) + 1)
        return {name: _SortedRows.of(rows[name], groups, keys, times, starts) for name in self.rule.takes}


@dataclass(frozen=True, slots=True)
class _SortedRows:
    """The rows that have a value of one condition, by group and time.

    Attributes:
        groups: what agrees, with the number of the group; None where nothing has to.
        keys: group and rank of the time of every row, as one number that grows.
        times: different ones, in order.
        starts: the first row of every group, and the number of rows.
        values: of the condition.
    """

    groups: "pl.DataFrame | None"
    keys: _Ints
    times: _Ints
    starts: _Ints
    values: "pl.Series"

    @classmethod
    def of(
        cls, values: "pl.Series", groups: "pl.DataFrame | None", keys: _Ints, times: _Ints, starts: _Ints
    ) -> "_SortedRows":
        """Leave out the rows without a value.

        Args:
            values: of all rows.
            groups, times: as of the rows.
            keys: of all rows.
            starts: the lowest key of every group, and one beyond all.
        """
        if values.null_count():
            keys, values = keys[values.is_not_null().to_numpy()], values.drop_nulls()
        return cls(groups, keys, times, np.searchsorted(keys, starts), values)

    def ranges(self, events: "pl.DataFrame", rule: ContextRule, *, take: Take) -> tuple[_Ints, _Ints]:
        """The rows from and before which, in their order, belong to each event."""
        import polars as pl

        is_known, group = np.ones(len(events), bool), np.zeros(len(events), dtype=np.int64)
        if self.groups is not None:
            found = events.join(self.groups, on=list(rule.by), how="left", maintain_order="left")["group"]
            is_known, group = found.is_not_null().to_numpy(), found.fill_null(0).cast(pl.Int64).to_numpy()
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

    def _key(self, group: _Ints, moments: _Ints, *, side: Literal["left", "right"]) -> _Ints:
        return group * (len(self.times) + 1) + np.searchsorted(self.times, moments, side=side)


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
