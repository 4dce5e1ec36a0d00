"""Folders for unfinished files: private, gone when done, and gone after a death."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from cv_quality.lake.staging import staging_folder

DYING = (
    "import os, signal, sys\n"
    "from pathlib import Path\n"
    "from cv_quality.lake.staging import staging_folder\n"
    "with staging_folder(Path(sys.argv[1]), prefix='cvq-') as folder:\n"
    "    (folder / 'half.parquet').write_bytes(b'PAR1')\n"
    "    os.kill(os.getpid(), signal.SIGKILL)\n"
)


def test_a_folder_and_what_is_in_it_are_gone_when_its_block_ends_with_an_error(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), staging_folder(tmp_path, prefix="cvq-") as folder:
        (folder / "half.parquet").write_bytes(b"PAR1")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_folders_in_use_are_never_removed_by_others(tmp_path: Path) -> None:
    with staging_folder(tmp_path, prefix="cvq-") as first, staging_folder(tmp_path, prefix="cvq-") as second:
        assert first != second
        assert sorted(tmp_path.iterdir()) == sorted([first, second])


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "lake-of-someone").mkdir()
    died = subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], check=False)
    assert died.returncode < 0
    assert len(list(tmp_path.glob("cvq-*/half.parquet"))) == 1
    with staging_folder(tmp_path, prefix="cvq-") as folder:
        assert sorted(tmp_path.iterdir()) == sorted([folder, tmp_path / "lake-of-someone"])
