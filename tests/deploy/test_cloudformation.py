"""deploy/cloudformation: checked by cfn-lint, and applied for real: what it makes is read by a daemon."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from tests.aws.servers import Aws, aws_credentials, ministack
from tests.deploy.test_terraform_aws import EXTERNAL_ID, read_from_bucket

__all__ = ["aws_credentials", "ministack"]

TEMPLATE = Path(__file__).resolve().parents[2] / "deploy/cloudformation/ingestd-source.yml"


def test_cfn_lint_has_nothing_to_say() -> None:
    """Neither errors nor warnings."""
    done = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", TEMPLATE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


class Stack:
    """A stack of the template, for a bucket of the same name."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._client: Any = aws.client("cloudformation")
        self.name = bucket
        self._parameters = {
            "BucketName": bucket,
            "SourceName": "org-trail",
            "Prefix": "AWSLogs/",
            "LogTypes": "AWS.CloudTrail",
            "TrustedPrincipals": "arn:aws:iam::000000000000:root",
            "ExternalId": EXTERNAL_ID,
        }

    def make(self, *, create_bucket: bool) -> dict[str, str]:
        """Make it; its outputs."""
        self._parameters["CreateBucket"] = str(create_bucket).lower()
        self._client.create_stack(**self._request())
        return self._outputs("create")

    def change(self, **parameters: str) -> dict[str, str]:
        """Make it anew with these parameters; its outputs."""
        self._parameters |= parameters
        self._client.update_stack(**self._request())
        return self._outputs("update")

    def delete(self) -> None:
        """Take it down."""
        self._client.delete_stack(StackName=self.name)
        self._wait("delete")

    def why_failed(self) -> dict[str, str]:
        """What its resources failed of."""
        events = self._client.describe_stack_events(StackName=self.name)["StackEvents"]
        return {e["LogicalResourceId"]: e["ResourceStatusReason"] for e in events if "_FAILED" in e["ResourceStatus"]}

    def _request(self) -> dict[str, Any]:
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in self._parameters.items()]
        body = TEMPLATE.read_text()
        return {
            "StackName": self.name,
            "TemplateBody": body,
            "Parameters": given,
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
        }

    def _outputs(self, what: str) -> dict[str, str]:
        self._wait(what)
        (made,) = self._client.describe_stacks(StackName=self.name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}

    def _wait(self, what: str) -> None:
        waiter = self._client.get_waiter(f"stack_{what}_complete")
        waiter.wait(StackName=self.name, WaiterConfig={"Delay": 0.5, "MaxAttempts": 120})


def notifications(aws: Aws, bucket: str) -> tuple[list[str], dict[str, str]]:
    """Of a bucket: the queues that are told, and by its id the prefix of each topic's entry."""
    found = aws.client("s3").get_bucket_notification_configuration(Bucket=bucket)
    topics = {t["Id"]: t["Filter"]["Key"]["FilterRules"][0]["Value"] for t in found.get("TopicConfigurations", [])}
    return [queue["QueueArn"] for queue in found.get("QueueConfigurations", [])], topics


def test_what_is_applied_is_read_by_a_daemon(ministack: Aws, tmp_path: Path) -> None:
    """The output is the daemon's source; when the stack is gone, the bucket and what lies in it stay."""
    stack = Stack(ministack, "made-by-the-stack")
    outputs = stack.make(create_bucket=True)
    read_from_bucket(ministack, stack.name, outputs["SourceYml"], tmp_path / "site")
    stack.delete()
    assert ministack.client("s3").list_objects_v2(Bucket=stack.name)["KeyCount"] == 2


def test_a_bucket_that_is_there_keeps_what_it_has(ministack: Aws, tmp_path: Path) -> None:
    """Its other notifications stay as the stack's entry is added, changed and taken out, also when their queue is
    gone; what is announced meanwhile is read by a daemon."""
    bucket, other = ministack.bucket(), ministack.queue()
    ministack.notify_queue(bucket, other)
    others = [ministack.queue_arn(other)]
    stack = Stack(ministack, bucket)
    outputs = stack.make(create_bucket=False)
    assert notifications(ministack, bucket) == (others, {"ingestd-org-trail": "AWSLogs/"})
    read_from_bucket(ministack, bucket, outputs["SourceYml"], tmp_path / "site")
    assert '- prefix: "elsewhere/"' in stack.change(Prefix="elsewhere/")["SourceYml"]
    assert notifications(ministack, bucket) == (others, {"ingestd-org-trail": "elsewhere/"})
    ministack.client("sqs").delete_queue(QueueUrl=other)
    stack.delete()
    assert notifications(ministack, bucket) == (others, {})
    assert ministack.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 2


def test_a_bucket_that_is_not_there_is_told_at_once(ministack: Aws) -> None:
    """CloudFormation would otherwise wait for an answer."""
    stack = Stack(ministack, "no-such-bucket-at-all")
    with pytest.raises(WaiterError):
        stack.make(create_bucket=False)
    assert "NoSuchBucket" in stack.why_failed()["Notification"]
    stack.delete()


def test_a_bucket_that_went_away_does_not_keep_the_stack(ministack: Aws) -> None:
    """There is no notification to take out any more."""
    stack = Stack(ministack, ministack.bucket())
    stack.make(create_bucket=False)
    ministack.client("s3").delete_bucket(Bucket=stack.name)
    stack.delete()


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
