"""What is known of all builds of a task together: values that the page over all builds draws and lists."""

from collections.abc import Mapping
from dataclasses import dataclass

from cv_quality.metrics.rates import Rate
from cv_quality.reports.data_quality import DropRows
from cv_quality.reports.rates import Direction


@dataclass(frozen=True, slots=True)
class BuildRow:
    """One build in a line.

    Attributes:
        follows: the build that it is compared with; None without one.
        day: of its newest data.
        verdict, reason: of the release policy.
    """

    build: str
    follows: str | None
    day: str
    n_drops: int
    n_units: int
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trend:
    """One rate over builds, the oldest first; a build whose rate is undefined keeps its place.

    Attributes:
        is_rate: whether it is written as per cent.
    """

    name: str
    rates: tuple[tuple[str, Rate], ...]
    is_rate: bool = True


@dataclass(frozen=True, slots=True)
class PairRow:
    """Two builds on the drops that both models were run on, backfilled ones too."""

    before: str
    after: str
    n_drops: int
    rate_before: Rate
    rate_after: Rate
    direction: Direction


@dataclass(frozen=True, slots=True)
class SliceHistory:
    """A slice that one build's search confirmed, and its rate in that build and the earlier ones."""

    build: str
    condition: str
    rates: tuple[tuple[str, Rate], ...]


@dataclass(frozen=True, slots=True)
class TaskHistory:
    """All builds of one task.

    Attributes:
        unit: what is counted, as "subjects".
        paired_rate: the rate that pairs of builds are compared by.
        grid: trials of a model on a drop, by model and drop.
        parity: the share of decisions that devices and the lab take otherwise, by build.
    """

    title: str
    unit: str
    builds: tuple[BuildRow, ...]
    trends: tuple[Trend, ...]
    pairs: tuple[PairRow, ...]
    paired_rate: str
    grid: Mapping[str, Mapping[str, Rate]]
    slices: tuple[SliceHistory, ...]
    parity: tuple[tuple[str, Rate], ...]
    drops: tuple[DropRows, ...]
