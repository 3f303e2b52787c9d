"""deploy/terraform/aws: formatted, valid, and applied for real: what it makes is read by a daemon.

It needs `terraform` and its provider for AWS, which no package registry has: they are used where they are at hand.
`INGESTD_TERRAFORM_PLUGINS` names a folder of providers as `terraform providers mirror` makes it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ingestd.config.load import load
from tests.aws.servers import CREDENTIALS, REGION, Aws, aws_credentials, ministack, moto
from tests.aws.site import Site
from tests.proofs.hostile import record

__all__ = ["aws_credentials", "ministack", "moto"]

MODULE = Path(__file__).resolve().parents[2] / "deploy/terraform/aws"
PLUGINS = Path(os.environ.get("INGESTD_TERRAFORM_PLUGINS", "/opt/tf-plugins"))
NEEDED = pytest.mark.skipif(
    shutil.which("terraform") is None or not PLUGINS.is_dir(), reason="terraform and its provider are not here"
)
EXTERNAL_ID = "a-random-text-of-our-own"
ROOT = """
terraform {{
  required_providers {{
    aws = {{ source = "hashicorp/aws" }}
  }}
}}
provider "aws" {{
  region                      = "{region}"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  endpoints {{
{endpoints}
  }}
}}
module "trail" {{
  source             = "./module"
  name               = "{name}"
  bucket             = "{bucket}"
  prefix             = "AWSLogs/"
  log_types          = ["AWS.CloudTrail"]
  trusted_principals = ["arn:aws:iam::000000000000:root"]
  external_id        = "{external_id}"
  verify_digests     = true
}}
output "source_yml" {{ value = module.trail.source_yml }}
"""


def terraform(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run it there; what it printed."""
    environment = {**os.environ, **CREDENTIALS, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    environment.pop("TF_CLI_CONFIG_FILE", None)
    done = subprocess.run(
        ["terraform", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_every_variable_and_output_says_what_it_is() -> None:
    """Without terraform's help: they are the module's documentation."""
    for file in ("variables.tf", "outputs.tf"):
        text = (MODULE / file).read_text()
        assert len(re.findall(r'^(?:variable|output) "', text, re.MULTILINE)) == len(
            re.findall(r'^  description = "[A-Z].*"$', text, re.MULTILINE)
        )


@NEEDED
def test_the_module_is_formatted() -> None:
    """As `terraform fmt` does it."""
    terraform(MODULE, "fmt", "-check", "-diff")


@NEEDED
def test_what_is_applied_is_read_by_a_daemon(ministack: Aws, moto: Aws, tmp_path: Path) -> None:
    """`validate`, `apply`, a second plan without changes, and the output as the daemon's source."""
    bucket, root = ministack.bucket(), tmp_path / "root"
    shutil.copytree(MODULE, root / "module")
    # ministack forgets half of what an alarm says, so that each plan would change it again
    servers = dict.fromkeys(("iam", "kms", "s3", "sns", "sqs", "sts"), ministack.url) | {"cloudwatch": moto.url}
    endpoints = "\n".join(f'    {service} = "{url}"' for service, url in servers.items())
    (root / "main.tf").write_text(
        ROOT.format(region=REGION, endpoints=endpoints, name="org-trail", bucket=bucket, external_id=EXTERNAL_ID)
    )
    terraform(root, "init", "-input=false", f"-plugin-dir={PLUGINS}")
    terraform(root, "validate")
    terraform(root, "apply", "-auto-approve", "-input=false")
    terraform(root, "plan", "-input=false", "-detailed-exitcode")
    source = terraform(root, "output", "-raw", "source_yml")
    read_from_bucket(ministack, bucket, source, tmp_path / "site")


def read_from_bucket(aws: Aws, bucket: str, source_yml: str, folder: Path) -> None:
    """Put objects into the bucket, and have a daemon read them with the source that was made."""
    site = Site(folder, aws, "http://unused/1/q", "http://unused/1/d")
    config = (folder / "ingestd.yml").read_text()
    (folder / "sources.d").mkdir()
    (folder / "ingestd.yml").write_text("include: [sources.d/*.yml]\n" + config[config.index("lake:") :])
    (folder / "sources.d/made.yml").write_text(source_yml)
    with patch.dict(os.environ, {"INGESTD_EXTERNAL_ID": EXTERNAL_ID}):
        (made,) = load(folder / "ingestd.yml").sources.values()
        _read(aws, site, bucket, source_yml, made)


def _read(aws: Aws, site: Site, bucket: str, source_yml: str, made: Any) -> None:
    assert made.queue_url.endswith("/org-trail")
    (site.folder / "sources.d/made.yml").write_text(source_yml + f"    endpoint_url: {aws.url}\n")
    data = gzip.compress(json.dumps({"Records": [record("a")]}).encode())
    aws.put(bucket, "AWSLogs/a b.json.gz", data)
    aws.put(bucket, "elsewhere/x.json.gz", data)
    site.drain()
    assert site.events() == Counter(["a"])
    assert site.rejects() == Counter()
    assert aws.messages(made.queue_url) == (0, 0)
