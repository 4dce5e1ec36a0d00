"""Sizes of a study of one PAI species, against the bound that it will be judged by."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.artefacts import artefact_rate
from cv_quality.studies.artefact_planning import plan_artefacts

DOCS = Path(__file__).parents[2] / "docs/liveness.md"


def test_planned_artefacts_settle_the_limit_as_often_as_planned() -> None:
    (plan,) = plan_artefacts(0.15, apcer=0.05, icc=0.3, presentations=[10], power=0.8).plans
    assert plan.artefacts is not None
    rng = np.random.default_rng(99)
    size = (1 - 0.3) / 0.3
    errors = rng.binomial(10, rng.beta(0.05 * size, 0.95 * size, (600, plan.artefacts)))
    shown = [10] * plan.artefacts
    highs = [artefact_rate(row, shown, side="upper").high for row in errors]
    assert np.mean([high is not None and high <= 0.15 for high in highs]) == pytest.approx(0.8, abs=0.06)


def test_more_alike_presentations_need_more_artefacts() -> None:
    alike, unlike = (
        plan_artefacts(0.15, apcer=0.05, icc=icc, presentations=[20]).plans[0].artefacts for icc in (0.3, 0.0)
    )
    assert alike is not None
    assert unlike is not None
    assert alike > unlike


def test_no_plan_has_fewer_artefacts_than_settle_it_without_an_error() -> None:
    found = plan_artefacts(0.07, apcer=0.0, presentations=[1, 100])
    assert [(plan.artefacts, plan.in_all) for plan in found.plans] == [(42, 42), (42, 4200)]


def test_limit_that_no_size_settles_says_so() -> None:
    (plan,) = plan_artefacts(0.0701, apcer=0.07, presentations=[1], studies=20).plans
    assert (plan.artefacts, plan.reason) == (None, "more than 5,000 artefacts would be needed")


@pytest.mark.parametrize("numbers", [{"apcer": 0.07}, {"apcer": 0.01, "icc": 1.0}, {"apcer": 0.01, "power": 1.0}])
def test_number_out_of_range_is_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(MetricError):
        plan_artefacts(0.07, **numbers)  # type: ignore[arg-type]


def test_command_takes_shares_in_percent() -> None:
    words = ["plan", "artefacts", "--limit", "15%", "--apcer", "5 %", "--presentations", "10"]
    result = CliRunner().invoke(main, [*words, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert (found["limit"], found["apcer"], found["fewest"]) == (0.15, 0.05, 19)
    shown = CliRunner().invoke(main, words)
    assert "without an error it takes 19 artefacts" in shown.output


def test_docs_hold_the_sizes_that_are_planned() -> None:
    table = DOCS.read_text().split("| presentations of each | artefacts, ICC .1 | ICC .3 |\n|---|---|---|\n")[1]
    rows = [tuple(map(int, row.strip("| ").split(" | "))) for row in table.split("\n\n")[0].splitlines()]
    plans = [plan_artefacts(0.07, apcer=0.02, icc=icc).plans for icc in (0.1, 0.3)]
    assert rows == [(one.presentations, one.artefacts, other.artefacts) for one, other in zip(*plans, strict=True)]
