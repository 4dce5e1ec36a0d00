"""No damaged input makes a reader of untrusted bytes fail otherwise than by a typed error, or lose a row."""

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cv_quality_tests.readers import TARGETS, Target, damaged

INPUTS = {"drop": 10, "shard": 10}
"""Of the readers that write a whole lake each time; see `Target`."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_damaged_input_is_refused_with_a_typed_error(target: Target) -> None:
    @settings(
        max_examples=INPUTS.get(target.name, 60),
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def attacked(rng: Random) -> None:
        with tempfile.TemporaryDirectory() as folder:
            target.attack(damaged(target, rng), Path(folder))

    attacked()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_an_undamaged_input_is_taken(target: Target, tmp_path: Path) -> None:
    assert target.attack(target.finish(target.seeds[0]), tmp_path)
