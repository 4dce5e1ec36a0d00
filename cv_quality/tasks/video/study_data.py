"""What a study of video asks of the lake: what was filmed, and how two builds differ on any set of clips.

Values of clips are compared as `cvq compare` does it: each clip counts once, whole, and builds on the same clips are
paired. Where a study samples subjects, the clips of one stand together; where it samples clips, each stands for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.tables import CLIPS
from cv_quality.errors import ProtocolError, near
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.studies.analysis import Participation
from cv_quality.studies.comparison import Difference, against_ratio, compare_means, undefined_difference
from cv_quality.studies.protocol import SampledUnit, StudyEndpoint, StudyProtocol
from cv_quality.tasks.video.build_metrics import BY_CLIP, CLIP
from cv_quality.tasks.video.clip_scores import WHOLE
from cv_quality.tasks.video.metric_names import VIDEO_METRICS_BY_NAME
from cv_quality.tasks.video.tables import CLIP_SCORES, FRAME_SCORES

if TYPE_CHECKING:
    import polars as pl

Sample = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class FilmedSide:
    """One of the two builds.

    Attributes:
        build: whose devices filmed the drops.
        model: whose outputs were scored.
    """

    build: str
    model: str
    drops: Sequence[str]


@dataclass(frozen=True)
class VideoStudyData:
    """The clips of a study's drops, as both builds were scored on them.

    Attributes:
        lake: with the clips scored.
        unit: what the study samples.
        reference, candidate: the sides; of a paired study both are on the candidate's drops.
    """

    lake: Lake
    unit: SampledUnit
    reference: FilmedSide
    candidate: FilmedSide

    def came(self, protocol: StudyProtocol) -> dict[str, Participation]:
        """Find everybody, or every clip, that was filmed, and the conditions in the order in which they were met.

        Raises:
            ProtocolError: subjects are sampled and a clip has none, or clips do not have the planned condition.
        """
        sides = (self.candidate, self.reference) if protocol.arms else (self.candidate,)
        factor = protocol.design.conditions.factor if protocol.design.conditions else None
        if factor is not None:
            _require_of_clips(factor)
        found: dict[str, Participation] = {}
        for side in sides:
            rows = self._filmed(side).sort("who", "occurred_at", CLIP).to_dicts()
            for row in rows:
                before = found.get(row["who"], Participation({}))
                met = (str(row[factor] or "unknown"),) if factor else ()
                attempts = {**before.attempts, side.model: before.attempts.get(side.model, 0) + 1}
                found[row["who"]] = Participation(attempts, (*before.conditions, *met))
        return found

    def difference(self, endpoint: StudyEndpoint, subjects: frozenset[str]) -> Difference:
        """Compare the mean of an endpoint's metric over clips, those of some subjects (or some clips).

        Args:
            endpoint: of the protocol.
            subjects: who counts, as `came` names them.

        Raises:
            ProtocolError: the endpoint's scope names a condition or a level that the clips do not have.
        """
        metric = VIDEO_METRICS_BY_NAME.get(endpoint.metric)
        if metric is None:
            return undefined_difference(endpoint.metric, f"clips of video have no {endpoint.metric}")
        is_paired = self.reference.drops == self.candidate.drops
        if is_paired and metric.is_of_device:
            reason = f"devices ran {self.candidate.model} alone: {metric.name} of both needs drops of both"
            return undefined_difference(metric.name, reason)
        one, other = (self._values(side, endpoint, subjects) for side in (self.reference, self.candidate))
        if is_paired:
            one, other = one.join(other, on=CLIP, how="semi"), other.join(one, on=CLIP, how="semi")
        names = sorted({*one["who"], *other["who"]})
        codes = {name: code for code, name in enumerate(names)}
        ratio = endpoint.margin_ratio or 1.0
        before, after = (_sample(rows, codes) for rows in (one, other))
        scaled = before[0] * ratio, before[1]
        return against_ratio(compare_means(metric.name, scaled, after), ratio)

    def _values(self, side: FilmedSide, endpoint: StudyEndpoint, subjects: frozenset[str]) -> "pl.DataFrame":
        """The clips of a side with a value, within the scope of an endpoint."""
        import polars as pl

        filmed = self._filmed(side).filter(pl.col("who").is_in(subjects))
        for name, level in endpoint.scope:
            _require_of_clips(name)
            levels = {str(found) for found in self._filmed(side)[name].drop_nulls()}
            if level not in levels:
                raise ProtocolError(
                    f"endpoint {endpoint.id}: scope: {name} has no level {level!r}; {near(level, levels)}"
                )
            filmed = filmed.filter(pl.col(name) == level)
        keys = [TableKey(build=side.model, drop=drop) for drop in side.drops]
        scores = self.lake.scan(CLIP_SCORES, keys).filter(metric=endpoint.metric, class_name=WHOLE)
        values = scores.select(_clip(), "value").filter(pl.col("value").is_finite()).collect()
        return filmed.select(CLIP, "who").join(values, on=CLIP).sort(CLIP)

    def _filmed(self, side: FilmedSide) -> "pl.DataFrame":
        return self._both[0] if side is self.reference else self._both[1]

    @cached_property
    def _both(self) -> "tuple[pl.DataFrame, pl.DataFrame]":
        """The clips of both sides, each with who, or what, it stands for."""
        import polars as pl

        one, other = (self._clips(side) for side in (self.reference, self.candidate))
        if self.unit == "subject":
            nobody = pl.concat([one, other]).unique(CLIP).filter(pl.col("subject_id").is_null()).sort(CLIP)
            if nobody.height:
                raise ProtocolError(
                    f"population.unit is subject, and {nobody.height:,} clips are of nobody (as {nobody[CLIP][0]}); "
                    "where clips are what is sampled, say unit: clip"
                )
            return one.with_columns(who="subject_id"), other.with_columns(who="subject_id")
        has_one = pl.col("scene").is_not_null() & (pl.len().over("scene") == 1)
        who = pl.when(has_one).then("scene").otherwise(CLIP).alias("who")
        return one.with_columns(who), other.with_columns(who)

    def _clips(self, side: FilmedSide) -> "pl.DataFrame":
        import polars as pl

        filmed = self.lake.scan(CLIPS, [TableKey(drop=drop) for drop in side.drops])
        clips = filmed.select(_clip(), "subject_id", "occurred_at", "scene").collect()
        keys = [TableKey(build=side.model, drop=drop) for drop in side.drops]
        devices = [name for name in BY_CLIP if name != "scene"]
        of_device = self.lake.scan(FRAME_SCORES, keys).select(_clip(), *devices).unique(CLIP, keep="first").collect()
        return clips.join(of_device, on=CLIP, how="left").with_columns(pl.col(devices).cast(pl.String))


def _clip() -> "pl.Expr":
    import polars as pl

    return pl.format("{}/{}", "drop_id", "stream_id").alias(CLIP)


def _sample(rows: "pl.DataFrame", codes: dict[str, int]) -> Sample:
    return rows["value"].to_numpy(), np.array([codes[name] for name in rows["who"]], np.int64)


def _require_of_clips(name: str) -> None:
    if name not in BY_CLIP:
        raise ProtocolError(f"clips are not told apart by {name!r} as a whole; {near(name, BY_CLIP)}")
