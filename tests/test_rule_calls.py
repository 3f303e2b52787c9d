"""What the daemon answers rules that ask for a secret: grants, caching, failures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ingestd import redact
from ingestd.config import secrets as references
from ingestd.config.models import RuleSecretsConfig
from ingestd.errors import Permanent, Retryable
from ingestd.rule_calls import REFUSED_SECS, RuleCalls, RuleSecrets
from ingestd.state.kv import RuleStore
from ingestd.state.memory import MemoryState
from ingestd.telemetry import catalogue
from ingestd.workers.frames import Call


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Manager:
    """In the place of a secret manager: what it has, how often it was asked, and whether it is there."""

    def __init__(self) -> None:
        self.values = {"panther-analysis/theirs": "their-value"}
        self.asked: list[str] = []
        self.down = False

    def __call__(self, name: str) -> str:
        self.asked.append(name)
        if self.down:
            raise Retryable("no connection")
        if name not in self.values:
            raise references._unresolved(f"{name} is not in the manager")
        return self.values[name]


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    """Stands for AWS."""
    manager = Manager()
    monkeypatch.setitem(references.RESOLVERS, "aws_secret", manager)
    return manager


def _config(**settings: Any) -> RuleSecretsConfig:
    return RuleSecretsConfig.model_validate(settings)


async def test_a_named_secret_comes_from_where_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment, file, systemd credential; and it is hidden in the daemon's own texts, its parts too."""
    monkeypatch.setenv("RULES_KEY", "from-the-environment")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "file").write_text('{"token": "from-a-file"}')
    (tmp_path / "cred").write_text("from-systemd\n")
    secrets = RuleSecrets(
        _config(
            values={
                "panther-analysis/env": {"env": "RULES_KEY"},
                "panther-analysis/file": {"file": str(tmp_path / "file")},
                "panther-analysis/cred": {"credential": "cred"},
            }
        )
    )
    values = [(await secrets.get("R", f"panther-analysis/{name}")).value for name in ("env", "file", "cred")]
    assert values == ["from-the-environment", '{"token": "from-a-file"}', "from-systemd"]
    assert redact.text("from-the-environment from-a-file from-systemd") == " ".join(["[redacted]"] * 3)


async def test_only_names_under_the_prefix_are_granted(manager: Manager) -> None:
    """Whatever the daemon itself could read: nothing is asked for the others."""
    manager.values |= {"panther-analysis-prod/db": "their-database", "db": "the-database", "team/x": "team-value"}
    secrets = RuleSecrets(_config(manager="aws"))
    before = catalogue.value("ingestd_rule_secrets_refused_total", reason="not_granted")
    for name in ("db", "panther-analysis-prod/db", "panther-analysis", "/panther-analysis/theirs", "x" * 10_000):
        answer = await secrets.get("R", name)
        assert (answer.refused, answer.value) == ("not_granted", "")
    assert manager.asked == []
    assert catalogue.value("ingestd_rule_secrets_refused_total", reason="not_granted") == before + 5
    granted = RuleSecrets(_config(manager="aws", prefix="team"))
    assert (await granted.get("R", "team/x")).value == "team-value"


def test_a_name_that_nobody_could_ask_for_is_a_mistake() -> None:
    """The configuration is refused, and says why."""
    with pytest.raises(ValidationError, match="is not under panther-analysis/"):
        _config(values={"other/key": {"env": "X"}})


async def test_without_a_manager_unknown_names_are_not_looked_up(manager: Manager) -> None:
    """The answer says where the name would have to stand."""
    answer = await RuleSecrets(_config()).get("R", "panther-analysis/theirs")
    assert answer.refused == "not_found"
    assert "detections.secrets.values" in answer.message
    assert manager.asked == []


async def test_a_value_is_read_again_after_its_time(manager: Manager) -> None:
    """A rotated secret is picked up; what is left of the time is said to the worker, who keeps it no longer."""
    clock = Clock()
    secrets = RuleSecrets(_config(manager="aws", ttl_secs=60), clock)
    assert (await secrets.get("R", "panther-analysis/theirs")).keep_secs == 60
    manager.values["panther-analysis/theirs"] = "rotated"
    clock.now = 59
    kept = await secrets.get("R", "panther-analysis/theirs")
    assert (kept.value, kept.keep_secs) == ("their-value", 1)
    clock.now = 60
    assert (await secrets.get("R", "panther-analysis/theirs")).value == "rotated"


async def test_a_refusal_is_kept_for_a_short_time(manager: Manager) -> None:
    """A rule that asks for each event does not ask the manager for each."""
    clock = Clock()
    secrets = RuleSecrets(_config(manager="aws"), clock)
    for _ in range(3):
        answer = await secrets.get("R", "panther-analysis/absent")
        assert answer.refused == "not_found"
        assert "is not in the manager" in answer.message
    assert len(manager.asked) == 1
    clock.now = REFUSED_SECS
    await secrets.get("R", "panther-analysis/absent")
    assert len(manager.asked) == 2


async def test_an_old_value_is_given_while_the_manager_cannot_be_reached(manager: Manager) -> None:
    """An outage does not stop rules that had their secret; one that never had it is refused, for a short time."""
    clock = Clock()
    secrets = RuleSecrets(_config(manager="aws", ttl_secs=60), clock)
    await secrets.get("R", "panther-analysis/theirs")
    manager.down, clock.now = True, 1_000
    assert (await secrets.get("R", "panther-analysis/theirs")).value == "their-value"
    asked = len(manager.asked)
    for _ in range(3):
        assert (await secrets.get("R", "panther-analysis/never-read")).refused == "unavailable"
    assert len(manager.asked) == asked + 1
    manager.down, clock.now = False, 2_000
    manager.values["panther-analysis/theirs"] = "rotated"
    assert (await secrets.get("R", "panther-analysis/theirs")).value == "rotated"


async def test_many_workers_that_ask_at_once_make_one_request(manager: Manager) -> None:
    """At the start of a burst each child asks."""
    secrets = RuleSecrets(_config(manager="aws"))
    answers = await asyncio.gather(*(secrets.get("R", "panther-analysis/theirs") for _ in range(50)))
    assert {answer.value for answer in answers} == {"their-value"}
    assert len(manager.asked) == 1


async def test_a_secret_is_hidden_in_the_daemons_texts_as_a_rule_uses_it(manager: Manager) -> None:
    """Without the newline at its end, or that of a value in its document."""
    manager.values |= {
        "panther-analysis/a": "ends-in-a-newline\n",
        "panther-analysis/b": '{"token": "so-does-this\\n"}',
    }
    secrets = RuleSecrets(_config(manager="aws"))
    for name in ("a", "b"):
        await secrets.get("R", f"panther-analysis/{name}")
    assert redact.text("ends-in-a-newline, so-does-this.") == "[redacted], [redacted]."


@pytest.mark.parametrize("value", ["12345", "12345\n", "   1    "])
async def test_a_secret_too_short_to_be_hidden_is_not_given(manager: Manager, value: str) -> None:
    """It could not be kept out of alerts without blotting out ordinary words."""
    manager.values["panther-analysis/pin"] = value
    answer = await RuleSecrets(_config(manager="aws")).get("R", "panther-analysis/pin")
    assert (answer.refused, answer.value) == ("unavailable", "")
    assert "fewer than 6" in answer.message


async def test_calls_for_nothing_that_is_known_are_refused(manager: Manager) -> None:
    """And those for a secret are answered as plain data."""
    state = MemoryState()
    calls = RuleCalls(RuleStore(state), RuleSecrets(_config(manager="aws")))
    call = Call(number=0, rule="R", row_id="r", name="secret", body="panther-analysis/theirs")
    assert (await calls.answer(call))["value"] == "their-value"
    with pytest.raises(Permanent):
        await calls.answer(Call(number=0, rule="R", row_id="r", name="shell", body="id"))
    await state.close()


@pytest.mark.parametrize(
    ("manager", "kind", "address"),
    [
        (
            {"manager": "azure", "vault": "https://rules.vault.azure.net"},
            "azure_secret",
            "https://rules.vault.azure.net/secrets/panther-analysis--grey--key",
        ),
        (
            {"manager": "gcp", "project": "my-project"},
            "gcp_secret",
            "projects/my-project/secrets/panther-analysis--grey--key",
        ),
    ],
    ids=["azure", "gcp"],
)
async def test_other_clouds_managers_have_names_without_slashes(
    monkeypatch: pytest.MonkeyPatch, manager: dict[str, str], kind: str, address: str
) -> None:
    """Each slash of a name is two dashes there; what `values` has is not looked up."""
    monkeypatch.setitem(references.RESOLVERS, kind, {address: "from-the-cloud"}.__getitem__)
    monkeypatch.setenv("OWN", "from-the-environment")
    secrets = RuleSecrets(_config(**manager, values={"panther-analysis/own": {"env": "OWN"}}))
    assert (await secrets.get("R", "panther-analysis/grey/key")).value == "from-the-cloud"
    assert (await secrets.get("R", "panther-analysis/own")).value == "from-the-environment"


@pytest.mark.parametrize(
    "settings",
    [
        {"manager": "azure"},
        {"manager": "gcp"},
        {"manager": "aws", "vault": "https://x.vault.azure.net"},
        {"project": "p"},
    ],
)
def test_a_manager_and_its_address_belong_together(settings: dict[str, str]) -> None:
    """One without the other is a mistake in the configuration."""
    with pytest.raises(ValidationError, match="belongs to `manager:"):
        _config(**settings)
