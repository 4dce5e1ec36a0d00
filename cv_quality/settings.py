"""Where things are and how hard to work: the only module that reads the environment.

Every function of the package takes what it needs as an argument; `Settings.from_environment` is called by the
command line, the code location and nothing else. Defaults keep everything that a run writes under one folder.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cv_quality.errors import SettingsError, near

REFERENCE_MODELS = str(Path(__file__).parent / "simulation" / "reference_models")
EXPLAINED_PAIRS = 24
STORAGE_VERSION = "v1.0.0"
LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Where the libraries of an interpreter lie that is not installed system-wide: it does not start without."""


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach an S3 endpoint; credentials come from boto3's own chain."""

    endpoint_url: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Locations and limits of one deployment.

    Attributes:
        home: local folder for everything that a run writes and that has no own location.
        landing: URI (folder or `s3://bucket/prefix`) where drops arrive.
        lake: URI of the Parquet lake, the system of record.
        registry: URI of the model registry.
        warehouse: path of the DuckDB file with the metric tables.
        reports: local folder of the HTML reports.
        s3: endpoint options for every `s3://` URI.
        threads: worker threads for parsing, inference and DuckDB.
        memory_limit: DuckDB's memory limit, in its own notation.
        storage_version: the oldest DuckDB that is to read the warehouse, such as v1.0.0.
        explained_pairs: failures a build that are explained by saliency maps, beside as many passes; 0 leaves maps out.
        backbone: local folder of a vision backbone in whose embedding failures are clustered; None for the build's own.
        excluded_conditions: columns in which neither slices nor what clusters share are looked for, sorted.
    """

    home: Path
    landing: str
    lake: str
    registry: str
    warehouse: Path
    reports: Path
    s3: S3Options = field(default_factory=S3Options)
    threads: int = 2
    memory_limit: str = "600MB"
    storage_version: str = STORAGE_VERSION
    backbone: Path | None = None
    explained_pairs: int = EXPLAINED_PAIRS
    excluded_conditions: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """Local copies of remote objects; safe to delete."""
        return self.home / "cache"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance folder."""
        return self.home / "dagster"

    def subprocess_environment(self, **more: str) -> dict[str, str]:
        """Make the environment for a program that must see the same settings."""
        return {**os.environ, "CVQ_HOME": str(self.home), **more}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read `CVQ_*` variables; see the README's table of settings.

        Raises:
            SettingsError: a variable is unknown (a typing error would silently do nothing) or malformed, or names a
                folder that the engines cannot use.
        """
        env = os.environ if environ is None else environ
        for name in env:
            if name.startswith("CVQ_") and name not in KNOWN:
                raise SettingsError(f"environment variable {name} is not a setting: {near(name, KNOWN)}")
        home = _folder(env, "CVQ_HOME", default=Path(".cvq"))
        return cls(
            home=home,
            landing=_location(env, "CVQ_LANDING", default=home / "landing"),
            lake=_location(env, "CVQ_LAKE", default=home / "lake"),
            registry=_location(env, "CVQ_REGISTRY", default=Path(REFERENCE_MODELS)),
            warehouse=_folder(env, "CVQ_WAREHOUSE", default=home / "warehouse.duckdb"),
            reports=_folder(env, "CVQ_REPORTS", default=home / "reports"),
            s3=S3Options(endpoint_url=env.get("CVQ_S3_ENDPOINT_URL"), region=env.get("CVQ_S3_REGION")),
            threads=_whole(env, "CVQ_THREADS", least=1, default=min(os.cpu_count() or 1, 8)),
            memory_limit=env.get("CVQ_MEMORY_LIMIT", "600MB"),
            storage_version=_version(env, "CVQ_STORAGE_VERSION", default=STORAGE_VERSION),
            explained_pairs=_whole(env, "CVQ_EXPLAINED_PAIRS", least=0, default=EXPLAINED_PAIRS),
            backbone=_folder(env, "CVQ_BACKBONE", default=home) if env.get("CVQ_BACKBONE") else None,
            excluded_conditions=tuple(sorted({*env.get("CVQ_EXCLUDED_CONDITIONS", "").replace(",", " ").split()})),
        )


KNOWN = (
    "CVQ_HOME",
    "CVQ_LANDING",
    "CVQ_LAKE",
    "CVQ_REGISTRY",
    "CVQ_WAREHOUSE",
    "CVQ_REPORTS",
    "CVQ_S3_ENDPOINT_URL",
    "CVQ_S3_REGION",
    "CVQ_THREADS",
    "CVQ_MEMORY_LIMIT",
    "CVQ_STORAGE_VERSION",
    "CVQ_BACKBONE",
    "CVQ_EXPLAINED_PAIRS",
    "CVQ_EXCLUDED_CONDITIONS",
)


_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\?\ud800-\udfff]|%[0-9A-Fa-f]{2}")
"""Of a path: DuckDB takes a backslash for a slash, DuckDB and Dagster what follows a question mark for a query, Dagster
%41 for A, and no engine takes what is not UTF-8.
"""


def _location(env: Mapping[str, str], name: str, *, default: Path) -> str:
    value = env.get(name, "")
    return value if "://" in value else str(_folder(env, name, default=default))


def _folder(env: Mapping[str, str], name: str, *, default: Path) -> Path:
    path = Path(env.get(name) or default).absolute()
    if found := _UNUSABLE.search(str(path)):
        raise SettingsError(
            f"{name} is {str(path)!r}, in which the engines take {found[0]!r} for something else: name another folder, "
            "or call that one otherwise"
        )
    return path


def _whole(env: Mapping[str, str], name: str, *, least: int, default: int) -> int:
    text = env.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise SettingsError(f"{name} must be a whole number of at least {least}, found {text!r}")
    return int(text)


def _version(env: Mapping[str, str], name: str, *, default: str) -> str:
    text = env.get(name, default)
    if not re.fullmatch(r"v\d+\.\d+\.\d+", text):
        raise SettingsError(f"{name} must be a version of DuckDB such as {default}, found {text!r}")
    return text


def isolated_environment(folder: Path) -> dict[str, str]:
    """Make the environment for a Python program whose result no variable and no file of the user may change.

    It imports what this process imports. Of the variables around it only those are handed on that it may not start
    without.

    Args:
        folder: its home folder, and where it puts temporary files.
    """
    kept = {name: os.environ[name] for name in LIBRARY_PATHS if name in os.environ}
    modules = os.pathsep.join(path for path in sys.path if path)
    own = {"PATH": os.defpath, "PYTHONPATH": modules, "PYTHONUTF8": "1"}
    return {**kept, **own, "HOME": str(folder), "TMPDIR": str(folder)}
