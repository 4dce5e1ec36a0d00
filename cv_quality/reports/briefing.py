"""What a build's numbers come to, in the few sentences that a leader reads: one value behind all products.

A task makes its briefing from what the sections of its page read (`Task.brief`). The page's first screen, the brief,
the deck and the message show it; tickets and data sets follow its causes. It holds sentences and the figures they rest
on, so that each product prints the same digits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cv_quality.error_analysis.slices import Slice
from cv_quality.metrics.rates import Rate
from cv_quality.reports.pictures import Picture
from cv_quality.reports.rates import Direction, RatePair

Standing = Literal["pass", "fail", "insufficient", "worse", "no worse", "cannot tell"]
"""The release policy's verdict, or, where no policy was asked, how the build stands to its baseline."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a product prints, and the row of the table that it is.

    Attributes:
        name: for people, as "attempts rejected (FRR)".
        rate: the value with its counts and its interval; its value is None where it is undefined, with the reason.
        table: name of the lake's table.
        where: what identifies the row in it, column by column.
        column: the column that holds the value.
    """

    name: str
    rate: Rate
    table: str
    where: Mapping[str, object]
    column: str


@dataclass(frozen=True, slots=True)
class Point:
    """One message: a sentence in plain words, the figures that it states, and the section that shows more.

    Attributes:
        section: id of a section of the page.
    """

    text: str
    figures: tuple[Figure, ...] = ()
    section: str = ""


@dataclass(frozen=True, slots=True)
class RateChange:
    """A figure of the build beside that of its baseline, as the chart of the change draws it.

    Attributes:
        name: with the acronym, as "genuine attempts rejected (FRR)".
        pair: both rates and the interval of their difference. Of a metric of video they are means over clips.
        is_rate: whether they are written as per cent.
        unit: of those that are not, as "ms"; empty where they have none.
        higher_is_better: whether a rise is good, as of an overlap.
        limit: the most that the release policy allows of it; None where it asks nothing.
        figures: the rows of those that have a value.
    """

    name: str
    pair: RatePair
    limit: float | None
    figures: tuple[Figure, ...]
    is_rate: bool = True
    unit: str = ""
    higher_is_better: bool = False

    @property
    def direction(self) -> Direction:
        """Worse or better only where the interval of the difference excludes 0."""
        found = self.pair.direction
        turned: dict[Direction, Direction] = {"worse": "better", "better": "worse"}
        return turned.get(found, found) if self.higher_is_better else found


@dataclass(frozen=True, slots=True)
class Example:
    """A failure beside a pass that differs in little.

    Attributes:
        failed: what was captured; its URI is None where the subject did not agree to be shown.
        failed_words, passed_words: conditions and outcome of each.
        difference: the one condition in which they differ, where there is one.
    """

    failed: Picture
    failed_words: str
    passed: Picture | None
    passed_words: str
    difference: str | None


@dataclass(frozen=True, slots=True)
class Cause:
    """A confirmed slice as a leader meets it.

    Attributes:
        condition: in words, as "spectacles and low light".
        sentence: what happens there.
        rate: of the slice; `rest` that of all others, and `before` that of the slice in the baseline.
        outcome: that was searched, as tables write it.
        where: the slice; `predicate` is that for SQL.
        evidence: a sentence for each thing that speaks for it (trend, counterfactual, stage, map).
        gain: what mending it would bring; None where it cannot be told.
        examples: failures beside passes, of as many subjects as there are.
        export: the command that gives its trials as a table; empty where none does.
    """

    rank: int
    condition: str
    sentence: str
    rate: Rate
    rest: float | None
    before: Rate | None
    share_of_failures: float | None
    n_attempts: int | None
    n_subjects: int | None
    outcome: str
    where: Slice
    evidence: tuple[str, ...]
    gain: Point | None
    examples: tuple[Example, ...]
    export: str = ""

    @property
    def predicate(self) -> str:
        return self.where.sql()


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One group of people in a line: how it fares, against the whole and against before.

    Attributes:
        metric: with whose name the level begins, as "FNMR"; empty where it does not.
    """

    dimension: str
    level: str
    sentence: str
    pair: RatePair
    metric: str = ""


@dataclass(frozen=True, slots=True)
class ThinEvidence:
    """A question that the data leave open, and how many subjects would settle it.

    Attributes:
        about: the group, the condition or the requirement.
        reason: why it is open.
        n_subjects: that it rests on; None where that is not known.
        needed: subjects in all; None where no number is known.
    """

    about: str
    reason: str
    n_subjects: int | None
    needed: int | None


@dataclass(frozen=True, slots=True)
class Briefing:
    """What is known of one build, for whoever decides.

    Attributes:
        subject_matter: what was evaluated, as "face verification".
        standing: one word of it; `headline` says it in a sentence of at most 25 words.
        impact: who meets which error how often, in plain words, and how often before.
        cause: the first cause with its share and its evidence, or what was searched without finding one.
        gain: what mending the first cause would bring; None without a cause.
        groups: whether groups of people differ.
        quality: what is to be known of the data.
        next_step: what to do, or what would settle the question.
        changes: the first is the one operating point that the page leads with.
        thin: what the data leave open.
        terms: every acronym used, with its meaning in one sentence.
        commands: what reproduces the numbers.
        trials, units: what `n_attempts` and `n_subjects` count, as "frames" and "clips".
    """

    build: str
    baseline: str | None
    subject_matter: str
    standing: Standing
    headline: str
    impact: Point
    cause: Point
    gain: Point | None
    groups: Point
    quality: Point
    next_step: Point
    changes: tuple[RateChange, ...]
    causes: tuple[Cause, ...]
    group_lines: tuple[GroupLine, ...]
    terms: Mapping[str, str]
    n_subjects: int
    n_attempts: int
    drops: tuple[str, ...]
    sites: tuple[str, ...]
    captured_from: datetime
    captured_until: datetime
    commands: tuple[str, ...]
    trials: str = "attempts"
    units: str = "subjects"
    thin: tuple[ThinEvidence, ...] = ()
