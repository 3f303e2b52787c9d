"""The whole configuration: files, includes, mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestd.config.load import examine, load
from ingestd.errors import ConfigError, Problem

from .conftest import Examine, Write

INBOX = "sources: {inbox: {type: directory, path: ./in}}\n"


def test_the_least_that_is_valid(write: Write, tmp_path: Path) -> None:
    """A source with type and address is a whole configuration; relative paths start at the root file's folder."""
    root = load(write(INBOX))
    assert root.sources["inbox"].type == "directory"
    assert Path(root.lake.url) == tmp_path / "lake"
    assert root.state.path == tmp_path / "state.db"
    assert root.model_dump()["sources"]["inbox"]["path"] == tmp_path / "in"


def test_ten_mistakes_are_ten_problems(write: Write) -> None:
    """A file with ten mistakes reports ten, each with its line, its path and what to write."""
    file = write("""\
        sources:
          first:
            type: directroy
            path: ./a
          second:
            type: directory
            pth: ./b
          third:
            type: directory
            path: ./c
            max_held: many
            routes:
              - {prefix: x/, log_type: [AWS.CloudTrail]}
              - {prefix: y/, log_types: [AWS.CloudTrial]}
        schemas: {paths: [./nowhere]}
        lake: {rotate_secs: 5 fortnights}
        htttp: {}
        http: {listen: nine, token: hunter2}
        """)
    known = {"AWS.CloudTrail"}
    problems = examine(file, environment={}, log_types=lambda _: known).problems
    assert [(problem.line, problem.path) for problem in problems] == [
        (3, "sources.first.type"),
        (5, "sources.second.path"),
        (7, "sources.second.pth"),
        (11, "sources.third.max_held"),
        (13, "sources.third.routes[0].log_type"),
        (14, "sources.third.routes[1].log_types[0]"),
        (15, "schemas.paths[0]"),
        (16, "lake.rotate_secs"),
        (17, "htttp"),
        (18, "http.listen"),
        (18, "http.token"),
    ]
    text = "\n".join(map(str, problems))
    for hint in ("'directory'", "'path'", "'log_types'", "'AWS.CloudTrail'", "'http'", "{env: …}", "12h"):
        assert hint in text
    assert all(problem.file == str(file) for problem in problems)
    assert "hunter2" not in text


def test_load_raises_all_problems(write: Write) -> None:
    """`load` is all or nothing, and its error carries every problem."""
    with pytest.raises(ConfigError) as error:
        load(write("sources: {a: {type: directory}}\nlake: {urll: x}\nstate: {pth: y}\n"))
    assert len(error.value.problems) == 3


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("{}", "sources", "nothing to read"),
        ("[1]", "", "a mapping is expected"),
        ("sources: {a: 5}", "sources.a", "a mapping with a `type`"),
        ("sources: {a: {path: x}}", "sources.a.type", "`type` is required"),
        ("sources: {'../x': {type: memory}}", "sources.../x", "a name is letters"),
        (INBOX + "include: [missing.yml]", "", "No such file"),
        (INBOX + "http: {listen: '0.0.0.0:1', admin: true}", "http.admin", "need a token"),
        (INBOX + "enrichment: {paths: [nowhere]}", "enrichment.paths[0]", "does not exist"),
        (INBOX + "enrichment: {paths: [.], fetch_with: inbx}", "enrichment.fetch_with", "no source is named 'inbx'"),
        (INBOX + "enrichment: {fetch_with: inbox}", "enrichment.fetch_with", "there is no folder"),
        (INBOX + "detections: {enable: [A], disable: [A]}", "detections.enable[0]", "also in `disable`"),
        (
            INBOX + "detections: {overrides: {A: {destinations: [soc]}}}",
            "detections.overrides.A.destinations[0]",
            "no destination is named 'soc'",
        ),
        (
            "sources: {a: {type: memory, routes: [{prefix: x}, {prefix: x}]}}",
            "sources.a.routes[0]",
            "never used",
        ),
        (
            "sources: {a: {type: memory, routes: [{log_types: [A], resource_types: [B]}]}}",
            "sources.a.routes[0]",
            "either log_types or resource_types",
        ),
        (
            "sources: {a: {type: directory, path: x}, b: {type: directory, path: ./x}}",
            "sources.b",
            "reads the same as the source 'a'",
        ),
    ],
)
def test_one_mistake(examined: Examine, text: str, path: str, says: str) -> None:
    """Each kind of mistake has its own message at its own place."""
    (problem,) = examined(text).problems
    assert problem.path == path
    assert says in problem.message


def test_a_destination_may_name_resource_types(write: Write) -> None:
    """Those of a route, beside log types: alerts of policies carry them."""
    text = """\
        sources: {a: {type: memory, routes: [{resource_types: [AWS.S3.Bucket]}]}}
        destinations: {soc: {type: file, path: a.jsonl, log_types: [AWS.S3.Bucket, Known, AWS.S3.Buckets]}}
        """
    (problem,) = examine(write(text), log_types=lambda _: {"Known"}).problems
    assert problem.path == "destinations.soc.log_types[2]"
    assert "'AWS.S3.Buckets'" in problem.message


def test_a_filter_for_a_log_type_that_does_not_exist_is_a_mistake(write: Write) -> None:
    """It would filter nothing, and nobody would know."""
    text = """\
        sources:
          a:
            type: memory
            filters: {events: [{log_types: [Knwon], exclude: [{Key: a, Condition: Exists}]}]}
            routes:
              - log_types: [Known]
                filters:
                  events:
                    - {exclude: [{Key: a, Condition: Exists}]}
                    - {log_types: [Known, Other], include: [{Key: a, Condition: Exists}]}
        """
    found = examine(write(text), log_types=lambda _: {"Known"}).problems
    assert {problem.path: problem.message for problem in found} == {
        "sources.a.routes[0].filters.events[1].log_types[1]": "no log type is named 'Other'",
        "sources.a.filters.events[0].log_types[0]": "no log type is named 'Knwon'",
    }


def test_numbers_and_booleans_stay_text_where_text_is_wanted(examined: Examine) -> None:
    """`0123` unquoted in a text field is the text 0123, not the number 123; `no` is not false anywhere."""
    loaded = examined("sources: {a: {type: directory, path: 2024, label: 0123, include: [no, 1e3]}}")
    assert loaded.problems == []
    shown = loaded.root.sources["a"].model_dump()
    assert (shown["path"].name, shown["label"], shown["include"]) == ("2024", "0123", ("no", "1e3"))


def test_variables_become_what_the_field_wants(examined: Examine) -> None:
    """An expanded scalar is converted to the field's type, and stays text in a text field."""
    text = """\
        sources: {a: {type: directory, path: "${DIR}", label: "${LABEL}", max_held: "${HELD:-7}"}}
        http: {debug: "${DEBUG}"}
        lake: {rotate_bytes: "${SIZE}"}
        """
    loaded = examined(text, DIR="/data", LABEL="0123", DEBUG="true", SIZE="2MiB")
    assert loaded.problems == []
    source = loaded.root.sources["a"]
    assert (source.label, source.max_held) == ("0123", 7)
    assert loaded.root.http.debug is True
    assert loaded.root.lake.rotate_bytes == 2 * 1024 * 1024


def test_a_variable_cannot_add_structure(examined: Examine) -> None:
    """Newlines and YAML in a variable's value stay inside the scalar."""
    evil = "x\nhttp: {admin: true}"
    loaded = examined("sources: {a: {type: directory, path: '${P}'}}", P=evil)
    assert loaded.problems == []
    assert loaded.root.http.admin is False
    assert str(loaded.root.model_dump()["sources"]["a"]["path"]).endswith(evil)


def test_an_unset_variable_is_the_only_problem_of_its_field(examined: Examine) -> None:
    """What a field would say to the unexpanded text is not reported on top."""
    (problem,) = examined(INBOX + "shutdown_secs: ${NOPE}\n").problems
    assert (problem.line, problem.path) == (2, "shutdown_secs")
    assert "NOPE is not set" in problem.message


def test_included_files(write: Write) -> None:
    """Sources and whole sections may stand in files of their own; hidden files are not read."""
    write("sources: {b: {type: directory, path: ./b}}\nlake: {rotate_secs: 5}\n", "sources.d/b.yml")
    write("sources: {c: {type: directory, path: ./c}}\n", "sources.d/c.yml")
    write("what: ever\n", "sources.d/.c.yml")
    loaded = examine(write(INBOX))
    assert loaded.problems == []
    assert sorted(loaded.root.sources) == ["b", "c", "inbox"]
    assert loaded.root.lake.rotate_secs == 5
    assert [file.name for file in loaded.files] == ["ingestd.yml", "b.yml", "c.yml"]


def test_what_two_files_define_names_both_places(write: Write) -> None:
    """A duplicate is an error, never a merge, and says where the first one is."""
    other = write("\nsources:\n  inbox: {type: memory}\nlake: {}\ninclude: [x]\n", "sources.d/b.yml")
    file = write(INBOX + "lake: {rotate_secs: 7}\n")
    problems = examine(file).problems
    assert [(problem.file, problem.line, problem.message) for problem in problems] == [
        (str(other), 3, f"already defined at {file}:1"),
        (str(other), 4, f"already defined at {file}:2"),
        (str(other), 5, "only the root file can include others"),
    ]


def test_mistakes_in_included_files_have_their_file(write: Write) -> None:
    """A problem points into the file that it stands in."""
    other = write("sources:\n  b:\n    type: directory\n    path: ./b\n    lable: x\n", "sources.d/b.yml")
    (problem,) = examine(write(INBOX)).problems
    assert (problem.file, problem.line, problem.path) == (str(other), 5, "sources.b.lable")


def test_broken_files_do_not_hide_each_others_mistakes(write: Write) -> None:
    """Every file is read, even when another one is not YAML at all."""
    write("a: [", "sources.d/a.yml")
    write("sources: {b: {type: nope}}", "sources.d/b.yml")
    problems = examine(write(INBOX + "lake: {x: 1}\n")).problems
    assert [Path(problem.file or "").name for problem in problems] == ["ingestd.yml", "a.yml", "b.yml"]


def test_problems_of_schemas_are_problems_of_the_configuration(write: Write) -> None:
    """When the log types cannot be named because a schema is wrong, that is told along with the rest."""

    def log_types(_: object) -> set[str]:
        raise ConfigError([Problem("wrong field", file="schemas/a.yml", line=3)])

    problems = examine(write(INBOX + "lake: {x: 1}\n"), log_types=log_types).problems
    assert [problem.message for problem in problems] == ["unknown key", "wrong field"]


def test_a_missing_file(tmp_path: Path) -> None:
    """A root file that is not there is the one problem."""
    (problem,) = examine(tmp_path / "no.yml").problems
    assert problem.message == "cannot be read: No such file or directory"
