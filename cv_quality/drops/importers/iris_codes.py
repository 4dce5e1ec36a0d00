"""Packed iris codes of others: how their bits lie, and the table of ready templates that a registry entry names.

The canonical form is that of `cv_quality.metrics.iris`: bit `column * step + k`, with k running through rows, then
planes, lies in word `bit // 64` at place `bit % 64`; a code has 0 where its mask has 0.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import DropError
from cv_quality.metrics.iris.codes import Codes, unpack

if TYPE_CHECKING:
    import polars as pl

COLUMNS: Final = ("frame", "code", "mask")
TOLD: Final = ("subject", "eye")
"""Columns that a table of ready templates may have, for those who compare it by itself."""
FIGURES: Final = ("pupil_iris_ratio", "centre_distance", "sharpness")
"""And what was measured of the eye where the code was made, as the modality calls it."""
LAYOUT: Final = ("rows", "columns", "planes")

Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CodeLayout:
    """How the bits of a code lie: every angular column holds `rows` of `planes`."""

    rows: int
    columns: int
    planes: int

    @property
    def step(self) -> int:
        """Bits of one column, and so of a rotation by one."""
        return self.rows * self.planes

    @property
    def bits(self) -> int:
        return self.columns * self.step

    @property
    def words(self) -> int:
        return -(-self.bits // 64)

    def __str__(self) -> str:
        return f"{self.bits:,} bits, {self.rows} rows x {self.columns} columns x {self.planes} planes"


@dataclass(frozen=True, slots=True, eq=False)
class ReadyTable:
    """A table of ready templates.

    Attributes:
        layout: of the codes.
        rows: `frame`, `code`, `mask`, and what else the table has.
        templates: the codes and masks of the rows, shape (n, 2, words); a bit under a mask of 0 is 0.
    """

    layout: CodeLayout
    rows: "pl.DataFrame"
    templates: Codes


def read_ready_table(path: Path) -> ReadyTable:
    """Read a table of ready templates: frame, code, mask, the latter as packed bytes, and their layout.

    Raises:
        DropError: it is no such table.
    """
    import polars as pl

    try:
        metadata, rows = pl.read_parquet_metadata(path), pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DropError(f"{path}: expected a Parquet file of templates: {error}") from error
    missing = [name for name in COLUMNS if name not in rows.columns] + [key for key in LAYOUT if key not in metadata]
    if missing:
        raise DropError(
            f"{path}: expected columns {', '.join(COLUMNS)} and the file's metadata {', '.join(LAYOUT)}: "
            f"{', '.join(missing)} missing"
        )
    if not all(metadata[key].isdecimal() and int(metadata[key]) for key in LAYOUT):
        raise DropError(f"{path}: expected whole numbers above 0 as {', '.join(LAYOUT)}")
    layout = CodeLayout(*(int(metadata[key]) for key in LAYOUT))
    if rows["frame"].null_count() or rows["frame"].n_unique() < rows.height:
        raise DropError(f"{path}: expected one template a frame; a frame is missing or stands twice")
    return ReadyTable(layout, rows, _templates_of(rows, layout, path))


def _templates_of(rows: "pl.DataFrame", layout: CodeLayout, path: Path) -> Codes:
    import polars as pl

    size = 8 * layout.words
    wrong = [rows[name].dtype != pl.Binary or (rows[name].bin.size() != size).any() for name in ("code", "mask")]
    if any(wrong) or rows.select(pl.col("code", "mask").null_count()).row(0) != (0, 0):
        raise DropError(f"{path}: expected {size:,} bytes a code and a mask, as of {layout}; found others")
    code, mask = (np.frombuffer(b"".join(rows[name]), "<u8").reshape(-1, layout.words) for name in ("code", "mask"))
    templates: Codes = np.stack([code & mask, mask], axis=1).astype(np.uint64)
    beyond = layout.bits % 64
    if beyond and (templates[..., -1] >> np.uint64(beyond)).any():
        raise DropError(f"{path}: bits are set beyond the {layout.bits:,} of a code")
    return templates


@dataclass(frozen=True, slots=True)
class ReadyTemplate:
    """One row of the table.

    Attributes:
        frame: its name in the drop.
        words: packed code and mask, shape (2, words).
        subject, eye: whose.
        figures: of `FIGURES`, those that are known.
    """

    frame: str
    words: NDArray[np.uint64]
    subject: str
    eye: str
    figures: Mapping[str, float] = field(default_factory=dict)


def ready_table(
    templates: Sequence[ReadyTemplate], layout: CodeLayout, *, drop_id: str, known: Path | None = None
) -> bytes:
    """Make the table of ready templates that a registry entry names, as Parquet.

    Args:
        templates: the rows.
        layout: theirs.
        drop_id: of the frames; rows of the table for that drop are replaced.
        known: the table as it is, of that layout; None where there is none.
    """
    import polars as pl

    kinds = {"frame": pl.String, "code": pl.Binary, "mask": pl.Binary, **dict.fromkeys(TOLD, pl.String)}
    rows = pl.DataFrame(
        [
            (
                item.frame,
                *(side.astype("<u8").tobytes() for side in item.words),
                *(item.subject, item.eye),
                *map(item.figures.get, FIGURES),
            )
            for item in templates
        ],
        schema={**kinds, **dict.fromkeys(FIGURES, pl.Float64)},
        orient="row",
    )
    if known is not None:
        others = read_ready_table(known).rows.filter(~pl.col("frame").str.starts_with(f"{drop_id}/"))
        rows = pl.concat([others, rows], how="diagonal")
    file = io.BytesIO()
    told = {"rows": layout.rows, "columns": layout.columns, "planes": layout.planes}
    rows.sort("frame").write_parquet(file, metadata={key: str(value) for key, value in told.items()})
    return file.getvalue()


def picture_of(template: NDArray[np.uint64] | None, layout: CodeLayout) -> bytes:
    """Draw a template as a grey PNG, planes below one another: bits black and white, masked ones grey."""
    from PIL import Image

    pixels = np.full((layout.rows, layout.columns, layout.planes), 128, dtype=np.uint8)
    if template is not None:
        codes, masks = unpack(template[None], rows=layout.rows, columns=layout.columns, planes=layout.planes)
        pixels[masks[0]] = 255 * codes[0][masks[0]]
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(2, 0, 1).reshape(-1, layout.columns)).save(file, "PNG", compress_level=1)
    return file.getvalue()
