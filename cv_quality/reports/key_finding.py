"""The key finding on top of a build's page, and what is told of the page once it is written.

What stands out is for each task to say; whether a build may ship is not decided here.
"""

from dataclasses import dataclass
from pathlib import Path

from cv_quality.reports.rates import Direction


@dataclass(frozen=True, slots=True)
class KeyFinding:
    """The sentence, and which way it points."""

    sentence: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What was written, for whoever asked for it.

    Attributes:
        verdict: the sentence on top of the page.
        n_pictures: failures shown with an image; the others of `n_failures` have a placeholder.
        sha256: digest of the page; equal for equal lakes.
    """

    build: str
    baseline: str | None
    path: Path
    verdict: str
    direction: Direction
    n_charts: int
    n_failures: int
    n_pictures: int
    size_bytes: int
    sha256: str
