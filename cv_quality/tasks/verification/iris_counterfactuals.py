"""Counterfactuals of irises: failing attempts of confirmed slices compared again with one thing changed.

Frames are processed again, parts of the iris are left out of the comparison, and simulated eyes are rendered again.
There are no saliency maps: each bit of a code says itself which part of the iris it is of. How pairs are chosen is in
`explained_pairs`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.builds import own_drops
from cv_quality.error_analysis.explanations.counterfactuals import (
    LIGHT_PROCESSES,
    CounterfactualResult,
    Process,
    Rerender,
    counterfactuals,
    scored_again,
)
from cv_quality.inference.iris.entry import IrisEntry
from cv_quality.inference.preprocessing import Frame
from cv_quality.metrics.iris.codes import Codes, pack
from cv_quality.metrics.video.flow import opencv
from cv_quality.tasks.root_causes.slices import read_slices
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.explained_pairs import (
    frames_of,
    pairs_of_slices,
    partner_codes,
    read_frames,
    scored_attempts,
)
from cv_quality.tasks.verification.explanations import ExplanationSummary, Row, change_row
from cv_quality.tasks.verification.modality import BiometricModality, Comparator, Encoder
from cv_quality.tasks.verification.populations import FRR
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS
from cv_quality.tasks.verification.templates import loaded_encoder

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.workspace import Workspace

TURN_DEG: Final = 15.0


@dataclass(frozen=True, slots=True)
class IrisPart:
    """A part of the iris, as shares of a code's rows and columns: from the pupil outwards, from the right downwards.

    Attributes:
        words: for the change that leaves it out.
    """

    words: str
    rows: tuple[float, float] = (0.0, 1.0)
    columns: tuple[float, float] = (0.0, 1.0)


RING_PARTS: Final = (
    IrisPart("without the half of the iris beside the pupil", rows=(0.0, 0.5)),
    IrisPart("without the half of the iris beside the sclera", rows=(0.5, 1.0)),
)
EYE_PARTS: Final = (
    IrisPart("without the upper half of the iris", columns=(0.5, 1.0)),
    IrisPart("without the lower half of the iris", columns=(0.0, 0.5)),
    *RING_PARTS,
)
"""Of eye images, whose columns are known to begin at the right; where strips of others begin is not."""


def explain_irises(
    workspace: "Workspace", build: str, *, modality: BiometricModality, rerender: Rerender | None = None
) -> ExplanationSummary:
    """Change the failures of a build's confirmed slices, and write what was found; of maps there are none.

    Args:
        workspace: with the build's outcomes; written to.
        build: the build.
        modality: of the build, with its own comparator.
        rerender: renders simulated attempts again; None for real images.

    Raises:
        MissingTable: a drop has no outcomes yet.
        ModelError: the encoder cannot be loaded.
    """
    lake, entry = workspace.lake, workspace.registry.entry(build)
    assert isinstance(entry, IrisEntry)
    attempts = partial(
        scored_attempts, lake, build=build, drops=own_drops(workspace, build), comparator=modality.comparator
    )
    chosen = pairs_of_slices(
        attempts,
        slices=read_slices(lake, build, FRR.name),
        conditions=(*modality.conditions, *modality.measured),
        pairs=workspace.settings.explained_pairs,
    )
    changes: list[Row] = []
    if chosen:
        again = partial(
            change_irises,
            frames=read_frames(lake, workspace.landing, [item.failures for item in chosen.values()]),
            encoder=loaded_encoder(workspace, entry),
            entry=entry,
            modality=modality,
            rerender=rerender,
        )
        changes = [
            {"rank": rank, **change_row(found)} for rank, item in chosen.items() for found in again(item.failures)
        ]
    write_rows(lake, EXPLANATIONS, build, [])
    write_rows(lake, COUNTERFACTUALS, build, changes)
    return ExplanationSummary(build, len(chosen), maps=0, maps_shown=0, counterfactuals=len(changes))


def change_irises(
    failures: "pl.DataFrame",
    frames: Mapping[tuple[str, str], Frame],
    *,
    encoder: Encoder,
    entry: IrisEntry,
    modality: BiometricModality,
    rerender: Rerender | None = None,
) -> list[CounterfactualResult]:
    """Compare failing attempts again with one thing changed, with the templates that they failed against.

    Args:
        failures: as `scored_attempts` gives them.
        frames: decoded, by (drop, frame).
        encoder, entry: of the build; of ready templates only parts of the iris can be left out.
        modality: with the build's comparator.
        rerender: renders simulated attempts again; None for real images.
    """
    originals, comparator = frames_of(failures, frames), modality.comparator
    score = partial(code_scores, encoder=encoder, comparator=comparator)
    found = list(_left_out(failures, originals, encoder=encoder, entry=entry, comparator=comparator))
    if entry.encoder is None:
        return found
    return found + counterfactuals(
        failures,
        originals=originals,
        score=score,
        dimensions=(*modality.conditions, *modality.measured),
        rerender=rerender,
        processes=EYE_PROCESSES if entry.input == "eye_image" else STRIP_PROCESSES,
        accepts=np.less_equal,
    )


def code_scores(
    attempts: "pl.DataFrame", frames: Sequence[Frame], *, encoder: Encoder, comparator: Comparator
) -> NDArray[np.float64]:
    """Score attempts by other frames against the templates of their partners; NaN where a frame has no template.

    Args:
        attempts: as `scored_attempts` gives them.
        frames: one an attempt.
        encoder, comparator: of the build.
    """
    codes, has_code = _codes(attempts, frames, encoder=encoder)
    return _scores(attempts, codes, has_code, comparator=comparator)


def leave_out(codes: Codes, part: IrisPart, *, shape: tuple[int, int, int]) -> Codes:
    """Mask the bits of one part of the iris.

    Args:
        codes: templates, shape (n, 2, words).
        part: of the iris.
        shape: rows, columns and planes of a code.
    """
    kept = np.ones((1, *shape), np.bool_)
    rows, columns, _ = shape
    bands, angles = _places(part.rows, rows), _places(part.columns, columns)
    kept[:, bands, angles] = False
    masked: Codes = codes & pack(kept, kept)
    return masked


def _places(shares: tuple[float, float], size: int) -> slice:
    return slice(*(round(share * size) for share in shares))


def turned(frame: Frame, degrees: float) -> Frame:
    """Turn the picture of an eye about its middle, anticlockwise; what comes in from outside is as its edge."""
    height, width = frame.shape[:2]
    by = opencv().getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    again = opencv().warpAffine(frame, by, (width, height), borderMode=opencv().BORDER_REPLICATE)
    return np.asarray(again, np.uint8)


def rolled(strip: Frame, degrees: float) -> Frame:
    """Turn an iris in its strip, to higher columns where positive."""
    return np.roll(strip, round(strip.shape[1] * degrees / 360), axis=1)


EYE_PROCESSES: tuple[Process, ...] = (
    *LIGHT_PROCESSES,
    (f"turned {TURN_DEG:g} degrees anticlockwise", partial(turned, degrees=TURN_DEG)),
    (f"turned {TURN_DEG:g} degrees clockwise", partial(turned, degrees=-TURN_DEG)),
)
STRIP_PROCESSES: tuple[Process, ...] = (
    *LIGHT_PROCESSES,
    (f"turned {TURN_DEG:g} degrees to higher columns", partial(rolled, degrees=TURN_DEG)),
    (f"turned {TURN_DEG:g} degrees to lower columns", partial(rolled, degrees=-TURN_DEG)),
)
"""What is done to frames; a turn within the rotations of the claim changes next to nothing."""


def _left_out(
    failures: "pl.DataFrame",
    originals: Sequence[Frame],
    *,
    encoder: Encoder,
    entry: IrisEntry,
    comparator: Comparator,
) -> Iterator[CounterfactualResult]:
    codes, has_code = _codes(failures, originals, encoder=encoder)
    parts = EYE_PARTS if entry.encoder is not None and entry.input == "eye_image" else RING_PARTS
    for part in parts:
        scores = _scores(failures, leave_out(codes, part, shape=entry.code_shape), has_code, comparator=comparator)
        yield scored_again(failures, scores, change=part.words, accepts=np.less_equal)


def _codes(attempts: "pl.DataFrame", frames: Sequence[Frame], *, encoder: Encoder) -> tuple[Codes, NDArray[np.bool_]]:
    """The codes of frames, and which of them have one."""
    encoded = encoder.encode(frames, [{}] * len(frames), attempts["frame"].to_list())
    codes: Codes = encoded.templates.astype(np.uint64)
    return codes, np.array([status == "ok" for status in encoded.statuses], np.bool_)


def _scores(
    attempts: "pl.DataFrame", codes: Codes, has_code: NDArray[np.bool_], *, comparator: Comparator
) -> NDArray[np.float64]:
    scores = np.full(len(attempts), np.nan)
    rows = np.flatnonzero(has_code)
    if len(rows):
        scores[rows] = comparator.score(partner_codes(attempts), codes, (rows, rows))
    return scores
