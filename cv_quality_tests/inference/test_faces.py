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
from cv_quality.inference.detection import (
    HEADS,
    Face,
    FaceDetector,
    decode_heads,
    enlarged,
    main_face,
    on_canvas,
    suppress_overlaps,
)
from cv_quality.inference.embedder import load_embedder
from cv_quality.inference.framing import resampling_weights
from cv_quality.inference.registry import ModelRegistry
from cv_quality.metrics.verification import eer, fnmr_at_fmr
from cv_quality_tests.modalities import MODALITIES

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


def test_canvas_holds_colour_as_bgr_planes_and_grey_three_times() -> None:
    colour = np.full((40, 30, 3), (10, 20, 30), dtype=np.uint8)
    assert on_canvas(colour).pixels[0, :, 100, 100].tolist() == [30, 20, 10]
    assert on_canvas(colour[:, :, 0]).pixels[0, :, 100, 100].tolist() == [10, 10, 10]


def test_enlarging_gives_the_numbers_of_opencv() -> None:
    """`cv2.resize(image, (7, 5), interpolation=cv2.INTER_LINEAR)`; ten of them differ from exact interpolation."""
    image = np.array([[0, 255, 13], [97, 40, 200]], dtype=np.uint8)
    expected = [
        [0, 36, 145, 255, 151, 48, 13],
        [10, 42, 137, 233, 147, 60, 32],
        [49, 62, 105, 148, 130, 112, 107],
        [87, 83, 72, 61, 113, 164, 181],
        [97, 89, 64, 40, 109, 177, 200],
    ]
    assert enlarged(image[None], width_px=7, height_px=5)[0].tolist() == expected


@given(height=st.integers(1, 60), width=st.integers(1, 60), tall=st.integers(0, 90), wide=st.integers(0, 90))
def test_enlarging_stays_within_a_grey_level_of_exact_interpolation(
    height: int, width: int, tall: int, wide: int
) -> None:
    image = np.random.default_rng(height).integers(0, 256, size=(height, width), dtype=np.uint8)
    down, across = (
        resampling_weights(size, size + more, rows=range(size + more)) for size, more in ((height, tall), (width, wide))
    )
    found = enlarged(image[None], width_px=width + wide, height_px=height + tall)[0]
    np.testing.assert_allclose(found, down @ image.astype(np.float32) @ across.T, atol=1)
    if tall == wide == 0:
        np.testing.assert_array_equal(found, image)


@pytest.fixture
def faces_registry(shared_data: Callable[[str], Path], tmp_path: Path) -> ModelRegistry:
    shutil.copy(EXAMPLE, tmp_path)
    shutil.copy(shared_data("model_mobilefacenet") / "MobileFaceNet.onnx", tmp_path)
    shutil.copy(shared_data("model_yunet") / "yunet_n_640_640.onnx", tmp_path)
    return ModelRegistry(str(tmp_path), modalities=MODALITIES)


class Reference:
    """What an independent chain (OpenCV scaled and warped for it) made of the first images of a set."""

    def __init__(self, name: str, *, shared_data: Callable[[str], Path], count: int | None) -> None:
        with np.load(shared_data("derived_embeddings") / f"{name}_emb.npz", allow_pickle=False) as stored:
            self.embeddings, self.landmarks = stored["emb"][:count], stored["kps"][:count]
            self.identities, files = stored["ids"][:count], stored["files"][:count]
        root = shared_data(files[0].split("/")[0]).parent
        self.frames = [decode_image((root / name).read_bytes()) for name in files]


def genuine_and_impostor(
    embeddings: NDArray[np.float32], *, identities: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    unit = embeddings.astype(np.float64)
    first, second = np.triu_indices(len(unit), 1)
    scores = (unit @ unit.T)[first, second]
    is_genuine = identities[first] == identities[second]
    return scores[is_genuine], scores[~is_genuine]


@pytest.mark.parametrize(("name", "count"), [("orl", 60), ("orl_23x28", 60), ("yale_a", 22)])
def test_landmarks_lie_where_an_independent_chain_found_them(
    faces_registry: ModelRegistry, shared_data: Callable[[str], Path], name: str, count: int
) -> None:
    reference = Reference(name, shared_data=shared_data, count=count)
    entry = faces_registry.model_entry("mobilefacenet").detector
    assert entry is not None
    detector = FaceDetector(
        faces_registry.model_file(entry).read_bytes(), name=name, score_threshold=entry.score_threshold, threads=1
    )
    for frame, expected in zip(reference.frames, reference.landmarks, strict=True):
        face = main_face(detector.detect(frame), width_px=frame.shape[1], height_px=frame.shape[0])
        assert face is not None
        np.testing.assert_allclose(face.landmarks, expected, atol=0.01)


@pytest.mark.parametrize(
    ("name", "count", "n_false_non_matches", "equal_error_rate", "tolerance"),
    [("orl", None, 4, 0.00170, 5e-5), ("yale_a", 22, None, 0.0, 0.0)],
)
def test_real_faces_embed_and_err_as_in_an_independent_chain(
    faces_registry: ModelRegistry,
    shared_data: Callable[[str], Path],
    name: str,
    count: int | None,
    n_false_non_matches: int | None,
    equal_error_rate: float,
    tolerance: float,
) -> None:
    reference = Reference(name, shared_data=shared_data, count=count)
    embedder = load_embedder(faces_registry.model_entry("mobilefacenet"), registry=faces_registry, threads=1)
    batch = embedder.embed(reference.frames, illuminance_lux=[None] * len(reference.frames))
    assert set(batch.status) == {"ok"}
    assert (batch.embeddings * reference.embeddings).sum(axis=1).min() > 0.9999
    genuine, impostor = genuine_and_impostor(batch.embeddings, identities=reference.identities)
    assert eer(genuine, impostor).value == pytest.approx(equal_error_rate, abs=tolerance)
    rates = fnmr_at_fmr(genuine, impostor, fmr=1e-3).rates
    assert (None if rates is None else rates.n_false_non_matches) == n_false_non_matches


def test_frame_without_a_face_does_not_disturb_its_neighbours(
    faces_registry: ModelRegistry, shared_data: Callable[[str], Path]
) -> None:
    face = decode_image((shared_data("face_orl_att") / "s1" / "1.pgm").read_bytes())
    embedder = load_embedder(faces_registry.model_entry("mobilefacenet"), registry=faces_registry, threads=1)
    alone = embedder.embed([face], illuminance_lux=[None])
    blank = np.full((200, 300, 3), 128, dtype=np.uint8)
    batch = embedder.embed([blank, face], illuminance_lux=[5.0, None])
    assert batch.status == ("no_face", "ok")
    assert np.isnan(batch.embeddings[0]).all()
    np.testing.assert_array_equal(batch.embeddings[1], alone.embeddings[0])
