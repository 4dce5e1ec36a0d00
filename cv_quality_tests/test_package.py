"""The wheel, built as it is released and installed into an environment of its own."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cv_quality.extras import missing_library

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the package without any extra."""
    folder = tmp_path_factory.mktemp("plain")
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    command = ["pip", "install", "-q", "--system-certs", "--python", str(folder / "bin" / "python")]
    locked = ["-c", str(REPOSITORY / "requirements.lock"), str(wheel)]
    subprocess.run([uv, *command, *locked], check=True)
    return folder / "bin"


def cvq(plain: Path, *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(plain / "cvq"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_wheel_holds_the_dbt_project_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    models = [name for name in names if name.startswith("cv_quality/dbt_project/models/marts/")]
    written = [path.name for path in (REPOSITORY / "dbt_project" / "models" / "marts").iterdir()]
    assert sorted(Path(name).name for name in models) == sorted(written)
    assert {name.split("/")[0] for name in names} == {"cv_quality", "cv_quality-0.1.0.dist-info"}
    assert not [name for name in names if "generated" in name or name.endswith((".ts", "package.json"))]


def test_wheel_holds_every_module_and_file_that_the_package_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "cv_quality"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    source = re.compile(r"cv_quality/publishing/explorer_page/(src/.*|.*\.json|build\.mjs)$")
    assert {name for name in tracked.stdout.split() if not source.match(name)} <= names


def test_plain_package_evaluates_scores_and_searches_slices(plain: Path, tmp_path: Path) -> None:
    scores = ["score,is_genuine", *(f"{(n * 7919) % 1000 / 1000},{n % 2}" for n in range(400))]
    (tmp_path / "scores.csv").write_text("\n".join(scores) + "\n")
    evaluated = cvq(plain, "evaluate", "scores.csv", "--json", folder=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)
    rows = [f"s{n % 40},{int(n % 3 == 0 and n % 7 < 6)},{'dark' if n % 3 == 0 else 'bright'}" for n in range(800)]
    (tmp_path / "attempts.csv").write_text("\n".join(["subject,failed,light", *rows]) + "\n")
    searched = cvq(plain, "slices", "attempts.csv", "--outcome", "failed", "--subject", "subject", folder=tmp_path)
    assert searched.returncode == 0, searched.stderr
    assert "light is dark" in searched.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["evaluate", "scores.csv", "--report", "page.html"], "[reports]"),
        (["ui"], "[pipeline]"),
        (["demo"], "[all]"),
        (["status"], "[all]"),
    ],
)
def test_missing_extra_is_named_by_the_command_that_needs_it(
    plain: Path, tmp_path: Path, arguments: list[str], extra: str
) -> None:
    (tmp_path / "scores.csv").write_text("score,is_genuine\n0.1,0\n0.9,1\n")
    done = cvq(plain, *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert f"pip install 'cv-quality{extra}'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_module_of_no_extra_is_no_missing_extra() -> None:
    assert missing_library("not_a_library") is None
    assert missing_library("numpy") is None
    assert (
        missing_library("torch.nn")
        == "needs torch, which comes with the extra inference: pip install 'cv-quality[inference]'"
    )
