"""What the project is made of: every package of the lock is told, and none asks for more than is known of it."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from cv_quality.bill_of_materials import LOCK, NAMED, ROOT, Component, components, cyclonedx


@pytest.fixture(scope="module")
def found() -> list[Component]:
    return components()


def test_every_package_that_asks_for_more_is_named_with_a_reason(found: list[Component]) -> None:
    assert {item.name for item in found if item.needs_reason} == set(NAMED)


@pytest.mark.parametrize(
    "licence", ["AGPL-3.0-only", "GNU General Public License v3 (GPLv3)", "MIT AND LGPL-2.1-or-later", "unknown"]
)
def test_a_licence_that_asks_for_more_needs_a_reason(licence: str) -> None:
    assert Component("new", "1", licence).needs_reason
    assert not Component("new", "1", "MIT AND BSD-3-Clause").needs_reason


def test_libraries_inside_wheels_are_seen(found: list[Component]) -> None:
    bundled = {item.name: item.bundled for item in found}
    assert {"libx264", "libx265"} <= set(bundled["av"])
    assert "ffmpeg" in bundled["imageio-ffmpeg"]
    assert not bundled["numpy"]


def test_the_document_lists_the_lock_as_it_is_installed(found: list[Component]) -> None:
    document = json.loads(json.dumps(cyclonedx(found)))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    assert len(document["components"]) == len(lines) == len({item["bom-ref"] for item in document["components"]})
    (polars,) = (item for item in document["components"] if item["name"] == "polars")
    assert polars["purl"] == f"pkg:pypi/polars@{version('polars')}"
    assert polars["licenses"]


def test_every_test_that_the_threat_model_names_is_there() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text()
    named = re.findall(r"\(\.\./(cv_quality_tests/[^)]+\.py)\)", page)
    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []
    functions = re.findall(r"`(test_\w+)`", page)
    defined = "".join(path.read_text() for path in Path(ROOT / "cv_quality_tests").rglob("test_*.py"))
    assert functions
    assert [name for name in functions if f"def {name}(" not in defined] == []
