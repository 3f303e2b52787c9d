"""CloudTrail-like objects from a seed: the traffic that the bench, its test and the proofs run on.

Shaped like an organisation trail: a few event names make most of the traffic, one object holds the events of
some 80 principals, an event is about 1.45 KB and gzip makes a sixth of it. `events` is deterministic: the same seed
gives the same bytes.
"""

from __future__ import annotations

import json
import random
import zlib
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

RECORDS_PER_OBJECT = 5_000
PRINCIPALS_PER_OBJECT = 80
ACCOUNT = "111122223333"
START = datetime(2026, 7, 1, tzinfo=UTC)

READS = {
    "s3": "GetObject HeadObject ListObjects GetBucketAcl GetBucketPolicy ListBuckets GetBucketLocation",
    "ec2": "DescribeInstances DescribeVolumes DescribeSubnets DescribeSecurityGroups DescribeVpcs DescribeImages",
    "iam": "GetRole ListRoles GetUser ListUsers ListAttachedRolePolicies GetPolicyVersion ListAccessKeys",
    "sts": "AssumeRole GetCallerIdentity AssumeRoleWithWebIdentity AssumeRoleWithSAML",
    "kms": "Decrypt GenerateDataKey DescribeKey ListAliases Encrypt",
    "logs": "DescribeLogGroups FilterLogEvents DescribeLogStreams GetLogEvents",
    "lambda": "GetFunction20150331v2 ListFunctions20150331 GetPolicy20150331v2",
    "dynamodb": "DescribeTable ListTables GetItem Query",
    "secretsmanager": "GetSecretValue DescribeSecret ListSecrets",
    "ssm": "GetParameter GetParameters DescribeInstanceInformation UpdateInstanceInformation",
    "rds": "DescribeDBInstances DescribeDBSnapshots DescribeDBClusters",
    "ecr": "GetAuthorizationToken BatchGetImage DescribeRepositories",
    "sqs": "ReceiveMessage GetQueueAttributes ListQueues",
    "cloudformation": "DescribeStacks DescribeStackEvents ListStacks",
    "elasticloadbalancing": "DescribeTargetHealth DescribeLoadBalancers DescribeListeners",
}
WRITES = {
    "s3": "PutObject DeleteObject PutBucketPolicy DeleteBucket PutBucketAcl CreateBucket PutBucketVersioning",
    "ec2": "RunInstances TerminateInstances AuthorizeSecurityGroupIngress CreateSnapshot ModifySnapshotAttribute "
    "StopInstances CreateTags DeleteVolume CreateVpc RevokeSecurityGroupIngress ModifyImageAttribute",
    "iam": "CreateUser CreateAccessKey AttachUserPolicy AttachRolePolicy PutUserPolicy DeleteUser CreateRole "
    "UpdateAssumeRolePolicy DeactivateMFADevice CreateLoginProfile UpdateLoginProfile AddUserToGroup",
    "kms": "CreateKey ScheduleKeyDeletion DisableKey PutKeyPolicy CreateGrant",
    "logs": "CreateLogStream CreateLogGroup DeleteLogGroup PutRetentionPolicy",
    "lambda": "UpdateFunctionCode20150331v2 CreateFunction20150331 AddPermission20150331v2 DeleteFunction20150331",
    "cloudtrail": "StopLogging DeleteTrail UpdateTrail PutEventSelectors",
    "signin": "ConsoleLogin SwitchRole PasswordRecoveryRequested",
    "secretsmanager": "PutSecretValue DeleteSecret RotateSecret",
    "rds": "ModifyDBInstance CreateDBSnapshot ModifyDBSnapshotAttribute DeleteDBInstance",
    "ssm": "SendCommand StartSession PutParameter",
    "guardduty": "DeleteDetector UpdateDetector CreateFilter",
    "organizations": "LeaveOrganization CreateAccount InviteAccountToOrganization",
    "config": "DeleteConfigRule StopConfigurationRecorder",
}
ERRORS = ("AccessDenied", "ThrottlingException", "NoSuchKey")
REGIONS = ("us-east-1", "eu-west-1", "us-west-2", "eu-central-1", "ap-southeast-2")
AGENTS = (
    "aws-sdk-java/2.20.18 Linux/5.10.165 OpenJDK_64-Bit_Server_VM/17.0.6+10-LTS Java/17.0.6 vendor/Amazon.com_Inc.",
    "Boto3/1.28.57 md/Botocore#1.31.57 ua/2.0 os/linux#5.10 md/arch#x86_64 lang/python#3.11.5 cfg/retry-mode#legacy",
    "aws-cli/2.13.21 Python/3.11.5 Linux/6.1.0 exe/x86_64.debian.12 prompt/off command/s3.ls",
    "APN/1.0 HashiCorp/1.0 Terraform/1.5.7 (+https://www.terraform.io) terraform-provider-aws/5.17.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/117.0.0.0 Safari/537.36",
    "aws-sdk-go/1.44.298 (go1.20.6; linux; amd64) amazon-ssm-agent/3.2.1478.0",
)


def event_names() -> list[tuple[str, str, bool]]:
    """(service, event name, read only) in order of traffic, the most frequent first."""
    reads = [(service, name, True) for service, names in READS.items() for name in names.split()]
    writes = [(service, name, False) for service, names in WRITES.items() for name in names.split()]
    order = random.Random(7)
    order.shuffle(reads)
    order.shuffle(writes)
    return reads + writes


NAMES = event_names()
_WEIGHTS = list(accumulate(1 / (rank + 1) for rank in range(len(NAMES))))


class Traffic:
    """Endless events of one object's principals."""

    names = NAMES
    """What they call, the most frequent first."""

    def __init__(self, seed: int, start: datetime = START) -> None:
        self._random = random.Random(f"traffic-{seed}")
        self._clock = start
        self._principals = [self._principal(number) for number in range(PRINCIPALS_PER_OBJECT)]
        weights = (1 / (rank + 1) for rank in range(PRINCIPALS_PER_OBJECT))
        self._principal_weights = list(accumulate(weights))

    def _hex(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"

    def _token(self, length: int) -> str:
        """Text that does not compress, as session tokens and page tokens."""
        return b64encode(self._random.randbytes(length)).decode()[:length]

    def _uuid(self) -> str:
        text = self._hex(32)
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def _address(self) -> str:
        return ".".join(str(self._random.randint(1, 254)) for _ in range(4))

    def _principal(self, number: int) -> dict[str, Any]:
        draw = self._random
        unique = self._hex(16).upper()
        agent, address, region = draw.choice(AGENTS), self._address(), draw.choice(REGIONS)
        if number % 4 == 0:
            user = f"user-{number:03d}"
            identity: dict[str, Any] = {
                "type": "IAMUser",
                "principalId": f"AIDA{unique}",
                "arn": f"arn:aws:iam::{ACCOUNT}:user/{user}",
                "accountId": ACCOUNT,
                "accessKeyId": f"AKIA{unique}",
                "userName": user,
            }
        else:
            role, session = f"service-role-{number:03d}", f"i-{self._hex(17)}"
            identity = {
                "type": "AssumedRole",
                "principalId": f"AROA{unique}:{session}",
                "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}",
                "accountId": ACCOUNT,
                "accessKeyId": f"ASIA{unique}",
                "sessionContext": {
                    "sessionIssuer": {
                        "type": "Role",
                        "principalId": f"AROA{unique}",
                        "arn": f"arn:aws:iam::{ACCOUNT}:role/{role}",
                        "accountId": ACCOUNT,
                        "userName": role,
                    },
                    "webIdFederationData": {},
                    "attributes": {"creationDate": "2026-07-01T00:00:00Z", "mfaAuthenticated": "false"},
                },
            }
        return {"identity": identity, "agent": agent, "address": address, "region": region}

    def _parameters(self, service: str, name: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """requestParameters and responseElements of a call."""
        draw = self._random
        if service == "s3":
            bucket = f"org-data-{draw.randint(1, 40)}"
            key = f"exports/2026/07/{draw.randint(1, 31):02d}/part-{self._hex(12)}.parquet"
            host = f"{bucket}.s3.us-east-1.amazonaws.com"
            return {"bucketName": bucket, "Host": host, "key": key}, None
        if service == "ec2":
            items = {"items": [{"instanceId": f"i-{self._hex(17)}"} for _ in range(6)]}
            answer = None if name.startswith("Describe") else {"requestId": self._uuid(), "_return": True}
            return {"instancesSet": items, "filterSet": {}, "maxResults": draw.randint(5, 1000)}, answer
        if service == "sts":
            role, session = f"arn:aws:iam::{ACCOUNT}:role/deploy-{draw.randint(1, 60)}", f"session-{self._hex(8)}"
            credentials = {
                "accessKeyId": f"ASIA{self._hex(16).upper()}",
                "sessionToken": self._token(400),
                "expiration": "Jul 1, 2026, 1:00:00 PM",
            }
            user = {"assumedRoleId": f"AROA{self._hex(16).upper()}:{session}", "arn": f"{role}/{session}"}
            return (
                {"roleArn": role, "roleSessionName": session, "durationSeconds": 3600},
                {"credentials": credentials, "assumedRoleUser": user},
            )
        if service == "kms":
            key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{self._uuid()}"
            return {
                "keyId": key,
                "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "encryptionContext": {"aws:s3": key},
            }, None
        if service == "iam":
            name_of = {"userName": f"user-{draw.randint(0, 300):03d}", "roleName": f"role-{draw.randint(0, 300):03d}"}
            return {**name_of, "policyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}, None
        return {f"{service}Id": self._uuid(), "nextToken": self._token(160), "maxResults": draw.randint(5, 100)}, None

    def event(self) -> dict[str, Any]:
        """The next event."""
        draw = self._random
        principal = draw.choices(self._principals, cum_weights=self._principal_weights)[0]
        service, name, read_only = draw.choices(self.names, cum_weights=_WEIGHTS[: len(self.names)])[0]
        self._clock += timedelta(milliseconds=draw.randint(1, 300))
        request, response = self._parameters(service, name)
        event: dict[str, Any] = {
            "eventVersion": "1.08",
            "userIdentity": principal["identity"],
            "eventTime": self._clock.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": f"{service}.amazonaws.com",
            "eventName": name,
            "awsRegion": principal["region"],
            "sourceIPAddress": principal["address"],
            "userAgent": principal["agent"],
            "requestParameters": request,
            "responseElements": response,
            "requestID": self._uuid(),
            "eventID": self._uuid(),
            "readOnly": read_only,
            "eventType": "AwsApiCall",
            "managementEvent": service not in {"s3", "dynamodb"},
            "recipientAccountId": ACCOUNT,
            "eventCategory": "Management",
            "tlsDetails": {
                "tlsVersion": "TLSv1.3",
                "cipherSuite": "TLS_AES_128_GCM_SHA256",
                "clientProvidedHostHeader": f"{service}.{principal['region']}.amazonaws.com",
            },
        }
        if draw.random() < 0.035:
            event["errorCode"] = draw.choice(ERRORS)
            event["errorMessage"] = f"User: {principal['identity']['arn']} is not authorized to perform this action"
        if service in {"s3", "kms"}:
            event["additionalEventData"] = {
                "SignatureVersion": "SigV4",
                "bytesTransferredIn": 0,
                "bytesTransferredOut": draw.randint(0, 10**7),
                "x-amz-id-2": self._token(76),
            }
            event["resources"] = [
                {"accountId": ACCOUNT, "type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::org-data-1/{self._hex(10)}"},
            ]
        return event


_QUIET_NAMES = [
    found for found in NAMES if found[2] and found[0] in {"s3", "kms", "logs", "sqs", "dynamodb", "lambda"}
]


class QuietTraffic(Traffic):
    """What services of one's own read all day, from inside the network: next to nothing for detections to say."""

    names = _QUIET_NAMES

    def _principal(self, number: int) -> dict[str, Any]:
        principal = super()._principal(number | 1)  # a role, never a user
        principal["address"] = f"10.{number}.{self._random.randint(0, 255)}.{self._random.randint(1, 254)}"
        principal["region"] = "us-east-1"
        identity = principal["identity"]
        for key in ("principalId", "arn"):
            identity[key] = identity[key].replace("i-", "worker-")
        return principal


def events(seed: int, count: int, kind: type[Traffic] = Traffic) -> Iterator[dict[str, Any]]:
    """`count` events of one object."""
    traffic = kind(seed, START + timedelta(minutes=5 * seed))
    return (traffic.event() for _ in range(count))


def plain_object(seed: int, count: int = RECORDS_PER_OBJECT, kind: type[Traffic] = Traffic) -> bytes:
    """One object as CloudTrail writes it, before compression."""
    return json.dumps({"Records": list(events(seed, count, kind))}, separators=(",", ":")).encode()


def gzip_object(seed: int, count: int = RECORDS_PER_OBJECT, kind: type[Traffic] = Traffic) -> bytes:
    """The same, as it lies in the bucket; without a time in the header, so that it is the same every time."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(plain_object(seed, count, kind)) + packer.flush()
