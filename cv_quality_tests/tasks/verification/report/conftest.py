"""A small synthetic evaluation: two drops, two models, and a build that is worse in the dark."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image, PngImagePlugin

from cv_quality.drops.tables import (
    DROP_FILES,
    FRAME_INDEX,
    QUARANTINE_PARSE,
    QUARANTINE_VALIDATE,
    SUBJECTS,
)
from cv_quality.inference.registry import ModelEntry
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store, open_store
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.scope import Scope
from cv_quality.reports.section import ReportSource
from cv_quality.studies.policy import load_policy
from cv_quality.tasks.release.stage import Measured, write_verdicts
from cv_quality.tasks.verification.differences import read_evidence
from cv_quality.tasks.verification.instances import measure_instances
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.parity import write_parity
from cv_quality.tasks.verification.report.page import write_failure_report
from cv_quality.tasks.verification.report.sections import SECTIONS
from cv_quality.tasks.verification.tables import (
    COMPARISONS,
    DET_CURVE,
    DIFFERENCES,
    DIFFERENTIALS,
    IMPOSTOR_COUNTS,
    INTERVALS,
    OPERATING_POINTS,
)
from cv_quality_tests.modalities import ATTEMPT_OUTCOMES, VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality_tests.reports.rates import change_bounds
from cv_quality_tests.tasks.verification.report.root_cause_rows import root_cause_tables

BUILD, BASELINE = "face-1.2", "face-1.1"
DROPS = ("2026-09-01_face-1.2_site-a", "2026-09-02_face-1.2_site-b")
THRESHOLD = 0.42
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
N_SUBJECTS, N_ATTEMPTS = 40, 30
N_IMPOSTOR = 74_100
SECRET = b"GPS position of the subject"
BANDS = ("<10", "10-100", "100-1000", ">=1000")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A filled lake and landing area, and what a report of it needs."""

    lake: Lake
    landing: Store
    entry: ModelEntry
    root: Path

    def report(
        self, name: str = "report.html", *, baseline: str | None = BASELINE, warehouse: Path | None = None
    ) -> tuple[ReportSummary, str]:
        target = self.root / name
        return write_failure_report(self.source(baseline, warehouse), SECTIONS, target), target.read_text()

    def source(self, baseline: str | None = BASELINE, warehouse: Path | None = None) -> ReportSource:
        """What a page against `baseline` is made from."""
        return ReportSource(
            lake=self.lake,
            landing=self.landing,
            scope=Scope(BUILD, baseline, DROPS),
            entry=self.entry,
            modality=FACE,
            gates=("compare",),
            warehouse=warehouse,
        )

    def edit(self, table: Table, key: TableKey, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Replace a table's rows by what `edit` makes of them."""
        self.lake.write(table, key, edit(self.lake.read(table, key)))


@dataclass(slots=True)
class _Attempt:
    """One simulated attempt; every second subject agrees to images, subject 0 leads the list of failures."""

    drop: str
    subject: int
    number: int
    rng: np.random.Generator = field(repr=False)

    @property
    def name(self) -> str:
        return f"a-{self.drop[-1]}-{self.subject:02d}-{self.number:02d}"

    @property
    def band(self) -> int:
        return self.number % len(BANDS)


def has_consent(subject: int) -> bool:
    return subject % 2 == 0


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportSummary, str, Case]:
    """The report of the unedited evaluation."""
    made = make_case(tmp_path_factory.mktemp("report"))
    summary, html = made.report(warehouse=Path("warehouse.duckdb"))
    return summary, html, made


@pytest.fixture
def case(written: tuple[ReportSummary, str, Case], tmp_path: Path) -> Case:
    """A copy of the evaluation that a test may edit."""
    for folder in ("lake", "landing"):
        shutil.copytree(written[2].root / folder, tmp_path / folder)
    return Case(
        lake=Lake(open_store(str(tmp_path / "lake"))),
        landing=open_store(str(tmp_path / "landing")),
        entry=written[2].entry,
        root=tmp_path,
    )


def make_case(root: Path) -> Case:
    lake, landing = Lake(open_store(str(root / "lake"))), open_store(str(root / "landing"))
    for position, drop in enumerate(DROPS):
        _write_drop(lake, landing, drop=drop, seed=position)
    outcomes = {
        model: pl.concat([lake.read(ATTEMPT_OUTCOMES, TableKey(build=model, drop=drop)) for drop in DROPS])
        for model in (BUILD, BASELINE)
    }
    key = TableKey(build=BUILD)
    lake.write(INTERVALS, key, frame(INTERVALS, _intervals(outcomes)))
    lake.write(IMPOSTOR_COUNTS, key, pl.concat([_impostors(model) for model in (BUILD, BASELINE)]))
    lake.write(OPERATING_POINTS, key, frame(OPERATING_POINTS, _operating_points(outcomes)))
    lake.write(DET_CURVE, key, frame(DET_CURVE, _det_curve(outcomes)))
    lake.write(DIFFERENCES, key, frame(DIFFERENCES, _differences(_intervals(outcomes), _operating_points(outcomes))))
    lake.write(DIFFERENTIALS, key, frame(DIFFERENTIALS, _differentials(outcomes)))
    write_parity(lake, build=BUILD, drops=DROPS, modality=FACE)
    write_verdicts(lake, BUILD, "verification", Measured(BASELINE, read_evidence(lake, BUILD)), load_policy(None))
    measure_instances(lake, build=BUILD, models={BUILD: (FACE, None)}, drops=DROPS)
    for table, rows in root_cause_tables(
        build=BUILD, baseline=BASELINE, own=outcomes[BUILD], before=outcomes[BASELINE]
    ).items():
        lake.write(table, key, frame(table, [{"build_id": BUILD, **row} for row in rows]))
    return Case(lake=lake, landing=landing, entry=_entry(), root=root)


def frame(table: Table, rows: list[Row]) -> pl.DataFrame:
    """Rows as a frame with the table's types; columns that a row does not name are null."""
    empty = pl.from_arrow(table.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return pl.DataFrame([{**dict.fromkeys(table.names), **row} for row in rows], schema=empty.schema, orient="row")


def _entry() -> ModelEntry:
    return ModelEntry(
        build_id=BUILD,
        task="verification",
        modality="face",
        follows=BASELINE,
        format="torch_export",
        file="face.pt2",
        sha256="ab" * 32,
        embedding_dim=64,
        decision_threshold=THRESHOLD,
        preprocessing=(),
    )


def _write_drop(lake: Lake, landing: Store, *, drop: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    attempts = [_Attempt(drop, subject, number, rng) for subject in range(N_SUBJECTS) for number in range(N_ATTEMPTS)]
    on = TableKey(drop=drop)
    lake.write(DROP_FILES, on, frame(DROP_FILES, _files(drop)))
    lake.write(SUBJECTS, on, frame(SUBJECTS, [_subject(drop, subject) for subject in range(N_SUBJECTS)]))
    lake.write(VALIDATED_ENROLS, on, frame(VALIDATED_ENROLS, [_enrol(drop, subject) for subject in range(N_SUBJECTS)]))
    lake.write(VALIDATED_ATTEMPTS, on, frame(VALIDATED_ATTEMPTS, [_attempt(item) for item in attempts]))
    lake.write(QUARANTINE_PARSE, on, frame(QUARANTINE_PARSE, [_rejected(drop, "parse", line) for line in range(3)]))
    lake.write(QUARANTINE_VALIDATE, on, frame(QUARANTINE_VALIDATE, [_rejected(drop, "validate", 9)]))
    lake.write(FRAME_INDEX, on, _frames(landing, attempts, drop=drop))
    skill = rng.normal(0, 0.05, N_SUBJECTS)
    noise = rng.normal(0, 0.09, len(attempts))
    for model in (BUILD, BASELINE):
        scores = [_score(a, model=model, skill=skill, noise=n) for a, n in zip(attempts, noise, strict=True)]
        key = TableKey(build=model, drop=drop)
        pairs = list(zip(attempts, scores, strict=True))
        lake.write(ATTEMPT_OUTCOMES, key, frame(ATTEMPT_OUTCOMES, [_outcome(a, s, model) for a, s in pairs]))
        acquired = [_comparison(a, s, model) for a, s in pairs if s is not None]
        lake.write(COMPARISONS, key, frame(COMPARISONS, acquired))


def _score(attempt: _Attempt, *, model: str, skill: np.ndarray[Any, Any], noise: float) -> float | None:
    if attempt.number == 7 and attempt.subject % 9 == 0:
        return None
    dark = attempt.band == 0
    centre = 0.62 if dark and model == BUILD else 0.71 if dark else 0.78
    return float(np.clip(centre + skill[attempt.subject] + noise, -1, 1))


def _subject(drop: str, subject: int) -> Row:
    return {
        "event_id": f"s-{subject}",
        "occurred_at": NOON,
        "subject_id": f"subject-{subject:02d}",
        "has_image_consent": has_consent(subject),
        **_origin(drop, subject + 1),
    }


def _enrol(drop: str, subject: int) -> Row:
    return {
        "event_id": f"e-{subject}",
        "occurred_at": NOON,
        "subject_id": f"subject-{subject:02d}",
        "device_id": "device-1",
        "session_id": f"session-{subject}",
        "reference_id": f"reference-{subject:02d}",
        "frame": f"frames/enrol-{subject:02d}.png",
        "is_enrolled": True,
        **_origin(drop, 100 + subject),
    }


def _attempt(attempt: _Attempt) -> Row:
    outcome = _outcome(attempt, None, BUILD)
    return {name: value for name, value in outcome.items() if name in VALIDATED_ATTEMPTS.names} | {
        "event_id": attempt.name,
        "session_id": f"session-{attempt.subject}",
        "transaction_id": attempt.name,
        "attempt_number": 1,
        "device_stage": "matching",
        **_origin(attempt.drop, 1_000 + attempt.subject * N_ATTEMPTS + attempt.number),
    }


def _origin(drop: str, line: int) -> Row:
    return {"drop_id": drop, "source_file": "events-000.jsonl.zst", "source_line": line}


def _rejected(drop: str, stage: str, line: int) -> Row:
    return {
        **_origin(drop, line + 1),
        "stage": stage,
        "event_kind": "attempt",
        "event_id": f"rejected-{line}",
        "reason": "out_of_range" if stage == "parse" else "unknown_subject",
        "detail": f"expected yaw_deg from -90 to 90, found {91 + line}",
        "raw": "RAW-BIOMETRIC-ROW",
        "raw_bytes": 17,
    }


def _files(drop: str) -> list[Row]:
    shared = {
        "drop_id": drop,
        "build_id": BUILD,
        "site": drop[-6:],
        "modality": "face",
        "protocol": "enrolled",
        "captured_from": NOON,
        "captured_until": NOON.replace(hour=18),
        "manifest_sha256": hashlib.sha256(drop.encode()).hexdigest(),
        "conditions": None,
        "device_scores": None,
        "bytes": 1_000,
    }
    n = N_SUBJECTS * (N_ATTEMPTS + 2)
    events = {"file": "events-000.jsonl.zst", "content": "events", "rows_declared": n + 3, "rows_in": n + 3}
    images = {"file": "frames-000.tar", "content": "frames", "rows_declared": 200, "rows_in": 200}
    return [
        {**shared, **events, "rows_valid": n, "rows_quarantined": 3, "rows_forgotten": 0},
        {**shared, **images, "rows_valid": 200, "rows_quarantined": 0, "rows_forgotten": 0},
    ]


def _outcome(attempt: _Attempt, score: float | None, model: str) -> Row:
    subject = attempt.subject
    accepted = score is not None and score >= THRESHOLD
    return {
        "build_id": model,
        "drop_id": attempt.drop,
        "attempt_id": attempt.name,
        "occurred_at": NOON,
        "subject_id": f"subject-{subject:02d}",
        "claimed_subject_id": f"subject-{subject:02d}",
        "is_genuine": True,
        "presentation": "bona_fide",
        "device_id": f"device-{subject % 3}",
        "device_model": ("Phone 3", "Phone 4", "Tablet 2")[subject % 3].replace(" ", "-"),
        "camera_supplier": ("Aurora", "Borealis")[subject % 2],
        "illuminance_lux": (4.0, 30.0, 400.0, 8_000.0)[attempt.band],
        "illuminance_band": BANDS[attempt.band],
        "eyewear": ("none", "glasses", "none", "sunglasses")[(subject + attempt.number) % 4],
        "covering": ("none", "none", "none", "none", "none", "mask")[attempt.number % 6],
        "thermal_state": ("nominal", "fair", "serious")[(attempt.number + subject) % 3],
        "condition_label": ("indoors", "outdoors, evening")[subject % 2],
        "age_band": ("18-29", "30-44", "45-59", "60+")[subject % 4],
        "sex": ("female", "male")[subject % 2] if subject != 5 else "other",
        "skin_tone_band": ("1-3", "4-6", "7-10")[subject % 3],
        "has_image_consent": has_consent(subject),
        "frame": f"frames/{attempt.name}.png",
        "outcome": "not_acquired" if score is None else "accepted" if accepted else "non_match",
        "score": score,
        "decision_threshold": THRESHOLD,
        "device_score": None if score is None else score + 0.002 * ((attempt.number % 5) - 2),
        "device_latency_ms": 180.0 + 40 * (subject % 3) + 25 * ((attempt.number * 7 + subject * 3) % 11),
    }


def _comparison(attempt: _Attempt, score: float, model: str) -> Row:
    return {
        "build_id": model,
        "drop_id": attempt.drop,
        "attempt_id": attempt.name,
        "reference_id": f"reference-{attempt.subject:02d}",
        "subject_id": f"subject-{attempt.subject:02d}",
        "reference_subject_id": f"subject-{attempt.subject:02d}",
        "is_genuine": True,
        "presentation": "bona_fide",
        "score": score,
        "device_score": score + 0.002 * ((attempt.number % 5) - 2),
        "is_parity_expected": model == BUILD,
    }


def _png(seed: int) -> bytes:
    """A face-like picture whose metadata must not reach the report."""
    y, x = np.mgrid[0:96, 0:80]
    face = 200 - 0.05 * ((x - 40) ** 2 * 1.8 + (y - 48) ** 2) - 90 * ((x - 26) ** 2 + (y - 38) ** 2 < 22)
    face = face - 90 * ((x - 54) ** 2 + (y - 38) ** 2 < 22) - 70 * ((abs(y - 70) < 2) & (abs(x - 40) < 12 + seed % 5))
    face[0, :2] = seed % 250, seed // 250
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", SECRET.decode())
    buffer = io.BytesIO()
    Image.fromarray(np.clip(face, 0, 255).astype(np.uint8)).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def _frames(landing: Store, attempts: list[_Attempt], *, drop: str) -> pl.DataFrame:
    """A shard with every enrolment and every dark attempt; enrolments 4 and 5 hold the same image."""
    images = {f"frames/enrol-{subject:02d}.png": _png(4 if subject == 5 else subject) for subject in range(N_SUBJECTS)}
    images |= {
        f"frames/{attempt.name}.png": _png(100 + 61 * attempt.subject + attempt.number)
        for attempt in attempts
        if attempt.band == 0
    }
    buffer, rows = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            offset = buffer.tell() + tarfile.BLOCKSIZE
            tar.addfile(member, io.BytesIO(data))
            rows.append(_indexed(drop, name, data, offset))
    landing.write_bytes(f"{drop}/frames-000.tar", buffer.getvalue())
    return frame(FRAME_INDEX, rows)


def _indexed(drop: str, name: str, data: bytes, offset: int) -> Row:
    return {
        "drop_id": drop,
        "frame": name,
        "shard": "frames-000.tar",
        "byte_offset": offset,
        "byte_count": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "image_format": "PNG",
        "width_px": 80,
        "height_px": 96,
    }


def _impostors(model: str) -> pl.DataFrame:
    spread = 0.11 if model == BUILD else 0.105
    scores = np.random.default_rng(3).normal(0.05, spread, N_IMPOSTOR)
    bins, counts = np.unique(np.clip(((scores + 1) / 2 * 65_536).astype(np.int64), 0, 65_535), return_counts=True)
    return pl.DataFrame({"build_id": BUILD, "model_build_id": model, "bin": bins, "count": counts})


DIMENSIONS = (
    "illuminance_band",
    "eyewear",
    "covering",
    "device_model",
    "camera_supplier",
    "age_band",
    "sex",
    "skin_tone_band",
    "condition_label",
)


def _intervals(outcomes: dict[str, pl.DataFrame]) -> list[Row]:
    rows: list[Row] = []
    for model, ledger in outcomes.items():
        compared = ledger.filter(pl.col("score").is_not_null())
        rows.append(_interval(model, "fta", "all", "all", ledger, "not_acquired"))
        rows.append({**_interval(model, "frr", "all", "all", ledger, "accepted", is_negated=True)})
        rows.append(_interval(model, "fnmr", "all", "all", compared, "non_match"))
        for dimension in DIMENSIONS:
            for (level,), group in compared.group_by(dimension, maintain_order=True):
                rows.append(_interval(model, "fnmr", dimension, str(level), group, "non_match"))
            for (level,), group in ledger.group_by(dimension, maintain_order=True):
                rows.append(_interval(model, "fta", dimension, str(level), group, "not_acquired"))
    return rows


def _interval(
    model: str, metric: str, dimension: str, level: str, group: pl.DataFrame, error: str, *, is_negated: bool = False
) -> Row:
    errors = int((group["outcome"] == error).sum())
    numerator, denominator = group.height - errors if is_negated else errors, group.height
    value, low, high = wilson(numerator, denominator)
    return {
        "build_id": BUILD,
        "model_build_id": model,
        "metric": metric,
        "dimension": dimension,
        "level": level,
        "value": value,
        "numerator": numerator,
        "denominator": denominator,
        "low": low,
        "high": high,
        "method": "wilson",
        "n_subjects": group["subject_id"].n_unique(),
    }


def _differences(intervals: list[Row], points: list[Row]) -> list[Row]:
    """Of every rate, with bounds as if both models' trials were independent."""
    rates: dict[tuple[str, float | None, str, str], dict[str, Row]] = {}
    for row in intervals:
        rates.setdefault((row["metric"], None, row["dimension"], row["level"]), {})[row["model_build_id"]] = row
    for row in points:
        metric = "fmr_at_threshold" if row["point"] == "decision_threshold" else str(row["point"])
        name = {"fnmr_at_fmr": "fnmr", "eer": "eer", "fmr_at_threshold": "fmr"}[metric]
        rate = {"value": row.get(name), "low": row.get(f"{name}_low"), "high": row.get(f"{name}_high")}
        group = (metric, row.get("fmr_target"), "all", "all")
        rates.setdefault(group, {})[row["model_build_id"]] = rate
    return [_difference(key, sides[BUILD], sides[BASELINE]) for key, sides in rates.items() if len(sides) == 2]


def _difference(key: tuple[str, float | None, str, str], own: Row, before: Row) -> Row:
    head = dict(zip(("metric", "fmr_target", "dimension", "level"), key, strict=True))
    head |= {"build_id": BUILD, "baseline_build_id": BASELINE, "raised": 1.0, "n_subjects": 1, "n_shared": 1}
    if own["value"] is None or before["value"] is None:
        return head | {"reason": "not measured"}
    sides = tuple((side["value"], side["low"], side["high"]) for side in (own, before))
    low, high = change_bounds(*sides)
    values = {"value": own["value"], "baseline_value": before["value"], "difference": own["value"] - before["value"]}
    return head | values | {"low": low, "high": high, "reason": None if low is not None else "no interval"}


def wilson(k: int, n: int) -> tuple[float, float, float]:
    """Value and a plausible 95 % interval; which interval is right is not what these tests are about."""
    p, z = k / n, 1.96
    centre, half = p + z * z / (2 * n), z * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    scale = 1 + z * z / n
    return p, max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def _operating_points(outcomes: dict[str, pl.DataFrame]) -> list[Row]:
    rows: list[Row] = []
    for model, ledger in outcomes.items():
        genuine = np.sort(ledger["score"].drop_nulls().to_numpy())
        counts = _impostors(model)
        rows += [
            {**_point(model, genuine, counts, _threshold(counts, target)), "fmr_target": target}
            for target in (1e-2, 1e-3, 1e-4)
        ]
        rows.append(_undefined(model, genuine.size))
        crossing = {**_point(model, genuine, counts, 0.38), "point": "eer", "fnmr_low": None, "fnmr_high": None}
        eer = (crossing["fmr"] + crossing["fnmr"]) / 2
        rows.append({**crossing, "eer": eer, "eer_low": 0.8 * eer, "eer_high": 1.25 * eer})
        rows.append({**_point(model, genuine, counts, THRESHOLD), "point": "decision_threshold"})
    return rows


def _det_curve(outcomes: dict[str, pl.DataFrame]) -> list[Row]:
    """A curve with bands, down to one false match; the last points have none, as where the exact tail ends."""
    rows = []
    for model, ledger in outcomes.items():
        genuine, counts = np.sort(ledger["score"].drop_nulls().to_numpy()), _impostors(model)
        for target in np.logspace(-0.5, -4, 60):
            point = _point(model, genuine, counts, _threshold(counts, float(target)))
            band = {"fnmr_low": point["fnmr_low"], "fnmr_high": point["fnmr_high"]} if target > 1e-4 else {}
            kept = {name: point[name] for name in ("build_id", "model_build_id", "threshold", "fmr", "fnmr")}
            rows.append({**kept, **band, "fmr_target": float(target)})
    return rows


def _differentials(outcomes: dict[str, pl.DataFrame]) -> list[Row]:
    """FNMR by sex: one group fails the rule, the other is too small to say."""
    rows = []
    for model, ledger in outcomes.items():
        for sex, verdict in (("female", "insufficient"), ("male", "fail")):
            scores = ledger.filter(sex=sex)["score"].drop_nulls()
            value, low, high = wilson(int((scores < THRESHOLD).sum()), scores.len())
            rows.append(
                {
                    "build_id": BUILD,
                    "model_build_id": model,
                    "attribute": "sex",
                    "metric": "fnmr",
                    "level": sex,
                    "other_level": sex,
                    "value": value,
                    "numerator": int((scores < THRESHOLD).sum()),
                    "denominator": scores.len(),
                    "low": low,
                    "high": high,
                    "method": "Korn-Graubard by subject",
                    "reason": "insufficient: 3 errors expected, 5 needed" if verdict == "insufficient" else None,
                    "ratio": 1.5,
                    "ratio_low": 1.3,
                    "ratio_high": 1.7 if verdict == "fail" else None,
                    "verdict": verdict,
                }
            )
    return rows


def _threshold(counts: pl.DataFrame, target: float) -> float:
    accepted = counts.sort("bin", descending=True).with_columns(total=pl.col("count").cum_sum())
    last = accepted.filter(pl.col("total") <= target * N_IMPOSTOR)["bin"][-1]
    return float(last / 32_768 - 1)


def _point(model: str, genuine: np.ndarray[Any, Any], counts: pl.DataFrame, threshold: float) -> Row:
    rejected = int((genuine < threshold).sum())
    accepted = int(counts.filter(pl.col("bin") >= (threshold + 1) * 32_768)["count"].sum())
    value, low, high = wilson(rejected, genuine.size)
    return {
        "build_id": BUILD,
        "model_build_id": model,
        "point": "fnmr_at_fmr",
        "threshold": threshold,
        "fmr": accepted / N_IMPOSTOR,
        "n_false_matches": accepted,
        "n_impostor": N_IMPOSTOR,
        "fmr_low": 0.5 * accepted / N_IMPOSTOR,
        "fmr_high": min(1.0, 2.0 * accepted / N_IMPOSTOR),
        "fmr_method": "dyadic sandwich over subjects",
        "fnmr": value,
        "fnmr_low": low,
        "fnmr_high": high,
        "n_false_non_matches": rejected,
        "n_genuine": genuine.size,
        "method": "bootstrap over subjects",
    }


def _undefined(model: str, n_genuine: int) -> Row:
    return {
        "build_id": BUILD,
        "model_build_id": model,
        "point": "fnmr_at_fmr",
        "fmr_target": 1e-6,
        "n_impostor": N_IMPOSTOR,
        "n_genuine": n_genuine,
        "reason": f"needs >= 1e6 impostor comparisons, has {N_IMPOSTOR:,}",
    }
