"""`cvq study`: a protocol is locked, its subjects are assigned, and what is refused is said in words."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import LocalStore
from cv_quality.tasks.verification.tables import METRIC_COUNTS
from cv_quality_tests.studies.protocols import FILE, RELEASE, changed

Study = Callable[..., Result]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Run `cvq study` in an empty folder that has a protocol."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CVQ_HOME", str(tmp_path / "home"))
    (tmp_path / FILE).write_text(RELEASE)

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["study", *words])

    return run


def people(folder: Path, ages: list[str]) -> None:
    lines = [f"{number:03},{age}" for number, age in enumerate(ages)]
    (folder / "people.csv").write_text("\n".join(["subject_id,age_band", *lines]) + "\n")


SIZED = changed("fmr_cv: 1.0}", "fmr_cv: 1.0, values: {fnmr: 0.03, fnmr_dark: 0.08}}")


def test_a_plan_says_what_it_asks_for_and_what_it_rests_on(study: Study, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(SIZED.replace("pilot: [2026-07-06_face-1.0_site-a], ", ""))
    planned = json.loads(study("plan", FILE, "--json").stdout)
    said = study("plan", FILE, "--report", "plan.html")
    assert said.exit_code == 0
    assert f"enrol {planned['enrolled']:,} subjects, so that {planned['subjects']:,} complete" in said.output
    assert "latency_p95: cannot be sized: nothing says how much it varies" in said.output
    page = (tmp_path / "plan.html").read_text()
    assert f"{planned['enrolled']:,}" in page
    assert all(f'data-chart="chart-{name}"' in page for name in ("power", "cost", "sensitivity"))
    assert "cvq study plan release.yaml --report plan.html" in page


def test_a_pilot_that_was_not_measured_is_told(study: Study) -> None:
    refused = study("plan", FILE)
    assert refused.exit_code == 1
    assert "no drop '2026-07-06_face-1.0_site-a' has been measured, so it is no pilot" in refused.output


def counted(build: str, *, n_errors: int) -> pl.DataFrame:
    """Ten attempts of each of twenty subjects, of whom so many err in every second one."""
    rows = [
        {
            "build_id": build,
            "drop_id": "pilot-1",
            "metric": "frr",
            "dimension": "all",
            "level": "all",
            "subject_id": f"s{number:02}",
            "claimed_subject_id": f"s{number:02}",
            "numerator": 5 if number < n_errors else 0,
            "denominator": 10,
        }
        for number in range(20)
    ]
    return pl.DataFrame(rows)


def test_what_a_pilot_shows_replaces_what_is_assumed(study: Study, tmp_path: Path) -> None:
    lake = Lake(LocalStore(str(tmp_path / "home/lake")))
    for build, n_errors in (("face-1.2", 4), ("face-1.1", 5)):
        lake.write(METRIC_COUNTS, TableKey(build, "pilot-1"), counted(build, n_errors=n_errors))
    text = RELEASE.replace("fnmr_at_fmr, fmr: 1.0e-4, threshold: re_estimated,", "frr,")
    (tmp_path / FILE).write_text(text.replace("fnmr_at_fmr, fmr: 1.0e-4, scope", "frr, scope"))
    said = study("plan", FILE, "--pilot", "pilot-1").output
    assert "frr of the reference 10 %" in said
    assert "the plan rests on: pilot: fnmr 0.1 of 20 subjects, ICC" in said
    assert "correlation of their outcomes 0.86" in said


def test_a_pilot_that_cannot_be_resampled_is_told(study: Study, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(SIZED.replace("pilot: [2026-07-06_face-1.0_site-a], ", ""))
    refused = study("plan", FILE, "--simulate", "5")
    assert refused.exit_code == 2
    assert "--simulate resamples a pilot" in refused.output
    lake = Lake(LocalStore(str(tmp_path / "home/lake")))
    lake.write(METRIC_COUNTS, TableKey("face-1.2", "pilot-1"), counted("face-1.2", n_errors=4))
    said = study("plan", FILE, "--pilot", "pilot-1", "--simulate", "5")
    assert said.exit_code == 0
    assert "fnmr is not resampled: a pilot of one build that follows another is resampled, found none" in said.output
    assert "fnmr_dark is not resampled: only paired FNMR at an FMR of all attempts" in said.output


def test_a_lock_says_what_it_binds(study: Study, tmp_path: Path) -> None:
    drop = tmp_path / "home/landing/2026-07-06_face-1.0_site-a"
    drop.mkdir(parents=True)
    (drop / "manifest.json").write_text("{}")
    locked = json.loads(study("lock", FILE, "--json").stdout)
    assert (locked["study"], locked["lock"], locked["git_commit"], locked["reason"]) == (
        "release-face-1.3",
        1,
        None,
        None,
    )
    assert list(locked["drops"]) == ["2026-07-06_face-1.0_site-a"]
    assert json.loads(study("lock", FILE, "--json").stdout) == locked


def test_a_lock_names_the_commit_of_the_protocols_repository(study: Study, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", FILE], ["commit", "-qm", "protocol"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert json.loads(study("lock", FILE, "--json").stdout)["git_commit"] == head


def test_a_changed_protocol_is_refused_until_it_is_amended(study: Study, tmp_path: Path) -> None:
    study("lock", FILE)
    people(tmp_path, ["60+", "60+"])
    (tmp_path / FILE).write_text(changed("margin: 0.01,", "margin: 0.02,"))
    refused = study("assign", FILE, "--subjects", "people.csv")
    assert refused.exit_code == 1
    assert "endpoints[1].margin: 0.01 to 0.02; restore the file, or amend the study" in refused.output
    assert "--amend REASON" in study("lock", FILE).output
    assert "lock 2" in study("lock", FILE, "--amend", "a wider margin in the dark").output
    assert study("assign", FILE, "--subjects", "people.csv").exit_code == 0


def test_a_sheet_grows_and_is_written_whole(study: Study, tmp_path: Path) -> None:
    study("lock", FILE)
    people(tmp_path, ["60+", "18-29"])
    first = study("assign", FILE, "--subjects", "people.csv", "--csv", "sheet.csv")
    assert "2 added, 2 on the sheet" in first.output
    assert "stratum 18-29: one subject, insufficient to compare anything within it" in first.output
    before = list(csv.DictReader((tmp_path / "sheet.csv").open()))
    people(tmp_path, ["60+", "18-29", *["30-59"] * 50])
    said = study("assign", FILE, "--subjects", "people.csv", "--csv", "sheet.csv", "--report", "sheet.html", "--json")
    rows = list(csv.DictReader((tmp_path / "sheet.csv").open()))
    assert json.loads(said.stdout)["added"] == 50
    assert rows == json.loads(said.stdout)["rows"]
    assert rows[:2] == before
    assert list(rows[0]) == ["subject_id", "stratum", "conditions"]
    page = (tmp_path / "sheet.html").read_text()
    assert all(row["subject_id"] in page for row in rows)
    assert "face-1.3" not in page.partition("<main>")[2].partition("</main>")[0]


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("subject,age_band\na,60+\n", "people.csv: no column 'subject_id'; did you mean subject?"),
        ("subject_id,age_band\na,60+\na,60+\n", "subject 'a' stands twice"),
        ("subject_id,age_band\na,\n", "subject 'a' has no age_band"),
        ("subject_id,age_band\na b,60+\n", "expected a pseudonym"),
    ],
)
def test_a_table_of_subjects_that_does_not_fit_is_told(study: Study, tmp_path: Path, table: str, match: str) -> None:
    study("lock", FILE)
    (tmp_path / "people.csv").write_text(table)
    refused = study("assign", FILE, "--subjects", "people.csv")
    assert refused.exit_code == 1
    assert match in refused.output


def test_a_protocol_that_is_not_there_is_told(study: Study) -> None:
    refused = study("lock", "absent.yaml")
    assert refused.exit_code == 1
    assert "ProtocolError: absent.yaml: No such file or directory; name the YAML file of a protocol" in refused.output


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("unit: subject", "unit: clip", "population.unit: only studies of video sample clips"),
        ("reference: face-1.1", "reference: segment-1.0", "found segment-1.0 of video, face-1.2 of verification"),
        ("nothing", "", "look 1 comes before the data: no drop of face-1.2 has arrived since the lock"),
    ],
)
def test_a_look_at_what_does_not_go_together_is_refused(
    study: Study, tmp_path: Path, old: str, new: str, match: str
) -> None:
    text = RELEASE.replace("reference: face-1.2", "reference: face-1.1").replace("face-1.3", "face-1.2")
    (tmp_path / FILE).write_text(text.replace(old, new))
    assert study("lock", FILE).exit_code == 0
    refused = study("analyse", FILE)
    assert refused.exit_code == 1
    assert match in " ".join(refused.output.split())
