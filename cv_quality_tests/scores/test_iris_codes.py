"""`cvq evaluate --iris`: codes of a folder compared with one another, each pair as what it is."""

import itertools
import json
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from cv_quality.cli import main
from cv_quality.errors import DropError, MetricError, ScoreFileError
from cv_quality.scores import iris_codes
from cv_quality.scores.evaluation import evaluate
from cv_quality.scores.iris_codes import ComparedCodes, compare_codes

Bits = NDArray[np.bool_]
NAMES = [f"{who}_{eye}_{n}" for who in "abcdef" for eye in "LR" for n in (1, 2, 3)]


def codes_of(names: Sequence[str], *, alike: float = 0.15) -> tuple[Bits, Bits]:
    """Codes of 4 rows, 21 columns and 2 planes: one eye's differ in a few bits."""
    rng = np.random.default_rng(7)
    eyes = {name[:-2]: rng.random((4, 21, 2)) < 0.5 for name in names}
    codes = [eyes[name[:-2]] ^ (rng.random((4, 21, 2)) < alike) for name in names]
    return np.array(codes), rng.random((len(names), 4, 21, 2)) < 0.9


def write(folder: Path, names: Sequence[str], codes: Bits, masks: Bits) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "codes.npy", codes)
    np.save(folder / "masks.npy", masks)
    (folder / "names.txt").write_text("\n".join(names) + "\n")
    return folder


def compared(folder: Path, **options: Any) -> ComparedCodes:
    return compare_codes(folder, shifts=3, **{"minimum_bits": 20, **options})


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["evaluate", *arguments])


def plain_distance(one: tuple[Bits, Bits], other: tuple[Bits, Bits], *, minimum: int) -> float:
    """The least part of differing bits over a column to either side, bit by bit; NaN without enough of them."""
    found = []
    for shift in (-1, 0, 1):
        code, mask = (np.roll(bits, shift, axis=1) for bits in other)
        both = one[1] & mask
        if both.sum() >= minimum:
            found.append((one[0] ^ code)[both].mean())
    return min(found, default=np.nan)


def test_every_pair_is_scored_as_bit_by_bit(tmp_path: Path) -> None:
    codes, masks = codes_of(NAMES)
    found = compared(write(tmp_path / "codes", NAMES, codes, masks))
    kinds: dict[str, list[float]] = {"genuine": [], "impostor": [], "other": []}
    for one, other in itertools.combinations(range(len(NAMES)), 2):
        is_one_person = NAMES[one][0] == NAMES[other][0]
        kind = "impostor" if not is_one_person else "genuine" if NAMES[one][2] == NAMES[other][2] else "other"
        pair = [(codes[row] & masks[row], masks[row]) for row in (one, other)]
        kinds[kind].append(plain_distance(pair[0], pair[1], minimum=20))
    assert np.sort(-found.scores.genuine) == pytest.approx(np.sort(kinds["genuine"]), abs=1e-12)
    assert np.sort(-found.scores.impostor) == pytest.approx(np.sort(kinds["impostor"]), abs=1e-12)
    apart = found.scores.excluded
    assert sorted(apart["score"]) == pytest.approx(sorted(kinds["other"]), abs=1e-12)
    assert set(apart["reason"]) == {"other_eye"}
    assert (found.facts.genuine.n, found.facts.impostor.n, found.facts.other_eye.n) == (36, 540, 54)
    assert found.facts.left_right.n == 270


def test_pairs_with_too_few_bits_in_common_are_in_no_rate(tmp_path: Path) -> None:
    codes, masks = codes_of(NAMES)
    masks[0] = False
    masks[0, 0, 0, 0] = True
    found = compared(write(tmp_path / "codes", NAMES, codes, masks))
    assert (found.scores.n_genuine, found.scores.n_impostor) == (34, 510)
    assert found.scores.excluded_by_reason() == {"other_eye": 54, "not_comparable": 32}
    assert (found.facts.genuine.n_incomparable, found.facts.other_eye.n_incomparable) == (2, 3)


def test_intervals_are_by_person_not_by_eye(tmp_path: Path) -> None:
    found = compared(write(tmp_path / "codes", NAMES, *codes_of(NAMES, alike=0.3)))
    assert evaluate(found.scores, fmr_targets=[0.01]).n_subjects == 6
    assert found.facts.n_eyes == 12


def test_a_code_without_a_template_is_said_and_not_compared(tmp_path: Path) -> None:
    codes, masks = codes_of(NAMES)
    masks[0] = False
    found = compared(write(tmp_path / "codes", NAMES, codes, masks))
    assert (found.facts.n_templates, found.facts.n_failures) == (35, 1)
    assert any("a_L_1 (its mask keeps no bit)" in warning for warning in found.scores.warnings)


@pytest.mark.parametrize(("shifts", "said"), [(2, "odd number"), (23, "21 columns has no 23 different shifts")])
def test_rotations_that_a_code_does_not_have_are_refused(tmp_path: Path, shifts: int, said: str) -> None:
    folder = write(tmp_path / "codes", NAMES, *codes_of(NAMES))
    with pytest.raises(MetricError, match=said):
        compare_codes(folder, shifts=shifts)


def test_more_pairs_than_memory_holds_are_sent_to_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iris_codes, "MAX_PAIRS", 600)
    with pytest.raises(ScoreFileError, match="expected at most 600 pairs, found 630 of 36 codes"):
        compared(write(tmp_path / "codes", NAMES, *codes_of(NAMES)))


def test_codes_without_a_valid_bit_are_refused(tmp_path: Path) -> None:
    codes, masks = codes_of(NAMES)
    with pytest.raises(ScoreFileError, match="none of 36 codes has a valid bit"):
        compared(write(tmp_path / "codes", NAMES, codes, np.zeros_like(masks)))


def test_one_code_under_two_people_is_refused_before_it_is_a_false_match(tmp_path: Path) -> None:
    codes, masks = codes_of(NAMES)
    codes[-1], masks[-1] = codes[0], masks[0]
    with pytest.raises(DropError, match=r"a_L_1 \(a left\) and f_R_3 \(f right\)"):
        compared(write(tmp_path / "codes", NAMES, codes, masks))


def test_a_table_says_whose_codes_are(tmp_path: Path) -> None:
    names = [f"x{number}" for number in range(len(NAMES))]
    folder, table = write(tmp_path / "codes", names, *codes_of(NAMES)), tmp_path / "who.csv"
    rows = [f"{name},{told[0]},{told[2]}" for name, told in zip(names, NAMES, strict=True)]
    table.write_text("\n".join(["file,subject,eye", *rows]))
    found = compare_codes(folder, shifts=3, table=table)
    assert (found.facts.genuine.n, found.facts.impostor.n, found.facts.other_eye.n) == (36, 540, 54)
    table.write_text("\n".join(["file,subject,eye", *rows[:-1]]))
    with pytest.raises(ScoreFileError, match="found 1 without: x35"):
        compare_codes(folder, shifts=3, table=table)


def test_the_command_prints_rates_and_what_was_compared(tmp_path: Path) -> None:
    folder = write(tmp_path / "codes", NAMES, *codes_of(NAMES))
    options = ["--shifts", "3", "--minimum-bits", "20", "--fmr", "0.01"]
    found = run("--iris", str(folder), *options, "--report", str(tmp_path / "page.html"))
    assert found.exit_code == 0, found.output
    assert "36 genuine and 540 impostor comparisons, 6 subjects" in found.output
    assert "a person's two eyes, neither genuine nor impostor: 54" in found.stderr
    assert "a person's two eyes, neither genuine nor impostor: 54" in unescape((tmp_path / "page.html").read_text())
    assert "iris codes, 168 bits, 3 rotations, raw distance" in (tmp_path / "page.html").read_text()
    document = json.loads(run("--iris", str(folder), *options, "--json").stdout)
    assert document["codes"]["rule"] == {"bits": 168, "step": 8, "shifts": 3, "norm": "raw", "minimum_bits": 20}
    assert document["excluded"] == {"other_eye": 54}


def test_a_folder_is_compared_as_codes_without_being_told(tmp_path: Path) -> None:
    found = run(str(write(tmp_path / "codes", NAMES, *codes_of(NAMES))), "--shifts", "3", "--json")
    assert json.loads(found.stdout)["codes"]["n_templates"] == 36
