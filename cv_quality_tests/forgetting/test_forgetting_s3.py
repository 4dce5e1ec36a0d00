"""Forgetting where landing area and lake lie in a bucket that keeps every version of an object."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cv_quality.forgetting.forget import forget, look_for
from cv_quality.forgetting.places import former_versions, places, stores
from cv_quality.settings import S3Options
from cv_quality.tasks import open_workspace
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace as open_local
from cv_quality_tests.deployment import take_in
from cv_quality_tests.forgetting.holding import DROP, NOW, OTHER, SUBJECT, deliver_people
from cv_quality_tests.servers import CREDENTIALS, moto_server, s3_client

BUCKET = "people"


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A deployment in a bucket with versions, into which a drop was taken, twice."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with moto_server(tmp_path / "moto.log") as endpoint:
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        settings = replace(
            open_local(tmp_path / "home").settings,
            landing=f"s3://{BUCKET}/landing",
            lake=f"s3://{BUCKET}/lake",
            published=f"s3://{BUCKET}/published",
            s3=S3Options(endpoint_url=endpoint, region="us-east-1"),
        )
        workspace = open_workspace(settings)
        deliver_people(workspace.landing, DROP, OTHER, SUBJECT)
        take_in(workspace, DROP)
        take_in(workspace, DROP)
        workspace.landing.write_bytes(f"{DROP}-quarantine.csv", f"who\n{SUBJECT}\n".encode())
        workspace.landing.delete(f"{DROP}-quarantine.csv")
        yield workspace


def test_former_versions_of_objects_are_looked_through_and_erased(remote: Workspace) -> None:
    before = look_for(remote, SUBJECT).found
    assert {place.version is None for place in before if place.where == "lake"} == {True, False}
    assert f"landing/{DROP}-quarantine.csv" in {f"{place.where}/{place.key}" for place in before if place.version}
    document = forget(remote, SUBJECT, now=NOW).document
    assert look_for(remote, SUBJECT).found == ()
    assert document["left"]["files_with_the_subject"] == 0
    touched = [(place.where, place.key) for place in before]
    assert [*former_versions(remote, touched)] == []
    assert not any(SUBJECT.encode() in place.open().read() for place in places(remote))
    take_in(remote, DROP)
    manifest = json.loads(stores(remote)["landing"].read_bytes(f"{DROP}/manifest.json"))
    assert [entry["rows"] for entry in manifest["files"]] == [5, 5]
