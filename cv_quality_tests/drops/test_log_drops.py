"""One import makes a drop for each build, site and day, and names that no drop can have become pseudonyms."""

import json
from pathlib import Path

import pytest

from cv_quality.drops.importers.pseudonyms import read_key
from cv_quality.drops.manifest import read_manifest
from cv_quality.errors import MappingError
from cv_quality_tests.drops.foreign_logs import (
    FIELDS,
    HEAD,
    ROW,
    drop_of,
    events,
    import_bytes,
    lines,
    listed,
    mapping_of_docs,
)
from cv_quality_tests.drops.small_drops import Site

PLACES = "build: {column: fw}\nsite: {column: lab}\n"
KINDS = "kind: {column: what, levels: {V: attempt, E: enrol, S: subject, D: device}}\n"


def row(fw: str | None = "b1", lab: str | None = "x", **more: object) -> dict[str, object]:
    return {**ROW, "fw": fw, "lab": lab, "what": "V", **more}


def test_a_study_of_many_builds_and_sites_is_one_import(site: Site) -> None:
    rows = [row(f"b{n % 12}", f"lab {n // 12 % 5}", who=f"p{n % 7}") for n in range(240)]
    found = import_bytes(site, {"log": lines(*rows)}, PLACES + FIELDS)
    assert (found.rows, found.written, len(found.drops)) == (240, 240, 60)
    assert {counts["attempt"] for counts in found.drops.values()} == {4}
    manifest = read_manifest(site.landing, "2026-09-01_b7_lab-3")
    assert (manifest.build_id, manifest.site) == ("b7", "lab 3")
    assert events(site, "2026-09-01_b7_lab-3").height == 4


def test_the_study_of_the_docs_has_a_drop_a_day(site: Site) -> None:
    times = {day: f"2026-09-0{day}T12:00:00Z" for day in (1, 2)}
    rows = [{"time": times[1], "user": "p1", "phone": "d1", "firmware": "R12", "lab": "x", "event": "ENROLL"}]
    rows += [{**rows[0], "time": times[day], "firmware": "R13", "event": "VERIFY"} for day in (1, 2, 2)]
    found = import_bytes(site, {"log": lines(*rows)}, mapping_of_docs("is one command:"))
    assert {drop: dict(counts) for drop, counts in found.drops.items()} == {
        f"2026-09-0{day}_face-1.1_x": {"subject": 1, "device": 1, "enrol": 1, "attempt": day} for day in (1, 2)
    }
    assert events(site, "2026-09-02_face-1.1_x")["reference_id"].to_list() == ["p1", "p1"]


def test_every_drop_repeats_what_its_attempts_name(site: Site) -> None:
    """An enrolment of the same build goes before that of another one; what nobody names goes to the first drop."""
    rows = [
        row(None, None, what="S", at=None, sex="female"),
        row(None, None, what="S", at=None, who="p9", sex="male"),
        row(None, None, what="D", at=None, model="m1"),
        row("b1", "x", what="E", at="2026-09-01T10:00:00Z", ref="r1"),
        row("b2", "x", what="E", at="2026-09-01T11:00:00Z", ref="r1"),
        row("b1", "x", ref="r1"),
        row("b2", "y", ref="r1"),
        row("b3", "y", ref="r1"),
        row("b3", "y", ref=None),
    ]
    fields = FIELDS + "  reference_id: ref\n  sex: sex\n  device_model: model\n"
    found = import_bytes(site, {"log": lines(*rows)}, PLACES + KINDS + fields)
    drops = {name: dict(counts) for name, counts in found.drops.items()}
    base = {"subject": 1, "device": 1, "enrol": 1, "attempt": 1}
    assert drops == {
        "2026-09-01_b1_x": {**base, "subject": 2},
        "2026-09-01_b2_y": base,
        "2026-09-01_b3_y": {**base, "attempt": 2},
    }
    hours = [events(site, name, "enrol")["occurred_at"].dt.hour().item() for name in drops]
    assert hours == [10, 11, 10]
    assert {events(site, name, "subject").filter(subject_id="p1")["sex"].item() for name in drops} == {"female"}
    assert {events(site, name, "device")["device_model"].item() for name in drops} == {"m1"}


def test_a_drop_declares_the_conditions_that_it_has(site: Site) -> None:
    conditions = "conditions: {glass: {column: g, type: real}}\n"
    found = import_bytes(site, {"log": lines(row(g=1.5), row("b2", g=None))}, PLACES + FIELDS + conditions)
    assert [len(read_manifest(site.landing, drop).conditions) for drop in found.drops] == [1, 0]


def test_a_row_without_build_or_of_an_unknown_one_is_set_aside(site: Site) -> None:
    rows = [row(), row("b11"), row(None), row(lab="")]
    found = import_bytes(site, {"log": lines(*rows)}, PLACES + FIELDS, builds=["b1", "b2"])
    assert (found.written, found.reasons) == (1, {"unknown_build": 1, "missing_field": 2})
    assert "a build of the model registry (b1, b2), found b11" in str(listed(found)[0]["detail"])


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (PLACES + "drop: '{date}_{build}'\n" + FIELDS, "would be the name of two"),
        (PLACES + FIELDS, "would be the name of two"),
        (PLACES.replace("fw", "firm") + FIELDS, "'firm': expected a value in some row"),
        (PLACES.replace("{column: lab}", "{colum: lab}") + FIELDS, "did you mean column"),
    ],
)
def test_places_that_cannot_be_drops_write_nothing(site: Site, mapping: str, words: str) -> None:
    with pytest.raises(MappingError, match=words):
        import_bytes(site, {"log": lines(row(lab="a b"), row(lab="a-b"))}, mapping)
    assert not site.landing.list()


NAMES = ["Ada Lovelace", "ada@example.org", "李小龍", "p-7", "Zoe\u0308", "Zo\u00eb", "<private>"]


def test_names_that_are_no_ids_become_pseudonyms(site: Site) -> None:
    rows = [{**ROW, "who": name, "phone": "Ada's phone"} for name in NAMES]
    found = import_bytes(site, {"log": lines(*rows)}, HEAD + FIELDS)
    taken = events(site, drop_of(found))
    key = read_key(site.root / "map.pseudonyms.json")
    assert set(key.people.values()) == {"Ada Lovelace", "ada@example.org", "李小龍", "Zo\u00eb"}
    assert set(taken["subject_id"]) == {"p-7", *key.people}
    assert key.others == {taken["device_id"][0]: "Ada's phone"}
    assert found.reasons == {"missing_field": 1}
    assert (site.root / "map.pseudonyms.json").stat().st_mode & 0o077 == 0


def test_a_person_keeps_the_pseudonym_over_imports(site: Site) -> None:
    log = {"log": lines({**ROW, "who": "Ada Lovelace"}, {**ROW, "who": "p1"})}
    first = import_bytes(site, log, HEAD + FIELDS)
    people = [set(events(site, drop_of(first))["subject_id"])]
    second = import_bytes(site, log, HEAD.replace("site-a", "site-b") + FIELDS)
    people.append(set(events(site, drop_of(second))["subject_id"]))
    assert people[0] == people[1]
    asked = import_bytes(site, log, HEAD.replace("site-a", "site-c") + FIELDS, has_pseudonyms=True)
    assert len(set(events(site, drop_of(asked))["subject_id"]) & people[0]) == 1


def test_no_name_reaches_the_landing_area(site: Site) -> None:
    (site.root / "pictures" / "Ada Lovelace").mkdir(parents=True)
    (site.root / "pictures" / "Ada Lovelace" / "1.pgm").write_bytes(b"P5 2 2 255\n1234")
    rows = [{**ROW, "who": "Ada Lovelace", "img": img} for img in ("Ada Lovelace/1.pgm", "Ada Lovelace/2.pgm")]
    found = import_bytes(site, {"log": lines(*rows)}, HEAD + "frames: {folder: pictures}\n" + FIELDS + "  frame: img\n")
    assert events(site, drop_of(found))["frame"].to_list() == ["image-000000.pgm"]
    assert Path(str(found.quarantine)).parent == site.root
    assert len(listed(found)) == 1
    assert not any(b"Lovelace" in site.landing.read_bytes(item.key) for item in site.landing.list())
    pictures = read_key(site.root / "map.pseudonyms.json").pictures
    assert pictures == {drop_of(found): {"image-000000.pgm": "Ada Lovelace/1.pgm"}}


def test_models_and_species_keep_their_words(site: Site) -> None:
    rows = [{**ROW, "model": "Pixel 8 Pro", "kind": "printed photo"}, {**ROW, "phone": "d2", "model": "A54"}]
    fields = FIELDS + "  device_model: model\n  presentation: kind\n"
    found = import_bytes(site, {"log": lines(*rows[:1])}, HEAD + fields)
    assert events(site, drop_of(found), "device")["device_model"].to_list() == ["Pixel-8-Pro"]
    assert events(site, drop_of(found))["presentation"].to_list() == ["printed-photo"]
    assert "Pixel 8 Pro is written Pixel-8-Pro" in found.notes


def test_a_word_for_no_attack_is_what_the_levels_say(site: Site) -> None:
    rows = [{**ROW, "kind": word} for word in ("none", "printed photo")]
    rule = "  presentation: {column: kind, levels: {none: bona_fide, printed photo: print}}\n"
    found = import_bytes(site, {"log": lines(*rows)}, HEAD + FIELDS + rule)
    assert events(site, drop_of(found))["presentation"].to_list() == ["bona_fide", "print"]
    without = import_bytes(site, {"log": lines(*rows)}, HEAD + FIELDS + "  presentation: kind\n")
    assert without.reasons == {"missing_field": 1}


def test_models_that_would_be_written_alike_are_refused(site: Site) -> None:
    rows = [{**ROW, "model": model} for model in ("Pixel 8", "Pixel-8")]
    with pytest.raises(MappingError, match="would both be 'Pixel-8'"):
        import_bytes(site, {"log": lines(*rows)}, HEAD + FIELDS + "  device_model: model\n")
    assert not site.landing.list()


def test_a_key_that_is_none_is_refused_before_anything_is_written(site: Site) -> None:
    (site.root / "map.pseudonyms.json").write_text(json.dumps({"people": 3}))
    with pytest.raises(Exception, match="expected the key of pseudonyms"):
        import_bytes(site, {"log": lines(ROW)})
    assert not site.landing.list()
