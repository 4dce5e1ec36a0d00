"""Root causes of attacks that pass: the shared reading of them, in the words of liveness.

How slices are found is in `cv_quality.error_analysis.discovery`; the section's page is that of every task.
"""

from collections.abc import Iterable
from typing import Any

from cv_quality.reports.pictures import NO_FRAME, Picture
from cv_quality.reports.queries import rows_query
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.liveness.build_metrics import liveness_dimensions, read_outcomes
from cv_quality.tasks.liveness.populations import ATTACK_DIMENSIONS, PASSED, REJECTED
from cv_quality.tasks.root_causes.report.reading import read_causes, read_searches
from cv_quality.tasks.root_causes.report.records import (
    ACCEPTED,
    AttemptName,
    CauseWords,
    PicturedAttempt,
    RootCauses,
    SliceEvidence,
)
from cv_quality.tasks.root_causes.tables import SLICE_TRENDS

WORDS = CauseWords(
    trial="attack",
    unit="artefact",
    alike="artefacts",
    one="artefact",
    rate="APCER",
    searched="attacks with a response, of all species together,",
    failing="taken for a live person",
    others="Other outcomes",
    other="Outcome",
    others_note="The same search for live people who are taken for an attack",
    look="Attacks whose measured figures are alike",
)
PASSES = "taken for a live person"
ENDINGS = {ACCEPTED: "taken for an attack", PASSES: PASSES}
"""What became of an attack; the ending that is no failure is called as in every task."""


def read_root_causes(source: ReportSource) -> RootCauses:
    """Read why attacks on the build pass.

    Raises:
        MissingTable: slices, clusters or (with a baseline) the change have not been worked out.
    """

    def evidence(rank: int) -> SliceEvidence:
        where: dict[str, str | float] = {"outcome": PASSED.name, "rank": rank}
        return SliceEvidence(queries=(("Trend", rows_query(SLICE_TRENDS, build=source.scope.build, where=where)),))

    return read_causes(
        source,
        searches=read_searches(source, primary=PASSED.name),
        outcome=PASSED.name,
        words=WORDS,
        others={REJECTED.name: "live people taken for an attack"},
        attempts=lambda names: _read_attacks(source, names),
        evidence=evidence,
    )


def _read_attacks(source: ReportSource, names: Iterable[AttemptName]) -> dict[AttemptName, PicturedAttempt]:
    """Read attacks as they are shown: by their artefact, with their conditions."""
    wanted = set(names)
    if not wanted:
        return {}
    rows = read_outcomes(source.lake, source.scope.build, list(source.scope.drops), source.modality)
    rows = rows.filter(rows["presentation_id"].is_in([attempt for _, attempt in wanted]))
    return {
        (row["drop_id"], row["presentation_id"]): PicturedAttempt(
            attempt_id=row["presentation_id"],
            drop_id=row["drop_id"],
            subject_id=row["artefact_id"] or row["pai_species"] or "an artefact without a name",
            score=row["pad_score"],
            outcome=PASSES if row["is_error"] else ACCEPTED,
            conditions=tuple(_conditions(source, row)),
            picture=Picture(None, NO_FRAME),
        )
        for row in rows.iter_rows(named=True)
        if (row["drop_id"], row["presentation_id"]) in wanted
    }


def _conditions(source: ReportSource, row: dict[str, Any]) -> Iterable[str]:
    for item in (*ATTACK_DIMENSIONS, *liveness_dimensions(source.modality)):
        words = item.words(row[item.name])
        if words is not None:
            yield words if item.phrase != "{}" else f"{item.label} {words}"
