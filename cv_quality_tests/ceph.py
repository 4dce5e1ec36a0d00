"""A real S3 server on this machine: Ceph's object gateway over one monitor and one store in memory.

It listens on 127.0.0.1 alone, asks for signatures that are right, and each of its programs is stopped by its own
process id. Nothing here is a test. `cv_quality_tests.servers` has the server that the other tests of S3 talk to.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cv_quality_tests.servers import answers, free_port, wait_until

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")
USERS = ("owner", "stranger")
"""Each with a bucket of its own to make, and no right to the other's."""
CAPABILITIES = {
    "mon.": ["mon", "allow *"],
    "client.admin": ["mon", "allow *", "osd", "allow *"],
    "osd.0": ["mon", "allow profile osd", "osd", "allow *"],
    "client.rgw": ["mon", "allow rw", "osd", "allow rwx"],
}
CONFIGURATION = """[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {folder}/keyring
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{gateway}
admin socket = {folder}/$name.asok
run dir = {folder}
crash dir = {folder}
log file = {folder}/$name.log
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway.

    Attributes:
        endpoint: its URL.
        credentials: variables of the environment by which each of `USERS` is known.
    """

    endpoint: str
    credentials: dict[str, dict[str, str]]


def is_installed() -> bool:
    return all(shutil.which(program) for program in PROGRAMS)


@contextmanager
def ceph_gateway() -> Iterator[Gateway]:
    """Start Ceph in a folder of its own, which goes with it; about ten seconds."""
    # The paths of its sockets must be shorter than 108 characters, which those of pytest are not.
    with tempfile.TemporaryDirectory(prefix="ceph-") as name, ExitStack() as stack:
        folder, gateway = Path(name), free_port()
        configuration = _configured(folder, gateway)

        def start(*command: str) -> None:
            stack.enter_context(_running(folder, *command, "-f", "-c", str(configuration)))

        start("ceph-mon", "-i", "a")
        number = (folder / "osd-uuid").read_text()
        _do("ceph", "-c", str(configuration), "osd", "new", number, "0")
        _do("ceph-osd", "--mkfs", "-i", "0", "-c", str(configuration), "--osd-uuid", number)
        start("ceph-osd", "-i", "0")
        start("radosgw", "-n", "client.rgw")
        wait_until(lambda: answers(gateway), what="Ceph's gateway", seconds=120)
        yield Gateway(f"http://127.0.0.1:{gateway}", {user: _made(configuration, user) for user in USERS})


def _configured(folder: Path, gateway: int) -> Path:
    """Write what the programs read, and the empty stores of the monitor and of the objects."""
    fsid, osd, port = str(uuid.uuid4()), str(uuid.uuid4()), free_port()
    path, keyring, monmap = folder / "ceph.conf", folder / "keyring", folder / "monmap"
    path.write_text(CONFIGURATION.format(fsid=fsid, port=port, folder=folder, gateway=gateway))
    (folder / "osd-uuid").write_text(osd)
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    _do("ceph-authtool", "--create-keyring", str(keyring))
    for name, capabilities in CAPABILITIES.items():
        pairs = zip(capabilities[::2], capabilities[1::2], strict=True)
        caps = [word for service, right in pairs for word in ("--cap", service, right)]
        _do("ceph-authtool", str(keyring), "--gen-key", "-n", name, *caps)
    _do("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{port}]", "--fsid", fsid, str(monmap))
    _do("ceph-mon", "--mkfs", "-i", "a", "-c", str(path), "--monmap", str(monmap), "--keyring", str(keyring))
    return path


def _made(configuration: Path, user: str) -> dict[str, str]:
    secret = uuid.uuid4().hex
    keys = ("--access-key", f"key-of-{user}", "--secret-key", secret)
    admin = ("radosgw-admin", "-c", str(configuration), "-n", "client.rgw")
    _do(*admin, "user", "create", "--uid", user, "--display-name", user, *keys)
    return {"AWS_ACCESS_KEY_ID": f"key-of-{user}", "AWS_SECRET_ACCESS_KEY": secret}


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=_environment())
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@contextmanager
def _running(folder: Path, *command: str) -> Iterator[None]:
    with (
        (folder / f"{command[0]}.out").open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=_environment()) as process,
    ):
        try:
            yield
        finally:
            process.kill()  # What it holds goes with it: nothing is to be written back.
            process.wait(timeout=60)


def _environment() -> dict[str, str]:
    """The programs come with the system, so its Python runs them, without what this one imports."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CEPH"))}
