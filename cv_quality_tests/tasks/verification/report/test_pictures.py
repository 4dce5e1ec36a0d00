"""The picture on a run's page shows the scores that lie in the lake."""

import io

import polars as pl
import pytest
from PIL import Image

from cv_quality.errors import MissingTable
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.report.pictures import score_histogram
from cv_quality.tasks.verification.tables import COMPARISONS

KEY = TableKey(build="face-1.0", drop="2026-01-01_face-1.0_lab")


def write_scores(lake: Lake, scores: list[float]) -> None:
    rows = {
        "build_id": KEY.build,
        "drop_id": KEY.drop,
        "attempt_id": pl.Series([f"a{index}" for index in range(len(scores))]),
        "reference_id": "r1",
        "subject_id": "s1",
        "reference_subject_id": "s1",
        "is_genuine": True,
        "presentation": "bona_fide",
        "score": pl.Series(scores),
        "device_score": None,
        "is_parity_expected": False,
        "is_parity_broken": None,
        "not_comparable": None,
    }
    lake.write(
        COMPARISONS,
        KEY,
        pl.DataFrame({name: rows[name] for name in ("attempt_id", "score")}).with_columns(
            **{name: pl.lit(value) for name, value in rows.items() if name not in ("attempt_id", "score")}
        ),
    )


def drawn(lake: Lake) -> Image.Image:
    png = score_histogram(
        lake, build=str(KEY.build), drop=str(KEY.drop), comparator=FACE.comparator, decision_threshold=0.5
    )
    return Image.open(io.BytesIO(png))


def test_the_picture_is_a_small_png_that_changes_with_the_scores(lake: Lake) -> None:
    write_scores(lake, [0.1, 0.2, 0.9])
    first = drawn(lake)
    assert first.format == "PNG"
    assert first.width < 1_000
    write_scores(lake, [-0.9, -0.8, 1.0])
    assert drawn(lake).tobytes() != first.tobytes()


def test_a_drop_that_was_not_compared_has_no_picture(lake: Lake) -> None:
    with pytest.raises(MissingTable, match="comparisons"):
        drawn(lake)
