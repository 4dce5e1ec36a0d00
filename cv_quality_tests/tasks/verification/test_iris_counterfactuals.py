"""What one change does to failing irises: turned back, half left out, relit; and the templates they failed against."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cv_quality.inference.iris.encoder import CodeEncoder
from cv_quality.inference.iris.entry import Acquisition, IrisEntry
from cv_quality.inference.iris.ready import ReadyTemplates
from cv_quality.inference.iris.strips import StripReader
from cv_quality.metrics.iris.codes import Codes, unpack
from cv_quality.tasks.verification.iris_counterfactuals import (
    EYE_PARTS,
    RING_PARTS,
    STRIP_PROCESSES,
    IrisPart,
    change_irises,
    leave_out,
    turned,
)
from cv_quality.tasks.verification.modalities.iris import IRIS
from cv_quality_tests.inference.iris.drawn_eyes import draw, encoded, encoder_of, entry_of, eye_entry, texture
from cv_quality_tests.tasks.verification.iris_case import DROP, GABOR, MASK, RULE, SIZE, STRIPS, THRESHOLD, draw_strips

SHAPE = GABOR.rows, GABOR.columns, len(GABOR.planes)
ENTRY = IrisEntry(STRIPS, "verification", "iris", None, "", THRESHOLD, RULE, GABOR, SIZE, mask=MASK)
ENCODER = CodeEncoder(GABOR, Acquisition(), StripReader(SIZE, MASK, Acquisition()))
SUBJECTS = 6
Strips = list[NDArray[np.uint8]]


def failures(references: Codes, *, before: float) -> pl.DataFrame:
    """One failing attempt a subject, against its reference."""
    names = [f"p{number}" for number in range(len(references))]
    return pl.DataFrame(
        {
            "drop_id": DROP,
            "attempt_id": names,
            "subject_id": names,
            "frame": names,
            "score": before,
            "decision_threshold": THRESHOLD,
            "partner": pl.Series([row.ravel().tolist() for row in references], dtype=pl.List(pl.UInt64)),
        }
    )


def accepted(shown: Strips) -> dict[str, int]:
    """How many of the subjects' changed strips are accepted, by the change."""
    rows = failures(codes_of_strips(enrolled()), before=0.4)
    frames = {(DROP, f"p{number}"): strip for number, strip in enumerate(shown)}
    modality = IRIS.of_build(ENTRY)
    found = change_irises(rows, frames, encoder=ENCODER, entry=ENTRY, modality=modality)
    assert {item.accepted.denominator for item in found} == {SUBJECTS}
    return {item.change: int(item.accepted.numerator) for item in found}


def enrolled() -> Strips:
    return [strip.pixels for strip in draw_strips() if strip.number == 0][:SUBJECTS]


def codes_of_strips(strips: Strips) -> Codes:
    templates: Codes = ENCODER.encode(strips, [{}] * len(strips), [""] * len(strips)).templates  # type: ignore[assignment]
    return templates


def test_eyes_turned_too_far_match_once_they_are_turned_back() -> None:
    found = accepted([np.roll(strip, 8, axis=1) for strip in enrolled()])
    assert found.pop("turned 15 degrees to lower columns") == SUBJECTS
    assert set(found.values()) == {0}


def test_noise_beside_the_pupil_is_mended_by_leaving_that_half_out() -> None:
    rng = np.random.default_rng(5)
    spoilt = [strip.copy() for strip in enrolled()]
    for strip in spoilt:
        strip[: SIZE.height // 2] = rng.integers(40, 200, (SIZE.height // 2, SIZE.width))
    found = accepted(spoilt)
    assert found[RING_PARTS[0].words] == SUBJECTS
    assert found[RING_PARTS[1].words] == 0


def test_of_ready_templates_only_parts_can_be_left_out() -> None:
    codes = codes_of_strips(enrolled())
    rows, places = failures(codes, before=0.4), {f"p{number}": number for number in range(SUBJECTS)}
    frames = {(DROP, name): np.zeros((1, 1), np.uint8) for name in places}
    entry = replace(ENTRY, encoder=None, templates="ready.parquet", code=SHAPE)
    ready = ReadyTemplates(codes, places, RULE.bits, {})
    found = change_irises(rows, frames, encoder=ready, entry=entry, modality=IRIS.of_build(ENTRY))
    assert [item.change for item in found] == [part.words for part in RING_PARTS]
    assert {item.accepted.numerator for item in found} == {SUBJECTS}
    assert {item.score_after for item in found} == {0.0}


def test_what_cannot_be_compared_any_more_is_not_accepted() -> None:
    assert set(accepted([np.full_like(strip, 128) for strip in enrolled()]).values()) == {0}


def test_changes_have_different_names() -> None:
    names = list(accepted(enrolled()))
    assert len(set(names)) == len(names) == len(RING_PARTS) + len(STRIP_PROCESSES)


@pytest.mark.parametrize("part", EYE_PARTS)
def test_a_half_left_out_loses_half_of_the_bits_and_no_other(part: IrisPart) -> None:
    whole = codes_of_strips(enrolled())
    left = leave_out(whole, part, shape=SHAPE)
    sides = [unpack(item, rows=SHAPE[0], columns=SHAPE[1], planes=SHAPE[2]) for item in (whole, left)]
    kept = sides[1][1]
    assert kept.mean() == 0.5
    assert np.array_equal(sides[1][0], sides[0][0] & kept)


def test_the_upper_half_of_a_code_is_what_the_upper_lid_covers(tmp_path: Path) -> None:
    fields = eye_entry(tmp_path)
    entry = entry_of(tmp_path, fields)
    frame, _ = draw(strip=texture(1))
    frame[: frame.shape[0] // 2 - 20] = frame[0, 0]
    codes = encoded(encoder_of(tmp_path, fields), [frame]).templates.astype(np.uint64)
    left = [int(np.bitwise_count(leave_out(codes, part, shape=entry.code_shape)[:, 1]).sum()) for part in EYE_PARTS[:2]]
    assert left[0] > left[1]


def test_a_picture_turned_by_a_quarter_is_that_picture() -> None:
    frame = np.random.default_rng(1).integers(0, 255, (41, 41), dtype=np.uint8)
    assert np.array_equal(turned(frame, 90.0), np.rot90(frame))
