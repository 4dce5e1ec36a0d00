"""The infrastructure for AWS: sound by the linter, closed to the public, and an instance that Dagster takes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml

from cv_quality.settings import KNOWN
from cv_quality_tests.servers import CREDENTIALS, moto_server, s3_client

STACK = Path(__file__).parents[1] / "deploy" / "aws" / "stack.yaml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as mappings of one key."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, object]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    raise ValueError(node)


_Loader.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(STACK.read_text(), _Loader)["Resources"]
    return found


def properties(resources: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = [item.get("Properties", {}) for item in resources.values() if item["Type"] == kind]
    assert found, kind
    return found


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).parent / "cfn-lint"
    done = subprocess.run([linter, STACK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_is_public_and_everything_is_encrypted(resources: dict[str, Any]) -> None:
    for bucket in properties(resources, "AWS::S3::Bucket"):
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
        kept = [rule.get("NoncurrentVersionExpiration") for rule in bucket["LifecycleConfiguration"]["Rules"]]
        assert any(kept), "replaced versions of biometric data end"
    (database,) = properties(resources, "AWS::RDS::DBInstance")
    assert (database["PubliclyAccessible"], database["StorageEncrypted"]) == (False, True)
    (service,) = properties(resources, "AWS::ECS::Service")
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    kinds = {item["Type"] for item in resources.values()}
    assert kinds.isdisjoint(
        {"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::ElasticLoadBalancingV2::LoadBalancer"}
    )
    assert all(item["Encrypted"] for item in properties(resources, "AWS::EFS::FileSystem"))
    assert all("KmsMasterKeyId" in queue for queue in properties(resources, "AWS::SQS::Queue"))


def test_no_role_may_do_everything_of_a_service_or_anything_to_all_objects(resources: dict[str, Any]) -> None:
    for role in properties(resources, "AWS::IAM::Role"):
        for statement in (item for policy in role["Policies"] for item in policy["PolicyDocument"]["Statement"]):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not any("*" in action for action in actions), actions
            if statement["Resource"] == "*":
                assert all(action.startswith(("ecr:GetAuthorizationToken", "ssmmessages:")) for action in actions)


def test_a_task_is_told_of_settings_that_exist(resources: dict[str, Any]) -> None:
    (task,) = properties(resources, "AWS::ECS::TaskDefinition")
    names = [item["Name"] for container in task["ContainerDefinitions"] for item in container["Environment"]]
    settings = [name for name in names if name.startswith("CVQ_")]
    assert "CVQ_LANDING_QUEUE" in settings
    assert set(settings) <= set(KNOWN)


@dg.op
def speak() -> None:
    """Say something that is to be found in the bucket."""
    print("heard in the bucket")  # noqa: T201


@dg.job
def speaking() -> None:
    """One step."""
    speak()


def test_what_steps_print_lies_in_the_bucket(
    resources: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    (task,) = properties(resources, "AWS::ECS::TaskDefinition")
    (said,) = task["ContainerDefinitions"][0]["Environment"]
    text = said["Value"]["Sub"].replace("${Data}", "data").replace("${AWS::Region}", "us-east-1")
    instance = yaml.safe_load(text)
    assert instance.pop("storage")["postgres"]["postgres_db"]["params"] == {"sslmode": "require"}
    with moto_server(tmp_path / "moto.log") as endpoint:
        s3_client(endpoint).create_bucket(Bucket="data")
        instance["compute_logs"]["config"] |= {"endpoint_url": endpoint, "local_dir": str(tmp_path / "printed")}
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))
        with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
            assert speaking.execute_in_process(instance=opened).success
        bucket = boto3.Session().resource("s3", endpoint_url=endpoint).Bucket("data")
        printed = {item.key: item.get()["Body"].read() for item in bucket.objects.all()}
    assert all(key.startswith("compute-logs/") for key in printed)
    assert any(b"heard in the bucket" in data for data in printed.values())
