"""The command line as a whole: what it imports, how it exits, how its options are named."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ingestd.cli import main as cli
from ingestd.errors import ConfigError, Overloaded, Permanent, Problem, Retryable

from .conftest import Ingestd

REPOSITORY = Path(__file__).resolve().parents[2]

HEAVY = {
    "aiobotocore", "aiohttp", "asyncio", "azure", "boto3", "botocore", "duckdb", "google", "msgspec", "orjson", "pdb",
    "prometheus_client", "pyarrow", "pydantic", "rich", "ruamel", "structlog", "uvloop",
}  # fmt: skip
SDKS = {"aiobotocore", "azure", "boto3", "botocore", "google"}


def modules_after(*arguments: str | Path) -> set[str]:
    """Top-level modules that a fresh interpreter has imported after `ingestd ARGUMENTS…`."""
    code = (
        "import sys\n"
        "from ingestd.cli.main import main\n"
        f"sys.argv = {['ingestd', *map(str, arguments)]!r}\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "print('\\n' + ' '.join(sys.modules))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_imports_nothing_heavy() -> None:
    """`ingestd --help` needs typer and nothing else, which is why it answers at once."""
    assert not modules_after("--help") & HEAVY


def test_validate_needs_no_sdk(config: Path) -> None:
    """A configuration is checked without any cloud SDK."""
    assert not modules_after("validate", "-c", config) & SDKS


def commands() -> Iterator[tuple[str, Any]]:
    """Name and click command of each command, those of groups after their group's name."""
    top: Any = typer.main.get_command(cli.app)
    for name, command in top.commands.items():
        group = getattr(command, "commands", {})
        yield from ((f"{name} {inner}", member) for inner, member in group.items())
        if not group:
            yield name, command


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_options_are_regular(name: str, command: Any) -> None:
    """Names in kebab-case, a sentence of help each, and an environment variable for every flag and argument."""
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", word) for word in name.split())
    first = command.help.splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 62, "the list of commands would cut it"
    for parameter in command.params:
        names = parameter.envvar if isinstance(parameter.envvar, list) else [parameter.envvar]
        assert str(names[0]).startswith("INGESTD_"), parameter.name
        assert parameter.help, parameter.name
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert re.fullmatch(r"-[a-z]|--[a-z]+(-[a-z]+)*", option)


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_command_explains_itself(ingestd: Ingestd, name: str) -> None:
    """`ingestd COMMAND --help` works for each, short and long."""
    assert ingestd(*name.split(), "--help") == ingestd(*name.split(), "-h")
    assert ingestd(*name.split(), "--help").code == 0


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ConfigError([Problem("one", file="a.yml", line=3), Problem("two")]), 78, "a.yml:3: one\ntwo\n"),
        (Retryable("no server"), 69, "ingestd: no server\n"),
        (Overloaded("busy"), 69, "ingestd: busy\n"),
        (Permanent("no such table"), 1, "ingestd: no such table\n"),
        (ZeroDivisionError("oh"), 1, "ingestd: unexpected ZeroDivisionError: oh\n"),
    ],
)
def test_errors_have_an_exit_code_and_no_traceback(
    ingestd: Ingestd, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, says: str
) -> None:
    """Each kind of error ends with its code and its message on stderr; a traceback only with INGESTD_DEBUG."""

    def fail() -> str:
        raise error

    monkeypatch.setattr(platform, "python_version", fail)
    ended = ingestd("version")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(says)
    assert "Traceback" not in ended.err
    monkeypatch.setenv("INGESTD_DEBUG", "1")
    with pytest.raises(type(error)):
        ingestd("version")


@pytest.mark.parametrize("arguments", [["nope"], ["version", "--nope"], ["query"], ["rejects", "--limit", "0"], []])
def test_usage_errors(ingestd: Ingestd, arguments: list[str]) -> None:
    """A wrong command line is code 2, told on stderr."""
    ended = ingestd(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage:" in ended.err


def test_a_configuration_must_be_named_or_lie_there(
    ingestd: Ingestd, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration is the one asked for by flag or environment, else ./ingestd.yml."""
    monkeypatch.chdir(tmp_path)
    assert ingestd("validate").code == 0
    config.rename(tmp_path / "other.yml")
    missing = ingestd("validate")
    assert missing.code == 2
    assert "/etc/ingestd/ingestd.yml" in missing.err
    monkeypatch.setenv("INGESTD_CONFIG", str(tmp_path / "other.yml"))
    assert ingestd("validate").code == 0


def test_version(ingestd: Ingestd) -> None:
    """The version, for people and for scripts."""
    assert ingestd("version").out.startswith("ingestd 0.")
    assert json.loads(ingestd("version", "--json").out)["ingestd"].startswith("0.")


def test_a_reader_that_goes_away(config: Path) -> None:
    """`ingestd query … | head` ends without a complaint when head has seen enough."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    sql = "select range as n, repeat('x', 1000) as x from range(20000)"
    command = [sys.executable, "-m", "ingestd", "query", "-c", str(config), "--json", sql]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["n"] == 0
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 1
    assert complaint == b""
