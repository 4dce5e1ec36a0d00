"""A build's iris encoder: frames in, packed templates out, with figures of quality and the reasons for no template."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cv_quality.inference.encoded import Encoded
from cv_quality.inference.iris.entry import Acquisition, IrisEntry
from cv_quality.inference.iris.eyes import EyeReader
from cv_quality.inference.iris.log_gabor import LogGabor
from cv_quality.inference.iris.ready import ReadyTemplates
from cv_quality.inference.iris.segmentation import load_segmenter
from cv_quality.inference.iris.strips import OK, NormalisedIrises, StripReader
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import ModelRegistry
from cv_quality.metrics.iris.codes import pack

AT_ONCE = 64
"""Frames encoded together: some 20 MB of complex responses a thread."""


class IrisReader(Protocol):
    """Finds the iris in frames."""

    def read(self, frames: Sequence[Frame]) -> NormalisedIrises:
        """Normalise the irises of frames."""


class IrisEncoder(Protocol):
    """A build's encoder of irises; see `cv_quality.tasks.verification.modality.Encoder`."""

    def encode(
        self, frames: Sequence[Frame], conditions: Sequence[Mapping[str, object]], names: Sequence[str]
    ) -> Encoded: ...


def load_iris_encoder(entry: IrisEntry, registry: ModelRegistry, threads: int) -> IrisEncoder:
    """Load a build's encoder, or its table of ready templates.

    Args:
        entry: of the build.
        registry: where its files lie.
        threads: batches of frames that are encoded at a time.

    Raises:
        ModelError: a file is missing, is another than the entry says, or does not fit it.
    """
    if entry.encoder is None:
        return ReadyTemplates.of(entry, registry)
    reader: IrisReader = StripReader(entry.strip, entry.mask, entry.acquire)
    if entry.segmentation is not None:
        reader = EyeReader(load_segmenter(entry.segmentation, registry), entry.strip, entry.mask, entry.acquire)
    return CodeEncoder(entry.encoder, entry.acquire, reader, threads)


@dataclass(frozen=True, slots=True)
class CodeEncoder:
    """Encodes the irises that a reader finds.

    Attributes:
        log_gabor: makes codes of strips.
        acquire: what a code must be.
        reader: finds irises.
        threads: batches that are encoded at a time.
    """

    log_gabor: LogGabor
    acquire: Acquisition
    reader: IrisReader
    threads: int = 1

    def encode(
        self,
        frames: Sequence[Frame],
        conditions: Sequence[Mapping[str, object]],  # noqa: ARG002 - as every encoder is asked
        names: Sequence[str],  # noqa: ARG002
    ) -> Encoded:
        """Encode frames; a code of which too little is valid is no template."""
        if not frames:
            return Encoded([], np.empty((0, 2, -(-self.log_gabor.bits // 64)), np.uint64))
        with ThreadPoolExecutor(self.threads) as pool:
            parts = list(pool.map(self._encoded, (frames[at : at + AT_ONCE] for at in range(0, len(frames), AT_ONCE))))
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
