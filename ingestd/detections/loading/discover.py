"""Which files of a folder are detections' items: the public command's walk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from ingestd.detections.loading import textfile
from ingestd.detections.loading.items import Item, read_item
from ingestd.errors import Problem

_ROOT_FOLDERS = (
    "*data_models*", "*global_helpers*", "*lookup_tables*", "*rules*", "*policies*", "*queries*", "*packs",
    "*scheduled_prompts*", "*detections*",
)  # fmt: skip
_SHARED_FOLDERS = ("global_helpers", "data_models")
_SUFFIXES = (".yml", ".yaml")
_NEVER = ("__pycache__", "node_modules")


def read_items(
    paths: tuple[str, ...], ignore: tuple[str, ...] = (), *, allow_unknown_keys: bool = False
) -> tuple[list[Item], list[Problem]]:
    """All items under `paths`, in a stable order, and what is wrong with them. Helpers and data models of the
    fork around a path come along, so that a part of a fork can be loaded alone. Files that `ignore` names, by path
    or by pattern, are passed over."""
    items: list[Item] = []
    problems: list[Problem] = []
    for file in _files(paths, problems):
        if _is_ignored(file, ignore):
            continue
        try:
            item, wrong = read_item(file, textfile.read(file), allow_unknown_keys=allow_unknown_keys)
        except OSError as error:
            problems.append(Problem(f"cannot be read: {error.strerror}", file=str(file)))
            continue
        problems.extend(wrong)
        if item is not None:
            items.append(item)
    return items, problems


def yaml_files(paths: tuple[str, ...]) -> list[Path]:
    """The files that `read_items` looks at."""
    return _files(paths, [])


def _is_ignored(file: Path, ignore: tuple[str, ...]) -> bool:
    return any(file == Path(name).resolve() or fnmatch(str(file), name) for name in ignore)


def _files(paths: tuple[str, ...], problems: list[Problem]) -> list[Path]:
    found: dict[Path, None] = {}
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found.update(dict.fromkeys(_walk(path)))
        elif path.is_file() and path.suffix in _SUFFIXES:
            found[path.resolve()] = None
        elif path.is_file():
            problems.append(Problem("is no YAML: name the YAML that goes with it, or its folder", file=name))
            continue
        else:
            problems.append(Problem("no such file or folder", file=name))
            continue
        for shared in _shared_folders(path.resolve()):
            found.update(dict.fromkeys(_walk(shared)))
    return list(found)


def _walk(folder: Path) -> Iterator[Path]:
    """YAML files below `folder`. At the root of a fork only its folders of items are entered: beside them lie
    templates and scenarios that look like items."""
    root = folder.resolve()
    is_fork = any((root / name).is_dir() for name in (*_SHARED_FOLDERS, "packs"))
    for where, folders, files in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _NEVER
            and (not is_fork or Path(where) != root or any(fnmatch(name, like) for like in _ROOT_FOLDERS))
        )
        for name in sorted(files):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield Path(where, name)


def _shared_folders(path: Path) -> Iterator[Path]:
    for parent in path.parents:
        folders = [parent / name for name in _SHARED_FOLDERS if (parent / name).is_dir()]
        yield from folders
        if folders or (parent / ".git").exists():
            return
