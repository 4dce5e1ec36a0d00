"""The outcome waterfall: where genuine attempts end, stage by stage, over all of them and in each slice.

The stage of each attempt is decided in `cv_quality.tasks.verification.outcomes`; why a slice is one, in
`cv_quality.error_analysis.discovery`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.root_causes.slices import read_slices
from cv_quality.tasks.root_causes.tables import WHOLE
from cv_quality.tasks.verification.populations import FRR
from cv_quality.tasks.verification.tables import OUTCOME_WATERFALL, OUTCOMES

if TYPE_CHECKING:
    import polars as pl


def write_waterfall(lake: Lake, build: str, attempts: "Mapping[str, pl.DataFrame]") -> int:
    """Write the outcomes of a build's attempts, over all and in each slice of its false rejects.

    Args:
        lake: with the build's slices; written to.
        build: the build.
        attempts: genuine ones of its own drops, by the model that scored them.

    Raises:
        MissingTable: the build was not searched for slices.
    """
    import polars as pl

    slices = read_slices(lake, build, FRR.name)
    parts = [
        waterfall(rows, slices).with_columns(build_id=pl.lit(build), model_build_id=pl.lit(model))
        for model, rows in attempts.items()
    ]
    return lake.write(OUTCOME_WATERFALL, TableKey(build=build), pl.concat(parts))


def waterfall(attempts: "pl.DataFrame", slices: Sequence[Slice]) -> "pl.DataFrame":
    """Count the outcomes of genuine attempts, zeros included, over all of them (rank 0) and in each slice (rank 1 on).

    Slices may overlap: an attempt counts in every slice that holds it. The stages other than "accepted" add up to the
    false rejects, so that n_attempts over n_genuine add up to the FRR.

    Args:
        attempts: the attempts with an `outcome` out of `OUTCOMES` and the columns that the slices speak of.
        slices: in order of rank.

    Returns:
        slice_rank, condition, outcome, n_attempts, n_genuine: a row an outcome for the whole and for each slice.

    Raises:
        SliceError: an outcome is none of them or null, or a column is not there.
    """
    import polars as pl

    _require(attempts, slices)
    parts = [(WHOLE, attempts), *((found.sentence(), attempts.filter(found.expression())) for found in slices)]
    rows = [
        (rank, condition, outcome, int((inside["outcome"] == outcome).sum()), inside.height)
        for rank, (condition, inside) in enumerate(parts)
        for outcome in OUTCOMES
    ]
    schema = {
        "slice_rank": pl.Int64,
        "condition": pl.String,
        "outcome": pl.String,
        "n_attempts": pl.Int64,
        "n_genuine": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _require(attempts: "pl.DataFrame", slices: Sequence[Slice]) -> None:
    needed = ["outcome", *(name for found in slices for name in found.columns)]
    missing = [name for name in dict.fromkeys(needed) if name not in attempts.columns]
    if missing:
        raise SliceError(
            f"expected attempts with the columns {', '.join(missing)}, found {', '.join(attempts.columns)}"
        )
    unknown = set(attempts["outcome"].unique()) - set(OUTCOMES)
    if unknown:
        raise SliceError(f"expected outcomes of {', '.join(OUTCOMES)}, found {', '.join(sorted(map(str, unknown)))}")
