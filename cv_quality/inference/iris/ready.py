"""Ready templates in place of an encoder: a table of packed codes and masks by the name of the frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.importers.iris_codes import CodeLayout, read_ready_table
from cv_quality.errors import DropError, ModelError
from cv_quality.inference.encoded import Encoded
from cv_quality.inference.iris.entry import IrisEntry
from cv_quality.inference.iris.quality import COLUMNS
from cv_quality.inference.iris.strips import OK
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import ModelRegistry
from cv_quality.metrics.iris.codes import Codes


@dataclass(frozen=True, slots=True)
class ReadyTemplates:
    """Templates that were made elsewhere, by the name of the frame.

    Attributes:
        templates: shape (n, 2, words).
        places: of the frames in it.
        bits: of a code.
        measured: figures that the table has of them, shape (n,) each; NaN where there is none.
    """

    templates: Codes
    places: Mapping[str, int]
    bits: int
    measured: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, entry: IrisEntry, registry: ModelRegistry) -> "ReadyTemplates":
        """Read the table that an entry names: `frame`, and `code` and `mask` as packed bytes (`docs/iris.md`).

        Raises:
            ModelError: the file is missing, is another than the entry says, or its codes are others.
        """
        import polars as pl

        assert entry.templates is not None
        assert entry.code is not None
        path = registry.model_file(_File(entry.templates, entry.sha256))
        try:
            table = read_ready_table(path)
        except DropError as error:
            raise ModelError(str(error)) from error
        wanted, rows = CodeLayout(*entry.code), table.rows
        if table.layout != wanted:
            raise ModelError(f"{path.name}: expected codes of {wanted}, as the entry says, found {table.layout}")
        places = {str(name): place for place, name in enumerate(rows["frame"])}
        told = [name for name in COLUMNS if name in rows.columns]
        try:
            measured = {name: rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in told}
        except pl.exceptions.PolarsError as error:
            raise ModelError(f"{path.name}: expected numbers in {', '.join(told)}: {error}") from error
        return cls(table.templates, places, entry.comparison.bits, measured)

    def encode(
        self,
        frames: Sequence[Frame],  # noqa: ARG002 - as every encoder is asked
        conditions: Sequence[Mapping[str, object]],  # noqa: ARG002
        names: Sequence[str],
    ) -> Encoded:
        """Look templates up; a frame without one has none, nor has one whose mask is empty."""
        found = np.zeros((len(names), *self.templates.shape[1:]), np.uint64)
        statuses = []
        for place, name in enumerate(names):
            known = self.places.get(name)
            if known is not None:
                found[place] = self.templates[known]
            valid = found[place, 1].any()
            statuses.append(OK if valid else "no_template" if known is None else "mask_too_small")
        usable = np.bitwise_count(found[:, 1]).sum(axis=1, dtype=np.int64) / self.bits
        measured = {
            "usable_area": np.where([status == OK for status in statuses], usable, np.nan),
            **{column: self._looked_up(figures, names) for column, figures in self.measured.items()},
        }
        return Encoded(statuses, found, measured)

    def _looked_up(self, figures: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
        return np.array([figures[self.places[name]] if name in self.places else np.nan for name in names], np.float64)


@dataclass(frozen=True, slots=True)
class _File:
    file: str
    sha256: str
