"""Every entry, command and line of code of the page about video models does what the page says."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cv_quality.errors import ModelError
from cv_quality.inference.video.entry import VideoEntry
from cv_quality.inference.video.models import load_video_model
from cv_quality_tests.inference.video.registries import registry_of

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "video-models.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
YAML = [text for language, text in BLOCKS if language == "yaml"]
EXPORT, TRY = (text for language, text in BLOCKS if language == "python")
[COMMANDS] = [text for language, text in BLOCKS if language == "console"]


def run(command: list[str], *, folder: Path) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CVQ_HOME": str(folder / "home"),
        "CVQ_REGISTRY": "registry",
    }
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def write_yaml(text: str, folder: Path) -> None:
    """Write a block under the name of its first line, each digest that of the file named before it."""
    name = text.splitlines()[0].removeprefix("# ")

    def digest(found: re.Match[str]) -> str:
        file = folder / "registry" / found["file"]
        value = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "f" * 64
        return found[0].replace("SHA256", value)

    (folder / name).write_text(re.sub(r"file: (?P<file>[\w./-]+),?\s+sha256: SHA256", digest, text))


def test_a_backbone_of_two_files_runs_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "registry" / "prompts").mkdir(parents=True)
    run([sys.executable, "-c", EXPORT], folder=tmp_path)
    for text in sorted(YAML, key=lambda text: "/prompts/" not in text.splitlines()[0]):
        write_yaml(text, tmp_path)
    listed = run(["bash", "-ec", COMMANDS], folder=tmp_path)
    assert all(build in listed for build in ("backbone-1", "cars-2", "objects-1"))
    run([sys.executable, "-c", TRY], folder=tmp_path)
    [kept] = (tmp_path / "home" / "cache" / "embeddings").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    entry = registry_of(tmp_path / "registry").entry("cars-2")
    assert isinstance(entry, VideoEntry)
    with pytest.raises(ModelError, match=r"deeplabv3_mnv2_pascal\.onnx"):
        load_video_model(entry, registry=registry_of(tmp_path / "registry"))
