"""The scale that a drop declares for its devices' scores: what it may be, and that rows are held against it."""

import json

import pytest

from cv_quality.drops.device_scores import DeviceScores, with_device_scores
from cv_quality.drops.manifest import read_manifest
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import DROP_FILES, QUARANTINE_VALIDATE, VALIDATED_ATTEMPTS
from cv_quality.drops.validation import validate_drop
from cv_quality.errors import DropError, SchemaError
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.drops.small_drops import ATTEMPT, DROP_ID, Site, attempt, background, drop_writer

PERCENT = {"low": 0, "high": 100, "accepts": "at_or_above"}


def declare(site: Site, *lines: bytes, scale: object, schema_version: int = 2) -> None:
    site.deliver(*background(), *lines, schema_version=schema_version, device_scores=scale)


def test_scores_are_held_against_the_declared_scale(site: Site) -> None:
    scores = {"a1": 0.0, "a2": 100.0, "a3": 100.5, "a4": -0.5}
    declare(site, *(attempt(event_id=name, device_score=score) for name, score in scores.items()), scale=PERCENT)
    site.ingest()
    declared = read_manifest(site.landing, DROP_ID).device_scores
    schema = DropSchema(with_device_scores(FACE, declared))
    validate_drop(landing=site.landing, lake=site.lake, drop_id=DROP_ID, schema=schema)
    assert site.rows(VALIDATED_ATTEMPTS)["event_id"].to_list() == ["a1", "a2"]
    rejected = site.rows(QUARANTINE_VALIDATE)
    assert rejected["event_id"].to_list() == ["a3", "a4"]
    assert rejected["detail"][0] == "device_score: expected a number from 0 to 100, found 100.5"
    assert json.loads(site.rows(DROP_FILES)["device_scores"][0]) == PERCENT


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ({"low": 0, "high": 100}, "missing required field `accepts`"),
        ({"low": 0, "high": 100, "accepts": "above"}, "device_scores.accepts"),
        ({"low": 1, "high": 0, "accepts": "at_or_below"}, "expected finite bounds, low below high, found 1 and 0"),
        ({"low": 1, "high": 1, "accepts": "at_or_below"}, "expected finite bounds, low below high, found 1 and 1"),
        ({"accepts": "at_or_below", "range": [0, 1]}, "unknown field `range`"),
        ("0..100", "device_scores"),
    ],
)
def test_a_scale_that_is_none_is_refused_by_key(site: Site, scale: object, words: str) -> None:
    declare(site, attempt(), scale=scale)
    with pytest.raises(DropError, match=words):
        read_manifest(site.landing, DROP_ID)


def test_the_first_version_of_a_manifest_declares_no_scale(site: Site) -> None:
    declare(site, attempt(), scale=PERCENT, schema_version=1)
    with pytest.raises(DropError, match="unknown field `device_scores`"):
        site.ingest()


def test_the_writer_declares_a_scale_and_holds_scores_against_it(site: Site) -> None:
    distances = DeviceScores(low=0, accepts="at_or_below")
    writer = drop_writer(site.landing, device_scores=distances)
    with writer as drop:
        drop.add_event("attempt", **ATTEMPT | {"device_score": 17.5})
        with pytest.raises(SchemaError, match=r"'device_score': expected a number from 0 to unbounded, found -0\.1"):
            drop.add_event("attempt", **ATTEMPT | {"device_score": -0.1})
    manifest = read_manifest(site.landing, DROP_ID)
    assert (manifest.schema_version, manifest.device_scores) == (2, distances)
