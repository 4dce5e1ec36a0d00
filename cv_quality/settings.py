"""Where things are and how hard to work: the only module that reads the environment and the file of settings.

Every function of the package takes what it needs as an argument; `Settings.from_environment` is called by the
command line, the code location and nothing else. Defaults keep everything that a run writes under one folder.
"""

import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cv_quality.errors import SettingsError, near

REFERENCE_MODELS = str(Path(__file__).parent / "simulation" / "reference_models")
CONFIG = "CVQ_CONFIG"
CONFIG_FILE = Path("cvq.toml")
"""Read where it lies in the working folder, unless `CVQ_CONFIG` names another file."""
LEADING_RATE = "frr"
LEADING_RATES = ("frr", "fnmr", "far", "fta")
"""Those of verification with which a page may lead; other tasks have one of their own."""
EXPLAINED_PAIRS = 24
STORAGE_VERSION = "v1.0.0"
_OWNER = re.compile(r"team:\w[\w-]*|[^@\s:]+@[^@\s:]+\.[^@\s:]+")
LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Where the libraries of an interpreter lie that is not installed system-wide: it does not start without."""


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach an S3 endpoint; credentials come from boto3's own chain."""

    endpoint_url: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Recipients:
    """Where messages on builds go; what is None or empty gets none.

    Attributes:
        slack, teams: addresses of incoming webhooks, which are secrets.
        mail_server: host and port of a server that takes mail for the recipients, as "mail.example:587".
        sender: address of the mail's sender.
        readers: addresses of those who get the mail.
    """

    slack: str | None = field(default=None, repr=False)
    teams: str | None = field(default=None, repr=False)
    mail_server: str | None = None
    sender: str | None = None
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Locations and limits of one deployment.

    Attributes:
        home: local folder for everything that a run writes and that has no own location.
        landing: URI (folder or `s3://bucket/prefix`) where drops arrive.
        landing_queue: URL of an SQS queue that tells of what arrives there, if there is one.
        lake: URI of the Parquet lake, the system of record.
        registry: URI of the model registry.
        warehouse: path of the DuckDB file with the metric tables.
        reports: local folder of the HTML reports.
        published: URI (folder or `s3://bucket/prefix`) where products are published.
        s3: endpoint options for every `s3://` URI.
        threads: worker threads for parsing, inference and DuckDB.
        memory_limit: DuckDB's memory limit, in its own notation.
        storage_version: the oldest DuckDB that is to read the warehouse, such as v1.0.0.
        explained_pairs: failures a build that are explained by saliency maps, beside as many passes; 0 leaves maps out.
        backbone: local folder of a vision backbone in whose embedding failures are clustered; None for the build's own.
        excluded_conditions: columns in which neither slices nor what clusters share are looked for, sorted.
        leading_rate: the rate that pages of verification lead with.
        policy: file of the release policy; None for the one that comes with the package.
        recipients: who is told of a build that is published.
        owners: of the assets in Dagster, as mail addresses or "team:NAME".
        event_log: file to which every attempt at a stage appends a line of JSON; None for no such file.
        exports_spans: whether the variables of OpenTelemetry (`OTEL_*`) say where spans go.
        cluster: address of the cluster that keys are handed to; None for this process alone.
        config: the file that some of these come from, if there is one.
    """

    home: Path
    landing: str
    lake: str
    registry: str
    warehouse: Path
    reports: Path
    published: str
    landing_queue: str | None = None
    s3: S3Options = field(default_factory=S3Options)
    threads: int = 2
    memory_limit: str = "600MB"
    storage_version: str = STORAGE_VERSION
    backbone: Path | None = None
    explained_pairs: int = EXPLAINED_PAIRS
    excluded_conditions: tuple[str, ...] = ()
    leading_rate: str = LEADING_RATE
    policy: Path | None = None
    recipients: Recipients = field(default_factory=Recipients)
    owners: tuple[str, ...] = ()
    event_log: Path | None = None
    exports_spans: bool = False
    cluster: str | None = None
    config: Path | None = None

    @property
    def cache(self) -> Path:
        """Local copies of remote objects; safe to delete."""
        return self.home / "cache"

    @property
    def forgetting(self) -> Path:
        """Private keys and receipts of forgetting."""
        return self.home / "forgetting"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance folder."""
        return self.home / "dagster"

    def subprocess_environment(self, **more: str) -> dict[str, str]:
        """Make the environment for a program that must see the same settings."""
        config = {CONFIG: str(self.config)} if self.config else {}
        return {**os.environ, "CVQ_HOME": str(self.home), **config, **more}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read `CVQ_*` variables, and from the file of settings what no variable says; see the README's table.

        Raises:
            SettingsError: a variable or key is unknown (a typing error would silently do nothing) or malformed, or
                names a folder that the engines cannot use, or the file cannot be read.
        """
        env = os.environ if environ is None else environ
        for name in env:
            if name.startswith("CVQ_") and name not in (*KNOWN, CONFIG):
                raise SettingsError(f"environment variable {name} is not a setting: {near(name, (*KNOWN, CONFIG))}")
        config = _config_file(env)
        said = _Said(env, _file_values(config) if config else {}, config)
        home = _folder(said, "CVQ_HOME", default=Path(".cvq"))
        excluded = said.get("CVQ_EXCLUDED_CONDITIONS", "").replace(",", " ").split()
        return cls(
            home=home,
            landing=_location(said, "CVQ_LANDING", default=home / "landing"),
            lake=_location(said, "CVQ_LAKE", default=home / "lake"),
            registry=_location(said, "CVQ_REGISTRY", default=Path(REFERENCE_MODELS)),
            warehouse=_folder(said, "CVQ_WAREHOUSE", default=home / "warehouse.duckdb"),
            reports=_folder(said, "CVQ_REPORTS", default=home / "reports"),
            landing_queue=said.get("CVQ_LANDING_QUEUE", "") or None,
            published=_location(said, "CVQ_PUBLISHED", default=home / "published"),
            s3=S3Options(
                endpoint_url=said.get("CVQ_S3_ENDPOINT_URL", "") or None, region=said.get("CVQ_S3_REGION", "") or None
            ),
            threads=_whole(said, "CVQ_THREADS", least=1, default=min(os.cpu_count() or 1, 8)),
            memory_limit=_size(said, "CVQ_MEMORY_LIMIT", default="600MB"),
            storage_version=_version(said, "CVQ_STORAGE_VERSION", default=STORAGE_VERSION),
            explained_pairs=_whole(said, "CVQ_EXPLAINED_PAIRS", least=0, default=EXPLAINED_PAIRS),
            backbone=_folder(said, "CVQ_BACKBONE", default=home) if said.get("CVQ_BACKBONE", "") else None,
            excluded_conditions=tuple(sorted(set(excluded))),
            leading_rate=_one_of(said, "CVQ_LEADING_RATE", LEADING_RATES, default=LEADING_RATE),
            policy=_folder(said, "CVQ_POLICY", default=home) if said.get("CVQ_POLICY", "") else None,
            recipients=Recipients(
                slack=said.get("CVQ_SLACK_WEBHOOK", "") or None,
                teams=said.get("CVQ_TEAMS_WEBHOOK", "") or None,
                mail_server=said.get("CVQ_MAIL_SERVER", "") or None,
                sender=said.get("CVQ_MAIL_SENDER", "") or None,
                readers=tuple(said.get("CVQ_MAIL_READERS", "").replace(",", " ").split()),
            ),
            owners=_owners(said),
            event_log=_folder(said, "CVQ_EVENT_LOG", default=home) if said.get("CVQ_EVENT_LOG", "") else None,
            exports_spans=_exports_spans(env),
            cluster=said.get("CVQ_CLUSTER", "") or None,
            config=config,
        )


KNOWN = (
    "CVQ_HOME",
    "CVQ_LANDING",
    "CVQ_LANDING_QUEUE",
    "CVQ_LAKE",
    "CVQ_REGISTRY",
    "CVQ_WAREHOUSE",
    "CVQ_REPORTS",
    "CVQ_PUBLISHED",
    "CVQ_S3_ENDPOINT_URL",
    "CVQ_S3_REGION",
    "CVQ_THREADS",
    "CVQ_MEMORY_LIMIT",
    "CVQ_STORAGE_VERSION",
    "CVQ_BACKBONE",
    "CVQ_EXPLAINED_PAIRS",
    "CVQ_EXCLUDED_CONDITIONS",
    "CVQ_LEADING_RATE",
    "CVQ_POLICY",
    "CVQ_SLACK_WEBHOOK",
    "CVQ_TEAMS_WEBHOOK",
    "CVQ_MAIL_SERVER",
    "CVQ_MAIL_SENDER",
    "CVQ_MAIL_READERS",
    "CVQ_OWNERS",
    "CVQ_EVENT_LOG",
    "CVQ_CLUSTER",
)
LISTS = ("CVQ_EXCLUDED_CONDITIONS", "CVQ_MAIL_READERS", "CVQ_OWNERS")
"""Settings that a file may say as a list of texts."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What variables and the file say of each setting, under the name of its variable."""

    variables: Mapping[str, str]
    of_file: Mapping[str, str]
    file: Path | None

    def get(self, name: str, default: str) -> str:
        return self.variables.get(name, self.of_file.get(name, default))

    def place(self, name: str) -> str:
        """Name the setting where it was said, for an error."""
        return f"{_key(name)} in {self.file}" if self._is_of_file(name) else name

    def base(self, name: str) -> Path:
        """The folder that a relative path starts from: that of the file which says it, else the working folder."""
        return self.file.parent if self.file and self._is_of_file(name) else Path()

    def _is_of_file(self, name: str) -> bool:
        return name in self.of_file and name not in self.variables


def _key(variable: str) -> str:
    return variable.removeprefix("CVQ_").lower()


def _config_file(env: Mapping[str, str]) -> Path | None:
    named = env.get(CONFIG)
    path = Path(named or CONFIG_FILE).absolute()
    if not named and not path.exists():
        return None
    if not path.is_file():
        raise SettingsError(f"{CONFIG if named else 'the file of settings'} is {path}: expected a file, found none")
    return path


def _file_values(path: Path) -> dict[str, str]:
    """Read a file of settings: the text of each, under the name of its variable."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as TOML: {error}") from error
    keys = {_key(name): name for name in KNOWN}
    for key in document:
        if key not in keys:
            raise SettingsError(f"{path}: {key!r} is not a setting: {near(key.lower().removeprefix('cvq_'), keys)}")
    return {keys[key]: _as_text(value, f"{key} in {path}", keys[key]) for key, value in document.items()}


def _as_text(value: object, place: str, name: str) -> str:
    is_list = name in LISTS
    if is_list and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    expected = "a list of texts" if is_list else "text in quotes or a whole number"
    raise SettingsError(f"{place}: expected {expected}, found {value!r}")


_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\?\ud800-\udfff]|%[0-9A-Fa-f]{2}")
"""Of a path: DuckDB takes a backslash for a slash, DuckDB and Dagster what follows a question mark for a query, Dagster
%41 for A, and no engine takes what is not UTF-8.
"""


def _location(said: _Said, name: str, *, default: Path) -> str:
    value = said.get(name, "")
    return value if "://" in value else str(_folder(said, name, default=default))


def _folder(said: _Said, name: str, *, default: Path) -> Path:
    value = said.get(name, "")
    given = Path(value).expanduser() if value.split("/")[0] == "~" else Path(value)
    path = (said.base(name) / given if value else default).absolute()
    if found := _UNUSABLE.search(str(path)):
        raise SettingsError(
            f"{said.place(name)} is {str(path)!r}, in which the engines take {found[0]!r} for something else: name "
            "another folder, or call that one otherwise"
        )
    return path


def _whole(said: _Said, name: str, *, least: int, default: int) -> int:
    text = said.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise SettingsError(f"{said.place(name)} must be a whole number of at least {least}, found {text!r}")
    return int(text)


def _size(said: _Said, name: str, *, default: str) -> str:
    text = said.get(name, default)
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)? ?([kmgt](i?b)?|%)", text, re.IGNORECASE):
        raise SettingsError(f"{said.place(name)} must be a size such as {default} or 2GB, found {text!r}")
    return text


def _one_of(said: _Said, name: str, known: Sequence[str], *, default: str) -> str:
    text = said.get(name, default)
    if text not in known:
        raise SettingsError(f"{said.place(name)} must be one of {', '.join(known)}, found {text!r}")
    return text


def _owners(said: _Said) -> tuple[str, ...]:
    owners = said.get("CVQ_OWNERS", "").replace(",", " ").split()
    for owner in owners:
        if not _OWNER.fullmatch(owner):
            raise SettingsError(f"{said.place('CVQ_OWNERS')}: expected a mail address or team:NAME, found {owner!r}")
    return tuple(owners)


def _exports_spans(env: Mapping[str, str]) -> bool:
    """Tell whether OpenTelemetry's own variables name a collector and none turns it off."""
    is_off = env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none"
    return not is_off and any(env.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))


def _version(said: _Said, name: str, *, default: str) -> str:
    text = said.get(name, default)
    if not re.fullmatch(r"v\d+\.\d+\.\d+", text):
        raise SettingsError(f"{said.place(name)} must be a version of DuckDB such as {default}, found {text!r}")
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


def let_waiting_threads_sleep() -> None:
    """Let the threads of OpenMP, which torch computes with, sleep while they wait, unless the environment says else.

    They spin otherwise: where another program has a core, a small model with two threads takes ten times as long. It
    holds for libraries that are loaded afterwards, and for processes that are started.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
