"""Settings: defaults below one folder, and no variable that silently does nothing."""

import os
from pathlib import Path

import pytest

from cv_quality.errors import SettingsError
from cv_quality.settings import KNOWN, REFERENCE_MODELS, Settings, isolated_environment, let_waiting_threads_sleep


def test_everything_that_a_run_writes_lies_below_one_folder_by_default() -> None:
    settings = Settings.from_environment({})
    assert settings.home == Path(".cvq").absolute()
    assert settings.landing == str(settings.home / "landing")
    assert settings.lake == str(settings.home / "lake")
    written = (settings.warehouse, settings.reports, settings.cache, settings.dagster_home)
    assert all(path.is_relative_to(settings.home) for path in written)
    assert settings.registry == REFERENCE_MODELS


def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"CVQ_THREDS is not a setting: did you mean CVQ_THREADS"):
        Settings.from_environment({"CVQ_THREDS": "4"})


def test_variables_of_other_programs_are_left_alone() -> None:
    assert Settings.from_environment({"PATH": "/bin", "XCVQ_HOME": "elsewhere"}) == Settings.from_environment({})


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_a_number_of_threads_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="CVQ_THREADS must be a whole number of at least 1"):
        Settings.from_environment({"CVQ_THREADS": value})


def test_every_known_variable_changes_the_settings(tmp_path: Path) -> None:
    default = Settings.from_environment({})
    values = {name: str(tmp_path / name) for name in KNOWN} | {
        "CVQ_THREADS": "77",
        "CVQ_EXPLAINED_PAIRS": "0",
        "CVQ_LEADING_RATE": "fnmr",
        "CVQ_STORAGE_VERSION": "v1.4.0",
        "CVQ_MEMORY_LIMIT": "2 GiB",
        "CVQ_OWNERS": "team:quality, ada@example.com",
    }
    assert [name for name in KNOWN if Settings.from_environment({name: values[name]}) == default] == []


def test_excluded_conditions_are_names_between_commas_in_any_order() -> None:
    settings = [
        Settings.from_environment({"CVQ_EXCLUDED_CONDITIONS": text}) for text in ("site,glasses", "glasses, site,")
    ]
    assert [item.excluded_conditions for item in settings] == [("glasses", "site")] * 2


@pytest.mark.parametrize("owner", ["quality", "team:", "ada@", "team:a b:c", "@example.com"])
def test_owner_that_is_neither_a_team_nor_an_address_is_refused(owner: str) -> None:
    with pytest.raises(SettingsError, match="CVQ_OWNERS: expected a mail address or team:NAME, found"):
        Settings.from_environment({"CVQ_OWNERS": owner})


def test_object_stores_keep_their_address_and_folders_become_absolute() -> None:
    settings = Settings.from_environment({"CVQ_LAKE": "s3://bucket/lake", "CVQ_LANDING": "arrivals"})
    assert settings.lake == "s3://bucket/lake"
    assert settings.landing == str(Path("arrivals").absolute())


def test_a_folder_may_be_called_anything_that_the_engines_can_read(tmp_path: Path) -> None:
    home = tmp_path / """it's #1 [2026] {x} {% endraw %} "ü" * 100% -d """
    assert Settings.from_environment({"CVQ_HOME": str(home)}).home == home


@pytest.mark.parametrize("name", ["CVQ_HOME", "CVQ_LANDING", "CVQ_LAKE", "CVQ_REGISTRY", "CVQ_WAREHOUSE"])
@pytest.mark.parametrize("letters", ["a\nb", "a\x1bb", "a\\b", "a?b", "a%41b", "a\udcffb"])
def test_a_folder_that_an_engine_would_take_for_another_is_refused(name: str, letters: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is .* in which the engines take"):
        Settings.from_environment({name: letters})


@pytest.mark.parametrize("name", ["CVQ_HOME", "CVQ_LANDING", "CVQ_LAKE", "CVQ_WAREHOUSE", "CVQ_REPORTS"])
def test_an_empty_variable_is_none(name: str) -> None:
    assert Settings.from_environment({name: ""}) == Settings.from_environment({})


@pytest.mark.parametrize("version", ["", "1.4", "v1.4", "latest", "v1.0.0 "])
def test_a_storage_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(SettingsError, match=r"CVQ_STORAGE_VERSION must be a version of DuckDB such as v1\.0\.0"):
        Settings.from_environment({"CVQ_STORAGE_VERSION": version})


def test_an_isolated_program_gets_none_of_the_variables_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DBT_EMPTY", "HOME", "TZ", "HTTPS_PROXY", "PYTHONWARNINGS", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "around")
    environment = isolated_environment(Path("/own"))
    assert set(environment) == {"PATH", "PYTHONPATH", "PYTHONUTF8", "HOME", "TMPDIR", "LD_LIBRARY_PATH"}
    assert [name for name, value in environment.items() if value == "around"] == ["LD_LIBRARY_PATH"]


def test_a_program_that_is_started_sees_the_same_home(tmp_path: Path) -> None:
    settings = Settings.from_environment({"CVQ_HOME": str(tmp_path)})
    environment = settings.subprocess_environment(DAGSTER_HOME="x")
    assert (environment["CVQ_HOME"], environment["DAGSTER_HOME"]) == (str(tmp_path), "x")


@pytest.mark.parametrize(("said", "held"), [(None, "passive"), ("active", "active")])
def test_threads_sleep_while_they_wait_unless_a_user_says_else(
    monkeypatch: pytest.MonkeyPatch, said: str | None, held: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", said or "")
    if said is None:
        del os.environ["OMP_WAIT_POLICY"]
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == held


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file of settings, in a folder that is not the working folder."""
    path = tmp_path / "team" / "cvq.toml"
    path.parent.mkdir()
    path.write_text(
        'home = "study"\nlake = "s3://bucket/lake"\nthreads = 3\nexcluded_conditions = ["site", "age_band"]'
    )
    return path


def test_a_file_says_what_no_variable_says(config: Path) -> None:
    settings = Settings.from_environment({"CVQ_CONFIG": str(config), "CVQ_THREADS": "5"})
    assert (settings.lake, settings.threads) == ("s3://bucket/lake", 5)
    assert settings.excluded_conditions == ("age_band", "site")
    assert settings.explained_pairs == Settings.from_environment({}).explained_pairs


def test_those_who_read_messages_may_be_a_list(config: Path) -> None:
    config.write_text('mail_server = "mail.example:587"\nmail_readers = ["a@b.example", "c@b.example"]')
    recipients = Settings.from_environment({"CVQ_CONFIG": str(config)}).recipients
    assert (recipients.mail_server, recipients.readers) == ("mail.example:587", ("a@b.example", "c@b.example"))
    assert recipients.slack is None


def test_a_folder_in_a_file_starts_from_the_file(config: Path) -> None:
    settings = Settings.from_environment({"CVQ_CONFIG": str(config), "CVQ_REPORTS": "pages"})
    assert settings.home == config.parent / "study"
    assert settings.landing == str(config.parent / "study" / "landing")
    assert settings.reports == Path("pages").absolute()


def test_the_file_of_the_working_folder_is_read(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    assert Settings.from_environment({}) == Settings.from_environment({"CVQ_CONFIG": str(config)})


def test_a_program_that_is_started_reads_the_same_file(config: Path) -> None:
    settings = Settings.from_environment({"CVQ_CONFIG": str(config)})
    handed_on = {name: text for name, text in settings.subprocess_environment().items() if name.startswith("CVQ_")}
    assert Settings.from_environment(handed_on) == settings


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('hoem = "x"', "'hoem' is not a setting: did you mean home"),
        ('CVQ_HOME = "x"', "'CVQ_HOME' is not a setting: did you mean home"),
        ("[cvq]\nthreads = 4", "'cvq' is not a setting: known: backbone"),
        ("threads = 0", "threads in .*cvq.toml must be a whole number of at least 1, found '0'"),
        ("threads = true", "threads in .*cvq.toml: expected text in quotes or a whole number"),
        ('home = ["study"]', "home in .*cvq.toml: expected text in quotes or a whole number, found"),
        ("excluded_conditions = [1]", "excluded_conditions in .*cvq.toml: expected a list of texts, found"),
        ("memory_limit = 600", "memory_limit in .*cvq.toml must be a size such as 600MB or 2GB, found '600'"),
        ("threads = 1.5", "threads in .*cvq.toml: expected text in quotes or a whole number"),
        ('lake = "a?b"', "lake in .*cvq.toml is .* take '[?]' for something else"),
        ("home = study", "cvq.toml cannot be read as TOML"),
        ('home = "a"\nhome = "b"', "cvq.toml cannot be read as TOML"),
    ],
)
def test_a_file_that_says_nothing_sound_is_refused(config: Path, line: str, told: str) -> None:
    config.write_text(line)
    with pytest.raises(SettingsError, match=told):
        Settings.from_environment({"CVQ_CONFIG": str(config)})


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CVQ_CONFIG is .*none.toml: expected a file, found none"):
        Settings.from_environment({"CVQ_CONFIG": str(tmp_path / "none.toml")})


def test_a_file_of_a_windows_editor_is_read(config: Path) -> None:
    config.write_bytes(b"\xef\xbb\xbfthreads = 3\r\n")
    assert Settings.from_environment({"CVQ_CONFIG": str(config)}).threads == 3


def test_a_folder_of_the_user_is_theirs_in_a_file_too(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(config.parent / "user"))
    config.write_text('home = "~/study"\nlake = "~study"\n')
    settings = Settings.from_environment({"CVQ_CONFIG": str(config)})
    assert settings.home == config.parent / "user" / "study"
    assert settings.lake == str(config.parent / "~study")
