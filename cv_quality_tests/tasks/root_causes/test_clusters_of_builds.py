"""A build's attempts in its own embedding or in a backbone's: what is gathered, left out, and written."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from cv_quality.drops.frames import FrameEntry, index_shard
from cv_quality.drops.tables import FRAME_INDEX
from cv_quality.errors import MissingTable, RegistryError
from cv_quality.inference.backbone import DESCRIPTION
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store, open_store
from cv_quality.tasks.root_causes.clusters import ClusterSummary, cluster_build
from cv_quality.tasks.root_causes.tables import FAILURE_CLUSTERS
from cv_quality.tasks.verification.attempt_vectors import embed_attempts, subject_origins
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.populations import attempt_population, genuine_attempts
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES
from cv_quality_tests.drops.small_drops import tar
from cv_quality_tests.tasks.verification.scored_drops import score_drop
from cv_quality_tests.tasks.verification.tiny_drops import Sample, all_pairs_samples, rows_of, unit, write_drop

DROP = "d1"
DIMENSION = 16
Vector = NDArray[np.float64]


@pytest.fixture
def landing(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "landing"))


def attempts_of(name: str, person: Vector, darkness: Vector, rng: np.random.Generator, *, dark: float) -> list[Sample]:
    """Eight attempts of one person, some in the dark, which moves their template by `darkness`."""
    samples = []
    for index in range(8):
        is_dark = rng.random() < dark
        vector = unit(person + 0.1 * rng.normal(size=person.shape) + is_dark * darkness)
        columns = {"illuminance_lux": float(rng.uniform(1, 9) if is_dark else rng.uniform(50, 900))}
        frame = f"{name}-{index}.png"
        samples.append(Sample(f"a-{name}-{index}", name, vector, reference=f"r-{name}", frame=frame, columns=columns))
    return samples


def study(lake: Lake, *, dark: float = 0.3, without: int = 0, moved: float = 1.2) -> list[Sample]:
    """A scored drop of 60 people in which darkness moves templates; the first `without` attempts have no template."""
    rng = np.random.default_rng(7)
    darkness = moved * unit(rng.normal(size=DIMENSION))
    enrols, attempts = list[Sample](), list[Sample]()
    for index in range(60):
        name, person = f"s{index:02d}", unit(rng.normal(size=DIMENSION))
        vectors = [unit(person + 0.1 * rng.normal(size=DIMENSION)) for _ in range(2)]
        enrols += [
            Sample(f"e-{name}-{n}", name, v, reference=f"r-{name}", frame=f"{name}-e{n}.png")
            for n, v in enumerate(vectors)
        ]
        attempts += attempts_of(name, person, darkness, rng, dark=dark)
    none = [Sample(s.sample_id, s.subject, None, s.reference, s.frame, columns=s.columns) for s in attempts[:without]]
    write_drop(lake, drop=DROP, build="b1", enrols=enrols, attempts=[*none, *attempts[without:]])
    score_drop(lake, DROP)
    return [*enrols, *attempts]


def clustered(
    lake: Lake, landing: Store, *, backbone: Path | None = None, drops: tuple[str, ...] = (DROP,)
) -> ClusterSummary:
    rows = genuine_attempts(lake, build="b1", drops=drops, modality=FACE)
    population = attempt_population(rows, modality=FACE)
    embedding = embed_attempts(lake, population, modality=FACE, build="b1", landing=landing, backbone=backbone)
    return cluster_build(lake, build="b1", embedding=embedding, n_attempts=rows.height)


def test_a_cause_that_moves_templates_is_written_with_its_description(lake: Lake, landing: Store) -> None:
    study(lake)
    summary = clustered(lake, landing)
    assert (summary.source, summary.attempts, summary.without_vector) == ("model", 480, 0)
    assert (summary.clusters, summary.undescribed) == (1, 0)
    (row,) = rows_of(lake, FAILURE_CLUSTERS, build="b1").to_dicts()
    assert (row["cluster"], row["embedding_source"], row["is_described"]) == (1, "model", True)
    assert row["condition"].startswith("illuminance_lux <= ")
    assert json.loads(row["where_json"])[0]["column"] == "illuminance_lux"
    assert min(row["precision"], row["recall"]) > 0.8
    assert row["low"] > row["rest_rate"]
    assert row["numerator"] <= row["denominator"] < row["support"]


def test_examples_are_failed_attempts_of_the_lake(lake: Lake, landing: Store) -> None:
    study(lake)
    clustered(lake, landing)
    (text,) = rows_of(lake, FAILURE_CLUSTERS, build="b1")["examples_json"]
    outcomes = {
        (drop, attempt): outcome
        for drop, attempt, outcome in rows_of(lake, ATTEMPT_OUTCOMES, build="b1", drop=DROP)
        .select("drop_id", "attempt_id", "outcome")
        .iter_rows()
    }
    examples = [tuple(pair) for pair in json.loads(text)]
    assert len(examples) >= 3
    assert {outcomes[pair] for pair in examples} == {"non_match"}


def test_attempts_without_a_template_are_left_out_and_counted(lake: Lake, landing: Store) -> None:
    study(lake, without=9)
    summary = clustered(lake, landing)
    assert (summary.attempts, summary.without_vector) == (480, 9)
    (row,) = rows_of(lake, FAILURE_CLUSTERS, build="b1").to_dicts()
    assert row["support"] < 480 - 9


def test_a_build_without_a_cause_gets_an_empty_table(lake: Lake, landing: Store) -> None:
    study(lake, moved=0.3)
    summary = clustered(lake, landing)
    assert (summary.clusters, summary.undescribed) == (0, 0)
    assert rows_of(lake, FAILURE_CLUSTERS, build="b1").is_empty()


def test_the_order_of_the_drops_does_not_matter(lake: Lake, landing: Store) -> None:
    study(lake)
    rng = np.random.default_rng(1)
    enrols = [Sample("e-x", "x", unit(rng.normal(size=DIMENSION)), reference="r-x")]
    attempts = [Sample("a-x", "x", unit(rng.normal(size=DIMENSION)), reference="r-x")]
    write_drop(lake, drop="d0", build="b1", enrols=enrols, attempts=attempts)
    score_drop(lake, "d0")
    tables = []
    for drops in ((DROP, "d0"), ("d0", DROP)):
        clustered(lake, landing, drops=drops)
        tables.append(rows_of(lake, FAILURE_CLUSTERS, build="b1"))
    assert tables[0].equals(tables[1])
    assert tables[0].height == 1


def test_a_drop_that_pairs_all_images_is_clustered_too(lake: Lake, landing: Store) -> None:
    frames = {f"p{index:02d}": 4 for index in range(30)}
    enrols, attempts = all_pairs_samples(frames)
    write_drop(lake, drop=DROP, build="b1", enrols=enrols, attempts=attempts, protocol="all_pairs")
    score_drop(lake, DROP)
    summary = clustered(lake, landing)
    assert (summary.attempts, summary.without_vector, summary.clusters) == (120, 0, 0)


def test_an_origin_is_the_mean_of_the_subjects_other_enrolled_frames() -> None:
    enrolled = pl.DataFrame(
        {
            "subject_id": ["ann", "ann", "ann", "bob"],
            "frame": ["1.png", "2.png", "1.png", "4.png"],
            "vector": [[1.0, 0.0], [3.0, 4.0], [1.0, 0.0], [7.0, 7.0]],
        }
    )
    probes = pl.DataFrame(
        {"subject_id": ["ann", "ann", "bob", "ann", "cyd"], "frame": ["9.png", "1.png", "4.png", None, "1.png"]}
    )
    mean, unknown = [5 / 3, 4 / 3], [np.nan, np.nan]
    expected = [mean, [3.0, 4.0], unknown, mean, unknown]
    np.testing.assert_allclose(subject_origins(probes, enrolled, dimension=2), expected, rtol=1e-6)


def test_no_drop_and_no_template_give_an_empty_table(lake: Lake, landing: Store) -> None:
    assert clustered(lake, landing, drops=()).conclusion == "Nothing to cluster: no rows."
    assert rows_of(lake, FAILURE_CLUSTERS, build="b1").is_empty()
    study(lake, without=480)
    summary = clustered(lake, landing)
    assert (summary.attempts, summary.without_vector) == (480, 480)
    assert summary.conclusion == "Nothing to cluster: no rows."


def test_a_drop_that_is_not_scored_is_named(lake: Lake, landing: Store) -> None:
    with pytest.raises(MissingTable, match="attempt_outcomes has no rows for b1/d9"):
        clustered(lake, landing, drops=("d9",))


def picture(vector: Vector) -> bytes:
    """A grey PNG of 4 x 4 fields, one a number of the vector."""
    fields = np.clip(128 + 120 * vector, 0, 255).astype(np.uint8).reshape(4, 4)
    buffer = io.BytesIO()
    Image.fromarray(np.kron(fields, np.ones((4, 4), np.uint8))).save(buffer, format="PNG")
    return buffer.getvalue()


def deliver(lake: Lake, landing: Store, samples: list[Sample]) -> None:
    """One shard with the picture of every sample, and its index."""
    shard = tar(*((str(s.frame), picture(s.vector)) for s in samples if s.vector is not None))
    landing.write_bytes(f"{DROP}/frames-0.tar", shard)
    found = list(index_shard(io.BytesIO(shard), drop_id=DROP, shard="frames-0.tar", seen=set()))
    assert all(isinstance(entry, FrameEntry) for entry in found)
    lake.write(FRAME_INDEX, TableKey(drop=DROP), pl.DataFrame(found))


def fields_backbone(folder: Path) -> Path:
    """A backbone that reads the numbers of a picture again."""
    import torch

    folder.mkdir()
    batch = torch.export.Dim("n", min=1, max=1024)
    net = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten()).eval()
    torch.export.save(
        torch.export.export(net, (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: batch},)), folder / "f.pt2"
    )
    entry = {
        "file": "f.pt2",
        "format": "torch_export",
        "sha256": hashlib.sha256((folder / "f.pt2").read_bytes()).hexdigest(),
        "preprocessing": ["gray", {"scale": {"mean": 0.5, "std": 0.5}}],
    }
    (folder / DESCRIPTION).write_text(yaml.safe_dump(entry))
    return folder


def test_a_backbone_sees_the_images_of_attempts_that_have_no_template(
    lake: Lake, landing: Store, tmp_path: Path
) -> None:
    samples = study(lake, without=9)
    deliver(lake, landing, samples[:-5])
    summary = clustered(lake, landing, backbone=fields_backbone(tmp_path / "backbone"))
    assert summary.source == "f.pt2"
    assert (summary.attempts, summary.without_vector) == (480, 5)
    assert summary.clusters == 1
    (row,) = rows_of(lake, FAILURE_CLUSTERS, build="b1").to_dicts()
    assert row["embedding_source"] == "f.pt2"
    assert row["condition"].startswith("illuminance_lux <= ")


def test_a_folder_that_is_no_backbone_is_refused_before_anything_is_written(
    lake: Lake, landing: Store, tmp_path: Path
) -> None:
    study(lake)
    with pytest.raises(RegistryError, match=r"backbone\.yaml"):
        clustered(lake, landing, backbone=tmp_path)
    assert not lake.has(FAILURE_CLUSTERS, TableKey(build="b1"))
