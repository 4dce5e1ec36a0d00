"""Simulated drops of video: equal bytes for equal seeds, all rows sound, what was planted found, a build that lags."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from benchmarks.export_video_models import write_registry
from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.manifest import completed_drops
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import CLIPS
from cv_quality.drops.validation import validate_drop
from cv_quality.errors import RegistryError, ScenarioError
from cv_quality.inference.registry import ModelRegistry
from cv_quality.inference.video.graphs import TorchGraph, zeros
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import open_store
from cv_quality.metrics.video.masks import MaskClass, score_masks
from cv_quality.settings import REFERENCE_MODELS
from cv_quality.simulation.load import load_any_scenario, write_drops
from cv_quality.simulation.scenario_files import packaged_scenarios
from cv_quality.simulation.video.footage import film_site
from cv_quality.simulation.video.scenario import VideoScenario, parse_video_scenario
from cv_quality.simulation.video.scenes import CLASSES
from cv_quality.tasks.video.clips import read_drop_clips
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.tables import CLIP_FILES

Pixels = NDArray[np.uint8]
MODALITIES = {"video": VIDEO_MODALITY}
DEMO = (resources.files("cv_quality.simulation") / "scenarios" / "video-demo.yaml").read_text(encoding="utf-8")
FRAMES = 60


def small(**changes: object) -> VideoScenario:
    """The demo with one site of five clips, of which three have something planted in them."""
    mapping = yaml.safe_load(DEMO) | {"name": "small", "frames": FRAMES, **changes}
    mapping["sites"] = [mapping["sites"][0] | {"clips": 5, "fast_share": 0.6, "dim_share": 0.0}]
    return parse_video_scenario(yaml.safe_dump(mapping), where="small.yaml")


@pytest.fixture(scope="module")
def registry() -> ModelRegistry:
    return ModelRegistry(REFERENCE_MODELS, modalities=MODALITIES)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory, registry: ModelRegistry) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    write_drops(small(), landing=open_store(str(folder)), registry=registry)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def members(drop: Path, content: str) -> dict[str, bytes]:
    found = {}
    for file in sorted(drop.glob(f"{content}-*.tar")):
        with tarfile.open(file) as archive:
            for member in archive:
                data = archive.extractfile(member)
                assert data is not None
                found[member.name] = data.read()
    return found


def events(drop: Path, kind: str) -> list[dict[str, Any]]:
    lines = []
    for file in sorted(drop.glob("events-*.jsonl.zst")):
        lines += pa.CompressedInputStream(pa.OSFile(str(file)), "zstd").read().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def test_same_seed_gives_the_same_bytes_and_another_seed_others(
    landing: Path, tmp_path: Path, registry: ModelRegistry
) -> None:
    write_drops(small(), landing=open_store(str(tmp_path / "again")), registry=registry)
    assert tree(tmp_path / "again") == tree(landing)
    write_drops(small(), landing=open_store(str(tmp_path / "other")), registry=registry, seed=8)
    changed = tree(tmp_path / "other")
    assert changed.keys() == tree(landing).keys()
    assert all(changed[name] != data for name, data in tree(landing).items())


def test_what_was_planted_is_counted_exactly_and_told_beside_the_drops(landing: Path, lake: Lake) -> None:
    planted = json.loads((landing / "truth-small.json").read_text())["irregular_scenes"]
    assert sorted(item["kind"] for item in planted.values()) == ["dropped", "frozen", "repeated"]
    store = open_store(str(landing))
    drop = completed_drops(store)[0].drop_id
    parsed = ingest_drop(landing=store, lake=lake, drop_id=drop, modalities=MODALITIES)
    validated = validate_drop(landing=store, lake=lake, drop_id=drop, schema=DropSchema(VIDEO_MODALITY))
    assert (parsed.rows_quarantined, validated.rows_rejected) == (0, 0)
    read_drop_clips(lake, landing=store, drop=drop)
    scenes = dict(lake.read(CLIPS, TableKey(drop=drop)).select("stream_id", "scene").iter_rows())
    for row in lake.read(CLIP_FILES, TableKey(drop=drop)).iter_rows(named=True):
        kind = planted.get(scenes[row["stream_id"]], {"kind": None, "frames": []})
        for name in ("dropped", "repeated", "frozen"):
            assert row[f"n_{name}"] == (len(kind["frames"]) if name == kind["kind"] else 0), row
        assert (row["status"], row["n_missing"], row["n_bad_truth"], row["n_off_grid"]) == ("ok", 0, 0, 0)
    assert b"irregular" not in b"".join(tree(landing / drop).values())


def test_builds_see_the_same_pictures_and_differ_in_time(landing: Path) -> None:
    first, second = sorted(path for path in landing.iterdir() if path.is_dir())
    for content in ("clips", "masks"):
        assert list(members(first, content).values()) == list(members(second, content).values())
    slower, faster = (np.mean(processing_times(drop)) for drop in (first, second))
    assert faster / slower == pytest.approx(0.92, abs=0.03)


def processing_times(drop: Path) -> list[float]:
    return [event["latency_ms"] for event in events(drop, "stream_frame") if not event["is_dropped"]]


def test_boxes_lie_within_the_picture_and_keep_their_track(landing: Path) -> None:
    drop = next(path for path in landing.iterdir() if path.is_dir())
    masks = {name: Image.open(io.BytesIO(data)).size for name, data in members(drop, "masks").items()}
    boxes = events(drop, "box")
    assert len({(box["stream_id"], box["frame_number"], box["track_id"]) for box in boxes}) == len(boxes)
    for box in boxes:
        width, height = masks[f"{box['stream_id']}/{box['frame_number']:06d}.png"]
        assert 0 <= box["left_px"] < box["left_px"] + box["width_px"] <= width
        assert 0 <= box["top_px"] < box["top_px"] + box["height_px"] <= height
        assert box["track_id"].startswith(box["class_name"])


def test_the_defect_is_lag_behind_fast_objects_and_nothing_else() -> None:
    clips = film_site(small(), replace(small().sites[0], device_weights={"aurora-1": 1.0}), seed=5)
    assert {clip.scene.speed for clip in clips} >= {"fast", "slow"}
    for clip in clips:
        if clip.scene.speed not in ("fast", "slow"):
            continue
        pictures = decoded(clip.video)
        truths = [np.asarray(Image.open(io.BytesIO(mask))) for mask in clip.masks]
        plain, smoothed = (quality(truths, segmented(pictures, name)) for name in ("segment-a", "segment-b"))
        assert plain > 0.8
        assert smoothed < 0.6 if clip.scene.speed == "fast" else smoothed > 0.8


def decoded(video: bytes) -> list[Pixels]:
    with av.open(io.BytesIO(video), "r") as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


def segmented(pictures: list[Pixels], name: str) -> list[Pixels]:
    """Labels of a packaged model, fed with its own last output where it takes one."""
    graph = TorchGraph((Path(REFERENCE_MODELS) / f"{name}.pt2").read_bytes(), name=name, threads=1)
    memory = {port.name: zeros(port) for port in graph.inputs[1:]}
    labels = []
    for picture in pictures:
        levels = picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
        (values,) = graph.run({graph.inputs[0].name: levels, **memory}, graph.outputs)
        memory = dict.fromkeys(memory, values)
        labels.append(values[0].argmax(axis=0).astype(np.uint8))
    return labels


def quality(truths: list[Pixels], labels: list[Pixels]) -> float:
    """Mean J of the classes that are there, but of the first ten frames, which have no history yet."""
    classes = [MaskClass(name, (label,)) for label, name in enumerate(CLASSES, start=1)]
    scored = score_masks(zip(truths[10:], labels[10:], strict=True), classes)
    return float(np.nanmean(scored.region_iou()))


def test_packaged_models_are_what_the_export_command_writes(tmp_path: Path) -> None:
    write_registry(tmp_path)
    for file in tmp_path.iterdir():
        packaged = Path(REFERENCE_MODELS) / file.name
        if file.suffix == ".yaml":
            own, theirs = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (file, packaged))
            assert {**own, "sha256": None} == {**theirs, "sha256": None}


def test_next_drop_is_a_new_one_each_time(landing: Path, registry: ModelRegistry, tmp_path: Path) -> None:
    store = open_store(str(shutil.copytree(landing, tmp_path / "landing")))
    first = store.folders()
    (name,) = write_drops(small(), landing=store, registry=registry, is_next=True)
    assert name not in first
    assert json.loads(store.read_bytes("truth-small.json"))["drops"] == [*first, name]


def test_build_that_the_registry_lacks_is_an_error_before_anything_is_written(
    tmp_path: Path, registry: ModelRegistry
) -> None:
    scenario = small()
    unknown = replace(scenario, builds=(replace(scenario.builds[0], build_id="segment-9.9"),), defects=())
    with pytest.raises(RegistryError, match=r"segment-9\.9"):
        write_drops(unknown, landing=open_store(str(tmp_path / "landing")), registry=registry)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("frames: 40", "frames: 39", "frames: expected at least 40, found 39"),
        ("clips: 28", "clips: 2", "lab-a: clips: expected at least 3"),
        ("fast_share: 0.43", "fast_share: 43", "fast_share: expected a share from 0 to 1"),
        ("latency_factor: 1.0", "latency_factor: 0", "segment-1.0: latency_factor: expected 0.1 to 10"),
        ("dim_share", "dim_shar", "unknown key 'dim_shar'; did you mean dim_share"),
        ("build_id: segment-1.1\n", "build_id: segment-2\n", "no build 'segment-2'"),
        ("modality: video", "modality: radar", "modality: expected video, iris or liveness, .*, found 'radar'"),
    ],
)
def test_scenario_that_does_not_fit_teaches(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in DEMO
    file = tmp_path / "mine.yaml"
    file.write_text(DEMO.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ScenarioError, match=message):
        load_any_scenario(file)


def test_packaged_scenarios_of_every_modality_load() -> None:
    assert {name: load_any_scenario(name).name for name in packaged_scenarios()} == {
        name: name for name in ("attack-demo", "demo", "iris-demo", "tiny", "video-demo")
    }
