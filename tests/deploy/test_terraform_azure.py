"""deploy/terraform/azure: formatted and parsed, and its names agree with each other.

Its provider is on no package registry and no server plays Azure's resource manager, so that it is not applied here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest

from ingestd.notices.event_grid import _STORAGE
from ingestd.sources.azure_queue import CONTRIBUTOR, SENDER, Config
from ingestd.stores._azure_errors import READER

MODULE = Path(__file__).resolve().parents[2] / "deploy/terraform/azure"
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
    assert len(declared) == len(re.findall(r'^  description = "[A-Z].*"$', TEXT, re.MULTILINE)) == 13


def test_what_is_used_is_declared_and_what_is_declared_is_used() -> None:
    """Variables, locals, resources and data sources."""
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == set(re.findall(r'^variable "(\w+)"', TEXT, re.MULTILINE))
    declared = {".".join(found) for found in re.findall(r'^resource "(\w+)" "(\w+)"', TEXT, re.MULTILINE)}
    used = set(re.findall(r"\b(azurerm_\w+\.\w+)(?:\[\d\])?\.\w+", re.sub(r"data\.azurerm_\w+\.\w+", "", TEXT)))
    assert used <= declared
    assert "data.azurerm_storage_account.logs" in TEXT


def test_the_roles_are_those_that_errors_name() -> None:
    """One for the blobs, one for the queue that may also update messages, one for the poison queue."""
    assert re.findall(r'role_definition_name = "(.+)"', TEXT) == [READER, CONTRIBUTOR, SENDER]


def test_what_is_subscribed_to_is_understood_and_the_output_is_a_source() -> None:
    """Kinds of events, and keys of the configuration."""
    kinds = re.findall(rf'"{re.escape(_STORAGE)}(Blob\w+)"', TEXT)
    assert kinds == ["BlobCreated", "BlobRenamed", "BlobTierChanged"]
    output = TEXT[TEXT.index("source_yml") :]
    keys = re.findall(r"^        (\w+) +=", output, re.MULTILINE)
    assert set(keys) <= set(Config.model_fields)
