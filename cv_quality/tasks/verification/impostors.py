"""Every cross-subject pair of a build's drops, counted once: content-addressed blocks of (reference drop, probe drop).

A block is computed when its file is absent, or not what was written: its name is the digest of its two inputs and the
threshold at which its matches are counted, so a new or corrected drop computes only its own blocks. Counts hold
oriented scores, the lake's tables native ones. How a block is counted is in `cv_quality.metrics.pairs`; thresholds are
found on the sum in `cv_quality.metrics.operating_points`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MissingTable, ObjectNotFound
from cv_quality.freshness import Freshness, StageContext
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.staging import staging_folder
from cv_quality.lake.store import ObjectInfo
from cv_quality.metrics.pairs import MatchCounts, PairCounts, Side
from cv_quality.metrics.score_bins import BINS, ScoreScale
from cv_quality.stage import Task
from cv_quality.tasks.verification.modality import BiometricModality, Comparator, biometric
from cv_quality.tasks.verification.samples import BONA_FIDE, Templates, drop_facts, probes, references
from cv_quality.tasks.verification.tables import IMPOSTOR_COUNTS, IMPOSTOR_TAIL, IMPOSTOR_TRIALS
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

BLOCKS = "impostor_blocks"
TAIL_ROWS = 1_000_000
"""The summed tail is cut back to this many rows whenever it is twice as long."""

DROPS_IN_MEMORY = 4
SAMPLE_COLUMNS = ("subject_id", "n_references", "n_probes", "n_frames")


@dataclass(frozen=True, slots=True)
class ImpostorCounts:
    """All cross-subject pairs of a build's drops under one model.

    Attributes:
        samples: one row per subject with the numbers of its references, probes and matches, as `impostor_trials` has
            them.
        blocks: blocks that were summed; `blocks_computed` of them were not there yet.
    """

    build: str
    model_build: str
    counts: PairCounts
    samples: "pl.DataFrame"
    blocks: int
    blocks_computed: int


@dataclass(frozen=True, slots=True)
class BlockInputs:
    """What the blocks of one drop are made of.

    Attributes:
        digests: of the templates, subjects and order on both sides, hexadecimal.
    """

    drop: str
    is_all_pairs: bool
    references: Side
    probes: Side
    digests: tuple[str, str]


def count_impostors(
    lake: Lake,
    *,
    build: str,
    model_build: str,
    drops: Sequence[str],
    modality: BiometricModality,
    decision_threshold: float | None,
) -> ImpostorCounts:
    """Sum the blocks over all pairs of the build's drops, computing those that are absent.

    Protocol "enrolled": each reference against each bona fide probe of another subject. Protocol "all_pairs": each
    unordered pair of frames of different subjects once. A reference (id and template) that several drops repeat is
    counted for the first of them, in the order of drop ids.

    Args:
        build: the build under evaluation.
        model_build: whose model made the templates.
        drops: the drops to count.
        modality: knows how pairs are scored.
        decision_threshold: that of the model, native; the pairs that it accepts are counted exactly. None where it is
            unknown.

    Raises:
        MissingTable: a drop has no embeddings of `model_build`.
        MetricError: templates cannot be compared, or a score leaves the range that the modality declares.
    """
    import polars as pl

    chosen, comparator = sorted(drops), modality.comparator
    owned = owned_references(lake, model_build, chosen, comparator)
    load = lru_cache(DROPS_IN_MEMORY)(lambda drop: block_inputs(lake, model_build, drop, owned[drop], comparator))
    outlines = {drop: _outline(load(drop)) for drop in chosen}
    threshold = None if decision_threshold is None else comparator.oriented(decision_threshold)
    total, blocks, computed = PairCounts.empty(comparator.scale), 0, 0
    for left, right, key in _blocks(outlines, comparator, threshold):
        block = _read_block(lake, key, comparator.scale, threshold)
        if block is None:
            block = _written_block(lake, key, _count(load(left), load(right), modality, threshold))
            computed += 1
        total, blocks = total + block, blocks + 1
        if total.tail.height > 2 * TAIL_ROWS:
            total = total.trimmed(TAIL_ROWS)
    samples = pl.concat([_no_samples(), *(outline.samples for outline in outlines.values())])
    samples = samples.group_by("subject_id").agg(pl.exclude("subject_id").sum()).sort("subject_id")
    samples = _with_matches(samples, total, decision_threshold)
    return ImpostorCounts(build, model_build, total, samples, blocks, computed)


def unused_blocks(workspace: Workspace, task: Task) -> list[ObjectInfo]:
    """List the blocks that counting the impostor pairs of no build would read again, from what lies in the lake now."""
    lake, freshness, used = workspace.lake, Freshness(workspace, task), set[str]()
    for build in freshness.builds:
        context = StageContext(freshness, TableKey(build=build))
        for model in context.models:
            entry = workspace.registry.entry(model)
            comparator, decided = biometric(context.modality).of_build(entry).comparator, entry.decision_threshold
            threshold = None if decided is None else comparator.oriented(decided)
            with suppress(MissingTable):
                owned = owned_references(lake, model, sorted(context.drops), comparator)
                outlines = {
                    drop: _outline(block_inputs(lake, model, drop, references, comparator))
                    for drop, references in owned.items()
                }
                used |= {key for *_, key in _blocks(outlines, comparator, threshold)}
    return [info for info in lake.store.list(BLOCKS) if info.key not in used]


def _blocks(
    outlines: "Mapping[str, _Outline]", comparator: Comparator, threshold: float | None
) -> Iterator[tuple[str, str, str]]:
    """(reference drop, probe drop, key) of every block of a build; a drop without a template has none."""
    algorithm = f"{comparator.algorithm} matches at {threshold!r}"
    filled = {drop: outline.is_all_pairs for drop, outline in outlines.items() if outline.samples.height}
    for left, right in _block_drops(filled):
        yield left, right, block_key(outlines[left].digests[0], outlines[right].digests[1], algorithm=algorithm)


def write_impostors(lake: Lake, counted: Sequence[ImpostorCounts], *, comparator: Comparator) -> int:
    """Write `impostor_counts`, `impostor_trials` and `impostor_tail` of one build, all its models; returns tail rows.

    Every score that is at least as much alike as the last of a model's tail is in the tail.
    """
    import polars as pl

    key = TableKey(build=counted[0].build)
    lake.write(IMPOSTOR_COUNTS, key, pl.concat([_histogram_rows(part) for part in counted]))
    lake.write(IMPOSTOR_TRIALS, key, pl.concat([_keyed(part.samples, part) for part in counted]))
    return lake.write(IMPOSTOR_TAIL, key, pl.concat([_tail_rows(part, comparator) for part in counted]))


def read_impostors(lake: Lake, *, build: str, model_build: str, comparator: Comparator) -> PairCounts:
    """Read the counts of one model from the tables of the build.

    Args:
        build: the build under evaluation.
        model_build: whose model made the templates.
        comparator: turns the tables' scores into oriented ones.

    Raises:
        MissingTable: the build's impostor pairs are not counted yet.
    """
    import polars as pl

    key = TableKey(build=build)
    trials = lake.read(IMPOSTOR_TRIALS, key).filter(model_build_id=model_build)
    bins = lake.read(IMPOSTOR_COUNTS, key).filter(model_build_id=model_build)
    tail = lake.read(IMPOSTOR_TAIL, key).filter(model_build_id=model_build).drop("build_id", "model_build_id")
    tail = tail.with_columns(score=comparator.oriented(pl.col("score")))
    known = bins.drop_nulls("bin")
    histogram = _dense(known["bin"].to_numpy(), known["count"].to_numpy())
    floor, n_incomparable = (
        _floor_of(tail, n=int(histogram.sum())),
        int(bins.filter(bins["bin"].is_null())["count"].sum()),
    )
    matches = _matches_in(trials, comparator)
    return PairCounts(histogram, tail, floor, comparator.scale, matches, n_incomparable)


def block_key(reference_digest: str, probe_digest: str, *, algorithm: str) -> str:
    """Tell where a block lies in the lake's store: the same inputs and algorithm always give the same name.

    >>> block_key("a", "b", algorithm="x") == block_key("b", "a", algorithm="x")
    False
    """
    name = hashlib.sha256(f"{algorithm}\n{reference_digest}\n{probe_digest}".encode()).hexdigest()
    return f"{BLOCKS}/{name}.parquet"


def block_inputs(lake: Lake, model_build: str, drop: str, owned: frozenset[str], comparator: Comparator) -> BlockInputs:
    """The two sides of a drop: the references that it owns, and its bona fide probes."""
    mine, probe, is_all_pairs = drop_templates(lake, model_build, drop, owned, comparator)
    left, right = _sides(mine, probe, is_all_pairs)
    return BlockInputs(drop, is_all_pairs, left, right, (_digest(left), _digest(right)))


def drop_templates(
    lake: Lake, model_build: str, drop: str, owned: frozenset[str], comparator: Comparator
) -> tuple[Templates, Templates, bool]:
    """Read the references that a drop owns and its bona fide probes, and whether it compares all pairs of frames.

    In an all-pairs drop a frame whose reference belongs to an earlier drop is no probe here either.

    Args:
        lake, model_build, comparator: whose templates.
        drop: that delivered them.
        owned: its reference ids, as of `owned_references`.
    """
    import polars as pl

    reference = references(lake, build=model_build, drop=drop, comparator=comparator)
    probe = probes(lake, build=model_build, drop=drop, comparator=comparator)
    probe = probe.where(pl.col("presentation") == BONA_FIDE)
    is_all_pairs = drop_facts(lake, drop).protocol == "all_pairs"
    mine = reference.where(pl.col("reference_id").is_in(list(owned)))
    if is_all_pairs:
        repeated = reference.rows.filter(~pl.col("reference_id").is_in(list(owned))).select("subject_id", "frame")
        keep = probe.rows.join(repeated, on=["subject_id", "frame"], how="anti")["event_id"]
        probe = probe.where(pl.col("event_id").is_in(keep.to_list()))
    return mine, probe, is_all_pairs


@dataclass(frozen=True, slots=True)
class _Outline:
    """What is kept of a drop once its vectors are let go: addresses, protocol, and how many samples of whom."""

    digests: tuple[str, str]
    is_all_pairs: bool
    samples: "pl.DataFrame"


def _outline(inputs: BlockInputs) -> _Outline:
    import polars as pl

    sides = {"n_references": inputs.references.subjects, "n_probes": inputs.probes.subjects}
    if inputs.is_all_pairs:
        sides = {"n_frames": inputs.references.subjects}
    counted = [
        pl.Series("subject_id", subjects, pl.String).value_counts(name=name).cast({name: pl.Int64})
        for name, subjects in sides.items()
    ]
    return _Outline(inputs.digests, inputs.is_all_pairs, pl.concat([_no_samples(), *counted], how="diagonal"))


def _no_samples() -> "pl.DataFrame":
    import polars as pl

    columns = SAMPLE_COLUMNS
    return pl.DataFrame(schema={name: pl.String if name == "subject_id" else pl.Int64 for name in columns})


def owned_references(
    lake: Lake, model_build: str, drops: Sequence[str], comparator: Comparator
) -> dict[str, frozenset[str]]:
    """Find for each drop the reference ids that no earlier drop has with the same template.

    Args:
        lake, model_build, comparator: whose templates.
        drops: in the order of their ids.
    """
    seen: set[bytes] = set()
    owned = {}
    for drop in drops:
        reference = references(lake, build=model_build, drop=drop, comparator=comparator)
        names = reference.rows["reference_id"].to_list()
        marks = [
            hashlib.sha256(name.encode() + row.tobytes()).digest()
            for name, row in zip(names, reference.vectors, strict=True)
        ]
        owned[drop] = frozenset(name for name, mark in zip(names, marks, strict=True) if mark not in seen)
        seen.update(marks)
    return owned


def _block_drops(is_all_pairs: dict[str, bool]) -> Iterator[tuple[str, str]]:
    """(reference drop, probe drop) of every block; two all-pairs drops meet once, in the order of their ids."""
    for left in is_all_pairs:
        for right in is_all_pairs:
            if left <= right or not (is_all_pairs[left] and is_all_pairs[right]):
                yield left, right


def _count(left: BlockInputs, right: BlockInputs, modality: BiometricModality, threshold: float | None) -> PairCounts:
    """Ranks order the frames of one drop; between drops every pair counts."""
    if left.drop == right.drop:
        return modality.count(left.references, right.probes, threshold=threshold)
    reference, probe = (replace(side, ranks=None) for side in (left.references, right.probes))
    return modality.count(reference, probe, threshold=threshold)


def _sides(reference: Templates, probe: Templates, is_all_pairs: bool) -> tuple[Side, Side]:
    if not is_all_pairs:
        return _side(reference, None), _side(probe, None)
    frames = [templates.rows["frame"].fill_null("").to_numpy().astype(str) for templates in (reference, probe)]
    _, ranks = np.unique(np.concatenate(frames), return_inverse=True)
    return _side(reference, ranks[: len(reference)]), _side(probe, ranks[len(reference) :])


def _side(templates: Templates, ranks: NDArray[np.int64] | None) -> Side:
    return Side(templates.vectors, templates.rows["subject_id"].to_numpy().astype(str), ranks)


def _digest(side: Side) -> str:
    """Digest of everything that a block takes from one side."""
    digest = hashlib.sha256(repr(side.vectors.shape).encode())
    digest.update("\n".join(side.subjects.tolist()).encode())
    digest.update(np.ascontiguousarray(side.vectors).tobytes())
    digest.update(b"" if side.ranks is None else side.ranks.astype(np.int64).tobytes())
    return digest.hexdigest()


def _written_block(lake: Lake, key: str, counts: PairCounts) -> PairCounts:
    """Write a block and give it as it is read.

    Rows with `bin` and `count` are its histogram, with `score` its tail, with `matches` its matches.
    """
    import polars as pl

    filled = np.flatnonzero(counts.histogram)
    histogram = pl.DataFrame({"bin": filled, "count": counts.histogram[filled]})
    tail = counts.tail.sort(pl.all(), descending=True)
    parts = [histogram, tail]
    if counts.matches is not None:
        parts.append(counts.matches.of_subjects.rename({"count": "matches"}))
    rows = pl.concat(parts, how="diagonal")
    digest = _block_digest(rows, counts.floor, counts.n_incomparable)
    metadata = {"floor": repr(counts.floor), "n_incomparable": str(counts.n_incomparable), "digest": digest}
    with staging_folder(lake.store.staging, prefix="cvq-") as folder:
        path = folder / "block.parquet"
        rows.write_parquet(path, compression="zstd", metadata=metadata)
        lake.store.put_file(key, path)
    return replace(counts, tail=tail)


def _read_block(lake: Lake, key: str, scale: ScoreScale, threshold: float | None) -> PairCounts | None:
    """The block as it was written; nothing where its file is absent, damaged or of other numbers."""
    import polars as pl

    try:
        path = lake.store.local(key)
        rows, metadata = pl.read_parquet(path, glob=False), pl.read_parquet_metadata(path)
        floor, n_incomparable = float(metadata["floor"]), int(metadata.get("n_incomparable", 0))
        if metadata["digest"] != _block_digest(rows, floor, n_incomparable):
            return None
    except (ObjectNotFound, KeyError, ValueError, OSError, pl.exceptions.PolarsError):
        return None
    bins = rows.filter(pl.col("bin").is_not_null())
    tail = rows.filter(pl.col("score").is_not_null()).select("score", "subject_id", "reference_subject_id")
    matches = None
    if "matches" in rows.columns and threshold is not None:
        found = rows.filter(pl.col("matches").is_not_null())
        matches = MatchCounts(threshold, found.select("subject_id", count="matches"))
    histogram = _dense(bins["bin"].to_numpy(), bins["count"].to_numpy())
    return PairCounts(histogram, tail, floor, scale, matches, n_incomparable)


def _with_matches(samples: "pl.DataFrame", total: PairCounts, decision_threshold: float | None) -> "pl.DataFrame":
    """The samples of each subject with its pairs at or above the threshold."""
    import polars as pl

    samples = samples.with_columns(decision_threshold=pl.lit(decision_threshold, pl.Float64))
    if total.matches is None:
        return samples.with_columns(n_matches=pl.lit(0, pl.Int64))
    found = total.matches.of_subjects.rename({"count": "n_matches"})
    joined = samples.join(found, on="subject_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("n_matches").fill_null(0)).select(IMPOSTOR_TRIALS.names[2:])


def _matches_in(trials: "pl.DataFrame", comparator: Comparator) -> MatchCounts | None:
    if trials.is_empty():
        return None
    found = trials.filter(trials["n_matches"] > 0).select("subject_id", count="n_matches")
    return MatchCounts(comparator.oriented(float(trials["decision_threshold"][0])), found)


def _block_digest(rows: "pl.DataFrame", floor: float, n_incomparable: int) -> str:
    """Digest of a block's numbers and names, however its file lays them out."""
    further = (n_incomparable,) if n_incomparable else ()
    digest = hashlib.sha256(repr((rows.columns, rows.height, floor, *further)).encode())
    for column in rows:
        if column.dtype.is_numeric():
            digest.update(column.fill_null(0).to_numpy().tobytes())
        else:
            digest.update(str(column.fill_null("").str.join("\n").first() or "").encode())
    return digest.hexdigest()


def _dense(bins: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    histogram = np.zeros(BINS, np.int64)
    histogram[bins] = counts
    return histogram


def _floor_of(tail: "pl.DataFrame", *, n: int) -> float:
    """Where a stored tail begins: its own lowest score, unless it holds every pair."""
    if tail.height == n:
        return -np.inf
    return float(tail["score"].to_numpy().min()) if tail.height else np.inf


def _histogram_rows(counted: ImpostorCounts) -> "pl.DataFrame":
    import polars as pl

    filled = np.flatnonzero(counted.counts.histogram)
    rows = pl.DataFrame({"bin": filled, "count": counted.counts.histogram[filled]})
    if counted.counts.n_incomparable:
        rows.extend(pl.DataFrame({"bin": [None], "count": [counted.counts.n_incomparable]}, schema=rows.schema))
    return _keyed(rows, counted).select(IMPOSTOR_COUNTS.names)


def _tail_rows(counted: ImpostorCounts, comparator: Comparator) -> "pl.DataFrame":
    import polars as pl

    order = ["score", "subject_id", "reference_subject_id"]
    rows = counted.counts.tail.sort(order, descending=True).with_columns(score=comparator.oriented(pl.col("score")))
    return _keyed(rows, counted).select(IMPOSTOR_TAIL.names)


def _keyed(rows: "pl.DataFrame", counted: ImpostorCounts) -> "pl.DataFrame":
    import polars as pl

    keys = pl.lit(counted.build).alias("build_id"), pl.lit(counted.model_build).alias("model_build_id")
    return rows.select(*keys, pl.all())
