"""What changed between a build and its baseline: the model, the attempts that it met, and in which slices.

Any two tables are compared by `cv_quality.error_analysis.attribution`; here the attempts of the lake are put before it. The
slices are those of `cv_quality.tasks.root_causes.slices`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from cv_quality.error_analysis.attribution import Attribution, Contribution, Part, attribute_change
from cv_quality.error_analysis.slices import Slice
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.root_causes.slices import SUBJECT, genuine_attempts
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION
from cv_quality.tasks.verification.waterfall import WHOLE

if TYPE_CHECKING:
    import polars as pl

FRR = "FRR"
Comparison = Literal["algorithm", "data"]
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AttributionSummary:
    """What changed against the baseline.

    Attributes:
        rows: written; 0 where there is nothing to compare with.
        frr_before: FRR of the baseline's model on the baseline's own drops; None where nothing was compared.
        frr_after: FRR of the build's model on the build's drops.
        data, algorithm: what the attempts, and what the model, changed of it: they add up to frr_after - frr_before.
        data_conclusion, algorithm_conclusion: one sentence each.
    """

    rows: int
    frr_before: float | None
    frr_after: float | None
    data: float | None
    algorithm: float | None
    data_conclusion: str
    algorithm_conclusion: str


def attribute_build(
    lake: Lake,
    *,
    build: str,
    baseline: str | None,
    drops: Sequence[str],
    baseline_drops: Sequence[str],
    slices: Sequence[Slice],
    seed: int = 0,
) -> AttributionSummary:
    """Attribute the change of the FRR against the baseline to the model and the data, and write `change_attribution`.

    Two comparisons lead from the baseline to the build. "data": the baseline's model on its own drops, then on those of
    the build: other attempts, the same model. "algorithm": the baseline's model, then the build's, on the drops of the
    build: the same attempts, so that nothing is mix. Both are split by the build's slices; the FRR counts genuine bona
    fide attempts that were not accepted. Each model decides at its own threshold.

    Args:
        baseline: the build compared with; None where the build has none.
        drops, baseline_drops: each build's own; without one of the baseline only the models are compared.
        slices: of the build, in order of rank.
        seed: of the bootstrap.

    Raises:
        MissingTable: the baseline did not score a drop, or the build did not score one of its own.
    """
    key = TableKey(build=build)
    if baseline is None:
        return _nothing(lake, key, "Nothing to compare with: no baseline.")
    first = genuine_attempts(lake, build=baseline, drops=baseline_drops)
    between = genuine_attempts(lake, build=build, drops=drops, model=baseline)
    last = genuine_attempts(lake, build=build, drops=drops)
    if last.is_empty():
        return _nothing(lake, key, "Nothing to compare: the build has no genuine attempt.")
    algorithm = _compared(between, last, slices, seed=seed)
    data = None if first.is_empty() else _compared(first, between, slices, seed=seed)
    rows = [*_rows(algorithm, "algorithm", baseline), *(_rows(data, "data", baseline) if data else ())]
    return AttributionSummary(
        rows=_write(lake, key, rows),
        frr_before=data.rate_before if data else None,
        frr_after=algorithm.rate_after,
        data=data.change if data else None,
        algorithm=algorithm.change,
        data_conclusion=data.conclusion if data else f"Nothing to compare with: no genuine attempt of {baseline}.",
        algorithm_conclusion=algorithm.conclusion,
    )


def _compared(before: "pl.DataFrame", after: "pl.DataFrame", slices: Sequence[Slice], *, seed: int) -> Attribution:
    named = {"is_failure": FRR}
    return attribute_change(
        before.rename(named), after.rename(named), outcome=FRR, subject=SUBJECT, slices=slices, seed=seed
    )


def _nothing(lake: Lake, key: TableKey, reason: str) -> AttributionSummary:
    return AttributionSummary(_write(lake, key, []), None, None, None, None, reason, reason)


def _rows(found: Attribution, comparison: Comparison, baseline: str) -> Iterator[Row]:
    """The whole change as part 0, then every part of it."""
    shared: dict[str, object] = {
        "baseline_build_id": baseline,
        "comparison": comparison,
        "n_subjects": found.n_subjects,
        "n_paired": found.n_paired,
    }
    whole: dict[str, object] = {
        "part": 0,
        "condition": WHOLE,
        "attempts_before": found.n_before,
        "attempts_after": found.n_after,
    }
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


def _numbers(found: Attribution | Part, method: str | None) -> dict[str, object]:
    """What the whole and a part have in common; where no bound could be given, there is no method either."""
    numbers: dict[str, object] = {field.name: getattr(found, field.name) for field in fields(Contribution)}
    return numbers | {
        "failures_before": int(found.failures_before),
        "failures_after": int(found.failures_after),
        "method": None if found.change_low is None else method,
        "reason": found.reason,
    }


def _write(lake: Lake, key: TableKey, rows: Sequence[Row]) -> int:
    import pyarrow as pa

    filled = [{"build_id": key.build, **row} for row in rows]
    return lake.write(CHANGE_ATTRIBUTION, key, pa.Table.from_pylist(filled, schema=CHANGE_ATTRIBUTION.arrow_schema))
