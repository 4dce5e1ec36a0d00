"""What verification needs to know of a modality: how samples become templates, and how two templates are compared."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.device_scores import DeviceScores
from cv_quality.drops.tables import BIOMETRIC_KINDS
from cv_quality.errors import MetricError, SettingsError
from cv_quality.gates.rules import Rule
from cv_quality.inference.encoded import Encoded
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import BuildEntry, EntryFields, ModelRegistry, parse_recorded_entry
from cv_quality.lake.schema import Bounds
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.pairs import PairCounts, Rows, Score, Side, TemplateArray, count_scored
from cv_quality.metrics.score_bins import ScoreScale
from cv_quality.modality import Dimension, Modality, Setting

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.tasks.verification.explanations import ExplanationSummary
    from cv_quality.workspace import Workspace

Direction = Literal["similarity", "dissimilarity"]
Scores = TypeVar("Scores", float, NDArray[np.float64], "pl.Expr")
Conditions = Mapping[str, Setting | None]
"""What was logged of one frame, by the column of the condition."""

DIRECTIONS: Final[Mapping[str, Direction]] = {"at_or_above": "similarity", "at_or_below": "dissimilarity"}
"""The direction of scores by the side of a threshold on which they are accepted."""
AS_RECORDED = "as_recorded"
"""Status of a sample of a build that is evaluated as its devices recorded it: no model was run."""
PAIRS_AT_ONCE = 65_536
"""Gathered rows of both sides stay below 300 MB at 256 dimensions."""


class Encoder(Protocol):
    """A build's model, loaded."""

    def encode(self, frames: Sequence[Frame], conditions: Sequence[Conditions], names: Sequence[str]) -> Encoded:
        """Turn decoded frames into templates.

        Args:
            frames: decoded images.
            conditions: what was logged of each.
            names: of the frames in their drop.
        """


class FastCount(Protocol):
    """Counts all pairs of two sides by their oriented scores."""

    def __call__(self, references: Side, probes: Side, *, threshold: float | None) -> PairCounts:
        """Count, and count the pairs at or above an oriented threshold exactly; as `pairs.count_block`."""


@dataclass(frozen=True, slots=True)
class Comparator:
    """How two templates are compared.

    The lake has scores and thresholds as they are (native); metrics take them oriented: higher means more alike.

    Attributes:
        name: what the score is, for people.
        algorithm: part of the address of counted pairs: change it whenever the same templates would score otherwise.
        direction: whether a higher score means more alike, or less.
        score_range: the closed range of scores; may be infinite.
        accepts_none, accepts_all: how a threshold is written that no score reaches, or every score.
        parity_tolerance: how far the device's score may lie from the re-inferred one.
        read: the templates in rows of `embeddings`, as `fuse` and `score` take them; shape (rows, ...).
        fuse: one template for each reference, and whether it has one, from the samples of all references and the
            first row of each.
        score: the scores of listed pairs, from references, probes and the rows of both; shape (pairs,).
        count: counts all pairs of two sides, oriented, where there is a faster way than by `score`.
        not_comparable: why a pair of templates may have no score (NaN); empty where every pair has one.
        template: how `embeddings` hold a template, as a vector or as packed bits.
        rule: by which packed bits are compared; None for vectors, and where only a build's entry tells it.
    """

    name: str
    algorithm: str
    direction: Direction
    score_range: tuple[float, float]
    accepts_none: float
    accepts_all: float
    parity_tolerance: float
    read: Callable[["pl.DataFrame"], TemplateArray]
    fuse: Callable[[TemplateArray, NDArray[np.int64]], tuple[TemplateArray, NDArray[np.bool_]]]
    score: Score
    count: FastCount | None = None
    not_comparable: str = ""
    template: Literal["vector", "bits"] = "vector"
    rule: HammingRule | None = None

    def oriented(self, scores: Scores) -> Scores:
        """Turn native scores or thresholds into oriented ones, or back; exact."""
        return scores if self.direction == "similarity" else 0.0 - scores

    def written(self, threshold: float) -> float:
        """Write an oriented threshold, infinite or not, as the tables have it."""
        low, high = sorted((self.accepts_none, self.accepts_all))
        return min(max(self.oriented(threshold), low), high)

    def accepts(self, score: "pl.Expr", threshold: "pl.Expr | float") -> "pl.Expr":
        """Tell whether a native score reaches the native threshold; null stays null."""
        return score >= threshold if self.direction == "similarity" else score <= threshold

    def best(self, score: "pl.Expr") -> "pl.Expr":
        """Choose the native score that is most alike."""
        return score.max() if self.direction == "similarity" else score.min()

    @property
    def scale(self) -> ScoreScale:
        """The bins of oriented scores."""
        low, high = sorted(self.oriented(bound) for bound in self.score_range)
        return ScoreScale(low, high)


@dataclass(frozen=True, slots=True)
class BiometricModality:
    """A biometric characteristic.

    Attributes:
        name: as manifests and registry entries write it.
        conditions: what devices log of the circumstances of a sample.
        encoder: loads a build's model, to run on so many threads.
        comparator: how templates are compared.
        failure_statuses: why the encoder gives a frame no template.
        template_rules: what the gate of `infer` asks of templates.
        parse_entry: reads a build's registry file.
        explain: explains a build's confirmed slices from its frames, and writes what it found, where that is possible.
        device_scores: on which scale devices score; None for that of the comparator.
        parse_recorded_entry: reads that of one evaluated as its devices recorded it.
        measured: what the encoder measures of a sample.
        differences: which of these are made of another: by how much that lies off the reference's, in an attempt.
        instance: the condition that tells a subject's instances apart, such as left and right eye; None where a
            subject has one. Templates of two instances of one subject are neither genuine nor impostor.
        comparator_of: how templates of a build are compared, where its entry decides that.
        event_kinds: of its drops.
        task: what is measured of it.
    """

    name: str
    conditions: tuple[Dimension, ...]
    encoder: Callable[[BuildEntry, ModelRegistry, int], Encoder]
    comparator: Comparator
    failure_statuses: tuple[str, ...]
    template_rules: tuple[Rule, ...]
    parse_entry: Callable[[EntryFields], BuildEntry]
    explain: "Callable[[Workspace, str], ExplanationSummary] | None" = None
    device_scores: DeviceScores | None = None
    parse_recorded_entry: Callable[[EntryFields], BuildEntry] = parse_recorded_entry
    measured: tuple[Dimension, ...] = ()
    differences: Mapping[str, str] = field(default_factory=dict)
    instance: str | None = None
    comparator_of: Callable[[BuildEntry], Comparator] | None = None
    event_kinds: tuple[str, ...] = BIOMETRIC_KINDS
    task: str = "verification"

    @property
    def bounds(self) -> Mapping[Bounds, tuple[float | None, float | None]]:
        """The closed range of scores, of devices' scores and of thresholds; None is unbounded."""
        comparator = self.comparator
        limits = sorted((comparator.accepts_none, comparator.accepts_all))
        ranges: dict[Bounds, Sequence[float]] = {
            "score": comparator.score_range,
            "device_score": self.device_range,
            "threshold": limits,
        }
        finite = {
            name: [bound if math.isfinite(bound) else None for bound in bounds] for name, bounds in ranges.items()
        }
        return {name: (low, high) for name, (low, high) in finite.items()}

    @property
    def device_range(self) -> tuple[float, float]:
        """The closed range of devices' scores; may be infinite."""
        scale = self.device_scores
        if scale is None:
            return self.comparator.score_range
        return -math.inf if scale.low is None else scale.low, math.inf if scale.high is None else scale.high

    def of_build(self, entry: BuildEntry) -> Self:
        """Itself with the comparator of a build, which is that of its devices where it is evaluated as recorded."""
        if entry.sha256 is None:
            return self._as_recorded()
        return replace(self, comparator=self.comparator_of(entry)) if self.comparator_of else self

    def _as_recorded(self) -> Self:
        """Scores are those of devices, and nothing is explained."""
        scale = self.device_scores
        low, high = self.device_range
        direction = DIRECTIONS[scale.accepts] if scale else self.comparator.direction
        none, every = (math.inf, low) if direction == "similarity" else (-math.inf, high)
        comparator = replace(
            self.comparator,
            name="device score",
            direction=direction,
            score_range=(low, high),
            accepts_none=none,
            accepts_all=every,
            not_comparable="",
        )
        return replace(self, comparator=comparator, failure_statuses=(AS_RECORDED,), explain=None)

    def scores(self, references: TemplateArray, probes: TemplateArray, rows: Rows) -> NDArray[np.float64]:
        """Score listed pairs by the comparator; shape (pairs,), native, NaN where a pair cannot be compared.

        Args:
            references, probes: templates, shapes (n, ...) and (m, ...).
            rows: the reference and the probe of each pair, by row.

        Raises:
            MetricError: the two sides differ in dimension, or a score leaves the range that the comparator declares.
        """
        left, right = rows
        if len(left) and references.shape[1:] != probes.shape[1:]:
            raise MetricError(
                f"references have {references.shape[1]} dimensions, probes {probes.shape[1]}: run inference again"
            )
        scores = np.empty(len(left))
        for start in range(0, len(left), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            scores[part] = self.comparator.score(references, probes, (left[part], right[part]))
        low, high = self.comparator.score_range
        outside = ~((scores >= low) & (scores <= high))
        if self.comparator.not_comparable:
            outside &= ~np.isnan(scores)
        if outside.any():
            raise MetricError(
                f"modality {self.name!r} declares {self.comparator.name} scores in [{low:g}, {high:g}], its comparator "
                f"gave {scores[outside][0]:g}: correct the comparator or its score_range"
            )
        return scores

    def count(self, references: Side, probes: Side, *, threshold: float | None = None) -> PairCounts:
        """Count the pairs of different subjects between two sides by their oriented scores.

        Args:
            references, probes: the two sides.
            threshold: oriented; the pairs at or above it are counted exactly.

        Raises:
            MetricError: as `scores`.
        """
        comparator = self.comparator
        if comparator.count is not None:
            return comparator.count(references, probes, threshold=threshold)
        return count_scored(
            references,
            probes,
            score=lambda left, right, rows: comparator.oriented(self.scores(left, right, rows)),
            scale=comparator.scale,
            threshold=threshold,
        )


def vectors_of(rows: "pl.DataFrame") -> NDArray[np.float64]:
    """Read the templates of `embeddings` as a matrix, shape (rows, dimension).

    Raises:
        MetricError: they differ in length.
    """
    column = rows["embedding"]
    lengths = column.list.len().unique()
    if len(lengths) != 1:
        raise MetricError(f"templates of one build differ in length: {sorted(lengths.to_list())}; run inference again")
    vectors: NDArray[np.float64] = column.explode().to_numpy().astype(np.float64).reshape(len(column), -1)
    return vectors


def codes_of(rows: "pl.DataFrame") -> NDArray[np.uint64]:
    """Read the templates of `embeddings` as packed codes and masks, shape (rows, 2, words).

    Raises:
        MetricError: they differ in length.
    """
    column = rows["code"]
    lengths = column.bin.size().unique()
    if len(lengths) != 1:
        raise MetricError(f"templates of one build differ in length: {sorted(lengths.to_list())}; run inference again")
    packed = np.frombuffer(b"".join(column.to_list()), "<u8").astype(np.uint64, copy=False)
    return packed.reshape(len(column), 2, -1)


def biometric(modality: Modality) -> BiometricModality:
    """The modality, known to be one of verification.

    Raises:
        SettingsError: it is of another task.
    """
    if not isinstance(modality, BiometricModality):
        raise SettingsError(f"modality {modality.name!r} has no comparator: verification cannot evaluate it")
    return modality
