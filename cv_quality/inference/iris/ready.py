"""Ready templates in place of an encoder: a table of packed codes and masks by the name of the frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelError
from cv_quality.inference.encoded import Encoded
from cv_quality.inference.iris.entry import IrisEntry
from cv_quality.inference.iris.quality import COLUMNS
from cv_quality.inference.iris.strips import OK
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import ModelRegistry
from cv_quality.metrics.iris.codes import Codes

if TYPE_CHECKING:
    import polars as pl

_LAYOUT = ("rows", "columns", "planes")


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
        path = registry.model_file(_File(entry.templates, entry.sha256))
        try:
            rows, metadata = pl.read_parquet(path, glob=False), pl.read_parquet_metadata(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ModelError(f"{path.name}: expected a Parquet table of templates: {error}") from error
        _check(rows, metadata, entry, path)
        words = entry.comparison.words
        sides = [np.frombuffer(b"".join(rows[name].to_list()), "<u8").reshape(-1, words) for name in ("code", "mask")]
        templates = np.stack([sides[0] & sides[1], sides[1]], axis=1).astype(np.uint64)
        beyond = entry.comparison.bits % 64
        if beyond and (templates[..., -1] >> np.uint64(beyond)).any():
            raise ModelError(f"{path.name}: bits are set beyond the {entry.comparison.bits} of a code")
        places = {str(name): place for place, name in enumerate(rows["frame"])}
        told = [name for name in COLUMNS if name in rows.columns]
        try:
            measured = {name: rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in told}
        except pl.exceptions.PolarsError as error:
            raise ModelError(f"{path.name}: expected numbers in {', '.join(told)}: {error}") from error
        return cls(templates, places, entry.comparison.bits, measured)

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


def _check(rows: "pl.DataFrame", metadata: Mapping[str, str], entry: IrisEntry, path: Path) -> None:
    assert entry.code is not None
    missing = [name for name in ("frame", "code", "mask") if name not in rows.columns]
    if missing:
        raise ModelError(f"{path.name}: expected columns frame, code and mask: {', '.join(missing)} missing")
    told = tuple(metadata.get(key) for key in _LAYOUT)
    if told != tuple(map(str, entry.code)):
        raise ModelError(f"{path.name}: expected codes of {dict(zip(_LAYOUT, entry.code, strict=True))}, found {told}")
    size = 8 * entry.comparison.words
    for name in ("code", "mask"):
        found = rows[name].bin.size().unique().to_list()
        if found != [size] and rows.height:
            raise ModelError(f"{path.name}: {name}: expected {size} bytes a template, found {sorted(map(str, found))}")
    if rows["frame"].null_count() or rows["frame"].n_unique() < rows.height:
        raise ModelError(f"{path.name}: expected one template a frame; a frame is missing or stands twice")
