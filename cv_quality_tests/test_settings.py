"""Settings: defaults below one folder, and no variable that silently does nothing."""

from pathlib import Path

import pytest

from cv_quality.errors import SettingsError
from cv_quality.settings import KNOWN, REFERENCE_MODELS, Settings


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
    values = {name: str(tmp_path / name) for name in KNOWN} | {"CVQ_THREADS": "77", "CVQ_EXPLAINED_PAIRS": "0"}
    assert [name for name in KNOWN if Settings.from_environment({name: values[name]}) == default] == []


def test_excluded_conditions_are_names_between_commas_in_any_order() -> None:
    settings = [
        Settings.from_environment({"CVQ_EXCLUDED_CONDITIONS": text}) for text in ("site,glasses", "glasses, site,")
    ]
    assert [item.excluded_conditions for item in settings] == [("glasses", "site")] * 2


def test_object_stores_keep_their_address_and_folders_become_absolute() -> None:
    settings = Settings.from_environment({"CVQ_LAKE": "s3://bucket/lake", "CVQ_LANDING": "arrivals"})
    assert settings.lake == "s3://bucket/lake"
    assert settings.landing == str(Path("arrivals").absolute())


def test_a_program_that_is_started_sees_the_same_home(tmp_path: Path) -> None:
    settings = Settings.from_environment({"CVQ_HOME": str(tmp_path)})
    environment = settings.subprocess_environment(DAGSTER_HOME="x")
    assert (environment["CVQ_HOME"], environment["DAGSTER_HOME"]) == (str(tmp_path), "x")
