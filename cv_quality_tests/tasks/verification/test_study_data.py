"""What a study of verification asks of the lake: subjects of one family stand together."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from cv_quality.drops.tables import SUBJECTS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.studies.comparison import Difference
from cv_quality.studies.protocol import StudyEndpoint
from cv_quality.tasks.verification.differences import Side
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.study_data import StudyData
from cv_quality.tasks.verification.tables import METRIC_COUNTS

DROP = "2026-08-01_b1_site-a"
FRR = StudyEndpoint("frr", "frr", "primary", margin=0.05)
FAMILIES, MEMBERS = 30, 4
NAMES = [f"f{family:02}-{member}" for family in range(FAMILIES) for member in range(MEMBERS)]


def write_subjects(lake: Lake, family_of: Mapping[str, str]) -> None:
    head = {
        "occurred_at": datetime(2026, 8, 1, tzinfo=UTC),
        "has_image_consent": True,
        "drop_id": DROP,
        "source_file": "e",
        "source_line": 1,
    }
    rows = [
        {
            "event_id": name,
            "subject_id": name,
            "family_id": family_of.get(name),
            **dict.fromkeys(("age_band", "sex"), "x"),
        }
        | head
        for name in NAMES
    ]
    lake.write(SUBJECTS, TableKey(drop=DROP), pa.Table.from_pylist(rows, schema=SUBJECTS.arrow_schema))


def write_counts(lake: Lake, model: str, errors: Sequence[int]) -> None:
    rows = [
        {
            "build_id": model,
            "drop_id": DROP,
            "metric": "frr",
            **dict.fromkeys(("dimension", "level"), "all"),
            **dict.fromkeys(("subject_id", "claimed_subject_id"), name),
            "numerator": count,
            "denominator": 10,
        }
        for name, count in zip(NAMES, errors, strict=True)
    ]
    key = TableKey(build=model, drop=DROP)
    lake.write(METRIC_COUNTS, key, pa.Table.from_pylist(rows, schema=METRIC_COUNTS.arrow_schema))


def compared(lake: Lake, family_of: Mapping[str, str]) -> Difference:
    """Both builds' FRR where every member of a family fares as the others do."""
    write_subjects(lake, family_of)
    rng = np.random.default_rng(1)
    for model in ("b0", "b1"):
        write_counts(lake, model, np.repeat(rng.binomial(10, 0.2, FAMILIES), MEMBERS).tolist())
    sides = [Side("b1", model, [DROP], FACE.comparator, 0.5) for model in ("b0", "b1")]
    return StudyData(lake, FACE, *sides).difference(FRR, frozenset(NAMES))


def test_families_that_fare_alike_are_as_many_as_they_are(lake: Lake) -> None:
    apart = compared(lake, {})
    together = compared(lake, {name: name[:3] for name in NAMES})
    assert apart.standard_error is not None
    assert together.value == pytest.approx(apart.value)
    factor = (MEMBERS * (FAMILIES * MEMBERS - 1) / (FAMILIES * MEMBERS) * FAMILIES / (FAMILIES - 1)) ** 0.5
    assert together.standard_error == pytest.approx(apart.standard_error * factor)


def test_subjects_are_counted_where_families_stand_together(lake: Lake) -> None:
    found = compared(lake, {name: name[:3] for name in NAMES})
    assert found.n_subjects == FAMILIES * MEMBERS
