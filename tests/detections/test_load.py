"""Loading: what is found, what is refused, and how it is said."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ingestd.detections import DetectionSet, Options, Override
from ingestd.errors import ConfigError
from tests.detections.conftest import Fork

YES = "def rule(event):\n    return True\n"


def problems(fork: Fork, **options: Any) -> list[str]:
    """What the load complains of, paths relative to the folder."""
    with pytest.raises(ConfigError) as caught:
        fork.load(**options)
    return [str(problem).replace(f"{fork.root}/", "") for problem in caught.value.problems]


def test_an_empty_folder_is_an_empty_set(fork: Fork) -> None:
    """No detections, no log types."""
    loaded = fork.load()
    assert loaded.ids == ()
    assert loaded.log_types == ()


def test_a_missing_folder_is_a_problem(fork: Fork) -> None:
    """A path that does not exist is not silently nothing."""
    with pytest.raises(ConfigError, match="no such file or folder"):
        DetectionSet.load(Options(paths=(str(fork.root / "gone"),)))


def test_rules_by_log_type(fork: Fork) -> None:
    """Enabled rules, in the order of their ids."""
    fork.rule("B", YES)
    fork.rule("A", YES, LogTypes=["Test.Log", "Other.Log"])
    fork.rule("C", YES, Enabled=False)
    fork.rule("Q", YES, AnalysisType="scheduled_rule", ScheduledQueries=["q"])
    loaded = fork.load()
    assert [runnable.id for runnable in loaded.for_log_type("Test.Log")] == ["A", "B"]
    assert [runnable.id for runnable in loaded.for_log_type("Other.Log")] == ["A"]
    assert loaded.ids == ("A", "B", "C", "Q")
    assert loaded.log_types == ("Other.Log", "Test.Log")


def test_policies_by_resource_type(fork: Fork) -> None:
    """A policy without resource types is for all."""
    code = "def policy(resource):\n    return True\n"
    fork.rule("P", code, AnalysisType="policy", ResourceTypes=["AWS.S3.Bucket"])
    fork.rule("Any", code, AnalysisType="policy", ResourceTypes=[])
    loaded = fork.load()
    assert [item.id for item in loaded.for_resource_type("AWS.S3.Bucket")] == ["Any", "P"]
    assert [item.id for item in loaded.for_resource_type("AWS.IAM.User")] == ["Any"]


def test_every_problem_is_reported_at_once_with_its_place(fork: Fork) -> None:
    """Ten mistakes in ten files are ten problems, each with file, line and what to write instead."""
    fork.rule("Unknown.Key", YES, Treshold=5)
    fork.rule("Bad.Severity", YES, Severity="Urgent")
    fork.rule("Bad.Type", YES, Enabled="yes")
    fork.rule("Twice", YES, LogTypes=["Test.Log", "Test.Log"])
    fork.write("rules/same.yml", "AnalysisType: rule\nRuleID: Twice\nEnabled: true\nSeverity: Low\nLogTypes: [A]\n")
    fork.rule("No.File", Filename="gone.py")
    fork.rule("No.Body")
    fork.write("rules/broken.yml", "AnalysisType: rule\n  RuleID: [\n")
    fork.write("rules/kind.yml", "AnalysisType: rul\nRuleID: K\n")
    fork.rule("No.Function", "def title(event):\n    return 't'\n")
    fork.rule("Syntax", "def rule(event)\n    return True\n")
    fork.rule("Import", "import no_such_module_of_anyone\n" + YES)
    fork.item("packs/p.yml", {"AnalysisType": "pack", "PackID": "P", "PackDefinition": {"IDs": ["Twise"]}})
    found = problems(fork)
    for expected in (
        "rules/Unknown.Key.yml:8: Treshold: unknown key for a rule (did you mean 'Threshold'?)",
        "rules/Bad.Severity.yml:3: Severity: must be one of INFO, LOW, MEDIUM, HIGH, CRITICAL, not 'Urgent'",
        "rules/Bad.Type.yml:2: Enabled: must be true or false, not 'yes'",
        "rules/Twice.yml:7: LogTypes.1: 'Test.Log' is listed twice",
        "rules/kind.yml:1: AnalysisType: unknown AnalysisType 'rul' (did you mean 'rule'?)",
        "rules/No.File.yml:7: Filename: the file 'gone.py' does not exist",
        "rules/No.Function.py:1: No.Function has no function rule(event)",
        "rules/Syntax.py:1: syntax error: expected ':'",
        "rules/Import.py:1: cannot import 'no_such_module_of_anyone' (neither an installed module nor a GlobalID)",
        "packs/p.yml:5: PackDefinition.IDs.0: no item has the id 'Twise' (did you mean 'Twice'?)",
    ):
        assert expected in found, found
    assert any(text.startswith("rules/broken.yml:2: not valid YAML") for text in found)
    assert any("the id 'Twice' is taken by" in text for text in found)
    assert any(text.startswith("rules/No.Body.yml:1:") and "neither Filename nor Detection" in text for text in found)


@pytest.mark.parametrize(
    ("written", "threshold", "minutes"),
    [
        ({}, 1, 60),
        ({"Threshold": 0, "DedupPeriodMinutes": 0}, 1, 60),
        ({"Threshold": 3, "DedupPeriodMinutes": 1}, 3, 5),
        ({"DedupPeriodMinutes": 1440}, 1, 1440),
    ],
)
def test_threshold_and_period(fork: Fork, written: dict[str, int], threshold: int, minutes: int) -> None:
    """One match and an hour by default, 0 is the default too, and no period is shorter than five minutes."""
    fork.rule("A", YES, **written)
    detection = fork.load().detections["A"]
    assert (detection.threshold, detection.dedup_minutes) == (threshold, minutes)


@pytest.mark.parametrize(
    "call", ["os._exit(0)", "os.abort()", "os.fork()", "os.execv('/bin/true', ['true'])", "posix_exit(0)"]
)
def test_a_module_that_ends_its_process_on_import(fork: Fork, call: str) -> None:
    """Is a problem of its file: a command that ended there with exit code 0 would look like a success."""
    fork.rule("Ends", f"import os\nfrom os import _exit as posix_exit\n{call}\n" + YES)
    kept = os._exit, os.fork
    told = problems(fork)
    assert len(told) == 1
    assert told[0].startswith("rules/Ends.py:3: fails on import: PermissionError('a module may not call os.")
    assert (os._exit, os.fork) == kept


def test_a_module_that_pretends(fork: Fork) -> None:
    """What it answers when it is asked for a name is not asked for, it stays a plain module, and its file is the one
    that was read."""
    answers = "def __getattr__(name):\n    raise SystemExit(0)\n"
    disguised = (
        "import sys\nclass Odd(type(sys)):\n    def __getattribute__(self, name):\n        raise SystemExit(0)\n"
        "sys.modules[__name__].__class__ = Odd\n"
    )
    fork.rule("Answers", answers + YES)
    fork.rule("Disguised", disguised + YES)
    fork.rule("Elsewhere", "__file__ = '/dev/zero'\n" + YES)
    loaded = fork.load()
    del sys.modules["rule:Answers"]  # it would answer the tools of other tests too
    assert {*loaded.runnables} == {"Answers", "Disguised", "Elsewhere"}
    assert {type(module) for module in loaded.loaded_modules} == {ModuleType}
    files = {str(module.__file__) for module in loaded.loaded_modules}
    assert files == {str(fork.root / f"rules/{name}.py") for name in loaded.runnables}


def test_a_broken_helper_is_one_problem(fork: Fork) -> None:
    """The helper is named with the number of detections that need it, not each of them."""
    fork.helper("broken", "import policyuniverse_of_nobody\n")
    fork.helper("uses_broken", "import broken\n")
    for name in "ABC":
        fork.rule(name, "from uses_broken import x\n" + YES)
    found = problems(fork)
    assert len(found) == 1
    assert found[0].startswith("global_helpers/broken.py:1: cannot import 'policyuniverse_of_nobody'")
    assert "3 detections need this helper" in found[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(1)", "SystemExit(1)"),
        ("1/0", "ZeroDivisionError('division by zero')"),
        ("class E(BaseException):\n    def __repr__(self): raise E\nraise E", "E(<repr failed>)"),
    ],
)
def test_code_that_fails_on_import(fork: Fork, code: str, said: str) -> None:
    """Whatever module code raises is a problem of its file."""
    fork.rule("A", code)
    (found,) = problems(fork)
    assert found.startswith("rules/A.py:")
    assert f"fails on import: {said}" in found


def test_helpers_are_imported_by_their_id(fork: Fork) -> None:
    """Helpers import helpers; one module each, however many import it; nothing is written beside the files."""
    fork.helper("first_helper", "LOADS = []\n")
    fork.helper("second_helper", "import first_helper\nfirst_helper.LOADS.append(1)\n")
    for name in "AB":
        fork.rule(name, f"import first_helper, second_helper\n{YES}")
    loaded = fork.load()
    modules = [loaded.runnables[name].module for name in "AB"]
    assert [module.first_helper.LOADS for module in modules if module] == [[1], [1]]
    assert not list(fork.root.rglob("__pycache__"))


def test_a_second_load_replaces_helpers(fork: Fork) -> None:
    """Changed helpers are read anew, and those that are gone cannot be imported any more."""
    fork.helper("some_helper", "X = 1\n")
    fork.rule("A", f"from some_helper import X\n{YES}")
    assert fork.load().runnables["A"].module.X == 1  # type: ignore[union-attr]
    fork.helper("some_helper", "X = 2\n")
    assert fork.load().runnables["A"].module.X == 2  # type: ignore[union-attr]
    assert sum(type(finder).__name__ == "Helpers" for finder in sys.meta_path) == 1


def test_a_helper_never_hides_a_real_module(fork: Fork) -> None:
    """A GlobalID that is also a module's name does not answer for it."""
    fork.helper("fractions", "raise ValueError\n")
    fork.rule("A", f"from fractions import Fraction\n{YES}")
    assert fork.load().runnables.keys() == {"A"}


def test_names_that_public_rules_import(fork: Fork) -> None:
    """panther_core and panther_detection_helpers are answered by ingestd's own modules."""
    code = """
        from panther_core import PantherEvent
        from panther_core.enriched_event import PantherEvent as Enriched
        from panther_core.immutable import ImmutableCaseInsensitiveDict, ImmutableList
        from panther_detection_helpers.caching import get_string_set
        from panther_detection_helpers.mocking import is_mock
        assert PantherEvent is Enriched
        def rule(event: PantherEvent):
            return isinstance(event, PantherEvent)
    """
    fork.rule("A", code)
    assert fork.load().runnables["A"].module.PantherEvent.__module__ == "ingestd.detections.event"  # type: ignore[union-attr]


def test_packs_choose_what_is_enabled(fork: Fork) -> None:
    """With packs given only what they name is enabled; enable adds, disable wins over all."""
    for name in "ABCD":
        fork.rule(name, YES, Enabled=name != "B")
    fork.item("packs/p.yml", {"AnalysisType": "pack", "PackID": "P", "PackDefinition": {"IDs": ["A", "B"]}})

    def enabled(**options: Any) -> str:
        return "".join(item.id for item in fork.load(**options).for_log_type("Test.Log"))

    assert enabled() == "ACD"
    assert enabled(packs=("P",)) == "A"
    assert enabled(packs=("P",), enable=("B", "C")) == "ABC"
    assert enabled(packs=("P",), enable=("B", "C"), disable=("A",)) == "BC"
    assert enabled(overrides={"B": Override(enabled=True), "C": Override(enabled=False)}) == "ABD"
    assert enabled(only_ids=("B",)) == "B"


def test_names_in_the_configuration_that_name_nothing(fork: Fork) -> None:
    """Are problems with the closest name."""
    fork.rule("My.Rule", YES)
    override = {"My.Rul": Override(enabled=True)}
    found = problems(fork, packs=("P",), enable=("My.Role",), disable=("x",), overrides=override)
    assert found == [
        "detections.packs[0]: no pack has the id 'P'",
        "detections.enable[0]: no detection has the id 'My.Role' (did you mean 'My.Rule'?)",
        "detections.disable[0]: no detection has the id 'x'",
        "detections.overrides.My.Rul: no detection has the id 'My.Rul' (did you mean 'My.Rule'?)",
    ]


def test_a_filter_of_the_configuration_that_cannot_be_understood(fork: Fork) -> None:
    """It is the configuration's mistake, not the rule's."""
    fork.rule("My.Rule", YES)
    conditions: tuple[dict[str, Any], ...] = ({"All": []}, {"KeyPath": "a", "Condition": "Equal", "Value": 1})
    found = problems(fork, overrides={"My.Rule": Override(filter=conditions)})
    assert found == ["detections.overrides.My.Rule.filter[1]: unknown Condition 'Equal', did you mean 'Equals'?"]


def test_unknown_log_types_are_warnings(fork: Fork) -> None:
    """A fork may hold rules for logs that are not collected."""
    fork.rule("A", YES, LogTypes=["Test.Log", "Test.Lag"])
    (warning,) = fork.load(known_log_types=("Test.Log",)).warnings
    assert "no schema for log type 'Test.Lag' (did you mean 'Test.Log'?)" in str(warning)


def test_versions_change_with_content(fork: Fork) -> None:
    """A detection's digest follows its files and overrides; the set's follows everything, helpers too."""
    fork.helper("h", "X = 1\n")
    fork.rule("A", YES)
    fork.rule("B", YES)
    first = fork.load()
    assert first.versions == fork.load().versions
    fork.rule("A", YES + "# changed\n")
    second = fork.load()
    assert second.versions["A"] != first.versions["A"]
    assert second.versions["B"] == first.versions["B"]
    assert second.version != first.version
    fork.helper("h", "X = 2\n")
    assert fork.load().version != second.version


def test_derived_detections(fork: Fork) -> None:
    """A detection with BaseDetection takes what it does not say itself from its base, code included."""
    fork.rule("Base", "def rule(event):\n    return True\n", Threshold=5, Tags=["t"], Enabled=False)
    derived = {"AnalysisType": "rule", "RuleID": "Mine", "BaseDetection": "Base", "Enabled": True, "Severity": "Low"}
    fork.item("rules/mine/mine.yml", derived)
    loaded = fork.load()
    (runnable,) = loaded.for_log_type("Test.Log")
    detection = runnable.detection
    assert (detection.id, detection.severity, detection.threshold, detection.tags) == ("Mine", "LOW", 5, ("t",))
    fork.item("rules/mine/mine.yml", derived | {"BaseDetection": "Bass"})
    assert any("there is no rule of this id (did you mean 'Base'?)" in text for text in problems(fork))


def test_a_part_of_a_fork_finds_the_helpers_around_it(fork: Fork) -> None:
    """Helpers and data models of the enclosing fork come along."""
    fork.helper("shared_helper", "X = 1\n")
    path = fork.rule("A", f"import shared_helper\n{YES}")
    fork.rule("B", "raise ValueError\n").rename(fork.root / "B.yml")
    loaded = DetectionSet.load(Options(paths=(str(path),)))
    assert loaded.ids == ("A",)


def test_the_root_of_a_fork_is_walked_by_its_folders(fork: Fork) -> None:
    """Templates and scenarios beside the items are left alone, hidden folders and caches everywhere."""
    fork.helper("h", "")
    fork.rule("A", YES)
    for folder in ("templates", "test_scenarios", "rules/.hidden", "rules/__pycache__"):
        fork.write(f"{folder}/x.yml", "AnalysisType: rule\nRuleID: X\n")
    assert fork.load().ids == ("A",)


def test_yaml_has_its_newer_meaning(fork: Fork) -> None:
    """yes and no are texts, 0644 is a number, timestamps and 1:30 stay texts."""
    text = """\
        AnalysisType: rule
        RuleID: Yaml
        Enabled: true
        Severity: Low
        LogTypes: [Test.Log]
        Filename: y.py
        Tests:
          - Name: t
            ExpectedResult: true
            Log: {a: yes, b: 0644, c: 2026-01-02, d: 1:30, e: ~, f: 1e3, g: 0x1f, h: "true", i: True}
    """
    fork.write("rules/y.py", YES)
    fork.write("rules/y.yml", text)
    log = fork.load(keep_tests=True).detections["Yaml"].tests[0]["Log"]
    assert log == {
        "a": "yes", "b": 644, "c": "2026-01-02", "d": "1:30", "e": None, "f": 1000.0, "g": 31, "h": "true", "i": True,
    }  # fmt: skip


def test_a_repeated_key_is_a_problem(fork: Fork) -> None:
    """With both lines."""
    fork.write("rules/a.yml", "AnalysisType: rule\nRuleID: A\nEnabled: true\nEnabled: false\n")
    (found,) = problems(fork)
    assert found == "rules/a.yml:4: not valid YAML: the key 'Enabled' is already on line 3"


def test_data_models_must_fit(fork: Fork) -> None:
    """One per log type; methods exist; paths are paths."""
    base: dict[str, Any] = {"AnalysisType": "datamodel", "LogTypes": ["Test.Log"], "Enabled": True}
    mappings = [{"Name": "a", "Method": "gone"}, {"Name": "b", "Path": "$.["}, {"Name": "c"}]
    fork.item("data_models/one.yml", base | {"DataModelID": "One", "Mappings": mappings})
    fork.item("data_models/two.yml", base | {"DataModelID": "Two", "Mappings": []})
    found = "\n".join(problems(fork))
    assert "Mappings.0: Method 'gone' does not exist (no Filename is given)" in found
    assert "Mappings.1: Path '$.[' is not a JSONPath" in found
    assert "Mappings.2: needs Name, and Path or Method" in found
    assert "Test.Log already has the data model One" in found


def test_files_that_are_not_ours_are_left_alone(fork: Fork, tmp_path: Path) -> None:
    """YAML without AnalysisType, and YAML that is no mapping."""
    fork.write("rules/other.yml", "- a\n- b\n")
    fork.write("rules/config.yml", "name: x\n")
    assert fork.load().ids == ()


def test_a_version_changes_with_everything_it_is_made_of(fork: Fork) -> None:
    """The YAML, the code, a helper, a helper's helper, an override; nothing else."""
    fork.helper("inner", "X = 1\n")
    fork.helper("outer", "import os, inner as i\n")
    fork.helper("idle", "X = 1\n")
    fork.rule("A", "import outer\n" + YES)
    fork.rule("B", YES)
    seen = [fork.load().versions]
    for change in (
        lambda: fork.helper("idle", "X = 2\n"),
        lambda: fork.helper("inner", "X = 2\n"),
        lambda: fork.helper("outer", "from inner import X\n"),
        lambda: fork.rule("A", "import outer\n" + YES + "# more\n"),
        lambda: fork.rule("A", "import outer\n" + YES + "# more\n", Severity="Low"),
    ):
        change()
        seen.append(fork.load().versions)
    seen.append(fork.load(overrides={"A": Override(threshold=2)}).versions)
    assert seen[0] == seen[1]
    assert len({versions["A"] for versions in seen}) == 6
    assert len({versions["B"] for versions in seen}) == 1
