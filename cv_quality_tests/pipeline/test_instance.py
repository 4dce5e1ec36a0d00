"""Records of runs that another Dagster wrote are brought up to date, or refused with what to do."""

import sqlite3
from pathlib import Path

import pytest

from cv_quality.errors import SettingsError
from cv_quality.pipeline.instance import migrate, prepare_home


def test_records_of_a_newer_dagster_are_refused_with_their_folder(tmp_path: Path) -> None:
    home = prepare_home(tmp_path / "dagster")
    migrate(home)
    with sqlite3.connect(home / "history" / "runs.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(SettingsError, match=r"cannot use the records of runs there .*move the folder away"):
        migrate(home)
