"""Foreign folders of irises become drops: whose eye, which one, and which sample; nothing merges in silence."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.drops.importers.iris_names import read_eyes
from cv_quality.drops.importers.sample_drops import write_samples
from cv_quality.drops.importers.sample_folders import SampleFolder, read_samples
from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.drops.validation import validate_drop
from cv_quality.errors import DropError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store, open_store
from cv_quality.tasks.verification.modalities.iris import IRIS
from cv_quality_tests.drops.eyes import strip

ROOT = Path("irises")
CASIA = ("001/L/S1001L01.png", "001/R/S1001R01.png", "002/L/S1002L01.png", "002/R/S1002R02.png")


@pytest.fixture
def landing(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "landing"))


def eyes_of(names: list[str], pattern: str | None = None) -> list[tuple[str, str, str]]:
    reading = read_eyes(ROOT, names, layout="auto", pattern=pattern)
    return [(sample.subject, sample.eye, sample.sample) for sample in reading.samples]


def write(folder: Path, *names: str, width: int = 64) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(strip(number, width=width))
    return folder


def read(folder: Path, table: str | None = None, **options: Any) -> SampleFolder:
    path = folder.parent / "table.csv"
    if table is not None:
        path.write_text(table)
    return read_samples(folder, modality=IRIS, table=None if table is None else path, **options)


def taken_in(landing: Store, lake: Lake, drop_id: str) -> TableKey:
    modalities = {"iris": IRIS}
    assert ingest_drop(landing=landing, lake=lake, drop_id=drop_id, modalities=modalities).rows_quarantined == 0
    assert validate_drop(landing=landing, lake=lake, drop_id=drop_id, schema=DropSchema(IRIS)).rows_rejected == 0
    return TableKey(drop=drop_id)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["001_1.png", "001_2.png", "002_1.png"], [("001", "unknown", "1"), ("001", "unknown", "2")]),
        (["001/01_L.bmp", "001/06_R.bmp", "002/01_L.bmp"], [("001", "left", "1"), ("001", "right", "6")]),
        (
            ["001/L/S1001L01.jpg", "001/R/S1001R01.jpg", "002/L/S1002L01.jpg"],
            [("001", "left", "1"), ("001", "right", "1")],
        ),
        (["1/left/aeval1.bmp", "1/right/aevar1.bmp", "2/left/boal1.bmp"], [("1", "left", "1"), ("1", "right", "1")]),
        (["left/7_1.png", "right/7_1.png", "left/8_1.png"], [("7", "left", "1"), ("7", "right", "1")]),
        (["ada_OD_1.png", "ada_OS_1.png", "bob_OD_1.png"], [("ada", "right", "1"), ("ada", "left", "1")]),
        (["p1/left_eye_2.png", "p1/right-eye-2.png", "p2/left_eye_1.png"], [("p1", "left", "2"), ("p1", "right", "2")]),
        (["001/left.png", "001/right.png", "002/left.png"], [("001", "left", ""), ("001", "right", "")]),
    ],
)
def test_public_names_of_irises_tell_person_eye_and_sample(
    names: list[str], expected: list[tuple[str, str, str]]
) -> None:
    assert eyes_of(names)[:2] == expected


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["left/1_R_1.png", "left/2_L_1.png"], "found 'left' .left. and 'R' .right."),
        (["001/L/S1001R01.jpg", "002/L/S1002L01.jpg"], "found 'L' .left. and 'R' .right."),
        (["img_0001.png", "img_0002.png"], "1 person, img"),
        (["L_Smith_1.png", "M_Jo_1.png", "R_Lee_1.png"], "how, so who is who"),
        (["ann/L_1.png", "bo/x_1.png"], "'ann/L_1.png' may tell an eye, and 'bo/x_1.png' tells none"),
        (["ada_left_1.png", "ada_1.png", "bob_1.png"], "ada_left_1.png .left. beside ada_1.png .unknown."),
        (["001_L.png", "001_R.png", "002_L.png"], 'pattern "{subject}_{eye:.*: 2 people, 001, 002'),
    ],
)
def test_names_that_contradict_or_prove_too_little_are_asked(names: list[str], found: str) -> None:
    with pytest.raises(DropError, match=found):
        eyes_of(names)


def test_a_person_whose_name_is_a_word_for_an_eye_needs_a_pattern() -> None:
    with pytest.raises(DropError, match=r'subject}/\{file\}": 2 people, Od, Os'):
        eyes_of(["Od/1.png", "Os/1.png"])
    assert eyes_of(["Od/1.png", "Os/1.png"], "{subject}/{sample}") == [("Od", "unknown", "1"), ("Os", "unknown", "1")]


def test_a_pattern_says_eye_and_sample_and_must_agree_with_names() -> None:
    assert eyes_of(["a-OD-03.png", "b-l-3.png"], "{subject}-{eye}-{n}") == [("a", "right", "3"), ("b", "left", "3")]
    with pytest.raises(DropError, match=r"found 'OD' .right. and 'left' .left."):
        eyes_of(["left/a-OD-3.png"], "{subject}-{eye}-{n}")
    with pytest.raises(DropError, match=r"expected an eye among left, .* found 'mid'"):
        eyes_of(["a-mid-3.png"], "{subject}-{eye}-{n}")


def test_each_eye_is_its_own_reference_and_both_of_a_moment_one_transaction(
    tmp_path: Path, landing: Store, lake: Lake
) -> None:
    found = read(write(tmp_path / "irises", *CASIA))
    assert (found.n_people, found.n_eyes) == (2, 4)
    assert "moments with both eyes, by sample number: 1" in found.notes
    key = taken_in(landing, lake, write_samples(found, landing=landing, modality=IRIS, build_id="b"))
    attempts = lake.read(VALIDATED_ATTEMPTS, key).sort("event_id")
    assert attempts["eye"].to_list() == ["left", "right"] * 2
    assert [n for _, n in sorted(Counter(attempts["transaction_id"]).items())] == [2, 1, 1]
    enrols = lake.read(VALIDATED_ENROLS, key)
    assert enrols["reference_id"].n_unique() == 4


def test_the_first_images_of_each_eye_are_enrolled(tmp_path: Path, landing: Store, lake: Lake) -> None:
    names = [f"{who}_{eye}_{n}.png" for who in ("1", "2") for eye in "LR" for n in (1, 2, 3)]
    found = read(write(tmp_path / "irises", *names))
    drop = write_samples(found, landing=landing, modality=IRIS, build_id="b", protocol="enrolled", has_pseudonyms=True)
    key = taken_in(landing, lake, drop)
    enrols, attempts = lake.read(VALIDATED_ENROLS, key), lake.read(VALIDATED_ATTEMPTS, key)
    assert sorted(enrols["eye"]) == ["left", "left", "right", "right"]
    assert attempts.height == 8
    eye_of = dict(zip(enrols["reference_id"], enrols["eye"], strict=True))
    assert [eye_of[reference] for reference in attempts["reference_id"]] == attempts["eye"].to_list()


def test_one_image_under_two_people_or_eyes_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "irises", "1_L_1.png", "1_R_1.png", "2_L_1.png", "2_L_2.png")
    (folder / "2_R_1.png").write_bytes((folder / "1_L_1.png").read_bytes())
    with pytest.raises(DropError, match=r"found 1 under several: 1_L_1.png \(1 left\) and 2_R_1.png \(2 right\)"):
        read(folder)


def test_what_may_not_be_meant_of_eyes_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "irises", "a_L_1.png", "a_L_2.png", "A_L_1.png", "b_R_1.png")
    write(folder, "b_R_2.png", width=80)
    (folder / "a_L_3.png").write_bytes((folder / "a_L_2.png").read_bytes())
    said = read(folder).notes
    assert "names that are nearly alike are different people: 'A' and 'a'" in said
    assert "3 of 3 people with one eye only: A, a, b" in said
    assert "the same image of the same eye, which matches in any case (1): a_L_2.png and a_L_3.png" in said
    assert "images of 2 sizes: 64x16 (5), 80x16 (1)" in said
    unknown = read(write(tmp_path / "plain", "1_1.png", "2_1.png")).notes
    assert any(note.startswith("eye not told of 2 images: unknown") for note in unknown)


def test_a_table_says_person_eye_and_sample(tmp_path: Path) -> None:
    folder = write(tmp_path / "irises", "x1.png", "x2.png", "x3.png", "x4.png")
    rows = ["x1.png,7,OS,1,none", "x2.png,7,OD,1,clear", "x3.png,8,OS,1,none", "x4.png,8,OS,2,none"]
    found = read(folder, "\n".join(["file,subject,eye,sample,spectacles", *rows]))
    assert [sample.instance for sample in found.samples] == [
        ("7", "left"),
        ("7", "right"),
        ("8", "left"),
        ("8", "left"),
    ]
    assert found.conditions.values["spectacles"]["x2.png"] == "clear"
    assert "moments with both eyes, by sample number: 1" in found.notes
    with pytest.raises(DropError, match=r"found 'R' .right. and 'L' .left."):
        read(write(tmp_path / "named", "7_L_1.png"), "file,subject,eye\n7_L_1.png,7,R\n")


def test_strips_of_iit_delhi_are_224_irises_of_5(shared_data: Callable[[str], Path]) -> None:
    found = read_samples(shared_data("iris_iitd_normalized"), modality=IRIS)
    assert (found.n_people, found.n_eyes, len(found.samples)) == (224, 224, 1_120)
    assert set(np.unique(list(Counter(sample.subject for sample in found.samples).values()))) == {5}


def test_the_command_says_whose_eyes_it_took(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    entry = (
        "build_id: b\nmodality: iris\nfollows: null\ninput: strip\ncomparison: {shifts: 3}\ndecision_threshold: 0.4\n"
    )
    (tmp_path / "registry" / "b.yaml").write_text(entry)
    environment = {"CVQ_HOME": str(tmp_path / "home"), "CVQ_REGISTRY": str(tmp_path / "registry")}
    command = ["import", "iris", str(write(tmp_path / "irises", *CASIA)), "--build", "b"]
    found = CliRunner().invoke(main, command, env=environment)
    assert found.exit_code == 0, found.output
    assert "2 people, 4 eyes, 4 images: a folder a person" in found.output
    assert "conditions: eye (left, right)" in found.output
    wrong = CliRunner().invoke(main, ["import", "faces", *command[2:]], env=environment)
    assert "--build b: expected a build of modality face, found one of iris" in wrong.output
