"""A table keyed by path brings conditions, consent, roles and people to a folder of faces."""

from pathlib import Path

import pytest

from cv_quality.drops.conditions import with_conditions
from cv_quality.drops.importers.sample_drops import write_samples
from cv_quality.drops.importers.sample_folders import SampleFolder, read_samples
from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import SUBJECTS, VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.drops.validation import validate_drop
from cv_quality.errors import CvQualityError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import open_store
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.drops.small_drops import png
from cv_quality_tests.modalities import MODALITIES

IMAGES = ("ada/1.png", "ada/2.png", "bob/1.png", "bob/2.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in IMAGES:
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / name).write_bytes(png())
    return tmp_path / "faces"


def read(folder: Path, *lines: str, pattern: str | None = None) -> SampleFolder:
    table = folder.parent / "conditions.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    return read_samples(folder, modality=FACE, table=table, pattern=pattern)


def test_conditions_roles_and_consent_of_a_table_reach_the_tables(folder: Path, tmp_path: Path, lake: Lake) -> None:
    faces = read(
        folder,
        "Path;Light (lx);yaw_deg;consent;role",
        "ada/1.png;10,5;0;yes;reference",
        "ada\\2.png;20,5;30;yes;probe",
        "./bob/1.png;10,5;0;yes;reference",
        "faces/bob/2.png;;30;no;probe",
        "cyd/1.png;1,5;0;yes;probe",
    )
    landing = open_store(str(tmp_path / "landing"))
    drop = write_samples(faces, landing=landing, modality=FACE, build_id="b")
    ingest_drop(landing=landing, lake=lake, drop_id=drop, modalities=MODALITIES)
    schema = DropSchema(with_conditions(FACE, faces.conditions.declared))
    assert validate_drop(landing=landing, lake=lake, drop_id=drop, schema=schema).rows_rejected == 0
    key = TableKey(drop=drop)
    attempts = lake.read(VALIDATED_ATTEMPTS, key)
    assert attempts.select("frame", "light_lx", "yaw_deg").rows() == [("ada/2.png", 20.5, 30), ("bob/2.png", None, 30)]
    assert lake.read(VALIDATED_ENROLS, key)["frame"].to_list() == ["ada/1.png", "bob/1.png"]
    assert lake.read(SUBJECTS, key).select("subject_id", "has_image_consent").rows() == [("ada", True), ("bob", False)]
    assert [(item.name, item.reason) for item in faces.unusable] == [("cyd/1.png", "no_such_picture")]


def test_people_of_a_table_are_told_apart_by_their_text(folder: Path) -> None:
    faces = read(folder, "file,subject", *(f"{name},{'07' if 'ada' in name else '7'}" for name in IMAGES))
    assert {face.name: face.subject for face in faces.samples} == dict(zip(IMAGES, ["07", "07", "7", "7"], strict=True))


def test_probes_whose_reference_cannot_be_read_are_left_out_by_name(folder: Path) -> None:
    (folder / "bob/1.png").write_bytes(b"")
    roles = ("reference", "probe", "reference", "probe")
    faces = read(folder, "path,role", *(f"{name},{role}" for name, role in zip(IMAGES, roles, strict=True)))
    assert [(item.name, item.reason) for item in faces.unusable] == [
        ("bob/1.png", "corrupt_image"),
        ("bob/2.png", "no_reference"),
    ]
    assert [face.name for face in faces.samples] == ["ada/1.png", "ada/2.png"]


def test_fields_of_names_become_typed_conditions(folder: Path) -> None:
    faces = read_samples(folder, modality=FACE, pattern="{subject}/{yaw_deg:[0-9]+}")
    assert faces.conditions.values == {"yaw_deg": {"ada/1.png": 1, "ada/2.png": 2, "bob/1.png": 1, "bob/2.png": 2}}
    assert not faces.conditions.declared
    lens = read_samples(folder, modality=FACE, pattern="{subject}/{Lens:[0-9]+}").conditions.declared
    assert [(item.name, item.type) for item in lens] == [("lens", "real")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("pth,x", "ada/1.png,1"), "expected a column 'path' .* did you mean pth"),
        (("path,file", "ada/1.png,ada/1.png"), "expected one of the columns 'path' and 'file'"),
        (("path,x", "eve/1.png,1"), "found none among 1 rows, such as 'eve/1.png'"),
        (("path,x", "ada/1.png,1", "./ada/1.png,2"), "found 2 of 'ada/1.png'"),
        (("path,role", "ada/1.png,reference"), "found 3 that are neither: ada/2.png"),
        (("path,role", "ada/1.png,both"), "expected one of reference, .* found 'both'"),
        (("path,consent", "ada/1.png,maybe"), "expected one of yes, .* found 'maybe'"),
        (("path,subject", "ada/1.png,eve"), "found 3 without: ada/2.png"),
        (("path,yaw_deg", "ada/1.png,200"), "ada/1.png: .* expected a number from -90 to 90, found 200"),
        (("path,device_id", "ada/1.png,x"), "'device_id' is named like a column that every drop has"),
        (("path,illuminance_band", "ada/1.png,x"), "a condition 'illuminance_band' of its own"),
        (("path,Light,light", "ada/1.png,1,2"), "'Light' and 'light' would both be condition 'light'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(folder: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(CvQualityError, match=words):
        read(folder, *lines)


@pytest.mark.parametrize(
    "form",
    [
        "/data/study/{name}",
        "C:\\study\\{name}",
        "file:///data/study/{name}",
        "'{name}'",
        "{stem}",
        "{upper}",
        "study/{stem}.jpg",
    ],
)
def test_paths_of_another_place_or_form_name_their_picture(folder: Path, form: str) -> None:
    rows = [
        f"{form.format(name=name, stem=name.removesuffix('.png'), upper=name.upper())},{number}"
        for number, name in enumerate((*IMAGES, "cyd/9.png"))
    ]
    found = read(folder, "path,lux", *rows)
    assert found.conditions.values["lux"] == {name: number for number, name in enumerate(IMAGES)}
    assert [item.reason for item in found.unusable] == ["no_such_picture"]


def test_a_file_name_alone_names_a_picture_if_no_other_is_called_so(folder: Path) -> None:
    (folder / "bob" / "3.png").write_bytes(png())
    found = read(folder, "path,lux", "3.png,3", "1.png,1")
    assert found.conditions.values["lux"] == {"bob/3.png": 3}
    assert [item.name for item in found.unusable] == ["1.png"]
    assert "paths found without their suffix, case or folder: 1" in found.notes
    with pytest.raises(CvQualityError, match="found none among 1 rows"):
        read(folder, "path,lux", "cyd/3.png,3")


def test_cells_are_missing_where_the_command_says_so(folder: Path) -> None:
    table = folder.parent / "conditions.csv"
    table.write_text("path,eyewear\nada/1.png,none\nada/2.png,glasses\n")
    kept, missing = (read_samples(folder, modality=FACE, table=table, missing=tokens) for tokens in ((), ("none",)))
    assert kept.conditions.values["eyewear"] == {"ada/1.png": "none", "ada/2.png": "glasses"}
    assert missing.conditions.values["eyewear"] == {"ada/2.png": "glasses"}
