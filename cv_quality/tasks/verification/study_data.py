"""What a study of verification asks of the lake: who came, and how two builds differ on any set of subjects."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ProtocolError, near
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.trials import CrossTrials
from cv_quality.studies.analysis import Participation
from cv_quality.studies.comparison import (
    Difference,
    against_ratio,
    compare_fnmr_at_fmr,
    compare_quantiles,
    undefined_difference,
)
from cv_quality.studies.protocol import StudyEndpoint, StudyProtocol
from cv_quality.tasks.verification.build_metrics import WHO
from cv_quality.tasks.verification.build_scores import read_families
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.differences import (
    Side,
    compare_counts,
    counts_of,
    device_latencies,
    family_codes,
)
from cv_quality.tasks.verification.dimensions import counted_dimensions
from cv_quality.tasks.verification.impostors import read_impostors
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.samples import BONA_FIDE
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, COMPARISONS, IMPOSTOR_TRIALS

if TYPE_CHECKING:
    import polars as pl

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class StudyData:
    """The attempts of a study's drops, as both builds scored them.

    Attributes:
        lake: with the drops scored and counted.
        modality: of the drops.
        reference, candidate: the sides; of a paired study both are on the candidate's drops.
    """

    lake: Lake
    modality: BiometricModality
    reference: Side
    candidate: Side

    def came(self, protocol: StudyProtocol) -> dict[str, Participation]:
        """Find everybody with a genuine attempt, and the conditions in the order in which he met them."""
        import polars as pl

        sides = (self.candidate, self.reference) if protocol.arms else (self.candidate,)
        factor = protocol.design.conditions.factor if protocol.design.conditions else None
        column = self._column(factor) if factor else None
        found: dict[str, Participation] = {}
        for side in sides:
            rows = self._attempts(side).filter("is_genuine").sort("subject_id", "occurred_at", "attempt_id")
            levels = pl.col(column).cast(pl.String).fill_null("unknown") if column else pl.lit("")
            by_subject = rows.group_by("subject_id", maintain_order=True).agg(pl.len(), levels.alias("levels"))
            for name, count, met in by_subject.iter_rows():
                before = found.get(name, Participation({}))
                conditions = (*before.conditions, *(met if column else ()))
                found[name] = Participation({**before.attempts, side.model: count}, conditions)
        return found

    def difference(self, endpoint: StudyEndpoint, subjects: frozenset[str]) -> Difference:
        """Compare both builds in an endpoint's metric, on the attempts of some subjects; families stand together.

        Args:
            endpoint: of the protocol.
            subjects: who counts.

        Raises:
            ProtocolError: the endpoint's scope names a condition or a level that the drops do not have.
        """
        names = sorted(subjects)
        families = family_codes(names, self._family_of)
        found = self._compared(endpoint, names, families)
        # What is needed is said of subjects, where families are what was counted.
        people = round(len(names) / max(int(families.max(initial=0)) + 1, 1) * found.n_subjects)
        return replace(found, n_subjects=people)

    def _compared(self, endpoint: StudyEndpoint, names: Sequence[str], families: Codes) -> Difference:
        if endpoint.metric == "latency_ms":
            return self._latency(endpoint, names, families)
        if endpoint.metric == "fnmr_at_fmr" and endpoint.threshold == "re_estimated":
            return self._at_fmr(endpoint, names, families)
        metric = "fnmr" if endpoint.metric == "fnmr_at_fmr" else endpoint.metric
        group = (metric, *self._scope(endpoint))
        tables = [self._counts[place].get(group) for place in (0, 1)]
        if all(table is None for table in tables):
            return undefined_difference(metric, f"the study's drops have no trial of {metric}")
        return self._of_counts(metric, tables, names, families)

    def _of_counts(
        self, metric: str, tables: "Sequence[pl.DataFrame | None]", names: Sequence[str], families: Codes
    ) -> Difference:
        import polars as pl

        codes = {name: code for code, name in enumerate(names)}
        kept = [
            None if table is None else table.filter(*(pl.col(name).is_in(names) for name in WHO)) for table in tables
        ]
        return compare_counts(metric, kept, codes, families)

    def _at_fmr(self, endpoint: StudyEndpoint, names: Sequence[str], families: Codes) -> Difference:
        assert endpoint.fmr is not None
        one, other = (self._scores(side, endpoint, names, families) for side in (self.reference, self.candidate))
        return compare_fnmr_at_fmr(one, other, fmr=endpoint.fmr)

    def _scores(self, side: Side, endpoint: StudyEndpoint, names: Sequence[str], families: Codes) -> ClusteredScores:
        """The scores of a side among some subjects, by family; comparisons of two subjects of a family count too."""
        import polars as pl

        counts = read_impostors(self.lake, build=side.build, model_build=side.model, comparator=side.comparator)
        everyone = pl.DataFrame({"subject_id": names})
        samples = self.lake.read(IMPOSTOR_TRIALS, TableKey(build=side.build)).filter(model_build_id=side.model)
        samples = everyone.join(samples, on="subject_id", how="left", maintain_order="left")
        columns = ("n_references", "n_probes", "n_frames")
        trials = CrossTrials.of_drops(*(samples[name].fill_null(0).to_numpy() for name in columns))
        who = ("subject_id", "reference_subject_id")
        tail = counts.tail.filter(*(pl.col(name).is_in(names) for name in who))
        numbers = pl.Enum(names)
        codes = [tail[name].cast(numbers).to_physical().to_numpy().astype(np.int64) for name in who]
        rows = self._genuine(side, endpoint).filter(pl.col("subject_id").is_in(names)).sort("subject_id", "score")
        people = rows["subject_id"].cast(numbers).to_physical().to_numpy().astype(np.int64)
        relatives = families[codes[0]], families[codes[1]], tail["score"].to_numpy()
        return ClusteredScores.of(rows["score"].to_numpy(), families[people], relatives, trials.clustered(families))

    def _genuine(self, side: Side, endpoint: StudyEndpoint) -> "pl.DataFrame":
        import polars as pl

        rows = self.lake.scan(COMPARISONS, [TableKey(build=side.model, drop=drop) for drop in side.drops])
        rows = rows.filter("is_genuine", pl.col("presentation") == BONA_FIDE, pl.col("score").is_not_null())
        dimension, level = self._scope(endpoint)
        found = rows.select("subject_id", "attempt_id", score=side.comparator.oriented(pl.col("score"))).collect()
        if dimension == WHOLE:
            return found
        inside = self._attempts(side).filter(pl.col(dimension).cast(pl.String) == level).select("attempt_id")
        return found.join(inside, on="attempt_id", how="semi")

    def _latency(self, endpoint: StudyEndpoint, names: Sequence[str], families: Codes) -> Difference:
        assert endpoint.quantile is not None
        if self.reference.build == self.candidate.build:
            return undefined_difference(
                "latency_ms", f"devices ran {self.candidate.model} alone: the latency of both needs drops of both"
            )
        at = self._scope(endpoint)
        one, other = (
            device_latencies(self.lake, side, names, families, at=at) for side in (self.reference, self.candidate)
        )
        ratio = endpoint.margin_ratio or 1.0
        scaled = compare_quantiles("latency_ms", (one[0] * ratio, one[1]), other, quantile=endpoint.quantile)
        return against_ratio(scaled, ratio)

    def _scope(self, endpoint: StudyEndpoint) -> tuple[str, str]:
        """The dimension and level that an endpoint is counted at."""
        if not endpoint.scope:
            return WHOLE, WHOLE
        if len(endpoint.scope) > 1:
            raise ProtocolError(f"endpoint {endpoint.id}: scope: one condition is counted at a time, found more")
        (name, level), *_ = endpoint.scope
        dimension = self._column(name)
        levels = {found for _, column, found in self._counts[1] if column == dimension}
        if level not in levels:
            raise ProtocolError(f"endpoint {endpoint.id}: scope: {name} has no level {level!r}; {near(level, levels)}")
        return dimension, level

    def _column(self, name: str) -> str:
        """The column with the levels of a condition."""
        known = {item.name: item.level_column for item in counted_dimensions(self.modality)}
        if name not in known:
            raise ProtocolError(f"the study's drops have no condition {name!r}; {near(name, known)}")
        return known[name]

    @cached_property
    def _family_of(self) -> dict[str, str]:
        return read_families(self.lake, drops=sorted({*self.reference.drops, *self.candidate.drops}))

    @cached_property
    def _counts(self) -> "tuple[dict[tuple[str, str, str], pl.DataFrame], dict[tuple[str, str, str], pl.DataFrame]]":
        return counts_of(self.lake, self.reference), counts_of(self.lake, self.candidate)

    def _attempts(self, side: Side) -> "pl.DataFrame":
        import polars as pl

        rows = self.lake.scan(ATTEMPT_OUTCOMES, [TableKey(build=side.model, drop=drop) for drop in side.drops])
        return rows.filter(pl.col("presentation") == BONA_FIDE).collect()
