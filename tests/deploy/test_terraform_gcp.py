"""deploy/terraform/gcp: formatted and parsed, and its names agree with each other and with the code.

Its provider is on no package registry and no server plays Google's resource manager, so that it is not applied here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest

from ingestd.notices import gcs
from ingestd.sources._pubsub_checks import FEWEST_ATTEMPTS
from ingestd.sources.gcp_pubsub import Config

MODULE = Path(__file__).resolve().parents[2] / "deploy/terraform/gcp"
TEXT = "\n".join(file.read_text() for file in sorted(MODULE.glob("*.tf")))


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is on no package registry")
def test_the_module_is_formatted() -> None:
    """As `terraform fmt` does it."""
    command = ["terraform", f"-chdir={MODULE}", "fmt", "-check", "-diff"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", sorted(MODULE.glob("*.tf")), ids=lambda file: file.name)
def test_each_file_is_valid_hcl(file: Path) -> None:
    """Every block is of a known kind."""
    with file.open() as text:
        blocks: dict[str, Any] = hcl2.load(text)
    assert set(blocks) - {"__comments__", "__inline_comments__"} <= {
        "data", "locals", "output", "resource", "terraform", "variable",
    }  # fmt: skip


def test_every_variable_and_output_says_what_it_is() -> None:
    """They are the module's documentation."""
    declared = re.findall(r'^(?:variable|output) "', TEXT, re.MULTILINE)
    assert len(declared) == len(re.findall(r'^  description = "[A-Z].*"$', TEXT, re.MULTILINE)) == 11


def test_what_is_used_is_declared_and_what_is_declared_is_used() -> None:
    """Variables, locals, resources and data sources."""
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == set(re.findall(r'^variable "(\w+)"', TEXT, re.MULTILINE))
    declared = {".".join(found) for found in re.findall(r'^resource "(\w+)" "(\w+)"', TEXT, re.MULTILINE)}
    used = set(re.findall(r"\b(google_\w+\.\w+)\b", re.sub(r"data\.google_\w+\.\w+", "", TEXT)))
    assert used <= declared
    data = {".".join(found) for found in re.findall(r'^data "(\w+)" "(\w+)"', TEXT, re.MULTILINE)}
    assert set(re.findall(r"\bdata\.(google_\w+\.\w+)\b", TEXT)) == data


def test_the_roles_are_those_that_the_work_needs() -> None:
    """Reading objects, one subscription, two topics; being the account."""
    assert sorted(re.findall(r'role +?= "roles/(.+)"', TEXT)) == [
        "iam.workloadIdentityUser",
        "pubsub.publisher",
        "pubsub.publisher",
        "pubsub.subscriber",
        "storage.objectViewer",
    ]


def test_what_is_announced_is_understood_and_the_output_is_a_source() -> None:
    """Kinds of events, the policy that doctor asks for, and keys of the configuration."""
    (kind,) = re.findall(r'event_types +?= \["(\w+)"\]', TEXT)
    told = {"notificationConfig": "n", "eventType": kind, "bucketId": "b-b", "objectId": "o", "objectGeneration": "1"}
    notice = gcs.parse("", told)
    assert notice is not None
    assert notice.objects
    (attempts,) = re.findall(r"max_delivery_attempts = (\d+)", TEXT)
    assert int(attempts) >= FEWEST_ATTEMPTS
    output = TEXT[TEXT.index("source_yml") :]
    keys = re.findall(r"^        (\w+) +=", output, re.MULTILINE)
    assert {"type", "subscription"} <= set(keys) <= set(Config.model_fields)
