"""The script of the explorer is what its source builds, and it writes numbers as every other product does."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cv_quality.publishing.explorer import PAGE
from cv_quality.text import figures


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the page's source with what builds it; where there is no npm, or no registry, the test is not run."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("not run: no npm")
    folder = tmp_path_factory.mktemp("page") / "explorer_page"
    shutil.copytree(PAGE, folder, ignore=shutil.ignore_patterns("node_modules", "explorer.js", "LICENCES.txt"))
    ready = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if ready.returncode and re.search(r"ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT", ready.stderr):
        pytest.skip("not run: no package registry")
    assert ready.returncode == 0, ready.stderr
    return folder


def test_the_script_is_what_its_source_builds(packages: Path) -> None:
    for command in ("check", "build"):
        subprocess.run(["npm", "run", "--silent", command], cwd=packages, check=True, timeout=120)
    for name in ("explorer.js", "LICENCES.txt"):
        assert (packages / name).read_bytes() == (PAGE / name).read_bytes(), f"npm run build changes {name}"


def test_numbers_are_written_as_in_every_other_product(packages: Path) -> None:
    drawn = np.random.default_rng(3)
    values = [
        *(10.0 ** drawn.uniform(-9, 9, 400)),
        0.0,
        0.5,
        12.25,
        12.35,
        0.125,
        999.5,
        1000.0,
        999_950.0,
        1e6,
        0.0001,
    ]
    script = (
        'import { figures } from "./words.mjs";'
        f"console.log(JSON.stringify({json.dumps([float(value) for value in values])}.map((value) => figures(value))))"
    )
    bundle = ["node_modules/.bin/esbuild", "src/words.ts", "--format=esm", "--outfile=words.mjs", "--log-level=error"]
    subprocess.run(bundle, cwd=packages, check=True)
    (packages / "try.mjs").write_text(script)
    answer = subprocess.run(["node", "try.mjs"], cwd=packages, check=True, capture_output=True, text=True)
    assert json.loads(answer.stdout) == [figures(float(value)) for value in values]
