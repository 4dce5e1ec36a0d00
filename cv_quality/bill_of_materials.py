"""What the project is made of: every package of the lock with its version and licence, as a CycloneDX document.

`make sbom` prints it. Packages that ask for more than attribution are named here with the reason why they may be used;
a test holds this list against what is installed.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import PackageNotFoundError, files, metadata, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")
_COPYLEFT = re.compile(r"GPL|General Public|MPL|Mozilla Public|EPL|Eclipse Public|CDDL|EUPL|SSPL|CC-BY-SA|OSL-")
_COPYLEFT_LIBRARY = re.compile(
    r"(lib(av(codec|device|filter|format|util)|x26[45]|mp3lame|gmp|gnutls|hogweed|asound)|ffmpeg)\b"
)
UNKNOWN = "unknown"

NAMED: Mapping[str, str] = {
    "av": "BSD; its wheel brings FFmpeg with x264 and x265 (GPL-2.0-or-later): who hands on an image hands that on "
    "too, with its source, or builds PyAV against an FFmpeg of their own",
    "axe-playwright-python": "tests only; MIT by its licence file, which its metadata does not name",
    "certifi": "MPL-2.0: the list of root certificates, used as it is",
    "hypothesis": "tests only; MPL-2.0, used as it is",
    "imageio-ffmpeg": "tests only; BSD, its wheel brings the program ffmpeg (GPL), which is run as a process",
    "opencv-python-headless": "Apache-2.0; its wheel brings FFmpeg as LGPL-2.1, in libraries that can be replaced",
    "pathspec": "MPL-2.0, of dbt; used as it is",
    "psycopg": "optional; LGPL-3.0, imported and not changed",
    "psycopg-binary": "optional; LGPL-3.0, imported and not changed",
    "psycopg2-binary": "optional, of dagster-postgres; LGPL with exceptions, imported and not changed",
    "text-unidecode": "of dbt; Artistic License or GPL: taken under the Artistic License",
    "tqdm": "MPL-2.0 and MIT; used as it is",
}
"""Why each may be used that asks for more than attribution, or does not say what it asks for."""


@dataclass(frozen=True, slots=True)
class Component:
    """A package of the lock.

    Attributes:
        licence: as its metadata says it; None where it is not installed on this platform.
        bundled: libraries in its wheel that ask for more than attribution, by file name without digest.
    """

    name: str
    version: str
    licence: str | None
    bundled: tuple[str, ...] = ()

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"

    @property
    def needs_reason(self) -> bool:
        """Whether it, or what its wheel brings, asks for more than attribution, or does not say what."""
        return bool(self.bundled) or self.licence == UNKNOWN or bool(_COPYLEFT.search(self.licence or ""))


def components(lock: Path = LOCK) -> list[Component]:
    """List the packages of a lock, with what is known of those that are installed."""
    pinned = (_PINNED.match(line) for line in lock.read_text().splitlines())
    return [_component(match[1], match[2]) for match in pinned if match]


def _component(name: str, pinned: str) -> Component:
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return Component(name, pinned, None)
    return Component(name, pinned, _licence(said), tuple(sorted({*_bundled(name)})))  # type: ignore[arg-type]


def _licence(said: Message) -> str:
    """Read the licence: the expression, else the classifiers, else the first line of the text."""
    if expression := said.get("License-Expression"):
        return str(expression)
    classifiers = [str(item) for item in said.get_all("Classifier", [])]
    named = [item.rpartition(" :: ")[2] for item in classifiers if item.startswith("License ::")]
    named = [item for item in named if item != "OSI Approved"]
    if named:
        return " AND ".join(named)
    return next(iter(str(said.get("License", "")).strip().splitlines()), "") or UNKNOWN


def _bundled(name: str) -> Iterator[str]:
    """Find copyleft libraries and programs among the files of a package."""
    for path in files(name) or ():
        if (path.parts[0].endswith(".libs") or "binaries" in path.parts) and (
            found := _COPYLEFT_LIBRARY.match(path.name)
        ):
            yield found[0]


def cyclonedx(found: Sequence[Component]) -> dict[str, object]:
    """Make the CycloneDX 1.6 document of packages; the same packages give the same bytes."""
    own = {"type": "application", "name": "cv-quality", "version": version("cv-quality")}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**own, "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": [_entry(item) for item in found],
    }


def _entry(item: Component) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "library",
        "bom-ref": item.purl,
        "name": item.name,
        "version": item.version,
        "purl": item.purl,
    }
    if item.licence:
        entry["licenses"] = [{"license": {"name": item.licence}}]
    said = [("bundled", name) for name in item.bundled]
    said += [("reason", NAMED[item.name])] if item.needs_reason and item.name in NAMED else []
    if said:
        entry["properties"] = [{"name": f"cv-quality:{name}", "value": value} for name, value in said]
    return entry


if __name__ == "__main__":
    json.dump(cyclonedx(components()), sys.stdout, indent=1)
