"""What lets attacks through: the species and the light, held out by artefact."""

import polars as pl
import pytest

from cv_quality.error_analysis.population import Population, search_slices
from cv_quality.tasks.liveness.build_metrics import liveness_dimensions
from cv_quality.tasks.liveness.modality import LIVENESS_MODALITY
from cv_quality.tasks.liveness.populations import PASSED, REJECTED, population_of
from cv_quality_tests.tasks.liveness.presented import PRESENTATION, presentations


@pytest.fixture(scope="module")
def judged() -> pl.DataFrame:
    """Outcomes of forty masks and forty prints, and of forty people."""
    events = [PRESENTATION | event for event in presentations(subjects=40, artefacts=40, each=8)]
    rows = pl.DataFrame(events, infer_schema_length=None)
    others = {item.name for item in liveness_dimensions(LIVENESS_MODALITY)} | {"pai_series", "pad_score"}
    is_attack = pl.col("presented") == "attack"
    return rows.with_columns(
        *(pl.lit(None, pl.String).alias(name) for name in sorted(others - set(rows.columns))),
        drop_id=pl.lit("drop"),
        presentation_id="event_id",
        is_attack=is_attack,
        is_error=pl.when(pl.col("response") == "ok").then(pl.col("is_device_live") == is_attack),
    )


def population(judged: pl.DataFrame, *, is_attack: bool) -> Population:
    outcome = PASSED if is_attack else REJECTED
    return population_of(judged, modality=LIVENESS_MODALITY, outcome=outcome, is_attack=is_attack)


def test_first_slice_of_the_attacks_is_the_species_in_its_light(judged: pl.DataFrame) -> None:
    attacks = population(judged, is_attack=True)
    assert attacks.rows["unit"].n_unique() == 70
    first = search_slices(attacks).slices[0]
    assert first.where.sentence() == "pai_species is mask and illuminance_lux is 5"
    assert first.rate == 1
    assert first.support == 160


def test_people_are_searched_by_themselves(judged: pl.DataFrame) -> None:
    people = population(judged, is_attack=False)
    assert (people.rows.height, people.unit) == (320, "unit")
    assert "pai_species" not in people.columns
    assert not search_slices(people).slices
