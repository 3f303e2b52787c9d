"""The manifests, as kustomize renders them, against the schemas of Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ingestd.config.load import load
from tests.deploy.tools import DEPLOY, run

FOLDER = DEPLOY / "kubernetes"
VERSIONS = ("1.27", "1.29", "1.31", "1.33", "1.35", "1.37")
SHUTDOWN_SECS = 25


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    """Every object."""
    result = run("kubectl", "kustomize", FOLDER)
    assert (result.returncode, result.stderr) == (0, "")
    return list(yaml.safe_load_all(result.stdout))


@pytest.fixture(scope="module")
def pod(rendered: list[dict[str, Any]]) -> dict[str, Any]:
    """The pod's spec."""
    (deployment,) = [each for each in rendered if each["kind"] == "Deployment"]
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str, rendered: list[dict[str, Any]]) -> None:
    """Strictly: a field that the schema does not have is an error."""
    for each in rendered:
        kubernetes_validate.validate(each, version, strict=True)


def test_strictness_is_real(rendered: list[dict[str, Any]]) -> None:
    """A misspelled field would be found."""
    broken = {**rendered[0], "sepc": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_everything_is_there(rendered: list[dict[str, Any]]) -> None:
    """Each kind once, all in the namespace."""
    assert sorted(each["kind"] for each in rendered) == [
        "ConfigMap",
        "Deployment",
        "Namespace",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ]
    assert {each["metadata"].get("namespace", "ingestd") for each in rendered} == {"ingestd"}


def test_the_pod_may_do_nothing_that_it_need_not(pod: dict[str, Any]) -> None:
    """What the restricted pod security standard asks, and a read-only root."""
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


def test_the_drain_fits_into_the_grace_period(pod: dict[str, Any]) -> None:
    """The daemon ends by itself before it is killed."""
    assert pod["terminationGracePeriodSeconds"] >= SHUTDOWN_SECS + 10


def test_every_volume_is_mounted_and_every_mount_has_its_volume(pod: dict[str, Any]) -> None:
    """Names agree, and what the daemon writes lies on one of them."""
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["STATE_DIRECTORY"] == mounts["data"]
    assert environment["INGESTD_CONFIG"] == f"{mounts['config']}/ingestd.yml"


def test_the_configuration_is_valid(
    pod: dict[str, Any], rendered: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the ConfigMap holds is what ingestd understands, served where probes and Prometheus look."""
    (config_map,) = [each for each in rendered if each["kind"] == "ConfigMap"]
    (tmp_path / "ingestd.yml").write_text(config_map["data"]["ingestd.yml"])
    monkeypatch.setenv("WORKERS", "2")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/ingestd")
    root = load(tmp_path / "ingestd.yml")
    assert root.workers.count == 2
    assert root.state.path == Path("/var/lib/ingestd/state.db")
    assert root.shutdown_secs == SHUTDOWN_SECS
    assert root.http.address == ("0.0.0.0", pod["containers"][0]["ports"][0]["containerPort"])
    assert not root.http.admin
