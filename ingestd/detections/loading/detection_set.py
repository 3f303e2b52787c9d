"""From folders of YAML and Python to detections ready to run."""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import msgspec

from ingestd.detections import compat, datamodels, lookups, simple
from ingestd.detections.conditions import ConditionError
from ingestd.detections.correlation import syntax
from ingestd.detections.correlation.model import Correlation, Step
from ingestd.detections.correlation.syntax import CorrelationError
from ingestd.detections.datamodels import DataModel
from ingestd.detections.loading import spec, textfile
from ingestd.detections.loading.discover import read_items
from ingestd.detections.loading.items import ID_KEYS, Item, did_you_mean
from ingestd.detections.loading.modules import CodeError, Helpers, load_file, text_of
from ingestd.detections.loading.provenance import Change, last_changes, latest
from ingestd.detections.loading.spec import KINDS, Detection
from ingestd.detections.loading.versions import HelperDigests
from ingestd.detections.lookups import LookupTable
from ingestd.detections.options import Options, Override
from ingestd.detections.runnable import Runnable
from ingestd.detections.testing.keys import check_tests
from ingestd.detections.timetable import PublishedTable, ScheduledQuery, Timetable, parse_query
from ingestd.errors import ConfigError, Problem
from ingestd.model import LoadedDetection

_NO_OVERRIDE = Override()
_AWAITED_KINDS = ("rule", "scheduled_rule", "correlation_rule")
"""Of what correlation rules may wait for."""


class DetectionSet:
    """All detections of a configuration, with the code they need, loaded into this process.

    There is one set per process that matters: loading another replaces the global helpers of the last.
    """

    def __init__(self) -> None:
        self.detections: dict[str, Detection] = {}
        self.runnables: dict[str, Runnable] = {}
        self.correlations: dict[str, tuple[Correlation, ...]] = {}
        """By the id of the correlation rule; a rule finds something when one of its correlations does."""
        self.data_models: dict[str, DataModel] = {}
        """By log type."""
        self.lookup_tables: dict[str, LookupTable] = {}
        """Those that are enabled."""
        self.queries: dict[str, ScheduledQuery] = {}
        """Scheduled queries that are loaded."""
        self.packs: dict[str, tuple[str, ...]] = {}
        self.loaded_modules: list[ModuleType] = []
        """Helpers, data models and detections."""
        self.items: dict[str, Item] = {}
        """What the files say, by id, where tests are kept."""
        self.problems: list[Problem] = []
        """What keeps a set from being used; a set that `load` returns has none."""
        self.warnings: list[Problem] = []
        self.version = ""
        """Digest of everything that was loaded: 16 hex digits."""

    @staticmethod
    def load(options: Options) -> DetectionSet:
        """Read, check and import. Raises ConfigError with all problems; what may be intended, like a log type
        that no schema describes, is in `warnings`."""
        load = _Load(options)
        loaded = load.run()
        if loaded.problems:
            load.helpers.uninstall()
            raise ConfigError(loaded.problems)
        return loaded

    @staticmethod
    def examine(options: Options) -> DetectionSet:
        """As `load`, but what is right is loaded all the same; what is wrong is in `problems`."""
        return _Load(options).run()

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all detections, enabled or not, sorted."""
        return tuple(sorted(self.detections))

    def loaded(self) -> tuple[LoadedDetection, ...]:
        """All detections, enabled or not, by id: what versions they have, and whose those are."""
        return tuple(
            LoadedDetection(
                id=name,
                kind=detection.kind,
                enabled=detection.enabled,
                version=detection.version,
                commit=detection.commit,
                author=detection.author,
                committed_at=detection.committed_at,
            )
            for name, detection in sorted(self.detections.items())
        )

    @property
    def versions(self) -> dict[str, str]:
        """Id to content digest."""
        return {name: detection.version for name, detection in self.detections.items()}

    def modules(self) -> Iterator[tuple[ModuleType, bytes]]:
        """The loaded modules of helpers, data models and detections, with the text they were compiled from."""
        for module in self.loaded_modules:
            yield module, text_of(module)

    @property
    def log_types(self) -> tuple[str, ...]:
        """Log types that some enabled rule looks at, sorted."""
        return tuple(sorted({name for item in self._running("rule") for name in item.detection.log_types}))

    def for_log_type(self, log_type: str) -> tuple[Runnable, ...]:
        """Enabled rules for a log type, by id."""
        return tuple(item for item in self._running("rule") if log_type in item.detection.log_types)

    def for_resource_type(self, resource_type: str) -> tuple[Runnable, ...]:
        """Enabled policies for a resource type, by id. One without resource types is for all."""
        return tuple(
            item
            for item in self._running("policy")
            if not item.detection.log_types or resource_type in item.detection.log_types
        )

    def for_query(self, query: str) -> tuple[Runnable, ...]:
        """Enabled scheduled rules for the rows of a query, by id."""
        return tuple(item for item in self._running("scheduled_rule") if query in item.detection.log_types)

    def timetable(self) -> Timetable:
        """What runs by the clock: enabled correlation rules, and enabled queries that some enabled rule is for."""
        queries = (
            msgspec.structs.replace(query, rules=tuple(item.id for item in self.for_query(query.name)))
            for _, query in sorted(self.queries.items())
            if query.enabled
        )
        enabled = {name: found for name, found in self.correlations.items() if self.detections[name].enabled}
        tables = (
            PublishedTable(name=table.name, url=table.url, period_minutes=table.period_minutes)
            for _, table in sorted(self.lookup_tables.items())
            if table.url and not table.file
        )
        queries_used = tuple(query for query in queries if query.rules)
        return Timetable(queries=queries_used, correlations=enabled, tables=tuple(tables))

    @property
    def policies(self) -> list[str]:
        """Ids of the enabled policies."""
        return [item.id for item in self._running("policy")]

    def _running(self, kind: str) -> Iterable[Runnable]:
        for name in sorted(self.runnables):
            runnable = self.runnables[name]
            if runnable.detection.enabled and runnable.detection.kind == kind:
                yield runnable


class _Load:
    """One load: the problems found so far, and the steps."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.set = DetectionSet()
        self.problems = self.set.problems
        self.changes: dict[Path, Change] = {}
        self.needing: Counter[str] = Counter()

    def run(self) -> DetectionSet:
        collecting = gc.isenabled()
        gc.disable()  # almost all that is made stays: looking for garbage in it took a quarter of the time
        try:
            return self._run()
        finally:
            if collecting:
                gc.enable()

    def _run(self) -> DetectionSet:
        options = self.options
        items, problems = read_items(
            options.paths, options.ignore_files, allow_unknown_keys=options.allow_unknown_keys
        )
        self.problems.extend(problems)
        by_id = self._unique(items)
        if options.keep_tests:
            self.set.items = dict(by_id)
        self._digest(items)
        if options.provenance:
            codes = [self._code(item) for item in items]
            self.changes = last_changes({*(item.file for item in items), *filter(None, codes)})
        compat.install()
        self.helpers = Helpers(self._helper_files(by_id.values()))
        self.helpers.install()
        self.helper_digests = HelperDigests(self.helpers.files)
        if options.include_disabled:
            self._load_all_helpers()
        self._packs(by_id)
        self._data_models(by_id.values())
        self._lookup_tables(by_id.values())
        self._queries(by_id.values())
        for item in by_id.values():
            if item.kind in KINDS:
                self._detection(item, by_id)
        self._check_names(by_id)
        self._report_helpers()
        self.set.loaded_modules.extend(self.helpers.loaded.values())
        return self.set

    def _unique(self, items: list[Item]) -> dict[str, Item]:
        by_id: dict[str, Item] = {}
        for item in items:
            first = by_id.setdefault(item.id, item)
            if first is not item:
                message = f"the id {item.id!r} is taken by {first.file}"
                self.problems.append(item.problem(message, ID_KEYS[item.kind]))
        return by_id

    def _digest(self, items: list[Item]) -> None:
        digest = hashlib.blake2b(digest_size=8)
        for item in items:
            digest.update(item.text)
            code = self._code(item)
            if code is not None and item.kind != "lookup_table":
                with suppress(OSError):  # told when it is loaded
                    digest.update(textfile.read(code))
        digest.update(repr((self.options.packs, self.options.enable, self.options.disable)).encode())
        digest.update(repr(sorted(self.options.overrides.items())).encode())
        self.set.version = digest.hexdigest()

    def _code(self, item: Item) -> Path | None:
        """The item's Python file; reported if it is named and not there."""
        name = item.data.get("Filename")
        return item.file.parent / str(name) if name else None

    def _existing_code(self, item: Item) -> Path | None:
        code = self._code(item)
        if code is None or textfile.exists(code):
            return code
        self.problems.append(item.problem(f"the file {code.name[:255]!r} does not exist", "Filename"))
        return None

    # --- helpers, data models, packs

    def _helper_files(self, items: Iterable[Item]) -> dict[str, Path]:
        files = {}
        for item in items:
            if item.kind == "global":
                code = self._existing_code(item)
                if not item.id.isidentifier():
                    self.problems.append(item.problem("must be usable as a module name", "GlobalID"))
                elif code is not None:
                    files[item.id] = code
        return files

    def _load_all_helpers(self) -> None:
        for name in self.helpers.files:
            try:
                self.helpers.load(name)
            except CodeError as error:
                self.needing[error.helper or name] += 0

    def _packs(self, by_id: dict[str, Item]) -> None:
        for item in by_id.values():
            if item.kind != "pack":
                continue
            definition = item.data.get("PackDefinition")
            ids = definition.get("IDs") if isinstance(definition, dict) else None
            if not isinstance(ids, list):
                self.problems.append(item.problem("needs a list IDs", "PackDefinition"))
                continue
            self.set.packs[item.id] = tuple(str(name) for name in ids)

    def _data_models(self, items: Iterable[Item]) -> None:
        for item in items:
            if item.kind != "datamodel" or item.data.get("Enabled") is False:
                continue
            model = datamodels.build(item, self._module(item), self.problems.append)
            for log_type in model.log_types:
                first = self.set.data_models.setdefault(log_type, model)
                if first is not model:
                    message = f"{log_type} already has the data model {first.id}"
                    self.problems.append(item.problem(message, "LogTypes"))

    def _lookup_tables(self, items: Iterable[Item]) -> None:
        for item in items:
            if item.kind == "lookup_table" and (self.options.include_disabled or self._enabled(item, _NO_OVERRIDE)):
                if self.options.keep_tests:
                    self.problems.extend(check_tests(item, item.data.get("Tests")))
                table = lookups.parse(item, self._existing_code(item), self.problems.append)
                if table is not None:
                    self.set.lookup_tables[item.id] = table

    def _queries(self, items: Iterable[Item]) -> None:
        for item in items:
            if item.kind != "scheduled_query":
                continue
            enabled = self._enabled(item, _NO_OVERRIDE)
            if enabled or self.options.include_disabled:
                query = parse_query(item, self.problems.append, enabled=enabled)
                if query is not None:
                    self.set.queries[item.id] = query

    # --- detections

    def _detection(self, item: Item, by_id: dict[str, Item]) -> None:
        options = self.options
        if "BaseDetection" in item.data:
            base = self._base(item, by_id)
            if base is None:
                return
            item = spec.derive(item, base)
            code = self._existing_code(base) if "Filename" in base.data else None
        else:
            code = self._existing_code(item)
        override = self._override(item.id)
        detection = spec.build(
            item,
            code,
            self._enabled(item, override),
            override,
            options.keep_tests,
            self.problems.append,
            self.helper_digests.of,
        )
        change = latest(self.changes, (item.file, item.base.file if item.base else None, code))
        if change is not None:
            detection = msgspec.structs.replace(
                detection, commit=change.commit, author=change.author, committed_at=change.committed_at
            )
        wanted = item.id in options.only_ids if options.only_ids else detection.enabled or options.include_disabled
        self.set.detections[item.id] = detection
        if not wanted:
            return
        if options.keep_tests:
            self.set.items[item.id] = item
            if item.tests_file is None:  # else they are checked with the base
                self.problems.extend(check_tests(item, item.data.get("Tests")))
        if item.kind == "correlation_rule":
            self._correlation(item, by_id)
            return
        self._check_log_types(item, detection)
        if "Filename" in item.data and code is None:
            return  # reported
        module = self._module(item, code)
        if code is None or module is not None:
            self._bind(item, detection, module)

    def _override(self, name: str) -> Override:
        """What the configuration says of one detection, without a filter that cannot be understood."""
        override = self.options.overrides.get(name, _NO_OVERRIDE)
        for index, expression in enumerate(override.filter or ()):
            try:
                simple.compile_filters([expression])
            except ConditionError as error:
                self.problems.append(Problem(str(error), path=f"detections.overrides.{name}.filter[{index}]"))
                override = msgspec.structs.replace(override, filter=None)
        return override

    def _base(self, item: Item, by_id: dict[str, Item]) -> Item | None:
        name = str(item.data["BaseDetection"])
        base = by_id.get(name)
        if base is None or base.kind != item.kind:
            message, hint = f"there is no {item.kind} of this id", did_you_mean(name, by_id)
        elif "BaseDetection" in base.data:
            message, hint = f"{name} is derived itself", f"derive from {base.data['BaseDetection']}"
        else:
            return base
        self.problems.append(item.problem(message, "BaseDetection", hint=hint))
        return None

    def _correlation(self, item: Item, by_id: dict[str, Item]) -> None:
        try:
            correlations = syntax.parse(item.data.get("Detection"))
        except CorrelationError as error:
            self.problems.append(item.problem(str(error), *error.path))
            return
        for index, correlation in enumerate(correlations):
            kind = "Sequence" if correlation.is_sequence else "Group"
            for number, step in enumerate(correlation.steps):
                self._awaited(item, step, by_id, "Detection", index, kind, number)
        self.set.correlations[item.id] = correlations

    def _awaited(self, item: Item, step: Step, by_id: dict[str, Item], *path: str | int) -> None:
        awaited = by_id.get(step.detection_id)
        if awaited is not None and awaited.kind in _AWAITED_KINDS:
            return
        waits = f"step {step.id!r} waits for {step.detection_id!r}, which"
        if awaited is None:
            message, hint = f"{waits} does not exist", did_you_mean(step.detection_id, by_id)
        else:
            message, hint = f"{waits} is a {awaited.kind}", f"a step is a {', '.join(_AWAITED_KINDS)}"
        self.problems.append(item.problem(message, *path, hint=hint))

    def _enabled(self, item: Item, override: Override) -> bool:
        options = self.options
        if item.id in options.disable:
            return False
        if override.enabled is not None:
            return override.enabled
        if item.id in options.enable or item.id in options.only_ids:
            return True
        in_packs = not options.packs or any(item.id in self.set.packs.get(pack, ()) for pack in options.packs)
        return in_packs and item.data.get("Enabled") is True

    def _module(self, item: Item, code: Path | None = None) -> ModuleType | None:
        code = code or self._existing_code(item)
        if code is None:
            return None
        try:
            module = load_file(f"{item.kind}:{item.id}", code)
        except CodeError as error:
            if error.helper:
                self.needing[error.helper] += 1
            else:
                self.problems.append(error.problem)
            return None
        self.set.loaded_modules.append(module)
        return module

    def _bind(self, item: Item, detection: Detection, module: ModuleType | None) -> None:
        mistakes = list(simple.mistakes(detection, has_code=module is not None))
        self.problems.extend(item.problem(message, *path) for path, message in mistakes)
        if mistakes:
            return
        try:
            self.set.runnables[item.id] = Runnable.bind(detection, module)
        except ValueError as error:
            self.problems.append(Problem(str(error), file=detection.code or detection.file, line=1))

    # --- names

    def _check_log_types(self, item: Item, detection: Detection) -> None:
        known = self.options.known_log_types
        if known is None or detection.kind != "rule":
            return
        never = detection.enabled and not any(name in known for name in detection.log_types)
        for index, name in enumerate(detection.log_types):
            if name not in known:
                message = f"{'never runs: ' if never else ''}no schema for log type {name!r}"
                hint = did_you_mean(name, known)
                self.set.warnings.append(item.problem(message, "LogTypes", index, hint=hint))

    def _check_names(self, by_id: dict[str, Item]) -> None:
        """Ids in packs and in the configuration that name nothing."""
        for pack, ids in self.set.packs.items():
            for index, name in enumerate(ids):
                if name not in by_id:
                    self.problems.append(
                        by_id[pack].problem(
                            f"no item has the id {name!r}",
                            "PackDefinition", "IDs", index,
                            hint=did_you_mean(name, by_id),
                        )
                    )  # fmt: skip
        options = self.options
        others = {item.id for item in by_id.values() if item.kind in ("lookup_table", "scheduled_query")}
        for where, names, known in (
            ("packs", options.packs, self.set.packs.keys()),
            ("enable", options.enable, self.set.detections.keys() | others),
            ("disable", options.disable, self.set.detections.keys() | others),
            ("overrides", tuple(options.overrides), self.set.detections.keys()),
            ("only_ids", options.only_ids, self.set.detections.keys()),
        ):
            for index, name in enumerate(names):
                if name not in known:
                    what = "pack" if where == "packs" else "detection"
                    at = f".{name}" if where == "overrides" else f"[{index}]"
                    message, hint = f"no {what} has the id {name!r}", did_you_mean(name, known)
                    self.problems.append(Problem(message, path=f"detections.{where}{at}", hint=hint))

    def _report_helpers(self) -> None:
        """One problem per broken helper, not one per detection that needs it."""
        for name, error in self.helpers.failed.items():
            if error.helper and error.helper != name:
                continue  # it failed because of another helper, which is reported
            needing = self.needing[name]
            if needing:
                problem = error.problem
                problem.hint = "; ".join(filter(None, [problem.hint, f"{needing} detections need this helper"]))
            self.problems.append(error.problem)
