"""Attribution of a build's change against its baseline to the model and the data, slice by slice.

Any two populations are compared by `cv_quality.error_analysis.attribution`; what is found becomes rows of the lake. The
slices are those of `cv_quality.tasks.root_causes.slices`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from cv_quality.error_analysis.attribution import AttributedPart, Attribution, Contribution
from cv_quality.error_analysis.population import Population, attribute
from cv_quality.error_analysis.slices import Slice
from cv_quality.lake.lake import Lake
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION, WHOLE, write_rows

Comparison = Literal["data", "algorithm", "recorded"]
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ComparedPopulations:
    """The populations that lead from a baseline to a build.

    Attributes:
        baseline: the build compared with.
        before: the baseline on its own drops; None where it has none.
        between: the baseline's model on the drops of the build; None where devices recorded both builds.
        after: the build on its drops.
    """

    baseline: str
    before: Population | None
    between: Population | None
    after: Population

    @property
    def steps(self) -> tuple[tuple[Comparison, Population, Population], ...]:
        """The comparisons that lead from the baseline to the build, with what comes before and after in each."""
        if self.between is not None and self.between.rows.is_empty():
            return ()
        data: tuple[tuple[Comparison, Population, Population], ...] = ()
        if self.before is not None and not self.before.rows.is_empty():
            data = (("data", self.before, self.between or self.after),)
        if self.between is None:
            return tuple(("recorded", before, after) for _, before, after in data)
        return (("algorithm", self.between, self.after), *data)


@dataclass(frozen=True, slots=True)
class AttributionSummary:
    """What changed against the baseline.

    Attributes:
        rows: written; 0 where there is nothing to compare with.
        rate_before: rate of the baseline on the baseline's own drops; None where nothing was compared.
        rate_after: rate of the build on the build's drops.
        data, algorithm: what the data, and what the model, changed of it: they add up to rate_after - rate_before. None
            where that cannot be told apart.
        recorded: what both together changed, of builds that are evaluated as recorded.
        data_conclusion, algorithm_conclusion, recorded_conclusion: one sentence each.
    """

    rows: int
    rate_before: float | None
    rate_after: float | None
    data: float | None
    algorithm: float | None
    recorded: float | None
    data_conclusion: str
    algorithm_conclusion: str
    recorded_conclusion: str


def attribute_build(
    lake: Lake, *, build: str, change: ComparedPopulations | None, slices: Sequence[Slice], seed: int = 0
) -> AttributionSummary:
    """Attribute the change of a rate against the baseline to the model and the data, and write `change_attribution`.

    Two comparisons lead from the baseline to the build. "data": the baseline's model on its own drops, then on those of
    the build: other trials, the same model. "algorithm": the baseline's model, then the build's, on the drops of the
    build: the same trials, so that nothing is mix. Each model decides at its own threshold. Builds that are evaluated
    as recorded have one, "recorded": the baseline on its own drops, then the build on its own. All are split by the
    build's slices.

    Args:
        lake, build: written to, under the build.
        change: from its baseline; None where it has none.
        slices: of the build, in order of rank.
        seed: of the bootstrap.
    """
    steps: Sequence[tuple[Comparison, Population, Population]] = ()
    nothing = "Nothing to compare with: no baseline."
    if change is not None:
        is_empty, trial = change.after.rows.is_empty(), change.after.outcome.trial
        steps = () if is_empty else change.steps
        nothing = f"Nothing to compare with: no {trial} of {change.baseline}."
        nothing = f"Nothing to compare: the build has no {trial}." if is_empty else nothing
    found = {name: attribute(before, after, slices=slices, seed=seed) for name, before, after in steps}
    baseline = {"baseline_build_id": change.baseline if change else None}
    rows = [baseline | {"comparison": name} | dict(row) for name, item in found.items() for row in _rows(item)]
    data, algorithm, recorded = (found.get(name) for name in get_args(Comparison))
    first, last = data or recorded, algorithm or recorded
    return AttributionSummary(
        rows=write_rows(lake, CHANGE_ATTRIBUTION, build, rows),
        rate_before=first.rate_before if first else None,
        rate_after=last.rate_after if last else None,
        data=data.change if data else None,
        algorithm=algorithm.change if algorithm else None,
        recorded=recorded.change if recorded else None,
        data_conclusion=data.conclusion if data else nothing,
        algorithm_conclusion=algorithm.conclusion if algorithm else nothing,
        recorded_conclusion=recorded.conclusion if recorded else nothing,
    )


def _rows(found: Attribution) -> Iterator[Row]:
    shared = {"n_subjects": found.n_subjects, "n_paired": found.n_paired}
    whole = {"part": 0, "condition": WHOLE, "attempts_before": found.n_before, "attempts_after": found.n_after}
    yield shared | whole | _numbers(found, found.method)
    for index, part in enumerate(found.parts, start=1):
        described: dict[str, object] = {
            "part": index,
            "condition": part.condition,
            "where_json": None if part.where is None else json.dumps(part.where.to_list()),
            "attempts_before": part.rows_before,
            "attempts_after": part.rows_after,
        }
        yield shared | described | _numbers(part, found.method)


def _numbers(found: Attribution | AttributedPart, method: str | None) -> dict[str, object]:
    """What the whole and a part have in common; where no bound could be given, there is no method either."""
    numbers: dict[str, object] = {field.name: getattr(found, field.name) for field in fields(Contribution)}
    return numbers | {
        "failures_before": int(found.failures_before),
        "failures_after": int(found.failures_after),
        "method": None if found.change_low is None else method,
        "reason": found.reason,
    }
