"""The stages with which every task begins: take a completed drop in, and keep what makes sense together.

What they do is in `cv_quality.drops.ingest` and `validation`; here they are declared, with their gates.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cv_quality.builds import PARSE_GATE, declared_in, device_scores_in
from cv_quality.drops.tables import (
    BIOMETRIC_KINDS,
    BOXES,
    CLIPS,
    DEVICES,
    DROP_FILES,
    FRAME_INDEX,
    LANDMARKS,
    LIVENESS_KINDS,
    MASK_CLASSES,
    MEDIA_INDEX,
    PRESENTATIONS,
    QUARANTINE_PARSE,
    QUARANTINE_VALIDATE,
    RAW_TABLES,
    SUBJECTS,
    VALIDATED_ATTEMPTS,
    VALIDATED_ENROLS,
    VALIDATED_STREAMS,
    VALIDATED_TABLES,
    VIDEO_KINDS,
)
from cv_quality.errors import DropError, SchemaError
from cv_quality.freshness import StageContext
from cv_quality.gates.rules import Rule, query_rule, reference_rule, rows_rule
from cv_quality.lake.lake import Survey, TableKey
from cv_quality.lake.schema import Table, quoted
from cv_quality.modality import Modality, of_modality
from cv_quality.stage import Numbers, Stage
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from cv_quality.drops.manifest import Manifest
    from cv_quality.drops.schema import DropSchema

MAX_QUARANTINED_SHARE = 0.05


def _rows_of(tables: Iterable[Table]) -> str:
    """SQL of how many rows these tables have together."""
    return " + ".join(f"(SELECT count(*) FROM {table.name})" for table in tables)


def _delivered(workspace: Workspace, key: TableKey) -> str:
    from cv_quality.drops.manifest import delivered

    return delivered(workspace.landing, str(key.drop))


def _delivered_files(workspace: Workspace, key: TableKey) -> str:
    from cv_quality.drops.manifest import files_digest

    return files_digest(Survey(workspace.landing), str(key.drop))


def _admit(context: StageContext, manifest: "Manifest", schema: "DropSchema") -> None:
    """Refuse a drop whose declared conditions cannot be columns of the task, or that contradicts drops before it.

    A drop of which another delivery has arrived is not asked: it will be judged itself. A drop with frames that
    declares nothing is not held against all others: its scores are mostly not all there is of it.

    Raises:
        DropError: one condition cannot be taken as it is declared, or the devices' scores have another scale.
    """
    from cv_quality.drops.conditions import check_agreement
    from cv_quality.drops.device_scores import one_scale

    if manifest.schema_version == 1 and manifest.entries("frames"):
        return
    freshness, own = context.freshness, manifest.drop_id
    try:
        for table in freshness.task.tables:
            of_modality(table, schema.modality)
    except SchemaError as error:
        raise DropError(f"{own}/manifest.json: {error}") from error
    for drop, build in freshness.drops.items():
        about, is_one_build = freshness.about(TableKey(drop=drop)), build == manifest.build_id
        declared, scale = declared_in(about), device_scores_in(about)
        is_otherwise = is_one_build and scale != manifest.device_scores
        if drop == own or not ((declared and manifest.conditions) or is_otherwise):
            continue
        if not freshness.is_overtaken(freshness.task.stage(PARSE_GATE), TableKey(drop=drop)):
            check_agreement(manifest.conditions, declared, of=own, other=drop, is_one_build=is_one_build)
            if is_one_build:
                one_scale({drop: scale, own: manifest.device_scores})


def _parse(context: StageContext) -> Numbers:
    from cv_quality.drops.ingest import ingest_drop

    summary = ingest_drop(
        landing=context.workspace.landing,
        lake=context.lake,
        drop_id=context.drop,
        modalities=context.workspace.modalities,
        threads=context.threads,
        admit=partial(_admit, context),
        forgotten=context.workspace.forgotten(),
    )
    if not summary.files:
        raise DropError(
            f"{context.key}: the manifest names no file, so nothing can be judged; deliver the drop with its events"
        )
    return {
        "rows_in": summary.rows_in,
        "rows_valid": summary.rows_valid,
        "rows_quarantined": summary.rows_quarantined,
        **({"rows_forgotten": summary.rows_forgotten} if summary.rows_forgotten else {}),
        "frames": summary.n_frames,
        **({"media": summary.n_media} if summary.n_media else {}),
        **{f"{kind}_events": rows for kind, rows in summary.rows.items()},
    }


def _validate(context: StageContext) -> Numbers:
    from cv_quality.drops.schema import DropSchema
    from cv_quality.drops.validation import validate_drop

    summary = validate_drop(
        landing=context.workspace.landing,
        lake=context.lake,
        drop_id=context.drop,
        schema=DropSchema(context.modality),
        threads=context.threads,
        memory_limit=context.workspace.settings.memory_limit,
    )
    return {
        "rows_in": summary.rows_valid + summary.rows_rejected,
        "rows_valid": summary.rows_valid,
        "rows_quarantined": summary.rows_rejected,
        **{f"rows.{kind}": count for kind, count in summary.rows.items()},
        **{
            f"rejected.{kind}.{reason}": count
            for kind, reasons in summary.rejected.items()
            for reason, count in reasons.items()
        },
    }


def _parse_rules(raw: Sequence[Table]) -> tuple[Rule, ...]:
    valid = "(SELECT coalesce(sum(rows_valid), 0) FROM drop_files WHERE content = 'events')"
    return (
        rows_rule(
            DROP_FILES,
            "rows in = rows valid + rows quarantined + rows forgotten",
            "rows_in <> rows_valid + rows_quarantined + coalesce(rows_forgotten, 0)",
        ),
        rows_rule(DROP_FILES, "rows in = rows that the manifest declares", "rows_in <> rows_declared"),
        query_rule(
            DROP_FILES,
            "the raw tables hold every valid row",
            f"SELECT 'raw tables' AS found WHERE {valid} <> {_rows_of(raw)}",
        ),
        query_rule(
            DROP_FILES,
            "the quarantine holds every rejected row",
            "SELECT 'quarantine_parse' AS found WHERE "
            "(SELECT sum(rows_quarantined) FROM drop_files) <> (SELECT count(*) FROM quarantine_parse)",
        ),
        query_rule(
            DROP_FILES,
            f"at most {MAX_QUARANTINED_SHARE:.0%} of the rows are quarantined",
            "SELECT file FROM drop_files WHERE (SELECT sum(rows_quarantined) FROM drop_files) "
            f"> {MAX_QUARANTINED_SHARE} * (SELECT sum(rows_in) FROM drop_files)",
        ),
        query_rule(
            DROP_FILES,
            "the drop holds at least one valid event",
            f"SELECT 'empty drop' AS found WHERE {_rows_of(raw)} = 0",
        ),
        query_rule(
            FRAME_INDEX,
            "no two frames hold the same image",
            "SELECT string_agg(frame, ' = ' ORDER BY frame) AS frames FROM frame_index GROUP BY sha256 "
            "HAVING count(*) > 1",
            is_warning=True,
        ),
    )


_MEDIA_RULES = (
    query_rule(
        MEDIA_INDEX,
        "the media index holds every valid member",
        "SELECT 'media_index' AS found WHERE (SELECT count(*) FROM media_index) <> (SELECT coalesce(sum(rows_valid), "
        "0) FROM drop_files WHERE content NOT IN ('events', 'frames'))",
    ),
)
_REFERENCES = (
    (VALIDATED_ATTEMPTS, "subject_id", SUBJECTS, None),
    (VALIDATED_ATTEMPTS, "claimed_subject_id", SUBJECTS, "subject_id"),
    (VALIDATED_ATTEMPTS, "device_id", DEVICES, None),
    (VALIDATED_ATTEMPTS, "reference_id", VALIDATED_ENROLS, None),
    (VALIDATED_ATTEMPTS, "frame", FRAME_INDEX, None),
    (VALIDATED_ENROLS, "subject_id", SUBJECTS, None),
    (VALIDATED_ENROLS, "device_id", DEVICES, None),
    (VALIDATED_ENROLS, "frame", FRAME_INDEX, None),
    (VALIDATED_STREAMS, "device_id", DEVICES, None),
    (CLIPS, "device_id", DEVICES, None),
    (PRESENTATIONS, "subject_id", SUBJECTS, None),
    (PRESENTATIONS, "target_subject_id", SUBJECTS, "subject_id"),
    (PRESENTATIONS, "device_id", DEVICES, None),
    (PRESENTATIONS, "frame", FRAME_INDEX, None),
    (CLIPS, "subject_id", SUBJECTS, None),
    (BOXES, "stream_id", CLIPS, None),
    (LANDMARKS, "stream_id", CLIPS, None),
)
"""What refers to what: the table and its column, the table referred to and its column where that has another name."""


def _validate_rules(kinds: Sequence[str]) -> tuple[Rule, ...]:
    raw, validated = (_rows_of(tables[kind] for kind in kinds) for tables in (RAW_TABLES, VALIDATED_TABLES))
    tables = {VALIDATED_TABLES[kind].name: VALIDATED_TABLES[kind] for kind in kinds}
    tried = [kind for kind in ("attempt", "clip", "stream_frame", "presentation") if kind in kinds]
    return (
        query_rule(
            QUARANTINE_VALIDATE,
            "rows parsed = rows validated + rows quarantined",
            f"SELECT 'row balance' AS found WHERE {raw} <> {validated} + (SELECT count(*) FROM quarantine_validate)",
        ),
        query_rule(
            QUARANTINE_VALIDATE,
            f"at most {MAX_QUARANTINED_SHARE:.0%} of the events are quarantined",
            "SELECT reason FROM quarantine_validate WHERE (SELECT count(*) FROM quarantine_validate) "
            f"> {MAX_QUARANTINED_SHARE} * ({raw}) GROUP BY reason",
        ),
        query_rule(
            VALIDATED_TABLES[tried[0]],
            f"the drop holds at least one {' or '.join(tried).replace('_', ' ')}",
            f"SELECT 'nothing to evaluate' AS found WHERE {_rows_of(VALIDATED_TABLES[kind] for kind in tried)} = 0",
        ),
        *(
            reference_rule(table, column, other, *([named] if named else []))
            for table, column, other, named in _REFERENCES
            if table.name in tables
        ),
    )


def _declared_rules(kinds: Sequence[str], modality: Modality) -> tuple[Rule, ...]:
    """A condition that is declared and never logged is a mistake of the writer: it could not explain anything."""
    tables = [VALIDATED_TABLES[kind] for kind in kinds if VALIDATED_TABLES[kind].conditions]
    logged = " + ".join(f"(SELECT count({{column}}) FROM {table.name})" for table in tables)
    return tuple(
        query_rule(
            tables[0],
            f"the declared condition {item.name} is logged by some event",
            f"SELECT '{item.name}' AS condition WHERE {logged.format(column=quoted(item.name))} = 0",
        )
        for item in modality.conditions
        if item.is_declared
    )


def ingest_stages(kinds: Sequence[str], *, index: Sequence[Table], validated: Sequence[Table]) -> tuple[Stage, Stage]:
    """Make the stages that take a task's drops in.

    Args:
        kinds: of its events.
        index: tables of what its shards hold.
        validated: its tables of sound events, the one that stands for them first.
    """
    raw = tuple(RAW_TABLES[kind] for kind in kinds)
    parse = Stage(
        name=PARSE_GATE,
        phase="ingest",
        reads=(),
        writes=(*raw, DROP_FILES, *index, QUARANTINE_PARSE),
        unjudged=raw,
        run=_parse,
        source=_delivered,
        source_files=_delivered_files,
        rules=(*_parse_rules(raw), *(_MEDIA_RULES if MEDIA_INDEX in index else ())),
        description="Takes a completed drop in: typed rows by kind, the index of its frames, the quarantine.",
        gate=(
            "rows in = valid + quarantined + forgotten = declared; at most 5 % quarantined; not empty; equal images "
            "under two names (warning)"
        ),
    )
    validate = Stage(
        name="validate",
        phase="ingest",
        reads=(*raw, DROP_FILES, *index),
        writes=(*validated, QUARANTINE_VALIDATE),
        run=_validate,
        rules=_validate_rules(kinds),
        modality_rules=partial(_declared_rules, kinds),
        description="Keeps the events that are in range, in time, not repeated and about somebody known.",
        gate=(
            "rows parsed = validated + quarantined; every reference exists; something to evaluate; every condition "
            "that the drop declares is logged"
        ),
        kinds=frozenset({"duckdb", "parquet"}),
    )
    return parse, validate


INGEST = ingest_stages(
    BIOMETRIC_KINDS,
    index=(FRAME_INDEX,),
    validated=(VALIDATED_ATTEMPTS, VALIDATED_ENROLS, VALIDATED_STREAMS, SUBJECTS, DEVICES),
)
VIDEO_INGEST = ingest_stages(
    VIDEO_KINDS,
    index=(FRAME_INDEX, MEDIA_INDEX),
    validated=(VALIDATED_STREAMS, CLIPS, SUBJECTS, DEVICES, BOXES, LANDMARKS, MASK_CLASSES),
)
LIVENESS_INGEST = ingest_stages(
    LIVENESS_KINDS,
    index=(FRAME_INDEX,),
    validated=(PRESENTATIONS, SUBJECTS, DEVICES),
)
