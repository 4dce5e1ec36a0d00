"""How a page speaks of scores: their name, and which side of a threshold is accepted."""

from dataclasses import dataclass

from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.modality import Comparator, biometric


@dataclass(frozen=True, slots=True)
class ScoreWords:
    """Words for the scores of one modality.

    Attributes:
        name: what a score is.
        is_similarity: whether a higher score means more alike.
    """

    name: str
    is_similarity: bool

    @property
    def sign(self) -> str:
        return "≥" if self.is_similarity else "≤"

    @property
    def reaching(self) -> str:
        """Where an accepted score lies."""
        return "at or above" if self.is_similarity else "at or below"

    @property
    def missing(self) -> str:
        """Where a rejected score lies."""
        return "below" if self.is_similarity else "above"

    @property
    def worst(self) -> str:
        """The scores that are least alike."""
        return "lowest" if self.is_similarity else "highest"

    @property
    def laxest(self) -> str:
        """The threshold that accepts most."""
        return "smallest" if self.is_similarity else "largest"


def comparator_of(source: ReportSource) -> Comparator:
    """Find how two templates of a page's modality are compared."""
    return biometric(source.modality).comparator


def score_words(source: ReportSource) -> ScoreWords:
    """Choose the words for the scores of a page's modality."""
    comparator = comparator_of(source)
    return ScoreWords(comparator.name, comparator.direction == "similarity")
