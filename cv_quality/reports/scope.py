"""What a page about a build covers: the build, the baseline that it is held against, and the build's own drops."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import MissingTable
from cv_quality.lake.lake import Lake, TableKey

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.lake.schema import Table


@dataclass(frozen=True, slots=True)
class Scope:
    """A build, the baseline that it is held against, and the build's drops.

    Attributes:
        is_recorded: whether the build is evaluated as its devices recorded it; such a one has no baseline on its drops.
    """

    build: str
    baseline: str | None
    drops: tuple[str, ...]
    is_recorded: bool = False

    def __post_init__(self) -> None:
        """Check that there is something to report of.

        Raises:
            MissingTable: no drop of the build has been taken in.
        """
        if not self.drops:
            raise MissingTable(f"{DROP_FILES.name} has no drop of build {self.build}: parse one of its drops first")

    @property
    def models(self) -> tuple[str, ...]:
        """The builds whose models scored the drops, the build itself first."""
        return (self.build, self.baseline) if self.baseline else (self.build,)

    def grid(self, model: str) -> list[TableKey]:
        """List the (model, drop) keys of the build's drops."""
        return [TableKey(build=model, drop=drop) for drop in self.drops]


def model_rows(lake: Lake, table: "Table", *, build: str, model: str) -> "pl.DataFrame":
    """Read the rows of a table keyed by build that one model produced.

    Args:
        model: the build whose model it is: the build itself or its baseline.
    """
    import polars as pl

    return lake.read(table, TableKey(build=build)).filter(pl.col("model_build_id") == model)
