"""Simulated drops: equal bytes for equal seeds, scores out of the pixels, the truth never inside a drop."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.manifest import completed_drops, read_manifest
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.validation import validate_drop
from cv_quality.errors import RegistryError
from cv_quality.inference.embedder import Embedder, load_embedder
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.lake import Lake
from cv_quality.lake.store import open_store
from cv_quality.simulation.conditions import benign_conditions
from cv_quality.simulation.identity import IdentitySpace, draw_people
from cv_quality.simulation.rendering import render
from cv_quality.simulation.scenario import load_scenario
from cv_quality.simulation.simulate import REFERENCE_MODELS, is_usable, simulate
from cv_quality.simulation.studies import next_plan
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.modalities import MODALITIES

Event = Mapping[str, object]
Pixels = NDArray[np.uint8]
TINY = load_scenario("tiny")


@pytest.fixture(scope="module")
def registry() -> ModelRegistry:
    return ModelRegistry(str(REFERENCE_MODELS), modalities=MODALITIES)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory, registry: ModelRegistry) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    simulate(TINY, landing=open_store(str(folder)), registry=registry)
    return folder


def events(folder: Path, kind: str) -> list[Event]:
    lines = []
    for file in sorted(folder.glob("events-*.jsonl.zst")):
        lines += pa.CompressedInputStream(pa.OSFile(str(file)), "zstd").read().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def images(folder: Path) -> dict[str, Pixels]:
    found = {}
    for file in sorted(folder.glob("frames-*.tar")):
        with tarfile.open(file) as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                found[member.name] = np.asarray(Image.open(io.BytesIO(content.read())))
    return found


def embedded(embedder: Embedder, events: Sequence[Event], frames: Mapping[str, Pixels]) -> NDArray[np.float32]:
    pixels = [frames[str(event["frame"])] for event in events]
    lux = [float(str(event["illuminance_lux"])) for event in events]
    return embedder.embed(pixels, illuminance_lux=lux).embeddings


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    landing: Path, tmp_path: Path, registry: ModelRegistry
) -> None:
    simulate(TINY, landing=open_store(str(tmp_path / "again")), registry=registry)
    assert tree(tmp_path / "again") == tree(landing)
    simulate(TINY, landing=open_store(str(tmp_path / "other")), registry=registry, seed=8)
    changed = tree(tmp_path / "other")
    assert changed.keys() == tree(landing).keys()
    assert all(changed[name] != data for name, data in tree(landing).items())


def test_progress_is_told_after_each_drop(tmp_path: Path, registry: ModelRegistry) -> None:
    told: list[tuple[str, int, int]] = []
    ids = simulate(TINY, landing=open_store(str(tmp_path)), registry=registry, progress=lambda *step: told.append(step))
    assert told == [(ids[0], 1, 2), (ids[1], 2, 2)]


def test_the_drops_are_complete_and_the_truth_lies_beside_them(landing: Path) -> None:
    store = open_store(str(landing))
    drops = [drop.drop_id for drop in completed_drops(store)]
    assert drops == ["2026-08-03_face-1.1_site-a", "2026-08-31_face-1.2_site-a"]
    truth = json.loads((landing / "truth-tiny.json").read_text())
    assert truth["drops"] == drops
    assert truth["defects"][0]["build_id"] == "face-1.2"
    for drop_id in drops:
        names = {path.name for path in (landing / drop_id).iterdir()}
        assert names == {entry.name for entry in read_manifest(store, drop_id).files} | {"manifest.json"}
        everything = b"".join(tree(landing / drop_id).values())
        assert b"truth" not in everything
        assert b"tone curve" not in everything


def test_a_drop_is_self_contained_and_people_persist(landing: Path) -> None:
    first, second = sorted(path for path in landing.iterdir() if path.is_dir())
    for drop in (first, second):
        subjects = {event["subject_id"] for event in events(drop, "subject")}
        devices = {event["device_id"] for event in events(drop, "device")}
        references = {event["reference_id"] for event in events(drop, "enrol")}
        frames = images(drop)
        for attempt in events(drop, "attempt"):
            assert {attempt["subject_id"], attempt["claimed_subject_id"]} <= subjects
            assert attempt["device_id"] in devices
            assert attempt["reference_id"] in references
            assert frames[str(attempt["frame"])].shape == (96, 96)
    assert events(first, "enrol") == events(second, "enrol")
    assert events(first, "stream_frame")


def test_the_on_device_score_is_the_builds_own_model_on_the_logged_pixels(
    landing: Path, registry: ModelRegistry
) -> None:
    for drop in sorted(path for path in landing.iterdir() if path.is_dir()):
        entry = registry.model_entry(drop.name.split("_")[1])
        embedder = load_embedder(entry, registry=registry)
        frames = images(drop)

        enrols = events(drop, "enrol")
        vectors = embedded(embedder, enrols, frames)
        attempts = [event for event in events(drop, "attempt") if event["device_stage"] == "matching"]
        assert attempts
        for attempt, vector in zip(attempts, embedded(embedder, attempts, frames), strict=True):
            rows = [i for i, event in enumerate(enrols) if event["reference_id"] == attempt["reference_id"]]
            reference = vectors[rows].mean(axis=0)
            score = vector @ reference / np.linalg.norm(reference)
            assert attempt["device_score"] == pytest.approx(score, abs=2e-6)
            assert attempt["is_device_accepted"] == (float(str(attempt["device_score"])) >= entry.decision_threshold)


def test_the_drops_pass_parsing_and_validation_whole(landing: Path, lake: Lake) -> None:
    store = open_store(str(landing))
    for drop in completed_drops(store):
        parsed = ingest_drop(landing=store, lake=lake, drop_id=drop.drop_id, modalities=MODALITIES)
        validated = validate_drop(landing=store, lake=lake, drop_id=drop.drop_id, schema=DropSchema(FACE))
        assert parsed.rows_quarantined == 0
        assert validated.rows_rejected == 0
        assert parsed.rows["attempt"] == len(events(landing / drop.drop_id, "attempt"))


def test_transactions_end_with_an_acceptance_or_when_attempts_run_out(landing: Path) -> None:
    for drop in (path for path in landing.iterdir() if path.is_dir()):
        grouped: dict[str, list[Event]] = {}
        for attempt in events(drop, "attempt"):
            grouped.setdefault(str(attempt["transaction_id"]), []).append(attempt)
        for attempts in grouped.values():
            assert [attempt["attempt_number"] for attempt in attempts] == list(range(1, len(attempts) + 1))
            assert len(attempts) <= TINY.max_attempts
            assert not any(attempt["is_device_accepted"] for attempt in attempts[:-1])


def test_the_device_refuses_frames_without_contrast() -> None:
    people = draw_people(IdentitySpace.VALIDATION, seed=2, count=40)
    calm = benign_conditions(40, seed=3)
    assert is_usable(render(people, calm)).mean() > 0.97
    black = replace(calm, illuminance_lux=np.full(40, 0.05, np.float32))
    assert is_usable(render(people, black)).mean() < 0.1


def test_build_that_the_registry_lacks_is_an_error_before_anything_is_written(
    tmp_path: Path, registry: ModelRegistry
) -> None:
    unknown = replace(TINY, builds=(replace(TINY.builds[0], build_id="face-9.9"),), defects=())
    with pytest.raises(RegistryError, match=r"face-9\.9"):
        simulate(unknown, landing=open_store(str(tmp_path / "landing")), registry=registry)
    assert tree(tmp_path) == {}


def test_the_next_drop_is_a_new_one_each_time(landing: Path, registry: ModelRegistry, tmp_path: Path) -> None:
    store = open_store(str(shutil.copytree(landing, tmp_path / "landing")))
    first = store.folders()
    for _ in range(2):
        plan = next_plan(TINY, present=store.folders())
        (name,) = simulate(TINY, landing=store, registry=registry, plans=[plan])
        assert name not in first
        first = store.folders()
    ids = [{event["event_id"] for event in events(tmp_path / "landing" / drop, "attempt")} for drop in first]
    assert sum(map(len, ids)) == len(set().union(*ids))
    truth = json.loads(store.read_bytes("truth-tiny.json"))
    assert sorted(truth["drops"]) == sorted(first)
