"""Who is who is taken from names that prove it, and asked for where another reading gives other people."""

from pathlib import Path

import pytest

from cv_quality.drops.importers.layouts import read_layout
from cv_quality.errors import DropError

ROOT = Path("faces")


def people(*names: str, pattern: str | None = None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for face in read_layout(ROOT, names, layout="auto", pattern=pattern).samples:
        found.setdefault(face.subject, []).append(face.session)
    return found


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("s1/1.pgm", "s1/2.pgm", "s2/1.pgm"), {"s1": 2, "s2": 1}),
        (("Ann_Lee/Ann_Lee_0001.jpg", "Bo/Bo_0001.jpg"), {"Ann_Lee": 1, "Bo": 1}),
        (("lfw/Ann_Lee/Ann_Lee_0001.jpg", "lfw/Bo/Bo_0001.jpg"), {"Ann_Lee": 1, "Bo": 1}),
        (
            ("ada/PXL_20240100_1200.MP.jpg", "ada/PXL_20240101_1200.NIGHT.jpg", "bob/PXL_1.MP.jpg"),
            {"ada": 2, "bob": 1},
        ),
        (("ada/frame.0001.png", "bob/frame.0001.png"), {"ada": 1, "bob": 1}),
        (("Ada/0/0.100.jpg", "Ada/1/1.100.jpg", "Bob/0/0.100.jpg"), {"Ada": 2, "Bob": 1}),
        (("id001/s1/001.png", "id001/s2/001.png", "id002/s1/001.png"), {"id001": 2, "id002": 1}),
        (("id10001/1zcIwhmdeo4/00001/01.jpg", "id10002/7gWzIy6yIIk/00001/01.jpg"), {"id10001": 1, "id10002": 1}),
        (("ada/session1/1.png", "bob/session1/1.png", "bob/session2/1.png"), {"ada": 1, "bob": 2}),
        (("ada/2024-03-01/1.png", "bob/2024-03-01/1.png"), {"ada": 1, "bob": 1}),
        (("train/n000002/0001_01.jpg", "test/n000009/0001_01.jpg"), {"n000002": 1, "n000009": 1}),
        (("y/p1.happy.jpeg", "y/p1.sad.jpeg", "y/p2.happy.jpeg"), {"p1": 2, "p2": 1}),
    ],
)
def test_a_layout_that_names_prove_is_taken(names: tuple[str, ...], expected: dict[str, int]) -> None:
    assert {person: len(sessions) for person, sessions in people(*names).items()} == expected


@pytest.mark.parametrize(
    "names",
    [
        ("ada/front/1.png", "bob/front/1.png"),
        ("ada/0/1.png", "bob/0/1.png"),
        ("train/ada/1.png", "test/ada/2.png"),
        ("train/id1/1.png", "test/id1/1.png"),
        ("asia/s1/1.png", "europe/s2/1.png"),
        ("train/0/0.100.jpg", "test/0/0.200.jpg"),
        ("ada/1.png", "asia/bob/1.png"),
        ("all/ada_1.png", "all/bob_1.png"),
        ("session1/ada.png", "session2/ada.png"),
        ("train/ada.png", "test/bob.png"),
        ("bright/ada.png", "dark/ada.png"),
        ("ada_1.png", "bob_1.png"),
        ("012345_0M41.jpg", "012345_1M43.jpg", "012346_0M41.jpg"),
        ("loose_crop/1.png", "loose_crop/2.png"),
        ("ada/1.png", "ada/2.png"),
        ("s01_glasses/1.png", "s01_plain/1.png", "s02_glasses/1.png", "s02_plain/1.png"),
        ("Ada Lee-day/1.png", "Ada Lee-night/1.png", "Bo-day/1.png", "Bo-night/1.png"),
    ],
)
def test_names_that_can_be_read_in_two_ways_are_refused_with_both(names: tuple[str, ...]) -> None:
    with pytest.raises(DropError, match="say it:\n  --pattern") as refusal:
        people(*names)
    patterns = [line.split('"')[1] for line in str(refusal.value).splitlines()[1:] if "--pattern" in line]
    readings = [people(*names, pattern=pattern) for pattern in patterns]
    assert len({str(reading) for reading in readings}) == len(readings)


@pytest.mark.parametrize("folder", ["unknown", "_unsorted", "Others", "distractors"])
def test_folders_of_nobody_in_particular_are_no_person(folder: str) -> None:
    with pytest.raises(DropError, match=f"folders called {folder} hold pictures of nobody in particular"):
        people("ada/1.png", "bob/1.png", f"{folder}/1.png")


def test_images_outside_of_folders_are_refused() -> None:
    with pytest.raises(DropError, match=r"found 'loose.png' outside"):
        people("s1/1.png", "loose.png")


def test_a_pattern_names_the_parts_of_a_name() -> None:
    faces = read_layout(
        ROOT, ["Ann_dark_01.jpg", "bo_lit_2.jpg"], layout="auto", pattern="{subject}_{light}_{n}"
    ).samples
    assert [(face.subject, face.fields) for face in faces] == [("Ann", {"light": "dark"}), ("bo", {"light": "lit"})]


def test_a_pattern_of_a_path_names_session_and_role() -> None:
    face = read_layout(ROOT, ["probe/ada/s1/7.jpg"], layout="auto", pattern="{role}/{subject}/{session}/{n}").samples[0]
    assert (face.role, face.subject, face.session) == ("probe", "ada", "s1")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (
            "{subject}_{light}_{n}",
            "'Ann_Lee_dark_1.jpg' fits .* in two ways, subject 'Ann_Lee', light 'dark' and ",
        ),
        ("{subject}-{n}", "found 2 of 2 that are not: 'Ann_Lee_dark_1.jpg'"),
        ("{light}_{n}", "found no {subject}"),
        ("{subject}_{subject}", "found {subject} twice"),
        ("{subject}_{", "braces that hold no field"),
        ("{subject:[}_{n}", "'\\[', which is no regular expression"),
    ],
)
def test_a_pattern_that_does_not_tell_who_is_who_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(DropError, match=words):
        people("Ann_Lee_dark_1.jpg", "Bo_dark_1.jpg", pattern=pattern)


def test_a_field_may_say_what_it_holds() -> None:
    found = people("Ann_Lee_dark_1.jpg", "Bo_bright_1.jpg", pattern="{subject}_{light:dark|bright}_{n}")
    assert set(found) == {"Ann_Lee", "Bo"}
