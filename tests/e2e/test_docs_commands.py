"""Every `ingestd` command that README.md and docs/ show works as shown, every link and every test named is there.

Commands are run in order, page by page, in a folder with a configuration, logs, a lake and alerts. What would stay
running is run with `--once`. Words in capitals stand for a value, see `VALUES`. A fence of YAML or Python that begins
with a path, as `# mine/rules/x.py`, is that file from there on.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from ingestd.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
SHELLS = ("sh", "bash", "shell", "console")
CONFIGURATION = """\
sources: {inbox: {type: directory, path: ./inbox}}
detections: {paths: [detections/]}
destinations: {record: {type: file, path: ./alerts.jsonl}}
http: {listen: "${LISTEN:-127.0.0.1:1}"}  # nobody listens there
logging: {level: warning}
"""
VALUES = {
    "SQL": "select count(*) from events",
    "COMMAND": "query",
    "FILE": "samples/cloudtrail.json",
    "FILE…": "samples/cloudtrail.json",
    "PATH": "detections",
    "LOG_TYPE": "AWS.CloudTrail",
    # listing and sampling are the same for every store: here it is the folder's
    "s3://trail/AWSLogs/": "file://inbox/",
    "s3://trail/shop/orders.json": "samples/cloudtrail.json",
    "RULE": "Ingestd.AWS.RootConsoleLogin",
    "TEST": "1",
    "PACK": "Ingestd.AWS",
}
NOBODY_ANSWERS = 69
EXPECTED_CODES = {"healthcheck": NOBODY_ANSWERS}
"""Other than 0: there is no daemon that a health check could ask."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(?:\.venv/bin/)?(ingestd\s[^`]+)`")
MAKE = re.compile(r"(?:^|`)make ([a-z-]+)(?:$|`)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
FILE = re.compile(r"# ((?:[\w-]+/)+[\w-]+\.(?:yml|py))\n")
TEST = re.compile(r"\b((?:tests/)?(?:\w+/)*test_\w+\.py)(?:::(\w+))?")


class Shown(NamedTuple):
    """A command as a page shows it, or a file that it shows whole."""

    page: str
    line: int
    text: str
    """The command, or the file's path."""
    content: str = ""
    """Of a file."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def _shown(page: Path) -> list[Shown]:
    """The commands and files of a page in its order."""
    text = page.read_text()
    name = str(page.relative_to(REPOSITORY))
    found: list[tuple[int, str, str]] = []
    for fence in FENCE.finditer(text):
        if fence[1] in SHELLS:
            lines = re.sub(r"\\\n\s*", lambda cut: " " * len(cut[0]), fence[2])
            at = fence.start(2)
            found += [(at + line.start(), line[0], "") for line in re.finditer(r"^.+$", lines, re.MULTILINE)]
        elif file := FILE.match(fence[2]):
            found.append((fence.start(2), file[1], fence[2]))
    prose = FENCE.sub(lambda fence: "\n" * fence[0].count("\n") + " " * (len(fence[0]) - fence[0].count("\n")), text)
    found += [(match.start(), match[1], "") for match in INLINE.finditer(prose)]
    return [Shown(name, text.count("\n", 0, at) + 1, *shown) for at, *shown in sorted(found)]


def files_shown(page: Path) -> dict[str, str]:
    """Path and content of the files that a page shows whole."""
    return {shown.text: shown.content for shown in _shown(page) if shown.content}


def _arguments(shown: str) -> list[str] | None:
    """What follows `ingestd`, up to a pipe or redirection; None when the line runs something else."""
    words = shlex.split(shown.replace("\n", " "), comments=True)
    while words and (words[0] in ("$", "#", "sudo") or re.fullmatch(r"[A-Z_]+=.*", words[0])):
        words = words[1:]
    if not words or Path(words[0]).name != "ingestd":
        return None
    ends = [index for index, word in enumerate(words) if word in ("|", ">", "<", "&&", ";")]
    return words[1 : min(ends, default=len(words))]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a daemon has run."""
    folder = tmp_path_factory.mktemp("used")
    (folder / "ingestd.yml").write_text(CONFIGURATION)
    for name in ("samples", "detections"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copytree(folder / "samples", folder / "inbox")
    shutil.copytree(REPOSITORY / "examples" / "custom-logs", folder / "shop")
    _run(folder, ["run", "--once"])
    return folder


def _run(folder: Path, arguments: list[str]) -> str:
    """Run ingestd there, as it is expected to end; what it printed."""
    code, out = (_run_daemon if arguments[0] in ("run", "backfill") else _run_here)(folder, arguments)
    assert code == EXPECTED_CODES.get(arguments[0], 0), f"{arguments} ended with {code}:\n{out}"
    return out


def _run_daemon(folder: Path, arguments: list[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "ingestd", *arguments]
    environment = {**os.environ, "LISTEN": "off"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def _run_here(folder: Path, arguments: list[str]) -> tuple[int, str]:
    """In this process, which saves a second for each command."""
    out = io.StringIO()
    with (
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(out),
        patch.object(sys, "argv", ["ingestd", *arguments]),
    ):
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0, out.getvalue()
    return 0, out.getvalue()


def _runnable(folder: Path, arguments: list[str]) -> list[str]:
    """With values in the place of capitals and our configuration in the place of an installed one."""
    arguments = [VALUES.get(word, word) for word in arguments]
    if "ID" in arguments:
        first = _run(
            folder, ["query", "--json", "select p_alert_id from rule_matches where p_alert_id is not null limit 1"]
        )
        arguments[arguments.index("ID")] = re.findall(r"[0-9a-f]{32}", first)[0]
    arguments = ["ingestd.yml" if word == "/etc/ingestd/ingestd.yml" else word for word in arguments]
    if arguments == ["init"]:
        arguments = ["init", "elsewhere"]  # here is a configuration already
    if arguments[0] == "run":
        file = folder / (arguments[arguments.index("-c") + 1] if "-c" in arguments else "ingestd.yml")
        if "http:" not in file.read_text():
            file.write_text(file.read_text() + 'http: {listen: "off"}\n')  # others may have the usual port
        arguments += [] if "--once" in arguments else ["--once"]
    return arguments


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flag of a command is set by the environment."""
    for name in [name for name in os.environ if name.startswith("INGESTD_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_shown_works(page: Path, used: Path, tmp_path: Path) -> None:
    """In order, in one folder; each command ends as a user would expect."""
    folder = shutil.copytree(used, tmp_path / "folder")
    seen: list[list[str]] = []
    for shown in _shown(page):
        if shown.content:
            file = folder / shown.text
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(shown.content)
            seen = []  # the same command may say something else now
            continue
        arguments = _arguments(shown.text)
        if arguments and arguments not in seen:
            seen.append(arguments)
            try:
                _run(folder, _runnable(folder, arguments))
            except AssertionError as error:
                pytest.fail(f"{shown}\n{error}", pytrace=False)


def test_readme_shows_the_whole_way() -> None:
    """What the pages show is found: the first steps are among it."""
    commands = [shown.text for shown in _shown(REPOSITORY / "README.md")]
    assert [text for text in commands if text.startswith("make")] == ["make quickstart", "make test"]
    assert {"init", "validate", "run"} <= {(_arguments(text) or [""])[0] for text in commands}


def test_every_make_target_shown_is_there() -> None:
    """`make …`, in fences and in prose."""
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    shown = {name for page in PAGES for name in MAKE.findall(page.read_text())}
    assert {"quickstart", "test", "lint"} <= shown <= targets


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in LINK.findall(page.read_text()):
            if "://" not in link:
                yield page, link


def test_every_link_leads_somewhere() -> None:
    """Links between pages and into the repository."""
    assert [f"{page.name}: {link}" for page, link in _links() if not (page.parent / link).exists()] == []


def test_every_page_is_found_from_the_readme() -> None:
    """Over links, as a reader goes; a link to a folder shows all of its pages."""
    found: set[Path] = set()
    ahead = {REPOSITORY / "README.md"}
    while ahead:
        page = ahead.pop()
        found.add(page)
        targets = [(page.parent / link).resolve() for link in LINK.findall(page.read_text()) if "://" not in link]
        pages = {each for target in targets for each in (target.glob("*.md") if target.is_dir() else [target])}
        ahead |= {each for each in pages if each.suffix == ".md"} - found
    assert [str(page.relative_to(REPOSITORY)) for page in PAGES if page not in found] == []


def test_every_test_that_a_page_names_is_there() -> None:
    """A page that says what shows a promise names a test that exists."""
    files = {str(file.relative_to(REPOSITORY)): file.read_text() for file in REPOSITORY.glob("tests/**/test_*.py")}
    for page in PAGES:
        for file, name in TEST.findall(page.read_text()):
            texts = [text for path, text in files.items() if f"/{path}".endswith(f"/{file}")]
            assert any(f"def {name}" in text for text in texts), f"{page.name} names {file}::{name}"
