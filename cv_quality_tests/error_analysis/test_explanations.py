"""Maps add up to the score that they explain, point where the cause is, and are not shown where a check fails."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.train_reference_models import probe_frames
from cv_quality.error_analysis.explanations.aggregation import MIN_SUBJECTS, aggregate, pooled
from cv_quality.error_analysis.explanations.onnx_weights import permuted_weights
from cv_quality.error_analysis.explanations.pair_score import (
    Pairs,
    PairScore,
    load_explained_model,
    module_score,
    onnx_score,
    torch_threads,
)
from cv_quality.error_analysis.explanations.saliency import (
    EXPLAINERS,
    TOLERANCE,
    Explainer,
    average_face,
    in_parallel,
    integrate,
    integrated_gradients,
    occlusion,
)
from cv_quality.error_analysis.explanations.sanity import (
    Ordering,
    Pointing,
    Randomisation,
    delete_and_insert,
    point_at_cues,
    redraw_weights,
)
from cv_quality.errors import ModelError, SliceError
from cv_quality.inference.embedder import load_embedder
from cv_quality.inference.preprocessing import Frame
from cv_quality.simulation.identity import IdentitySpace
from cv_quality.tasks.verification.explanations import explain
from cv_quality_tests.tasks.verification.scored_attempts import REGISTRY

PEOPLE = 20


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """As `explain_build` sets it: torch's own threads wait for each other where the cores are busy."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def score() -> PairScore:
    """The packaged reference model, trained on rendered faces."""
    return load_explained_model(REGISTRY.model_entry("face-1.1"), registry=REGISTRY, threads=1).score


@pytest.fixture(scope="module")
def passes(score: PairScore) -> Pairs:
    """One benign attempt of each of 20 people, against an enrolled frame of their own."""
    model = load_explained_model(REGISTRY.model_entry("face-1.1"), registry=REGISTRY, threads=1)
    taken = probe_frames(IdentitySpace.VALIDATION, "benign", seed=3, people=PEOPLE)
    probes, _ = model.inputs(list(taken.attempts[::4]), illuminance_lux=taken.attempts_lux[::4].tolist())
    enrolled, _ = model.inputs(list(taken.enrolment[::3]), illuminance_lux=taken.enrolment_lux[::3].tolist())
    with torch.inference_mode():
        references = torch.nn.functional.normalize(score.embed(torch.from_numpy(enrolled)), dim=1).numpy()
    return Pairs(probes, references, tuple(f"person-{number}" for number in range(PEOPLE)))


@pytest.fixture(scope="module")
def failures(passes: Pairs) -> Pairs:
    """The same attempts with a bar over the lower part of the face, which no pass has."""
    inputs = passes.inputs.copy()
    inputs[:, :, 40:52, 12:52] = inputs.min()
    return passes.showing(inputs)


def linear_score(weights: NDArray[np.float32]) -> PairScore:
    """A score that is linear in the probe: its model gives (s, sqrt(1 - s^2)) with s = weights . x."""

    class OnCircle(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            s = (batch.flatten(1) * torch.from_numpy(weights).flatten()).sum(dim=1)
            return torch.stack([s, (1 - s**2).clamp(min=0).sqrt()], dim=1)

    return module_score(OnCircle())


def linear_pairs(count: int = 5, side: int = 8) -> tuple[NDArray[np.float32], Pairs]:
    rng = np.random.default_rng(1)
    weights = (rng.normal(size=(1, side, side)) / side**2).astype(np.float32)
    inputs = rng.normal(size=(count, 1, side, side)).astype(np.float32)
    references = np.tile(np.array([1, 0], np.float32), (count, 1))
    return weights, Pairs(inputs, references, tuple(map(str, range(count))))


def noise(_: PairScore, pairs: Pairs, __: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps that know nothing."""
    return np.random.default_rng(9).normal(size=(len(pairs), 64, 64)).astype(np.float32)


def edges(_: PairScore, pairs: Pairs, __: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps that know the image, and nothing of the model."""
    return np.abs(np.diff(pairs.inputs[:, 0], axis=1, append=0.0))


def test_integrated_gradients_of_a_linear_score_are_weight_times_departure() -> None:
    weights, pairs = linear_pairs()
    baseline = np.random.default_rng(2).normal(size=(1, 8, 8)).astype(np.float32)
    maps = integrated_gradients(linear_score(weights), pairs, baseline)
    np.testing.assert_allclose(maps, (weights * (pairs.inputs - baseline))[:, 0], atol=1e-6)


def test_occlusion_of_a_linear_score_is_the_sum_of_what_each_square_adds() -> None:
    weights, pairs = linear_pairs()
    baseline = np.random.default_rng(2).normal(size=(1, 8, 8)).astype(np.float32)
    maps = occlusion(linear_score(weights), pairs, baseline, cells=4)
    parts = (weights * (pairs.inputs - baseline))[:, 0]
    squares = parts.reshape(-1, 4, 2, 4, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(maps, np.kron(squares, np.ones((1, 2, 2))), atol=1e-6)


def test_occlusion_equals_covering_one_square_after_the_other(score: PairScore, passes: Pairs) -> None:
    some, baseline = passes.take([0, 3, 5]), average_face(passes)
    maps = occlusion(score, some, baseline)
    for top, left in ((0, 0), (24, 40), (56, 56)):
        covered = some.inputs.copy()
        covered[:, :, top : top + 8, left : left + 8] = baseline[:, top : top + 8, left : left + 8]
        lost = score.of(some) - score.of(some.showing(covered))
        np.testing.assert_allclose(maps[:, top + 4, left + 4], lost, atol=1e-5)


def test_each_map_adds_up_to_the_difference_of_the_scores(score: PairScore, passes: Pairs) -> None:
    baseline = average_face(passes)
    found = integrate(score, passes, baseline=baseline)
    owed = score.of(passes) - score.of(passes.showing(np.repeat(baseline[None], PEOPLE, axis=0)))
    assert np.abs(owed).min() > 0.1
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2)), owed, atol=TOLERANCE)
    np.testing.assert_allclose(found.gaps, found.maps.sum(axis=(1, 2), dtype=float) - owed, atol=1e-5)


def test_steps_are_doubled_only_for_the_pairs_that_miss_the_tolerance(score: PairScore, passes: Pairs) -> None:
    baseline = average_face(passes)
    rough = integrate(score, passes, baseline=baseline, tolerance=1.0)
    strict = integrate(score, passes, baseline=baseline, tolerance=0.002)
    assert set(rough.steps.tolist()) == {8}
    assert np.array_equal(strict.steps > 8, np.abs(rough.gaps) > 0.002)
    assert np.abs(strict.gaps[strict.steps < 128]).max() <= 0.002


def test_the_difference_of_means_adds_up_to_the_score_lost(score: PairScore, failures: Pairs, passes: Pairs) -> None:
    baseline = average_face(passes)
    maps = [integrate(score, pairs, baseline=baseline, tolerance=0.005).maps for pairs in (failures, passes)]
    found = aggregate(maps[0], maps[1], subjects=PEOPLE).values
    assert found is not None
    lost = score.of(failures).mean() - score.of(passes).mean()
    assert lost < -0.1
    assert found.sum() == pytest.approx(lost, abs=0.02)
    # A quarter of that bar's area would be credited by chance.
    assert found[40:52, 12:52].sum() < 0.5 * lost


def test_the_parts_of_threads_make_the_same_maps(score: PairScore, passes: Pairs) -> None:
    baseline = average_face(passes)
    for name, explainer in EXPLAINERS.items():
        alone, shared = (in_parallel(explainer, threads=count)(score, passes, baseline) for count in (1, 3))
        np.testing.assert_allclose(alone, shared, atol=1e-5, err_msg=name)


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), height=st.integers(1, 12), width=st.integers(1, 12))
def test_pooled_maps_keep_the_mean_where_blocks_are_equal_and_every_pixel_counts(
    rows: int, columns: int, height: int, width: int
) -> None:
    maps = np.random.default_rng(height * width).normal(size=(2, height, width)).astype(np.float32)
    found = pooled(maps, rows=rows, columns=columns)
    assert found.shape == (2, min(rows, height), min(columns, width))
    tops = np.arange(found.shape[1] + 1) * height // found.shape[1]
    lefts = np.arange(found.shape[2] + 1) * width // found.shape[2]
    for i, j in np.ndindex(found.shape[1:]):
        block = maps[:, tops[i] : tops[i + 1], lefts[j] : lefts[j + 1]]
        np.testing.assert_allclose(found[:, i, j], block.mean(axis=(1, 2)), atol=1e-6)


def test_a_map_of_fewer_than_five_subjects_is_none_with_the_reason() -> None:
    maps = np.ones((9, 4, 4), np.float32)
    assert aggregate(maps, 0 * maps, subjects=MIN_SUBJECTS).values is not None
    few = aggregate(maps, 0 * maps, subjects=4)
    assert few.values is None
    assert few.reason == "4 subjects fail in the slice, a map takes at least 5"
    assert "no failure" in str(aggregate(maps[:0], maps[:0], subjects=0).reason)
    with pytest.raises(SliceError, match="one pass a failure"):
        aggregate(maps, maps[:3], subjects=9)


def test_a_mirrored_build_is_scored_as_its_embedder_does(passes: Pairs) -> None:
    entry = replace(REGISTRY.model_entry("face-1.1"), flip_augment=True)
    model = load_explained_model(entry, registry=REGISTRY, threads=1)
    taken = probe_frames(IdentitySpace.VALIDATION, "benign", seed=3, people=4)
    frames: list[Frame] = list(taken.attempts)
    lux = taken.attempts_lux.tolist()
    expected = load_embedder(entry, registry=REGISTRY, threads=1).embed(frames, illuminance_lux=lux).embeddings
    inputs, found = model.inputs(frames, illuminance_lux=lux)
    references = np.repeat(passes.references[:4], 4, axis=0)
    scores = model.score.of(Pairs(inputs, references, tuple(map(str, found))))
    np.testing.assert_allclose(scores, (expected * references).sum(axis=1), atol=1e-5)


def test_a_module_of_one_batch_size_gives_the_gradients_of_any() -> None:
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(144, 6))
    exported = torch.export.export(net, (torch.zeros(3, 1, 8, 8),)).module()
    _, pairs = linear_pairs(count=5)
    pairs = replace(pairs, references=np.eye(6, dtype=np.float32)[:5])
    baseline = average_face(pairs)
    fixed, free = (integrated_gradients(module_score(module), pairs, baseline) for module in (exported, net))
    assert np.abs(free).max() > 1e-3
    np.testing.assert_allclose(fixed, free, atol=1e-6)


def test_redrawing_weights_changes_the_map_and_leaves_the_model_as_it_was(score: PairScore, passes: Pairs) -> None:
    assert score.redraw is not None
    before, baseline = score.of(passes), average_face(passes)
    with ThreadPoolExecutor(3) as pool:
        # Redrawn networks at work beside the model itself must not lend it their weights.
        redrawn = [model for seed in (0, 0, 1) if (model := score.redraw(seed)) is not None]
        runs = [pool.submit(one.of, passes) for one in (*redrawn, score) for _ in range(3)]
        found = [run.result() for run in runs]
    np.testing.assert_array_equal(found[-1], before)
    np.testing.assert_array_equal(score.of(passes), before)
    np.testing.assert_allclose(found[0], found[3], atol=1e-6)
    assert np.abs(found[0] - found[6]).max() > 0.05
    assert np.abs(found[0]).mean() < 0.5 * before.mean()
    own, other = (integrated_gradients(one, passes, baseline) for one in (score, redrawn[0]))
    assert redraw_weights(integrated_gradients, score, passes, baseline=baseline, maps=own, seed=0).objection is None
    assert not np.allclose(own, other, atol=0.01)


@pytest.mark.parametrize("explainer", [integrated_gradients, occlusion])
def test_maps_of_a_trained_model_find_planted_cues_and_order_the_image(
    explainer: Explainer, score: PairScore, passes: Pairs
) -> None:
    baseline = average_face(passes)
    maps = explainer(score, passes, baseline)
    pointing = point_at_cues(explainer, score, passes, baseline=baseline, maps=maps, seed=4)
    assert pointing.objection is None
    assert pointing.chance == pytest.approx(1 / 16)
    assert pointing.share is not None
    assert pointing.share > 0.5
    deletion, insertion = delete_and_insert(score, {"passes": (passes, maps)}, baseline=baseline, seed=4)
    assert deletion.objection is None
    assert insertion.objection is None
    assert deletion.map_area < deletion.random_area < insertion.map_area


def test_a_map_of_noise_passes_neither_pointing_nor_deletion_nor_insertion(score: PairScore, passes: Pairs) -> None:
    baseline = average_face(passes)
    maps = noise(score, passes, baseline)
    pointing = point_at_cues(noise, score, passes, baseline=baseline, maps=0 * maps, seed=4)
    assert "planted cues" in str(pointing.objection)
    for found in delete_and_insert(score, {"passes": (passes, maps)}, baseline=baseline, seed=4):
        assert "no better than in random order" in str(found.objection)


def test_a_map_of_edges_is_told_by_the_redrawn_weights_alone(score: PairScore, passes: Pairs) -> None:
    baseline = average_face(passes)
    maps = edges(score, passes, baseline)
    assert point_at_cues(edges, score, passes, baseline=baseline, maps=maps, seed=4).objection is None
    found = redraw_weights(edges, score, passes, baseline=baseline, maps=maps, seed=4)
    assert found.correlation == pytest.approx(1.0)
    assert "random weights" in str(found.objection)


def test_a_group_whose_maps_are_upside_down_is_not_saved_by_the_other(score: PairScore, passes: Pairs) -> None:
    baseline = average_face(passes)
    maps = occlusion(score, passes, baseline)
    groups = {"failures": (passes, -maps), "passes": (passes, maps)}
    for found in delete_and_insert(score, groups, baseline=baseline, seed=0):
        assert found.group == "failures"
        assert "in failures" in str(found.objection)


def test_a_check_that_cannot_be_made_is_an_objection(passes: Pairs) -> None:
    blind = PairScore(lambda batch: torch.ones(len(batch), 64))
    baseline = average_face(passes)
    maps = noise(blind, passes, baseline)
    pointing = point_at_cues(noise, blind, passes, baseline=baseline, maps=maps, seed=0)
    assert (pointing.cues, pointing.share) == (0, None)
    assert "only 0 planted cues" in str(pointing.objection)
    redrawn = redraw_weights(noise, blind, passes, baseline=baseline, maps=maps, seed=0)
    assert redrawn.correlation is None
    assert "cannot be drawn anew" in str(redrawn.objection)
    broken = PairScore(blind.embed, redraw=lambda _: PairScore(lambda batch: batch.flatten(1)[:, :64] * torch.nan))
    lost = redraw_weights(occlusion, broken, passes, baseline=baseline, maps=maps, seed=0)
    assert lost.correlation is None
    one = passes.take([0, 0, 0])
    for found in delete_and_insert(blind, {"passes": (one, maps[:3])}, baseline=baseline, seed=0):
        assert found.p_value == 1.0


def test_objections_follow_the_stated_bounds() -> None:
    assert Pointing(hits=7, cues=14, chance=0.06, p_value=1e-6).objection is None
    assert Pointing(hits=6, cues=14, chance=0.06, p_value=1e-5).objection is not None
    assert Pointing(hits=7, cues=7, chance=0.06, p_value=1e-9).objection is not None
    assert Ordering("deletion", 0.1, 0.2, 0.049, "passes").objection is None
    assert Ordering("deletion", 0.1, 0.2, 0.051, "passes").objection is not None
    assert Randomisation(0.5).objection is None
    assert Randomisation(0.51).objection is not None


def test_a_planted_bar_is_explained_by_maps_that_pass_their_checks(
    score: PairScore, failures: Pairs, passes: Pairs
) -> None:
    found = explain(failures, passes, score=score, method="integrated_gradients", threads=1, seed=0)
    assert found.objections == ()
    assert found.map.values is not None
    top, left = np.unravel_index(np.argmin(pooled(found.map.values[None], rows=8, columns=8)[0]), (8, 8))
    assert 40 <= 8 * top + 4 < 52
    assert 12 <= 8 * left + 4 < 52


def test_a_model_without_gradients_is_explained_by_occlusion_alone(shared_data: Callable[[str], Path]) -> None:
    data = (shared_data("model_mobilefacenet") / "MobileFaceNet.onnx").read_bytes()
    score = onnx_score(data, name="MobileFaceNet.onnx", threads=1)
    inputs = np.random.default_rng(0).normal(size=(5, 3, 112, 112)).astype(np.float32)
    pairs = Pairs(inputs, np.tile(np.eye(1, 128, dtype=np.float32), (5, 1)), tuple("abcde"))
    baseline = average_face(pairs)
    with pytest.raises(ModelError, match="gradient"):
        integrated_gradients(score, pairs, baseline)
    refused = explain(pairs, pairs, score=score, method="integrated_gradients", threads=1, seed=0)
    assert "ONNX" in refused.objections[0]
    one = pairs.take([2])
    maps = occlusion(score, one, baseline, cells=4)
    covered = one.inputs.copy()
    covered[:, :, 28:56, 84:] = baseline[:, 28:56, 84:]
    lost = score.of(one) - score.of(one.showing(covered))
    np.testing.assert_allclose(maps[:, 40, 100], lost, atol=1e-5)
    assert score.redraw is not None
    redrawn = score.redraw(0)
    assert redrawn is not None
    assert np.abs(redrawn.of(pairs) - score.of(pairs)).max() > 0.01


def tensor(values: list[float], *, kind: int = 1, field: int = 9) -> bytes:
    """An initializer of onnx.proto: dims, data_type, and its content as raw_data (9) or packed float_data (4)."""
    content = np.array(values, "<f4").tobytes()
    return bytes([1 << 3, len(values), 2 << 3, kind, field << 3 | 2, len(content)]) + content


def message(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content) & 127 | 128, len(content) >> 7]) + content


def test_onnx_weights_are_permuted_within_each_float_tensor_only() -> None:
    raw, packed = [1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0]
    parts = [tensor(raw), tensor(packed, field=4), tensor([0.5]), tensor(raw, kind=7)]
    head, tail = b"\x08\x07" + message(2, b"producer"), b"\x1d\x00\x00\x80\x3f"
    graph = message(2, b"name") + b"".join(message(5, part) for part in parts)
    model = head + message(7, graph) + tail
    redrawn = [permuted_weights(model, seed=seed) for seed in (0, 0, 1)]
    assert redrawn[0] == redrawn[1] != redrawn[2]
    assert redrawn[0] is not None
    assert redrawn[0] != model
    changed = [place for place, (one, other) in enumerate(zip(model, redrawn[0], strict=True)) if one != other]
    starts = [model.index(np.array(values, "<f4").tobytes()) for values in (raw, packed)]
    assert all(starts[0] <= place < starts[0] + 20 or starts[1] <= place < starts[1] + 16 for place in changed)
    for start, values in zip(starts, (raw, packed), strict=True):
        found = np.frombuffer(redrawn[0], "<f4", count=len(values), offset=start)
        assert sorted(found.tolist()) == values
    assert permuted_weights(head + message(7, message(5, parts[2])), seed=0) is None


@given(data=st.binary(max_size=60))
def test_bytes_that_are_no_onnx_model_are_refused_or_have_no_weights(data: bytes) -> None:
    with suppress(ModelError):
        found = permuted_weights(data, seed=0)
        assert found is None or len(found) == len(data)


def test_a_larger_map_is_averaged_down_to_at_most_64_a_side() -> None:
    maps = np.random.default_rng(0).normal(size=(6, 112, 65)).astype(np.float32)
    found = aggregate(maps, 0 * maps, subjects=6).values
    assert found is not None
    assert found.shape == (56, 33)
    mean = maps.mean(axis=0)
    np.testing.assert_allclose(found[3, :1], mean[6:8, :1].mean(), atol=1e-6)
