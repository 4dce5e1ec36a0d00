"""A build's iris encoder: frames in, packed templates out, with figures of quality and the reasons for no template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelError
from cv_quality.inference.encoded import Encoded
from cv_quality.inference.iris.entry import Acquisition, IrisEntry, StripSize
from cv_quality.inference.iris.log_gabor import Bits, LogGabor, Strips
from cv_quality.inference.preprocessing import LUMA, Frame
from cv_quality.inference.registry import ModelRegistry, verified_bytes
from cv_quality.metrics.iris.codes import Codes, pack

if TYPE_CHECKING:
    import polars as pl

OK = "ok"
AT_ONCE = 256
"""Strips encoded together: some 60 MB of complex responses."""
_LAYOUT = ("rows", "columns", "planes")


@dataclass(frozen=True, slots=True)
class NormalisedIrises:
    """Irises as strips.

    Attributes:
        statuses: "ok", or why there is no strip.
        strips: grey levels, shape (n, height, width).
        valid: pixels that show iris, of that shape.
        measured: figures of the samples, shape (n,) each; NaN where there is none.
    """

    statuses: Sequence[str]
    strips: Strips
    valid: Bits
    measured: Mapping[str, NDArray[np.float64]]


class IrisReader(Protocol):
    """Finds the iris in frames."""

    def read(self, frames: Sequence[Frame]) -> NormalisedIrises:
        """Normalise the irises of frames."""


class Encoder(Protocol):
    """A build's encoder of irises; see `cv_quality.tasks.verification.modality.Encoder`."""

    def encode(
        self, frames: Sequence[Frame], conditions: Sequence[Mapping[str, object]], names: Sequence[str]
    ) -> Encoded: ...


def load_iris_encoder(entry: IrisEntry, registry: ModelRegistry, threads: int) -> Encoder:  # noqa: ARG001
    """Load a build's encoder, or its table of ready templates.

    Args:
        entry: of the build.
        registry: where its files lie.
        threads: of the segmentation model.

    Raises:
        ModelError: a file is missing, is another than the entry says, or does not fit it.
    """
    if entry.encoder is None:
        return ReadyTemplates.of(entry, registry)
    reader: IrisReader = StripReader(entry.strip)
    return CodeEncoder(entry.encoder, entry.acquire, reader)


@dataclass(frozen=True, slots=True)
class CodeEncoder:
    """Encodes the irises that a reader finds.

    Attributes:
        log_gabor: makes codes of strips.
        acquire: what a code must be.
        reader: finds irises.
    """

    log_gabor: LogGabor
    acquire: Acquisition
    reader: IrisReader

    def encode(
        self,
        frames: Sequence[Frame],
        conditions: Sequence[Mapping[str, object]],  # noqa: ARG002 - as every encoder is asked
        names: Sequence[str],  # noqa: ARG002
    ) -> Encoded:
        """Encode frames; a code of which too little is valid is no template."""
        parts = [self._encoded(frames[at : at + AT_ONCE]) for at in range(0, len(frames), AT_ONCE)]
        if not parts:
            return Encoded([], np.empty((0, 2, 0), np.uint64))
        return Encoded(
            [status for part in parts for status in part.statuses],
            np.concatenate([part.templates for part in parts]),
            {name: np.concatenate([part.measured[name] for part in parts]) for name in parts[0].measured},
        )

    def _encoded(self, frames: Sequence[Frame]) -> Encoded:
        found = self.reader.read(frames)
        codes, masks = self.log_gabor.encode(found.strips, found.valid)
        has_strip = np.array([status == OK for status in found.statuses])
        usable = np.where(has_strip, masks.mean(axis=(1, 2, 3)), np.nan)
        statuses = [
            "mask_too_small" if status == OK and share < self.acquire.min_usable else status
            for status, share in zip(found.statuses, usable.tolist(), strict=True)
        ]
        return Encoded(statuses, pack(codes, masks), {**found.measured, "usable_area": usable})


@dataclass(frozen=True, slots=True)
class StripReader:
    """Takes frames that are normalised strips already; everything in them is iris.

    Attributes:
        size: of a strip.
    """

    size: StripSize

    def read(self, frames: Sequence[Frame]) -> NormalisedIrises:
        """Take strips; one of another size is resized where the entry says so, and else no strip."""
        height, width = self.size.height, self.size.width
        strips, statuses = np.zeros((len(frames), height, width), np.float32), []
        for place, frame in enumerate(frames):
            fits = frame.shape[:2] == (height, width)
            statuses.append(OK if fits or self.size.resize else "strip_size")
            if statuses[-1] == OK:
                strips[place] = grey(frame) if fits else _resized(grey(frame), height, width)
        return NormalisedIrises(statuses, strips, np.ones(strips.shape, np.bool_), {})


def grey(frame: Frame) -> NDArray[np.float32]:
    """Take the luma of a frame, shape (height, width), 0 to 255."""
    if frame.ndim == 2:
        return frame.astype(np.float32)
    if frame.shape[2] == 1:
        return frame[:, :, 0].astype(np.float32)
    luma: NDArray[np.float32] = frame[:, :, :3].astype(np.float32) @ LUMA
    return luma


def _resized(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    from PIL import Image

    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR), np.float32)


@dataclass(frozen=True, slots=True)
class ReadyTemplates:
    """Templates that were made elsewhere, by the name of the frame.

    Attributes:
        templates: shape (n, 2, words).
        places: of the frames in it.
        bits: of a code.
    """

    templates: Codes
    places: Mapping[str, int]
    bits: int

    @classmethod
    def of(cls, entry: IrisEntry, registry: ModelRegistry) -> "ReadyTemplates":
        """Read the table that an entry names: `frame`, and `code` and `mask` as packed bytes (`docs/iris.md`).

        Raises:
            ModelError: the file is missing, is another than the entry says, or its codes are others.
        """
        import polars as pl

        assert entry.templates is not None
        path = registry.model_file(_File(entry.templates, entry.sha256))
        verified_bytes(path, sha256=entry.sha256)
        try:
            rows, metadata = pl.read_parquet(path, glob=False), pl.read_parquet_metadata(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ModelError(f"{path.name}: expected a Parquet table of templates: {error}") from error
        _check(rows, metadata, entry, path)
        words = entry.comparison.words
        sides = [np.frombuffer(b"".join(rows[name].to_list()), "<u8").reshape(-1, words) for name in ("code", "mask")]
        templates = np.stack([sides[0] & sides[1], sides[1]], axis=1).astype(np.uint64)
        places = {str(name): place for place, name in enumerate(rows["frame"])}
        return cls(templates, places, entry.comparison.bits)

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
        return Encoded(statuses, found, {"usable_area": np.where([s == OK for s in statuses], usable, np.nan)})


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
