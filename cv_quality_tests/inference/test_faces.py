"""Landmark geometry on made-up transforms, head decoding on made-up heads, and the whole chain on real faces."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.drops.images import decode_image
from cv_quality.inference.alignment import ARCFACE_TEMPLATE, align_face, estimate_similarity
from cv_quality.inference.detection import HEADS, Face, decode_heads, main_face, on_canvas, suppress_overlaps
from cv_quality.inference.embedder import load_embedder
from cv_quality.inference.registry import ModelRegistry

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "registry-faces" / "mobilefacenet.yaml"


@given(angle=st.floats(-3.1, 3.1), scale=st.floats(0.05, 20), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_a_similarity_is_recovered_exactly(angle: float, scale: float, x: float, y: float) -> None:
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = ARCFACE_TEMPLATE
    found = estimate_similarity(source, target=source @ linear.T + [x, y])
    np.testing.assert_allclose(found, np.column_stack([linear, [x, y]]), atol=1e-7 * max(1, scale, abs(x), abs(y)))


def test_a_mirrored_face_is_never_matched_by_reflection() -> None:
    mirrored = ARCFACE_TEMPLATE * [-1, 1]
    assert np.linalg.det(estimate_similarity(mirrored, target=ARCFACE_TEMPLATE)[:, :2]) > 0


def test_the_estimate_has_the_least_error_of_its_neighbours() -> None:
    generator = np.random.default_rng(3)
    source = ARCFACE_TEMPLATE + generator.normal(scale=4, size=(5, 2))

    def error(matrix: NDArray[np.float64]) -> float:
        return float(((source @ matrix[:, :2].T + matrix[:, 2] - ARCFACE_TEMPLATE) ** 2).sum())

    best = estimate_similarity(source, target=ARCFACE_TEMPLATE)
    for _ in range(200):
        a, b, x, y = generator.normal(scale=[1e-3, 1e-3, 0.1, 0.1])
        assert error(best + np.array([[a, -b, x], [b, a, y]])) >= error(best)


def test_coinciding_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match="one point repeated"):
        estimate_similarity(np.ones((5, 2)), target=ARCFACE_TEMPLATE)


def test_alignment_by_the_template_itself_changes_nothing() -> None:
    frame = np.random.default_rng(0).integers(0, 256, size=(112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align_face(frame, landmarks=ARCFACE_TEMPLATE), frame)


def test_alignment_shifts_by_whole_pixels_and_repeats_the_edge() -> None:
    frame = np.random.default_rng(0).integers(0, 256, size=(112, 112), dtype=np.uint8)
    crop = align_face(frame, landmarks=ARCFACE_TEMPLATE + np.array([10.0, 0.0]))
    np.testing.assert_array_equal(crop[:, :102], frame[:, 10:])
    np.testing.assert_array_equal(crop[:, 102:], np.repeat(frame[:, -1:], 10, axis=1))


def empty_heads() -> dict[str, NDArray[np.float32]]:
    widths = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    cells = {8: 6400, 16: 1600, 32: 400}
    named = (name.split("_") for name in HEADS)
    return {f"{kind}_{s}": np.zeros((1, cells[int(s)], widths[kind]), dtype=np.float32) for kind, s in named}


def test_a_cell_decodes_to_its_box_and_landmarks() -> None:
    heads = empty_heads()
    cell = 3 * 40 + 5  # row 3, column 5 of the stride 16
    heads["cls_16"][0, cell], heads["obj_16"][0, cell] = 0.81, 0.64
    heads["bbox_16"][0, cell] = [0.5, 0.25, np.log(4), np.log(6)]
    heads["kps_16"][0, cell] = np.arange(10) / 10
    (face,) = decode_heads(heads, score_threshold=0.5)
    assert face.score == pytest.approx(np.sqrt(0.81 * 0.64))
    assert face.box == pytest.approx((5.5 * 16 - 32, 3.25 * 16 - 48, 64, 96), abs=1e-4)
    expected = [[(5 + x) * 16, (3 + y) * 16] for x, y in ((0.0, 0.1), (0.2, 0.3), (0.4, 0.5), (0.6, 0.7), (0.8, 0.9))]
    np.testing.assert_allclose(face.landmarks, expected, atol=1e-4)


def test_no_cell_above_the_threshold_is_no_face() -> None:
    assert decode_heads(empty_heads(), score_threshold=0.1) == []
    assert main_face([], width_px=10, height_px=10) is None


def test_overlapping_boxes_keep_the_best_and_distant_ones_stay() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [50, 50, 10, 10]], dtype=np.float64)
    assert suppress_overlaps(boxes, scores=np.array([0.7, 0.9, 0.8])) == [1, 2]


def test_the_large_central_confident_face_wins() -> None:
    points = np.zeros((5, 2))
    central = Face(score=0.85, box=(40, 40, 20, 20), landmarks=points)
    small = Face(score=0.95, box=(45, 45, 5, 5), landmarks=points)
    cornered = Face(score=0.9, box=(0, 0, 21, 21), landmarks=points)
    doubtful = Face(score=0.3, box=(10, 10, 80, 80), landmarks=points)
    assert main_face([small, cornered, central, doubtful], width_px=100, height_px=100) is central


@pytest.mark.parametrize("shape", [(28, 23), (112, 92), (243, 320, 3), (3000, 4000, 3), (1, 900), (2, 2)])
def test_a_canvas_position_maps_back_to_the_frame(shape: tuple[int, ...]) -> None:
    frame = np.zeros(shape, dtype=np.uint8)
    canvas = on_canvas(frame)
    assert canvas.pixels.shape == (1, 3, 640, 640)
    longer = max(shape[:2])
    assert (320 / canvas.factor - canvas.margin_px) / longer == pytest.approx(0.5, abs=0.5 / min(longer, 320) + 1e-9)


@pytest.fixture
def faces_registry(shared_data: Callable[[str], Path], tmp_path: Path) -> ModelRegistry:
    shutil.copy(EXAMPLE, tmp_path)
    shutil.copy(shared_data("model_mobilefacenet") / "MobileFaceNet.onnx", tmp_path)
    shutil.copy(shared_data("model_yunet") / "yunet_n_640_640.onnx", tmp_path)
    return ModelRegistry(str(tmp_path))


@pytest.mark.parametrize(
    ("data", "reference", "count", "worst", "median"),
    [("face_orl_att", "orl", 60, 0.96, 0.999), ("face_yale_a", "yale_a", 22, 0.999, 0.9999)],
)
def test_real_faces_embed_as_an_independent_chain_embedded_them(
    faces_registry: ModelRegistry,
    shared_data: Callable[[str], Path],
    data: str,
    reference: str,
    count: int,
    worst: float,
    median: float,
) -> None:
    """The reference used OpenCV for scaling and warping; the chain here uses Pillow and NumPy."""
    with np.load(shared_data("derived_embeddings") / f"{reference}_emb.npz", allow_pickle=False) as stored:
        names, expected, identities = stored["files"][:count], stored["emb"][:count], stored["ids"][:count]
    root = shared_data(data).parent
    frames = [decode_image((root / name).read_bytes()) for name in names]
    embedder = load_embedder(faces_registry.entry("mobilefacenet"), registry=faces_registry, threads=1)
    batch = embedder.embed(frames, illuminance_lux=[None] * count)
    assert set(batch.status) == {"ok"}
    agreement = (batch.embeddings * expected).sum(axis=1)
    assert agreement.min() > worst
    assert np.median(agreement) > median
    scores = batch.embeddings @ batch.embeddings.T
    is_mated = identities[:, None] == identities[None, :]
    is_pair = ~np.eye(count, dtype=bool)
    assert scores[is_mated & is_pair].min() > scores[~is_mated].max()


def test_a_frame_without_a_face_says_so_and_does_not_disturb_its_neighbours(
    faces_registry: ModelRegistry, shared_data: Callable[[str], Path]
) -> None:
    face = decode_image((shared_data("face_orl_att") / "s1" / "1.pgm").read_bytes())
    embedder = load_embedder(faces_registry.entry("mobilefacenet"), registry=faces_registry, threads=1)
    alone = embedder.embed([face], illuminance_lux=[None])
    blank = np.full((200, 300, 3), 128, dtype=np.uint8)
    batch = embedder.embed([blank, face], illuminance_lux=[5.0, None])
    assert batch.status == ("no_face", "ok")
    assert np.isnan(batch.embeddings[0]).all()
    np.testing.assert_array_equal(batch.embeddings[1], alone.embeddings[0])
