"""Records of the root causes that a page shows, for any task: slices with their evidence, clusters, what was ruled out.

They are read in `cv_quality.tasks.root_causes.report.reading`, and drawn in `charts` beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cv_quality.error_analysis.slices import Slice
from cv_quality.inference.entry_difference import EntryDifference
from cv_quality.metrics.rates import Rate
from cv_quality.reports.pictures import Picture
from cv_quality.reports.queries import Query
from cv_quality.tasks.root_causes.report.change import BuildChange

AttemptName = tuple[str, str]
"""Drop and id of an attempt."""
ACCEPTED = "accepted"
"""The one ending that is no failure."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CauseWords:
    """How a task speaks of what was searched.

    Attributes:
        trial, unit: a row, and what is resampled.
        alike, one: what several units are to a reader, as "people", and a single one.
        agreed: of which images are shown.
        rate: the failure rate, by its name.
        searched, failing: all rows, and what failing is.
        others, other, others_note: heading, column and note of the searches for other outcomes.
        look: what a cluster holds, by how it was found.
    """

    trial: str = "attempt"
    unit: str = "subject"
    alike: str = "people"
    one: str = "person"
    agreed: str = "subjects who agreed to it"
    rate: str = "FRR"
    searched: str = "genuine attempts"
    failing: str = "not accepted"
    others: str = "Stage by stage"
    other: str = "Stage"
    others_note: str = "The same search for the attempts that one stage ended"
    look: str = "Attempts that look alike to the model"


@dataclass(frozen=True, slots=True)
class PicturedAttempt:
    """Any attempt, or frame, as it is shown: what became of it, under which conditions, and its picture."""

    attempt_id: str
    drop_id: str
    subject_id: str
    score: float | None
    outcome: str
    conditions: tuple[str, ...]
    picture: Picture


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """The rate of a slice in one build of the line."""

    build: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class Endings:
    """Where genuine attempts ended: counts by stage; those not accepted add up to the FRR.

    Attributes:
        is_slice: whether they are those of the slice, else all of the build's drops.
    """

    model: str
    is_slice: bool
    counts: Mapping[str, int]
    n_genuine: int

    @property
    def name(self) -> str:
        return f"{'slice' if self.is_slice else 'all'}, {self.model}"

    @property
    def n_failures(self) -> int:
        return sum(count for ending, count in self.counts.items() if ending != ACCEPTED)

    @property
    def frr(self) -> float | None:
        return self.n_failures / self.n_genuine if self.n_genuine else None


@dataclass(frozen=True, slots=True)
class ExamplePair:
    """A failure beside a pass; `difference` names the one condition in which they differ."""

    failure: PicturedAttempt
    passed: PicturedAttempt | None
    difference: str | None = None

    @property
    def is_same_subject(self) -> bool:
        return self.passed is not None and self.passed.subject_id == self.failure.subject_id


@dataclass(frozen=True, slots=True)
class SaliencyMap:
    """Which pixels move the score, or the reason why that is not shown; `cells` are its rows."""

    method: str
    n_failures: int
    n_passes: int
    n_subjects: int
    cells: tuple[tuple[float, ...], ...]
    is_shown: bool
    reason: str | None
    pointing: float | None


@dataclass(frozen=True, slots=True)
class ChangedCondition:
    """Failures of a slice run again with one condition changed: how many are accepted then."""

    change: str
    source: str
    n_attempts: int
    n_accepted: int
    score_before: float | None
    score_after: float | None
    accepted: Rate


@dataclass(frozen=True, slots=True)
class SliceEvidence:
    """What a task knows of a slice beyond its rates, and the queries of that."""

    endings: tuple[Endings, ...] = ()
    maps: tuple[SaliencyMap, ...] = ()
    counterfactuals: tuple[ChangedCondition, ...] = ()
    queries: tuple[tuple[str, Query], ...] = ()


@dataclass(frozen=True, slots=True)
class SliceView:
    """A confirmed slice with all that is known of it, and the queries that reproduce it.

    Attributes:
        where: its conditions.
        declared: what its conditions are, where a drop declared them; whose names may say little.
        mended: what all attempts would have if those of the slice failed as often as the others.
    """

    rank: int
    where: Slice
    condition: str
    declared: tuple[str, ...]
    sentence: str
    rate: Rate
    rest_rate: float | None
    mended: Rate
    support: int | None
    n_subjects: int | None
    p_adjusted: float | None
    share_of_failures: float | None
    stability: float | None
    adjusted_odds_ratio: float | None
    adjusted_for: str | None
    predicate: str
    trend: tuple[TrendPoint, ...]
    typical: tuple[ExamplePair, ...]
    pairs: tuple[ExamplePair, ...]
    evidence: SliceEvidence
    queries: tuple[tuple[str, Query], ...]

    @property
    def endings(self) -> tuple[Endings, ...]:
        return self.evidence.endings

    @property
    def maps(self) -> tuple[SaliencyMap, ...]:
        return self.evidence.maps

    @property
    def counterfactuals(self) -> tuple[ChangedCondition, ...]:
        return self.evidence.counterfactuals

    @property
    def covered(self) -> str:
        """Whom the changed conditions cover: how many of the slice's failures, of how many people."""
        if not self.counterfactuals or not self.endings:
            return ""
        own, widest = self.endings[0], max(self.counterfactuals, key=lambda item: item.n_attempts)
        n_subjects, matched = widest.accepted.n_subjects, own.counts.get("non_match", 0)
        people = f", of {n_subjects:,} subjects" if n_subjects else ""
        others = own.n_failures - matched
        chosen = f"Run again: {widest.n_attempts:,} of the slice’s {matched:,} attempts that were not matched{people},"
        left = (
            f" Its {others:,} other failures (not acquired, rejected, timed out) are not among them." if others else ""
        )
        return f"{chosen} over as many people as possible.{left}"


@dataclass(frozen=True, slots=True)
class StageSearch:
    """The same search for the attempts that one stage ended."""

    stage: str
    n_failures: int
    conclusion: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster of attempts in an embedding that fails more than the rest."""

    number: int
    source: str
    condition: str | None
    sentence: str
    precision: float | None
    recall: float | None
    rate: Rate
    rest_rate: float
    support: int
    n_subjects: int
    share_of_failures: float
    attempts: tuple[PicturedAttempt, ...]


@dataclass(frozen=True, slots=True)
class RootCauses:
    """Everything that the section shows; `change` is None without a baseline.

    Attributes:
        outcome: that was sought.
        words: how the task speaks of what was searched.
        unsearched: columns that were not searched, with the reason.
        confounded: rows of `failure_slices`: values that look bad by themselves and are not, once the attempts of the
            slices that explain them are set aside.
        combined: rows of `failure_slices`: values that are bad only together with the other conditions of a slice.
        insufficient: rows of `failure_slices`: slices that stand out but rest on too few subjects.
        entries: what differs between the registry entries of the build and its baseline; None without both.
        queries: those of the whole section, by what they are about.
    """

    conclusion: str
    outcome: str
    words: CauseWords
    unsearched: Mapping[str, str]
    n_attempts: int
    n_subjects: int
    n_failures: int
    slices: tuple[SliceView, ...]
    confounded: tuple[Row, ...]
    combined: tuple[Row, ...]
    insufficient: tuple[Row, ...]
    stages: tuple[StageSearch, ...]
    clusters: tuple[ClusterView, ...]
    about_maps: str
    change: BuildChange | None
    entries: tuple[EntryDifference, ...] | None
    queries: Mapping[str, Query]
