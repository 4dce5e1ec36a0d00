"""Slices of a build's populations, how they were in the builds before, and examples, as rows of the lake.

A population is searched in `cv_quality.error_analysis`; the change against a baseline is in
`cv_quality.tasks.root_causes.attribution`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, cast

from cv_quality.error_analysis.examples import choose_examples
from cv_quality.error_analysis.population import Population, search_slices
from cv_quality.error_analysis.slice_report import ConfoundedValue, InsufficientSlice, SliceFinding, SliceReport
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.rates import Rate, clustered_rate
from cv_quality.tasks.root_causes.tables import EXAMPLES, FAILURE_SLICES, SLICE_SEARCHES, SLICE_TRENDS, write_rows

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, object]
Finding = SliceFinding | InsufficientSlice | ConfoundedValue


@dataclass(frozen=True, slots=True)
class SliceSummary:
    """What the search said of a build.

    Attributes:
        attempts: searched.
        searches: outcomes searched, the primary one and others.
        confirmed, insufficient, explained_away: findings of the primary outcome.
        examples: of all outcomes.
        conclusion: one sentence on whether any of them is real.
    """

    attempts: int
    searches: int
    confirmed: int
    insufficient: int
    explained_away: int
    examples: int
    conclusion: str


@dataclass(frozen=True, slots=True)
class _Search:
    """A population searched: its report, or why there is none."""

    population: Population
    answer: SliceReport | str

    @property
    def report(self) -> SliceReport | None:
        return None if isinstance(self.answer, str) else self.answer

    @property
    def conclusion(self) -> str:
        return self.answer if isinstance(self.answer, str) else self.answer.conclusion

    @property
    def confirmed(self) -> list[Slice]:
        return [found.where for found in self.report.slices] if self.report else []


def find_build_slices(
    lake: Lake,
    *,
    build: str,
    populations: Sequence[Population],
    before: Iterable[tuple[str, Population]] = (),
    threads: int = 2,
    seed: int = 0,
) -> SliceSummary:
    """Search a build's own populations for slices and write what was found, with trends and examples.

    Each search holds its error by itself.

    Args:
        lake, build: written to, under the build.
        populations: that of the primary outcome first.
        before: builds that it follows, the nearest first, with their primary populations; read where there are slices.
        threads, seed: of the search; the seed also of the choice of examples.
    """
    searches = list[_Search]()
    for population in populations:
        found = [where for search in searches for where in search.confirmed]
        searches.append(_searched(population, found=found, seed=seed, threads=threads))
    primary, report = searches[0], searches[0].report
    trends: list[Row] = []
    if primary.confirmed:
        trends = list(_trends(chain([(build, primary.population)], before), primary.confirmed))
    examples = [row for search in searches for row in example_rows(search.population, search.confirmed, seed=seed)]
    write_rows(lake, SLICE_SEARCHES, build, [_search_row(search, seed=seed) for search in searches])
    write_rows(lake, FAILURE_SLICES, build, [row for search in searches for row in _finding_rows(search)])
    write_rows(lake, SLICE_TRENDS, build, trends)
    write_rows(lake, EXAMPLES, build, examples)
    return SliceSummary(
        attempts=primary.population.rows.height,
        searches=len(searches),
        confirmed=len(primary.confirmed),
        insufficient=len(report.insufficient) if report else 0,
        explained_away=len(report.explained_away) if report else 0,
        examples=len(examples),
        conclusion=primary.conclusion,
    )


def read_slices(lake: Lake, build: str, outcome: str) -> list[Slice]:
    """Read the confirmed slices of a build, the best first.

    Args:
        lake, build, outcome: read from, of the build, by the name of what was searched.

    Raises:
        MissingTable: the build was not searched.
    """
    return [where for _, where, _ in read_confirmed(lake, build, outcome)]


def read_confirmed(lake: Lake, build: str, outcome: str) -> list[tuple[int, Slice, str]]:
    """Read the confirmed slices of a build, the best first: rank, slice, and what was found in words.

    Args:
        lake, build, outcome: read from, of the build, by the name of what was searched.

    Raises:
        MissingTable: the build was not searched.
    """
    rows = lake.read(FAILURE_SLICES, TableKey(build=build)).filter(outcome=outcome, finding="confirmed").sort("rank")
    found = rows.select("rank", "where_json", "sentence").iter_rows()
    return [(rank, Slice.from_list(json.loads(text)), sentence) for rank, text, sentence in found]


def example_rows(population: Population, slices: Sequence[Slice], *, seed: int = 0) -> Iterator[Row]:
    """Choose examples of slices as rows of `examples`, without the build.

    Args:
        population: with a key of two columns, drop and attempt, or without one: then there are no examples.
        slices, seed: in the order of their rank, and of the choice.
    """
    chosen = choose_examples(population, slices=slices, seed=seed)
    identity, partner = ("drop_id", "attempt_id"), ("partner_drop_id", "partner_attempt_id")
    keys = population.rows.select(population.key)
    for item in chosen:
        row = population.rows.row(item.row, named=True)
        yield {
            "outcome": population.outcome.name,
            "rank": item.rank,
            "role": item.role,
            "position": item.position,
            **dict(zip(identity, keys.row(item.row), strict=True)),
            "subject_id": row[population.unit],
            "score": row[population.score] if population.score else None,
            **(dict(zip(partner, keys.row(item.partner), strict=True)) if item.partner is not None else {}),
            "difference": item.difference,
        }


def _searched(population: Population, *, found: Sequence[Slice], seed: int, threads: int) -> _Search:
    """Search a population; one that cannot be searched says why, and the build goes on."""
    if population.rows.is_empty():
        return _Search(population, f"Nothing to search: no {population.outcome.trial}.")
    try:
        return _Search(population, search_slices(population, found=found, seed=seed, threads=threads))
    except SliceError as error:
        return _Search(population, f"Nothing was searched: {error}")


def _search_row(search: _Search, *, seed: int) -> Row:
    population, report = search.population, search.report
    failures, n = int(population.is_failure.sum()), population.rows.height
    mean = cast("float | None", population.rows[population.failed].mean())
    return {
        "outcome": population.outcome.name,
        "n_attempts": n,
        "n_subjects": population.rows[population.unit].n_unique(),
        "n_failures": failures,
        "base_rate": mean if population.is_loss else failures / n if n else None,
        "is_loss": population.is_loss,
        "n_slices": len(search.confirmed),
        "conclusion": search.conclusion,
        "skipped_json": json.dumps(_unsearched(report) if report else {}, sort_keys=True),
        "seed": seed,
    }


def _unsearched(report: SliceReport) -> dict[str, str]:
    """The columns that were not searched, with the reason."""
    return report.skipped | {item.column: item.sentence for item in report.set_apart}


def _finding_rows(search: _Search) -> Iterator[Row]:
    """Every finding of one search, ranked within its kind."""
    if (report := search.report) is None:
        return
    kinds: tuple[tuple[str, Sequence[Finding]], ...] = (
        ("confirmed", report.slices),
        ("insufficient", report.insufficient),
        ("explained_away", report.explained_away),
        ("only_combined", report.only_combined),
    )
    is_loss = search.population.is_loss
    for finding, items in kinds:
        is_found = finding == "confirmed"
        for rank, item in enumerate(items, start=1):
            named = {"outcome": search.population.outcome.name, "finding": finding, "rank": rank}
            where = {"condition": item.where.sentence(), "where_json": json.dumps(item.where.to_list())}
            yield {
                **named,
                **where,
                "sentence": item.sentence,
                **_figures(item),
                **({"numerator": None} if is_loss else _mended(search.population, item.where) if is_found else {}),
            }


def _mended(population: Population, where: Slice) -> Row:
    """The rate outside of a slice, which all would have if the slice failed as often."""
    rate = rate_where(population, ~where.expression())
    return {
        "mended_rate": rate.value,
        "mended_low": rate.low,
        "mended_high": rate.high,
        "mended_numerator": rate.numerator,
        "mended_denominator": rate.denominator,
    }


def _figures(item: Finding) -> Row:
    if isinstance(item, InsufficientSlice):
        return {"rate": item.rate, "rest_rate": item.rest_rate, "support": item.support, "n_subjects": item.subjects}
    if isinstance(item, ConfoundedValue):
        rates = {"rate": item.rate_before, "rate_after": item.rate_after, "rest_rate": item.rest_rate}
        return {**rates, "explained_by": "; ".join(item.by)}
    return {
        "rate": item.rate,
        "low": item.low,
        "high": item.high,
        "numerator": int(item.failures),
        "denominator": item.trials,
        "rest_rate": item.rest_rate,
        "support": item.support,
        "n_subjects": item.subjects,
        "p_adjusted": item.p_adjusted,
        "share_of_failures": item.share_of_failures,
        "stability": item.stability,
        "adjusted_odds_ratio": item.adjusted_odds_ratio,
        "adjusted_for": item.adjusted_for,
    }


def _trends(populations: Iterable[tuple[str, Population]], slices: Sequence[Slice]) -> Iterator[Row]:
    for build, population in populations:
        for rank, where in enumerate(slices, start=1):
            rate = rate_where(population, where.expression())
            yield {"outcome": population.outcome.name, "rank": rank, "trend_build_id": build, **asdict(rate)}


def rate_where(population: Population, rows: "pl.Expr", *, expected: float | None = None) -> Rate:
    """Estimate the failure rate of some rows of a population, clustered by its unit.

    Args:
        population: whose failures are counted.
        rows: which.
        expected: the rate that decides whether they are enough to be judged; by default that of the whole population.
    """
    import polars as pl

    failed, unit = population.failed, population.unit
    overall = cast("float | None", population.rows[failed].mean()) or 0.0 if expected is None else expected
    chosen = population.rows.filter(rows)
    by_unit = chosen.group_by(unit).agg(errors=pl.col(failed).sum(), trials=pl.len()).sort(unit)
    name = population.outcome.unit
    return clustered_rate(by_unit["errors"], by_unit["trials"], expected_errors=overall * chosen.height, unit=name)
