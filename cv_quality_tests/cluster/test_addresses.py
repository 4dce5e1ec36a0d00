"""The address of a cluster: what is said is meant, and what means nothing is refused."""

import re

import pytest

from cv_quality.cluster.addresses import LocalProcesses, RunningScheduler, SlurmQueue, parse_address
from cv_quality.errors import SettingsError


def test_an_address_says_which_kind_of_cluster_is_meant() -> None:
    assert parse_address("local?workers=3&wait=9") == LocalProcesses(workers=3, wait_seconds=9)
    assert parse_address("tls://host.example:8786") == RunningScheduler("tls://host.example:8786", 60)
    queue = parse_address(
        "slurm://gpu,long?jobs=8&cores=4&memory=16GB&walltime=02:30:00&gpus=1&account=cv&host=10.0.0.1"
    )
    assert queue == SlurmQueue("gpu,long", 8, 4, "16GB", "02:30:00", 1, "cv", "10.0.0.1", 600)
    assert isinstance(queue, SlurmQueue)
    assert queue.walltime_seconds == 9000


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "remote",
            "localhost",
            "http://host:1",
            "tcp://host",
            "tcp://:8786",
            "tcp://host:99999999",
            "tcp://a:1/b",
        ),
        *("local?workers=0", "local?workers=two", "local?workers=-1", "slurm://", "slurm://a b", "slurm://a/b"),
        *("slurm://short?memory=4", "slurm://short?walltime=90", "slurm://short?walltime=00:00:00", "tcp://u@h:1"),
        *("slurm://short?account=a%0A%23SBATCH", "slurm://short%0Aecho", "slurm://short?host=a;b"),
    ],
)
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"CVQ_CLUSTER: {text!r} is no address") + ".*such as local"):
        parse_address(text)


def test_an_option_that_means_nothing_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="'worker' means nothing there: did you mean workers"):
        parse_address("local?worker=2")
