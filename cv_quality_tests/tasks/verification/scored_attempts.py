"""The second drop of the tiny scenario, scored by its own build: what a build's explanations stand on."""

from pathlib import Path

from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.validation import validate_drop
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.lake import Lake
from cv_quality.lake.store import open_store
from cv_quality.settings import REFERENCE_MODELS
from cv_quality.tasks.verification.comparisons import compare_drop
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.outcomes import attempt_outcomes
from cv_quality.tasks.verification.templates import embed_drop
from cv_quality_tests.modalities import MODALITIES

BUILD = "face-1.2"
DROP = "2026-08-31_face-1.2_site-a"
REGISTRY = ModelRegistry(REFERENCE_MODELS, modalities=MODALITIES)
DARK = Slice((Predicate("illuminance_lux", "<=", 9.99),))


def scored_lake(landing: Path, root: Path) -> Lake:
    """A lake below `root` with the drop taken in, embedded, compared, and its outcomes told."""
    lake, store = Lake(open_store(str(root / "lake"))), open_store(str(landing))
    ingest_drop(landing=store, lake=lake, drop_id=DROP, modalities=MODALITIES, threads=1)
    validate_drop(landing=store, lake=lake, drop_id=DROP, schema=DropSchema(FACE), threads=1, memory_limit="500MB")
    entry = REGISTRY.entry(BUILD)
    encoder = FACE.encoder(entry, REGISTRY, 1)
    embed_drop(lake, landing=store, encoder=encoder, entry=entry, modality=FACE, drop=DROP, threads=1)
    compare_drop(lake, build=BUILD, drop=DROP, modality=FACE)
    attempt_outcomes(lake, modality=FACE, build=BUILD, decision_threshold=entry.decision_threshold, drop=DROP)
    return lake
