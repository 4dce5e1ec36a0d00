"""An instance's records and settings: brought up to date, or refused or left alone with what to do."""

import hashlib
import sqlite3
from pathlib import Path

import pytest

from cv_quality.errors import SettingsError
from cv_quality.pipeline.instance import DEFAULTS, FORMER_DEFAULTS, is_configured_by_hand, migrate, prepare_home


def test_records_of_a_newer_dagster_are_refused_with_their_folder(tmp_path: Path) -> None:
    home = prepare_home(tmp_path / "dagster")
    migrate(home)
    with sqlite3.connect(home / "history" / "runs.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(SettingsError, match=r"cannot use the records of runs there .*move the folder away"):
        migrate(home)


def test_a_change_of_the_default_settings_lists_their_former_digest() -> None:
    digest = hashlib.sha256(DEFAULTS.read_bytes()).hexdigest()
    assert digest == "4e93477b907dacf72909fff4c3063f9c2dd6dfb5c249a70653b22966f1d2808e", "list the one that stands here"
    assert digest not in FORMER_DEFAULTS


def test_settings_of_a_former_version_are_renewed_and_changed_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = b"telemetry: {enabled: false}\n"
    digests = frozenset({hashlib.sha256(former).hexdigest()})
    monkeypatch.setattr("cv_quality.pipeline.instance.FORMER_DEFAULTS", digests)
    own = tmp_path / "dagster.yaml"
    own.write_bytes(former)
    assert is_configured_by_hand(tmp_path)
    assert not is_configured_by_hand(prepare_home(tmp_path))
    own.write_bytes(former + b"# ours\n")
    assert is_configured_by_hand(prepare_home(tmp_path))
    assert own.read_bytes() == former + b"# ours\n"
