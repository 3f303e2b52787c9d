"""One YAML file as values with places."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.config import document
from ingestd.config.document import Document

from .conftest import Write


def test_values_and_lines(write: Write) -> None:
    """Values have the types of YAML 1.2, and each one's line is known."""
    file = write("""\
        a: {b: [1, 0x1F, 0o17, 1_0]}
        c: no
        d: true
        e: 1.5
        f: ~
        g: "0123"
        """)
    read = Document(file, {})
    assert read.problems == []
    assert read.value == {"a": {"b": [1, 31, 15, 10]}, "c": "no", "d": True, "e": 1.5, "f": None, "g": "0123"}
    assert read.places["a", "b", 1].line == 1
    assert read.places["g",].line == 6


def test_aliases(write: Write) -> None:
    """An alias is its anchor's value again."""
    read = Document(write("a: &x [1]\nb: *x\n"), {})
    assert read.value == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "stands twice, first at line 1"),
        ("a:\n  b: 1\n  b: 1\n", 3, "stands twice, first at line 2"),
        ("a: 1\nb: [\n", 3, "not valid YAML"),
        ("x: {y: ${HOME}}\n", 1, "needs quotes"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: !secret x\n", 2, "tag"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", 2, "merge keys"),
        ("a: *nowhere\n", 1, "alias"),
        ("? [a]\n: b\n", 1, "a key must be plain text"),
        ("a: &a [*a]\n", 1, "to themselves"),
        ("a: ${NOWHERE}\n", 1, "NOWHERE is not set"),
    ],
)
def test_mistakes_have_a_line(write: Write, text: str, line: int, says: str) -> None:
    """Each thing that is not plain YAML 1.2 is one problem with its line."""
    file = write(text)
    (problem,) = Document(file, {}).problems
    assert (problem.file, problem.line) == (str(file), line)
    assert says in str(problem)


def test_aliases_that_explode_are_bounded(write: Write) -> None:
    """A file of nine lines that means a thousand million values is refused quickly."""
    lines = ["a: &a [" + ",".join("x" * 10) + "]"]
    for letter, before in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"{letter}: &{letter} [" + ",".join([f"*{before}"] * 10) + "]")
    started = time.process_time()
    (problem,) = Document(write("\n".join(lines)), {}).problems
    assert "aliases expand to too much" in problem.message
    assert time.process_time() - started < 5


def test_a_huge_file_is_not_read(write: Write) -> None:
    """Past the size limit nothing is parsed."""
    (problem,) = Document(write("a: " + "x" * document.MAX_FILE_BYTES), {}).problems
    assert "larger than" in problem.message


def test_deep_nesting_is_refused(write: Write) -> None:
    """Brackets a hundred thousand deep are a problem, not a crash."""
    (problem,) = Document(write("a: " + "[" * 100_000), {}).problems
    assert problem.message == "nested too deep"


def test_not_text(write: Write) -> None:
    """Bytes that are not UTF-8 are named with their position."""
    file = write("")
    file.write_bytes(b"a: \xff\n")
    (problem,) = Document(file, {}).problems
    assert problem.message == "not UTF-8 text at byte 3"


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@ \n\t$0?,", max_size=60))
def test_no_text_makes_it_raise(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a file says, reading it gives values or problems."""
    file = tmp_path_factory.mktemp("yaml") / "any.yml"
    file.write_text(text)
    read = Document(file, {})
    assert read.problems or read.value is None or isinstance(read.value, dict | list | str | int | float | bool)
