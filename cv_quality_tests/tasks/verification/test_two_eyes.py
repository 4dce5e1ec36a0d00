"""Eyes that are not whose they are said to be, and captures repeated: what is counted, doubted, and how sure it is."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cv_quality.metrics.iris.hamming import compare
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.tasks.verification.fusion import fusion_rows
from cv_quality.tasks.verification.instance_pairs import (
    Eyes,
    closest_rows,
    comparison_rows,
    count_kinds,
    doubt_rows,
)
from cv_quality.tasks.verification.instances import LAST_RANK
from cv_quality.tasks.verification.modalities.iris import IRIS, hamming
from cv_quality.tasks.verification.samples import Templates

RULE = HammingRule(bits=512, step=8, shifts=3)
MODALITY = replace(IRIS, comparator=hamming(RULE))
THRESHOLD, SUBJECTS, SIDES = 0.3, 50, ("left", "right")
Bits = NDArray[np.bool_]
Numbers = dict[str, Any]


def _flipped(code: Bits, share: float, rng: np.random.Generator) -> Bits:
    return code ^ (rng.random(code.shape) < share)


def _templates(codes: Bits) -> NDArray[np.uint64]:
    packed = np.packbits(codes, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    return np.stack([packed, np.full_like(packed, np.iinfo(np.uint64).max)], axis=1)


def _eyes(codes: dict[tuple[str, str], Bits], probes: list[tuple[str, str, int, Bits]]) -> Eyes:
    """References by subject and side, and probes of a subject, side and moment, of one enrolled drop."""
    common = {"drop_id": pl.lit("drop"), "is_all_pairs": pl.lit(value=False), "frame": pl.lit(None, pl.String)}
    names = [f"{subject}-{side}" for subject, side in codes]
    left = pl.DataFrame(
        {"reference_id": names, "subject_id": [who for who, _ in codes], "instance": [side for _, side in codes]}
    ).with_columns(**common, rank=pl.lit(-1, pl.Int64))
    right = pl.DataFrame(
        {
            "event_id": [f"{who}-{side}-{number}" for who, side, number, _ in probes],
            "reference_id": [f"{who}-{side}" for who, side, *_ in probes],
            "subject_id": [who for who, *_ in probes],
            "instance": [side for _, side, *_ in probes],
            "transaction_id": [f"{who}-{number}" for who, _, number, _ in probes],
            "attempt_number": [1] * len(probes),
        }
    ).with_columns(**common, rank=pl.lit(LAST_RANK, pl.Int64))
    return Eyes(
        Templates(left, _templates(np.stack(list(codes.values())))),
        Templates(right, _templates(np.stack([bits for *_, bits in probes]))),
    )


def _study(*, seed: int = 5, copies: int = 1, worst: float = 0.1) -> Eyes:
    """Two captures of both eyes of each subject, so many times each; its noise lies between .1 and the worst."""
    rng = np.random.default_rng(seed)
    codes = {(f"s{n:02d}", side): rng.random(RULE.bits) < 0.5 for n in range(SUBJECTS) for side in SIDES}
    noise = {subject: rng.uniform(0.1, worst) for subject, _ in codes}
    probes = []
    for (subject, side), code in codes.items():
        for moment in range(2):
            shown = _flipped(code, noise[subject], rng)
            probes += [(subject, side, moment * copies + copy, shown) for copy in range(copies)]
    return _eyes(codes, probes)


def _with(side: Templates, places: dict[int, NDArray[np.uint64]]) -> Templates:
    vectors = side.vectors.copy()
    for place, template in places.items():
        vectors[place] = template
    return replace(side, vectors=vectors)


def _comparisons(eyes: Eyes) -> dict[str, Numbers]:
    genuine = _genuine(eyes)
    rows = comparison_rows(eyes, count_kinds(eyes, MODALITY, THRESHOLD), genuine, MODALITY, RULE, THRESHOLD)
    return {str(row["kind"]): dict(row) for row in rows}


def _genuine(eyes: Eyes) -> pl.DataFrame:
    left = eyes.references.rows.select("reference_id").with_row_index("left")
    pairs = eyes.probes.rows.with_row_index("right").join(left, on="reference_id", maintain_order="left")
    places = pairs["left"].to_numpy(), pairs["right"].to_numpy()
    scores = MODALITY.scores(eyes.references.vectors, eyes.probes.vectors, places)
    return pairs.select("drop_id", "subject_id", "reference_id", attempt_id="event_id", score=scores)


def _place(side: Templates, name: str) -> int:
    column = "event_id" if "event_id" in side.rows.columns else "reference_id"
    return side.rows[column].to_list().index(name)


def _with_alike_strangers(eyes: Eyes, n: int) -> Eyes:
    """The first probe of so many subjects is that of another subject's eye."""
    probes = eyes.probes
    shown = {
        _place(probes, f"s{k:02d}-left-0"): probes.vectors[_place(probes, f"s{k + 1:02d}-left-0")] for k in range(n)
    }
    return replace(eyes, probes=_with(probes, shown))


def test_a_persons_alike_eyes_leave_the_fmr_unchanged() -> None:
    eyes = _with_alike_strangers(_study(), 3)
    rng = np.random.default_rng(1)
    alike: dict[int, NDArray[np.uint64]] = {}
    for n in range(SUBJECTS):
        left = eyes.references.vectors[_place(eyes.references, f"s{n:02d}-left")]
        bits = np.unpackbits(left[0].astype("<u8").view(np.uint8), bitorder="little").astype(bool)
        alike[_place(eyes.references, f"s{n:02d}-right")] = _templates(_flipped(bits, 0.15, rng)[None])[0]
    planted = replace(eyes, references=_with(eyes.references, alike))
    before, after = _comparisons(eyes), _comparisons(planted)
    assert before["other_instance"]["numerator"] == 0
    assert after["other_instance"]["numerator"] >= 90
    same_eye = ("n_pairs", "n_incomparable")
    assert [before["impostor"][name] for name in same_eye] == [after["impostor"][name] for name in same_eye]
    assert before["impostor_same_side"]["numerator"] == after["impostor_same_side"]["numerator"] == 3
    strangers = after["impostor"]["numerator"] - 3
    assert strangers == after["impostor_other_side"]["numerator"] == 3, "the strangers' other eyes are theirs too"


def test_two_eyes_alike_are_doubted_and_no_others() -> None:
    eyes = _study()
    assert doubt_rows(eyes, count_kinds(eyes, MODALITY, THRESHOLD), _genuine(eyes), MODALITY, THRESHOLD) == []
    swapped = _with(
        eyes.probes,
        {
            _place(eyes.probes, f"s07-{one}-0"): eyes.probes.vectors[_place(eyes.probes, f"s07-{other}-0")]
            for one, other in (SIDES, SIDES[::-1])
        },
    )
    found = replace(eyes, probes=swapped)
    rows: list[Any] = doubt_rows(found, count_kinds(found, MODALITY, THRESHOLD), _genuine(found), MODALITY, THRESHOLD)
    assert {(row["kind"], row["reference_id"], row["attempt_id"]) for row in rows} == {
        ("other_instance", "s07-left", "s07-right-0"),
        ("other_instance", "s07-right", "s07-left-0"),
    }


def test_one_eye_under_two_names_is_doubted() -> None:
    eyes = _study()
    taken = eyes.references.vectors[_place(eyes.references, "s03-right")]
    shown = {
        _place(eyes.probes, f"s04-right-{n}"): eyes.probes.vectors[_place(eyes.probes, f"s03-right-{n}")]
        for n in (0, 1)
    }
    enrolled = _with(eyes.references, {_place(eyes.references, "s04-right"): taken})
    eyes = Eyes(enrolled, _with(eyes.probes, shown))
    rows: list[Any] = doubt_rows(eyes, count_kinds(eyes, MODALITY, THRESHOLD), _genuine(eyes), MODALITY, THRESHOLD)
    assert {row["kind"] for row in rows} == {"other_subject"}
    assert {(row["reference_subject_id"], row["subject_id"]) for row in rows} == {("s04", "s03"), ("s03", "s04")}
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores)
    assert max(scores) <= THRESHOLD


def test_the_closest_strangers_are_those_of_all_pairs_compared() -> None:
    eyes = _with_alike_strangers(_study(), 3)
    rows = closest_rows(eyes, count_kinds(eyes, MODALITY, THRESHOLD), RULE, MODALITY)
    left, right = (np.array(side.rows["subject_id"].to_list()) for side in (eyes.references, eyes.probes))
    one, other = np.nonzero(left[:, None] != right[None, :])
    strangers = one.astype(np.int64), other.astype(np.int64)
    found = compare(eyes.references.vectors, eyes.probes.vectors, strangers, RULE)
    order = np.argsort(found.hd_norm, kind="stable")[: len(rows)]
    assert len(rows) == 100
    assert [row["score"] for row in rows] == found.hd_norm[order].tolist()
    known = {
        (eyes.references.rows["reference_id"][int(one)], eyes.probes.rows["event_id"][int(other)]): pair
        for pair, (one, other) in enumerate(zip(*strangers, strict=True))
    }
    for row in rows:
        pair = known[row["reference_id"], row["attempt_id"]]
        assert row["hd_raw"] == found.hd_raw[pair]
        assert (row["bits_compared"], row["best_shift"], row["shifts_valid"]) == (
            found.bits_compared[pair],
            found.best_shift[pair],
            found.shifts_valid[pair],
        )


def test_repeated_captures_make_no_interval_narrower() -> None:
    once, often = (_points(_study(worst=0.4, copies=copies)) for copies in (1, 6))
    for rule in ("left", "or", "and", "mean"):
        assert often[rule]["fnmr"] == once[rule]["fnmr"]
        assert often[rule]["n_genuine"] == 6 * once[rule]["n_genuine"]
        widths = [row[rule]["fnmr_high"] - row[rule]["fnmr_low"] for row in (once, often)]
        assert widths[1] == pytest.approx(widths[0], rel=1e-6), rule
    assert once["and"]["n_false_non_matches"] > 10


def _points(eyes: Eyes) -> dict[str, Numbers]:
    rows: list[Any] = fusion_rows(eyes, MODALITY, RULE, THRESHOLD, family_of={})[0]
    return {row["rule"]: row for row in rows if row["point"] == "decision_threshold"}


def test_a_capture_of_one_eye_is_decided_by_it_unless_both_must_match() -> None:
    eyes = _study()
    missing = pl.col("event_id") != "s09-right-0"
    eyes = replace(eyes, probes=eyes.probes.where(missing))
    _, (captures,) = fusion_rows(eyes, MODALITY, RULE, THRESHOLD, family_of={})
    assert (captures["n_captures"], captures["n_one_eye"], captures["n_compared"]) == (100, 1, 99)
    assert {rule: row["n_genuine"] for rule, row in _points(eyes).items()} == {
        "left": 100,
        "right": 99,
        "or": 100,
        "and": 99,
        "mean": 100,
    }
