"""Identities: the three seed streams never meet, and a person's latents depend on nobody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import train_reference_models
from benchmarks.train_reference_models import Recipe
from cv_quality.simulation import identity, population
from cv_quality.simulation.identity import IDENTITY_DIM, IdentitySpace, draw_latents, draw_people
from cv_quality.simulation.population import build_population
from cv_quality.simulation.scenario import load_scenario


def test_equal_seeds_and_numbers_of_two_spaces_are_unrelated_people() -> None:
    drawn = {space: draw_latents(space, seed=0, indices=range(200)) for space in IdentitySpace}
    rows = np.concatenate(list(drawn.values()))
    assert len({row.tobytes() for row in rows}) == len(rows)
    training, evaluation = drawn[IdentitySpace.TRAINING], drawn[IdentitySpace.EVALUATION]
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(training, evaluation, strict=True)]
    assert abs(np.mean(correlations)) < 0.05


def test_latents_of_a_person_do_not_depend_on_who_else_is_drawn() -> None:
    together = draw_latents(IdentitySpace.EVALUATION, seed=3, indices=[4, 9, 2])
    alone = draw_latents(IdentitySpace.EVALUATION, seed=3, indices=[9])
    np.testing.assert_array_equal(together[1], alone[0])


def test_people_have_the_documented_layout() -> None:
    people = draw_people(IdentitySpace.TRAINING, seed=1, count=500)
    assert people.shape == (500, IDENTITY_DIM)
    assert people.dtype == np.float32
    assert set(people[:, identity.SKIN_TONE_COLUMN]) == set(range(1, 11))
    assert abs(people[:, : identity.LATENT_DIM].std() - 1) < 0.02


def test_training_never_meets_the_people_of_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[IdentitySpace] = []

    def recording(space: IdentitySpace, *, seed: int, indices: range) -> object:
        met.append(space)
        return draw_latents(space, seed=seed, indices=indices)

    monkeypatch.setattr(identity, "draw_latents", recording)
    monkeypatch.setattr(population, "draw_latents", recording)
    # Exporting is slow and draws nobody.
    monkeypatch.setattr(train_reference_models, "export", lambda _, path, **_example: path.write_bytes(b""))
    small = Recipe("face-a", 24, {"benign": 4}, 1, (4, 4, 8, 8), is_refined=False)
    network = train_reference_models.train(small, seed=0, threads=1)
    train_reference_models.write_registry(tmp_path, {"face-a": network}, seed=0, threads=1, people=10)
    assert set(met) == {IdentitySpace.TRAINING, IdentitySpace.VALIDATION}

    met.clear()
    build_population(load_scenario("tiny"), seed=0)
    assert set(met) == {IdentitySpace.EVALUATION}
