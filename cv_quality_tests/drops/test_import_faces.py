"""Foreign folders of faces become drops that are taken in without a loss."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cv_quality.drops.importers.faces import import_faces
from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.tables import FRAME_INDEX, QUARANTINE_PARSE, VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.drops.validation import validate_drop
from cv_quality.errors import DropError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store, open_store
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.drops.small_drops import FACES, png
from cv_quality_tests.modalities import MODALITIES


@pytest.fixture
def landing(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "landing"))


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png())
    return folder


def taken_in(landing: Store, lake: Lake, drop_id: str) -> TableKey:
    assert ingest_drop(landing=landing, lake=lake, drop_id=drop_id, modalities=MODALITIES).rows_quarantined == 0
    assert validate_drop(landing=landing, lake=lake, drop_id=drop_id, schema=FACES).rows_rejected == 0
    return TableKey(drop=drop_id)


def test_a_folder_per_person_pairs_all_images(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "s1/1.png", "s1/2.png", "s1/10.png", "s2/1.png")
    (folder / "README").write_text("about")
    key = taken_in(landing, lake, import_faces(folder, landing=landing, modality=FACE, build_id="face-1.0"))
    attempts = lake.read(VALIDATED_ATTEMPTS, key)
    assert attempts["frame"].to_list() == ["s1/1.png", "s1/2.png", "s1/10.png", "s2/1.png"]
    assert attempts["subject_id"].to_list() == ["s1", "s1", "s1", "s2"]
    assert attempts["reference_id"].null_count() == 4
    assert lake.read(VALIDATED_ENROLS, key)["reference_id"].n_unique() == 4


def test_the_first_images_of_a_person_make_the_reference(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "s1/1.png", "s1/2.png", "s1/3.png", "s2/1.png")
    drop_id = import_faces(folder, landing=landing, modality=FACE, build_id="b", protocol="enrolled", enrol_first_n=2)
    key = taken_in(landing, lake, drop_id)
    assert lake.read(VALIDATED_ENROLS, key)["frame"].to_list() == ["s1/1.png", "s1/2.png", "s2/1.png"]
    assert lake.read(VALIDATED_ATTEMPTS, key)["reference_id"].to_list() == ["reference-s1"]


def test_file_names_give_person_and_condition(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "p1.glasses.png", "p1.noglasses.gif", "p2.sad", "p2.sunglasses")
    key = taken_in(landing, lake, import_faces(folder, landing=landing, modality=FACE, build_id="b"))
    attempts = lake.read(VALIDATED_ATTEMPTS, key)
    assert attempts["condition_label"].to_list() == ["glasses", "noglasses", "sad", "sunglasses"]
    assert attempts["eyewear"].to_list() == ["glasses", "none", None, "sunglasses"]


def test_a_damaged_image_is_accounted_for_when_the_drop_is_taken_in(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "s1/1.png", "s1/2.png")
    (folder / "s1/2.png").write_bytes(png()[:30])
    drop_id = import_faces(folder, landing=landing, modality=FACE, build_id="b")
    ingest_drop(landing=landing, lake=lake, drop_id=drop_id, modalities=MODALITIES)
    rejected = validate_drop(landing=landing, lake=lake, drop_id=drop_id, schema=FACES).rejected
    assert lake.read(QUARANTINE_PARSE, TableKey(drop=drop_id))["reason"].to_list() == ["corrupt_image"]
    assert rejected["attempt"] == rejected["enrol"] == {"missing_frame": 1}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "expected face images, found none"),
        (("s1/1.png", "loose.png"), "found 'loose.png' outside"),
        (("s 1/1.png",), "rename the folder or file"),
    ],
)
def test_a_folder_of_another_shape_is_refused(
    tmp_path: Path, landing: Store, names: tuple[str, ...], words: str
) -> None:
    folder = write(tmp_path / "faces", *names)
    with pytest.raises(DropError, match=words):
        import_faces(folder, landing=landing, modality=FACE, build_id="b")


@pytest.mark.parametrize(
    ("archive", "people", "images"),
    [("face_orl_att", 39, 390), ("face_orl_lowres23x28", 40, 400), ("face_yale_a", 15, 165)],
)
def test_public_face_data_is_taken_in_whole(
    shared_data: Callable[[str], Path], landing: Store, lake: Lake, archive: str, people: int, images: int
) -> None:
    folder = shared_data(archive)
    drop_id = import_faces(folder, landing=landing, modality=FACE, build_id="face-1.0")
    key = taken_in(landing, lake, drop_id)
    attempts = lake.read(VALIDATED_ATTEMPTS, key)
    assert (attempts["subject_id"].n_unique(), attempts.height) == (people, images)
    frame = lake.read(FRAME_INDEX, key).row(0, named=True)
    shard = landing.read_bytes(f"{drop_id}/{frame['shard']}")
    image = shard[frame["byte_offset"] :][: frame["byte_count"]]
    assert image == (folder / frame["frame"]).read_bytes()
