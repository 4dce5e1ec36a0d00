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

from cv_quality.publishing.product import Edition, Product, write_files
from cv_quality.publishing.wording import compact_rate, data_words
from cv_quality.reports.briefing import Briefing
from cv_quality.reports.trials import BADNESS, MAY_SHOW, WHY_HIDDEN, TrialName, Trials
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
_FAILED, _THUMBNAIL = "failed_flag", "thumbnail"


def write_explorer(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write the explorer of a build; nothing where its task does not hand out trials.

    Args:
        folder: where to.
    """
    name = edition.workspace.registry.entry(edition.briefing.build).task
    (task,) = (task for task in TASKS if task.name == name)
    if task.trials is None:
        return ()
    return write_files(folder, {"explorer.html": draw_explorer(edition.briefing, task.trials(edition.source))})


EXPLORER = Product("explorer", "Every attempt, to be filtered and looked at", write_explorer)


def draw_explorer(briefing: Briefing, trials: Trials) -> bytes:
    """Draw the page; the same trials give the same bytes.

    Args:
        briefing: what is known of the build as a whole.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    outcome = trials.population.outcome
    style, script = ((PAGE / name).read_text(encoding="utf-8") for name in ("explorer.css", "explorer.js"))
    template = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("explorer.html")
    values = {
        "title": f"{briefing.build}: {outcome.trial}s one by one",
        "facts": data_words(briefing),
        "trial": outcome.trial,
        "failures": outcome.failures,
        "rate": outcome.rate,
        "published": _published(briefing, trials),
    }
    return template.render(
        **{name: visible_lines(text) for name, text in values.items()},
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
    change, unit = briefing.changes[0], trials.population.outcome.unit
    mean = "" if unit == "subject" else f", as a mean over {unit}s"
    value = compact_rate(change.pair.build) if change.is_rate else figures(change.pair.build.value)
    return f"As published: {change.name} {value}{mean}"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _about(briefing: Briefing, trials: Trials) -> dict[str, Any]:
    """What the page must know of its columns."""
    population, is_single = trials.population, _is_single(trials)
    return {
        "is_single": is_single,
        "build": briefing.build,
        "baseline": briefing.baseline,
        "trial": population.outcome.trial,
        "failures": population.outcome.failures,
        "rate": population.outcome.rate,
        "unit": population.outcome.unit,
        "unit_column": population.unit,
        "failed": trials.failed,
        "key": list(population.key),
        "table": trials.table,
        "where": trials.where,
        "score": trials.score,
        "thresholds": list(trials.thresholds),
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
                "column": f"slice_{item.rank}",
                "condition": visible_lines(item.condition),
                "sentence": visible_lines(item.sentence),
                "sql": item.where.sql(),
            }
            for item in trials.slices
        ],
    }


def _json(value: object) -> str:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _is_single(trials: Trials) -> bool:
    """Whether there are so many numbers that they are kept in single precision."""
    return trials.population.rows.height * sum(item.kind == "number" for item in trials.columns) > MAX_DOUBLES


def _table(trials: Trials) -> "pl.DataFrame":
    """Gather the columns of the page, as few types as it has to read."""
    import polars as pl

    population = trials.population
    kind = pl.Float32 if _is_single(trials) else pl.Float64
    numbers = [pl.col(item.name).cast(kind).fill_nan(None) for item in trials.columns if item.kind == "number"]
    texts = [pl.col(item.name) for item in trials.columns if item.kind != "number"]
    named = {item.name for item in trials.columns}
    missing = [pl.col(name) for name in dict.fromkeys((population.unit, *population.key)) if name not in named]
    table = population.rows.select(
        *texts,
        *numbers,
        *missing,
        pl.col(population.failed).cast(pl.Boolean).alias(_FAILED),
        pl.col(BADNESS).cast(pl.Float32).fill_nan(None),
        pl.col(WHY_HIDDEN),
        *(item.where.expression().alias(f"slice_{item.rank}") for item in trials.slices),
    )
    names = population.rows.select(population.key).rows()
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

    Args:
        limit: how many; two thirds failures, and the passes that were nearest to failing.
    """
    import polars as pl

    population = trials.population
    rows = population.rows.filter(MAY_SHOW).select(
        *population.key,
        population.unit,
        pl.col(population.failed).cast(pl.Boolean).alias(_FAILED),
        pl.col(BADNESS).fill_null(float("inf")),
    )
    order = [BADNESS, *population.key]
    rows = rows.sort(order, descending=[True, *(False for _ in population.key)])
    rows = rows.with_columns(turn=pl.int_range(pl.len()).over(population.unit, _FAILED)).sort(
        "turn", maintain_order=True
    )
    failures, passes = (rows.filter(pl.col(_FAILED) == is_failure) for is_failure in (True, False))
    n_failures = max(round(limit * FAILURES_SHARE), limit - passes.height)
    chosen = pl.concat([failures.head(n_failures), passes.head(limit - min(n_failures, failures.height))])
    return chosen.select(population.key).rows()


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
