"""The explorer: one HTML file with every trial of a build, to be filtered, drawn and looked at without a network.

The trials lie within the page as Parquet. How they are shown is TypeScript in `explorer_page`, bundled there into
`explorer.js` by `npm ci && npm run build`; nothing is built when a page is written. Images are those of people who
agreed to be shown, drawn anew at the size of a thumbnail, as many as the budget holds.
"""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_quality.errors import NothingToPublish
from cv_quality.publishing.product import Edition, Product, write_files
from cv_quality.publishing.wording import compact_rate, data_words
from cv_quality.reports.briefing import Briefing
from cv_quality.reports.trials import BADNESS, MAY_SHOW, WHY_HIDDEN, TrialKind, TrialName, Trials, TrialSlice
from cv_quality.tasks import TASKS
from cv_quality.text import figures, visible_lines

if TYPE_CHECKING:
    import polars as pl

PAGE = Path(__file__).parent / "explorer_page"
MAX_BYTES = 15_000_000
"""Of the page of 100,000 attempts; thumbnails take what the numbers leave of it."""
MAX_THUMBNAIL_BYTES = 5_000_000
FRAME_BYTES = 250_000
"""What script, style and words take at most, and what images cost in the table beside their bytes."""
MAX_DOUBLES = 500_000
"""Numbers up to which each is kept exactly; of more, each is kept in single precision, seven digits."""
FAILURES_SHARE = 2 / 3
"""Part of the thumbnails that failures have, where there are as many."""
_FAILED, _THUMBNAIL, _KIND, _UNIT = "failed_flag", "thumbnail", "kind_of_trial", "unit_of_trial"


def write_explorer(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write the explorer of a build.

    Args:
        folder: where to.

    Raises:
        NothingToPublish: its task does not hand out trials.
    """
    name = edition.workspace.registry.entry(edition.briefing.build).task
    (task,) = (task for task in TASKS if task.name == name)
    if task.trials is None:
        raise NothingToPublish(f"task {name!r} does not hand out its trials one by one")
    return write_files(folder, {"explorer.html": draw_explorer(edition.briefing, task.trials(edition.source))})


EXPLORER = Product("explorer", "Every attempt, to be filtered and looked at", write_explorer)


def draw_explorer(briefing: Briefing, trials: Trials) -> bytes:
    """Draw the page; the same trials give the same bytes.

    Args:
        briefing: what is known of the build as a whole.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style, script = ((PAGE / name).read_text(encoding="utf-8") for name in ("explorer.css", "explorer.js"))
    template = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("explorer.html")
    labels = [kind.label for kind in trials.kinds]
    values = {
        "title": f"{briefing.build}: {' and '.join(labels)} one by one",
        "facts": data_words(briefing),
        "published": _published(briefing, trials),
    }
    return template.render(
        **{name: visible_lines(text) for name, text in values.items()},
        kinds=[{"name": kind.name, "label": visible_lines(kind.label)} for kind in trials.kinds],
        about=_json(_about(briefing, trials)),
        trials=base64.b64encode(_parquet(_table(trials))).decode(),
        style=style,
        style_digest=_digest(style),
        script=script,
        script_digest=_digest(script),
    ).encode()


def _published(briefing: Briefing, trials: Trials) -> str:
    """The rate that every product leads with; where its unit is not the subject it is a mean."""
    if not briefing.changes:
        return ""
    change, unit = briefing.changes[0], trials.kinds[0].population.outcome.unit
    mean = f", as a mean over {unit}s" if unit == "clip" else ""
    value = compact_rate(change.pair.build) if change.is_rate else figures(change.pair.build.value)
    return f"As published: {change.name} {value}{mean}"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _about(briefing: Briefing, trials: Trials) -> dict[str, Any]:
    """What the page must know of its columns."""
    is_single = _is_single(trials)
    return {
        "is_single": is_single,
        "build": briefing.build,
        "baseline": briefing.baseline,
        "unit_column": trials.unit,
        "key": list(trials.key),
        "table": trials.table,
        "score": trials.score,
        "thresholds": list(trials.thresholds),
        "kinds": [_about_kind(kind) for kind in trials.kinds],
        "columns": [
            {
                "name": item.name,
                "label": visible_lines(item.label),
                "kind": item.kind,
                "sql": f"CAST({item.expression} AS REAL)" if is_single and item.kind == "number" else item.expression,
            }
            for item in trials.columns
        ],
        "slices": [
            {
                "kind": place,
                "column": _slice_column(kind, item),
                "condition": visible_lines(item.condition),
                "sentence": visible_lines(item.sentence),
                "sql": item.where.sql(),
            }
            for place, kind in enumerate(trials.kinds)
            for item in kind.slices
        ],
    }


def _about_kind(kind: TrialKind) -> dict[str, Any]:
    outcome = kind.population.outcome
    return {
        "name": kind.name,
        "label": kind.label,
        "trial": outcome.trial,
        "failures": outcome.failures,
        "rate": outcome.rate,
        "unit": outcome.unit,
        "where": kind.where,
        "failed": kind.failed,
        "interval": kind.interval,
        "other_unit": kind.other_unit,
        "worst_of": kind.worst_of,
    }


def _slice_column(kind: TrialKind, item: TrialSlice) -> str:
    return f"slice_{kind.name}_{item.rank}"


def _json(value: object) -> str:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _is_single(trials: Trials) -> bool:
    """Whether there are so many numbers that they are kept in single precision."""
    return trials.n * sum(item.kind == "number" for item in trials.columns) > MAX_DOUBLES


def _table(trials: Trials) -> "pl.DataFrame":
    """Gather the columns of the page, as few types as it has to read."""
    import polars as pl

    size = pl.Float32 if _is_single(trials) else pl.Float64
    named = {item.name for item in trials.columns}
    missing = [name for name in dict.fromkeys((trials.unit, *trials.key)) if name not in named]
    slices = [(_slice_column(kind, item), item.where) for kind in trials.kinds for item in kind.slices]
    table = pl.concat(
        kind.population.rows.select(
            *(pl.col(item.name) for item in trials.columns if item.kind != "number"),
            *(pl.col(item.name).cast(size).fill_nan(None) for item in trials.columns if item.kind == "number"),
            *missing,
            pl.lit(kind.name).alias(_KIND),
            pl.col(kind.population.failed).cast(pl.Boolean).alias(_FAILED),
            pl.col(BADNESS).cast(pl.Float32).fill_nan(None),
            pl.col(WHY_HIDDEN),
            *(where.expression().alias(name) for name, where in slices),
        )
        for kind in trials.kinds
    )
    names = table.select(trials.key).rows()
    left = (MAX_BYTES - FRAME_BYTES) * 3 // 4 - len(_parquet(table))
    pictures, why = read_pictures(trials, max_bytes=min(MAX_THUMBNAIL_BYTES, left))
    return table.with_columns(
        pl.Series(_THUMBNAIL, [pictures.get(name) for name in names], dtype=pl.Binary),
        pl.coalesce(WHY_HIDDEN, pl.Series(WHY_HIDDEN, [why.get(name) for name in names], dtype=pl.String)),
    )


def read_pictures(
    trials: Trials, *, max_bytes: int = MAX_THUMBNAIL_BYTES
) -> tuple[dict[TrialName, bytes], dict[TrialName, str]]:
    """Read as many thumbnails as the budget holds, and the words in place of those that could not be read."""
    pictures: dict[TrialName, bytes] = {}
    why: dict[TrialName, str] = {}
    wanted, n_bytes = first_seen(trials, limit=trials.max_thumbnails if max_bytes > 0 else 0), 0
    found = trials.read_thumbnails(wanted) if wanted else {}
    for name in wanted:
        picture = found.get(name)
        if picture is None or picture.uri is None:
            why |= {name: picture.placeholder} if picture and picture.placeholder else {}
            continue
        data = base64.b64decode(picture.uri.partition(",")[2])
        n_bytes += len(data)
        if n_bytes > max_bytes:
            break
        pictures[name] = data
    return pictures, why


def first_seen(trials: Trials, *, limit: int) -> list[TrialName]:
    """Choose the trials whose images are shown: the worst of every subject, then the second worst of each, and so on.

    Of several kinds each has its turn.

    Args:
        limit: how many; two thirds failures, and the passes that were nearest to failing.
    """
    import polars as pl

    rows = pl.concat(
        kind.population.rows.filter(MAY_SHOW).select(
            *trials.key,
            pl.col(trials.unit).alias(_UNIT),
            pl.lit(kind.name).alias(_KIND),
            pl.col(kind.population.failed).cast(pl.Boolean).alias(_FAILED),
            pl.col(BADNESS).fill_null(float("inf")),
        )
        for kind in trials.kinds
    )
    rows = rows.sort([BADNESS, *trials.key], descending=[True, *(False for _ in trials.key)])
    for groups in ([_UNIT, _KIND, _FAILED], [_KIND, _FAILED]):
        rows = rows.with_columns(turn=pl.int_range(pl.len()).over(groups)).sort("turn", maintain_order=True)
    failures, passes = (rows.filter(pl.col(_FAILED) == is_failure) for is_failure in (True, False))
    n_failures = max(round(limit * FAILURES_SHARE), limit - passes.height)
    chosen = pl.concat([failures.head(n_failures), passes.head(limit - min(n_failures, failures.height))])
    return chosen.select(trials.key).rows()


def _parquet(table: "pl.DataFrame") -> bytes:
    """Write a table as the page's reader takes it: one group of rows, compressed by Snappy, without statistics."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow: pa.Table = table.to_arrow(compat_level=None)
    plain = {"large_string": pa.string(), "large_binary": pa.binary()}
    fields = [field.with_type(plain.get(str(field.type), field.type)) for field in arrow.schema]
    target = io.BytesIO()
    pq.write_table(
        arrow.cast(pa.schema(fields)).replace_schema_metadata(None),
        target,
        compression="snappy",
        row_group_size=max(table.height, 1),
        use_dictionary=[name for name, kind in table.schema.items() if str(kind) == "String"],
        write_statistics=False,
        store_schema=False,
        version="1.0",
    )
    return target.getvalue()
