"""deploy/cloudformation: checked by cfn-lint, and applied for real: what it makes is read by a daemon."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.aws.servers import REGION, Aws, aws_credentials, ministack
from tests.deploy.test_terraform_aws import EXTERNAL_ID, read_from_bucket

__all__ = ["aws_credentials", "ministack"]

TEMPLATE = Path(__file__).resolve().parents[2] / "deploy/cloudformation/ingestd-source.yml"


def test_cfn_lint_has_nothing_to_say() -> None:
    """Neither errors nor warnings."""
    done = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", TEMPLATE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def stack(aws: Aws, name: str, **parameters: str) -> dict[str, str]:
    """Make a stack of the template; its outputs."""
    client: Any = aws.client("cloudformation")
    given = parameters | {
        "SourceName": "org-trail",
        "Prefix": "AWSLogs/",
        "LogTypes": "AWS.CloudTrail",
        "TrustedPrincipals": "arn:aws:iam::000000000000:root",
        "ExternalId": EXTERNAL_ID,
    }
    client.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.5, "MaxAttempts": 120})
    (made,) = client.describe_stacks(StackName=name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}


def test_what_is_applied_is_read_by_a_daemon(ministack: Aws, tmp_path: Path) -> None:
    """The output is the daemon's source; when the stack is gone, the bucket and what lies in it stay."""
    bucket = "made-by-the-stack"
    outputs = stack(ministack, bucket, BucketName=bucket, CreateBucket="true")
    read_from_bucket(ministack, bucket, outputs["SourceYml"], tmp_path / "site")
    client: Any = ministack.client("cloudformation")
    client.delete_stack(StackName=bucket)
    client.get_waiter("stack_delete_complete").wait(StackName=bucket, WaiterConfig={"Delay": 0.5, "MaxAttempts": 120})
    assert ministack.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 2


def test_the_role_may_do_what_the_documentation_says_and_no_more() -> None:
    """The same in the template, in the Terraform module, and in the table of permissions."""
    root = TEMPLATE.parents[2]
    role = TEMPLATE.read_text().partition("  Role:\n")[2].partition("  # --- alarms")[0]
    module = (root / "deploy/terraform/aws/role.tf").read_text()
    table = (root / "docs/aws.md").read_text().partition("## Permissions")[2].partition("\n\nErrors")[0]
    action = re.compile(r"\b(?:sqs|s3|kms|cloudtrail):[A-Z]\w+")
    made = set(action.findall(role))
    assert made == set(action.findall(module))
    assert made == set(action.findall(table))
    assert not re.search(r"\b(?:sqs|s3|kms|sns|iam):\*", role + module)


# --- for a bucket that is there, a function of the stack adds the notification --------------------------------


class Notifier:
    """The function as it stands in the template, and what it answered."""

    def __init__(self, bucket: str, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
        code = yaml.load(TEMPLATE.read_text(), _Loose)["Resources"]["Notifier"]["Properties"]["Code"]["ZipFile"]
        self.space: dict[str, Any] = {}
        exec(compile(code, str(TEMPLATE), "exec"), self.space)
        self.answers: list[dict[str, Any]] = []
        monkeypatch.setattr(self.space["urllib"].request, "urlopen", self._take)
        self.properties = {"Bucket": bucket, "Id": "ingestd-x", "TopicArn": topic, "Prefix": "AWSLogs/", "Suffix": ""}

    def _take(self, request: Any, timeout: float) -> None:
        assert request.get_method() == "PUT"
        self.answers.append(json.loads(request.data))

    def __call__(self, kind: str) -> dict[str, Any]:
        """Let CloudFormation ask for this; the answer that it gets."""
        ids = {"StackId": "s", "RequestId": "r", "LogicalResourceId": "l", "ResponseURL": "http://127.0.0.1:9/"}
        self.space["handler"]({"RequestType": kind, "ResourceProperties": self.properties, **ids}, None)
        return self.answers.pop()


class _Loose(yaml.SafeLoader):
    """YAML whose tags do not matter."""


_Loose.add_multi_constructor("!", lambda loader, suffix, node: None)


@pytest.fixture
def at_server(ministack: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """What boto3 finds by itself in a function."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", ministack.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@pytest.mark.usefixtures("at_server")
def test_the_notification_joins_those_that_are_there(ministack: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made twice it is there once; deleted, the others stay."""
    bucket, other = ministack.bucket(), ministack.queue()
    ministack.notify_queue(bucket, other)
    topic = ministack.client("sns").create_topic(Name="notified")["TopicArn"]
    notifier = Notifier(bucket, topic, monkeypatch)

    def kept() -> tuple[int, list[str]]:
        found = ministack.client("s3").get_bucket_notification_configuration(Bucket=bucket)
        prefixes = [t["Filter"]["Key"]["FilterRules"][0]["Value"] for t in found.get("TopicConfigurations", [])]
        return len(found.get("QueueConfigurations", [])), prefixes

    answer = notifier("Create")
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", f"{bucket}/ingestd-x")
    assert kept() == (1, ["AWSLogs/"])
    assert notifier("Update")["Status"] == "SUCCESS"
    assert kept() == (1, ["AWSLogs/"])
    assert notifier("Delete")["Status"] == "SUCCESS"
    assert kept() == (1, [])


@pytest.mark.usefixtures("at_server")
def test_a_notification_that_cannot_be_set_is_answered(ministack: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudFormation would wait for an hour; a bucket that is gone needs no deletion."""
    notifier = Notifier("no-such-bucket-at-all", "arn:aws:sns:eu-central-1:000000000000:t", monkeypatch)
    answer = notifier("Create")
    assert answer["Status"] == "FAILED"
    assert "NoSuchBucket" in answer["Reason"]
    assert notifier("Delete")["Status"] == "SUCCESS"
