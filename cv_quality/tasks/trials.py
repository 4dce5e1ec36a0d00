"""What the trials of every task share: their confirmed slices, and the columns that their dimensions give."""

from collections.abc import Collection, Sequence
from itertools import chain

from cv_quality.modality import Dimension
from cv_quality.reports.queries import any_of, literal
from cv_quality.reports.section import ReportSource
from cv_quality.reports.trials import TrialColumn, TrialSlice
from cv_quality.tasks.briefing import slice_words
from cv_quality.tasks.root_causes.slices import read_confirmed


def trial_slices(source: ReportSource, *, outcome: str) -> tuple[TrialSlice, ...]:
    """Read the confirmed slices of one outcome of a build, the best first.

    Args:
        outcome: that was searched.

    Raises:
        MissingTable: the build was not searched.
    """
    found = read_confirmed(source.lake, source.scope.build, outcome)
    return tuple(
        TrialSlice(rank, where, slice_words(where, source.modality), sentence) for rank, where, sentence in found
    )


def columns_of(dimensions: Sequence[Dimension], known: Collection[str]) -> tuple[TrialColumn, ...]:
    """List the columns of dimensions: levels, and numbers with the bands that they lie in.

    Args:
        known: columns that there are; others are left out.
    """
    columns = chain.from_iterable(map(_columns, dimensions))
    return tuple({column.name: column for column in columns if column.name in known}.values())


def own_rows(source: ReportSource) -> str:
    """Select the rows of a build's own drops under its own model, as SQL."""
    return f"build_id = {literal(source.scope.build)} AND drop_id IN {any_of(source.scope.drops)}"


def _columns(item: Dimension) -> list[TrialColumn]:
    if item.bands is None:
        is_number = item.column.kind in ("integer", "real")
        return [TrialColumn(item.name, item.label, "number" if is_number else "level")]
    return [
        TrialColumn(item.level_column, item.level_label, "level"),
        TrialColumn(item.name, item.label, "number"),
    ]
