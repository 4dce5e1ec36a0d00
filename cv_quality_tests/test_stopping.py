"""A command that is told to stop says so, also where the signal was lost on the way."""

import signal
import subprocess
import sys

import pytest

LOSES_IT = """
import signal, time
from cv_quality.cli.stopping import ending_in_words
with ending_in_words():
    try:
        signal.raise_signal({number})
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.5)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_is_lost_on_the_way_ends_the_command_all_the_same(number: signal.Signals, code: int) -> None:
    program = [sys.executable, "-c", LOSES_IT.format(number=int(number))]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith(f"stopped by {number.name}")


def test_a_command_without_a_signal_ends_as_it_likes() -> None:
    program = [sys.executable, "-c", "from cv_quality.cli.stopping import ending_in_words\nwith ending_in_words(): 1"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")
