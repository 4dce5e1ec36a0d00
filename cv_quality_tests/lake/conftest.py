"""Fixtures of the lake room: an S3 server of its own, and a bucket a test."""

import uuid
from collections.abc import Iterator

import pytest

from cv_quality_tests.servers import CREDENTIALS, moto_server, s3_client


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto_server(tmp_path_factory.mktemp("s3") / "moto.log") as endpoint:
        yield endpoint


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials through the environment alone, as a deployment gives them."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(s3_endpoint: str, credentials: None) -> str:  # noqa: ARG001
    """A new bucket of the server."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    s3_client(s3_endpoint).create_bucket(Bucket=name)
    return name
