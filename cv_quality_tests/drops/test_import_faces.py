"""Foreign folders of faces become drops that are taken in without a loss."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cv_quality.cli import main
from cv_quality.drops.frames import FrameReader
from cv_quality.drops.images import decode_image
from cv_quality.drops.importers.folders import list_pictures
from cv_quality.drops.importers.pictures import orientation, upright
from cv_quality.drops.importers.sample_drops import write_samples
from cv_quality.drops.importers.sample_folders import read_samples
from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.tables import FRAME_INDEX, VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.drops.validation import validate_drop
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


def noise(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def encoded(format_: str, pixels: NDArray[np.uint8], *, orientation: int | None = None) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, format_, exif=exif)
    return file.getvalue()


def taken_in(landing: Store, lake: Lake, drop_id: str) -> TableKey:
    assert ingest_drop(landing=landing, lake=lake, drop_id=drop_id, modalities=MODALITIES).rows_quarantined == 0
    assert validate_drop(landing=landing, lake=lake, drop_id=drop_id, schema=FACES).rows_rejected == 0
    return TableKey(drop=drop_id)


def imported(tmp_path: Path, *arguments: str) -> Result:
    command = ["import", "faces", str(tmp_path / "faces"), "--build", "face-1.0", *arguments]
    return CliRunner(env={"CVQ_HOME": str(tmp_path / "home")}).invoke(main, command)


def test_the_command_says_what_it_understood_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces", "ann lee/1/1.100.png", "ann lee/2/2.100.png", "bo/1/1.7.png", "bo/Thumbs.db")
    (folder / "bo/1/1.8.png").write_bytes(b"")
    said = imported(tmp_path, "--dry-run")
    assert "2 people, 3 images, 3 sessions: a folder a person, with folders of sessions or videos in it" in said.stdout
    assert "passed over: 1 leftover of file systems, bo/Thumbs.db" in said.stdout
    assert "bo/1/1.8.png: corrupt_image, the file is empty" in said.stdout
    assert "people get pseudonyms" in said.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["faces"]
    assert not list((tmp_path / "home").rglob("manifest.json"))


def test_key_and_list_are_kept_where_the_command_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces", "ann lee/1.png", "bo/1.png")
    (folder / "bo/2.png").write_bytes(b"")
    (tmp_path / "mine").mkdir()
    imported(tmp_path, "--keep", str(tmp_path / "mine"))
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"faces.pseudonyms.json", "faces.unusable.csv"}
    assert {path.name for path in tmp_path.iterdir()} == {"faces", "home", "mine"}


def test_the_command_gives_one_json_document_of_what_it_imported(tmp_path: Path) -> None:
    write(tmp_path / "faces", "ann_dark_1.png", "ann_lit_2.png", "bo_dark_1.png")
    document = json.loads(imported(tmp_path, "--pattern", "{subject}_{light}_{n}", "--json").stdout)
    assert document == [
        {
            "drop": "2000-01-01_face-1.0_faces",
            "layout": "names of the form {subject}_{light}_{n}",
            "people": 2,
            "images": 3,
            "sessions": 0,
            "conditions": ["light"],
            "leftovers": 0,
            "links": [],
            "others": [],
            "unusable": [],
        }
    ]
    assert list((tmp_path / "home").rglob("2000-01-01_face-1.0_faces/manifest.json"))


def test_a_folder_per_person_pairs_all_images(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "s1/1.png", "s1/2.png", "s1/10.png", "s2/1.png")
    (folder / "README").write_text("about")
    key = taken_in(
        landing,
        lake,
        write_samples(read_samples(folder, modality=FACE), landing=landing, modality=FACE, build_id="face-1.0"),
    )
    attempts = lake.read(VALIDATED_ATTEMPTS, key)
    assert attempts["frame"].to_list() == ["s1/1.png", "s1/2.png", "s1/10.png", "s2/1.png"]
    assert attempts["subject_id"].to_list() == ["s1", "s1", "s1", "s2"]
    assert attempts["reference_id"].null_count() == 4
    assert lake.read(VALIDATED_ENROLS, key)["reference_id"].n_unique() == 4


def test_the_first_images_of_a_person_make_the_reference(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "s1/1.png", "s1/2.png", "s1/3.png", "s2/1.png")
    drop_id = write_samples(
        read_samples(folder, modality=FACE),
        landing=landing,
        modality=FACE,
        build_id="b",
        protocol="enrolled",
        enrol_first_n=2,
    )
    key = taken_in(landing, lake, drop_id)
    assert lake.read(VALIDATED_ENROLS, key)["frame"].to_list() == ["s1/1.png", "s1/2.png", "s2/1.png"]
    assert lake.read(VALIDATED_ATTEMPTS, key)["reference_id"].to_list() == ["reference-s1"]


def test_file_names_give_person_and_condition(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "p1.glasses.png", "p1.noglasses.gif", "p2.sad", "p2.sunglasses")
    key = taken_in(
        landing, lake, write_samples(read_samples(folder, modality=FACE), landing=landing, modality=FACE, build_id="b")
    )
    attempts = lake.read(VALIDATED_ATTEMPTS, key)
    assert attempts["condition_label"].to_list() == ["glasses", "noglasses", "sad", "sunglasses"]
    assert attempts["eyewear"].to_list() == ["glasses", "none", None, "sunglasses"]


def test_an_image_that_cannot_be_read_is_named_and_no_part_of_the_drop(
    tmp_path: Path, landing: Store, lake: Lake
) -> None:
    folder = write(tmp_path / "faces", "s1/1.png", "s1/2.png", "s2/1.png")
    (folder / "s1/cut.jpg").write_bytes(encoded("JPEG", noise(200))[:-200])
    (folder / "s1/empty.jpg").write_bytes(b"")
    (folder / "s2/page.jpg").write_bytes(b"<!DOCTYPE html><title>404</title>")
    (folder / "s2/phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "s2/phone.webp").write_bytes(encoded("WEBP", noise(20)))
    faces = read_samples(folder, modality=FACE)
    key = taken_in(landing, lake, write_samples(faces, landing=landing, modality=FACE, build_id="b"))
    expected = {
        "s1/cut.jpg": "cannot be decoded",
        "s1/empty.jpg": "the file is empty",
        "s2/page.jpg": "a web page, saved in place of the picture",
        "s2/phone.HEIC": "a HEIC, AVIF or video file: convert it",
        "s2/phone.webp": "a WebP image: convert it",
    }
    assert [item.name for item in faces.unusable] == list(expected)
    assert all(expected[item.name] in item.detail for item in faces.unusable)
    assert lake.read(VALIDATED_ATTEMPTS, key)["frame"].to_list() == ["s1/1.png", "s1/2.png", "s2/1.png"]
    listed = (tmp_path / "faces.unusable.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in listed[1:]] == [item.name for item in faces.unusable]


def test_a_photograph_is_turned_as_its_exif_says(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "s1/1.png", "s2/1.png")
    pixels = noise(40)[:, :24]
    (folder / "s1/png6.png").write_bytes(encoded("PNG", pixels, orientation=6))
    (folder / "s1/photo6.jpg").write_bytes(encoded("JPEG", pixels, orientation=6))
    faces = read_samples(folder, modality=FACE)
    drop = write_samples(faces, landing=landing, modality=FACE, build_id="b")
    frames = lake.read(FRAME_INDEX, taken_in(landing, lake, drop))
    names = ["s1/png6.png.upright.png", "s1/photo6.jpg.upright.png"]
    images = dict(FrameReader(landing, drop, frames).read(names))
    assert (decode_image(images[names[0]]) == np.rot90(pixels, -1)).all()
    assert decode_image(images[names[1]]).shape == (24, 40, 3)


@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(value: int) -> None:
    data = encoded("PNG", noise(40)[:, :24], orientation=value)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (decode_image(upright(data) if orientation(data) > 1 else data) == expected).all()


def test_what_file_systems_leave_is_passed_over_and_counted(tmp_path: Path) -> None:
    left = (".DS_Store", "@eaDir/ada/1.jpg", "__MACOSX/ada/._1.jpg", "ada/Thumbs.db", "ada/desktop.ini", "ada/._1.jpg")
    folder = write(tmp_path / "faces", "ada/1.jpg", "bob/1.jpg", *left, "notes.txt")
    files = list_pictures(folder)
    assert files.pictures == ("ada/1.jpg", "bob/1.jpg")
    assert set(files.leftovers) == set(left)
    assert files.others == ("notes.txt",)


def test_what_may_not_be_meant_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces", "Ada/1.png", "ada/2.png", "bob/3.png", "bob (1)/4.png", "07/5.png", "7/6.png")
    (folder / "cyd").symlink_to(folder / "ada")
    (folder / "bob" / "gone.png").symlink_to(folder / "nowhere.png")
    found = read_samples(folder, modality=FACE)
    said = "\n".join(found.notes)
    for names in ("'Ada' and 'ada'", "'bob' and 'bob (1)'", "'07' and '7'"):
        assert f"names that are nearly alike are different people: {names}" in said
    assert "the same image, pixel for pixel, is of several people (1): 07/5.png and 7/6.png" in said
    assert "links to folders are not followed (1): cyd" in said
    assert "one image of each person" in said
    assert [(item.name, item.reason) for item in found.unusable] == [("bob/gone.png", "unreadable_file")]


@pytest.mark.parametrize("name", ["1.CR2", "1.jxl", "1.tga", "heic", "webp", "tiff"])
def test_pictures_that_no_drop_takes_are_listed_by_name(tmp_path: Path, name: str) -> None:
    starts = {"heic": b"\0\0\0\x18ftypheic", "webp": b"RIFF\0\0\0\0WEBP", "tiff": b"II*\0\x08\0\0\0"}
    folder = write(tmp_path / "faces", "ada/1.png", "bob/1.png")
    (folder / "ada" / name).write_bytes(starts.get(name, b"\1\2\3\4"))
    assert [item.name for item in read_samples(folder, modality=FACE).unusable] == [f"ada/{name}"]


def test_people_with_names_of_any_script_get_pseudonyms(tmp_path: Path, landing: Store, lake: Lake) -> None:
    folder = write(tmp_path / "faces", "José Pérez/1.png", "José Pérez/2.png", "王芳/1.png", "ann/1.png")
    drops = [
        write_samples(read_samples(folder, modality=FACE), landing=landing, modality=FACE, build_id=build)
        for build in ("b1", "b2")
    ]
    subjects = [lake.read(VALIDATED_ATTEMPTS, taken_in(landing, lake, drop))["subject_id"].to_list() for drop in drops]
    key_file = tmp_path / "faces.pseudonyms.json"
    key = json.loads(key_file.read_bytes())
    assert subjects[0] == subjects[1]
    assert Counter(key["people"][subject] for subject in subjects[0]) == {"José Pérez": 2, "王芳": 1, "ann": 1}
    assert key_file.stat().st_mode & 0o777 == 0o600
    delivered = b"".join(landing.read_bytes(info.key) for info in landing.list(f"{drops[0]}/"))
    assert not any(name.encode() in delivered for name in ("José", "王芳", "ann/"))


@pytest.mark.parametrize(
    ("archive", "people", "images"),
    [("face_orl_att", 39, 390), ("face_orl_lowres23x28", 40, 400), ("face_yale_a", 15, 165)],
)
def test_public_face_data_is_taken_in_whole(
    shared_data: Callable[[str], Path], landing: Store, lake: Lake, archive: str, people: int, images: int
) -> None:
    folder = shared_data(archive)
    drop_id = write_samples(read_samples(folder, modality=FACE), landing=landing, modality=FACE, build_id="face-1.0")
    key = taken_in(landing, lake, drop_id)
    attempts = lake.read(VALIDATED_ATTEMPTS, key)
    assert (attempts["subject_id"].n_unique(), attempts.height) == (people, images)
    frame = lake.read(FRAME_INDEX, key).row(0, named=True)
    shard = landing.read_bytes(f"{drop_id}/{frame['shard']}")
    image = shard[frame["byte_offset"] :][: frame["byte_count"]]
    assert image == (folder / frame["frame"]).read_bytes()
