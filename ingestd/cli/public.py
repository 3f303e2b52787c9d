"""What `ingestd test` takes over from the public command: its settings file and its environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from ingestd.cli import output

SETTINGS = Path(".panther_settings.yml")
_RENAMED = {"_filter": "filter"}
_OF_OTHER_COMMANDS = frozenset({"out", "aws_profile", "debug", "batch", "kms_key"})


class Command(TyperCommand):
    """A command whose options the settings file of the working folder may give. The command line wins, then the
    environment, then the file."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Part of click's protocol."""
        extra["default_map"] = {**(extra.get("default_map") or {}), **self._settings()}
        return super().make_context(info_name, args, parent, **extra)

    def _settings(self) -> dict[str, Any]:
        if not SETTINGS.is_file():
            return {}
        options = {str(option.name): option for option in self.params}
        settings = {}
        for written, value in _read(SETTINGS).items():
            key = _RENAMED.get(written, written)
            option = options.get(key)
            if option is None:
                if key not in _OF_OTHER_COMMANDS:
                    output.note(f"{SETTINGS}: {written!r} is no option of `ingestd test` and is passed over")
            elif value is not None:
                many = getattr(option, "multiple", False) or option.nargs == -1
                settings[key] = [value] if many and not isinstance(value, list) else value
        return settings


def _read(file: Path) -> dict[str, Any]:
    from ingestd.detections.loading import yaml12
    from ingestd.errors import ConfigError, Problem

    try:
        content = yaml12.load(file.read_bytes())
    except yaml12.YamlError as error:
        raise ConfigError([Problem(f"not valid YAML: {error}", file=str(file), line=error.line)]) from None
    if content is not None and not isinstance(content, dict):
        raise ConfigError([Problem("must be a mapping of options", file=str(file), line=1)])
    return {str(key): value for key, value in (content or {}).items()}


def existing(paths: list[Path], hint: str) -> list[Path]:
    """The paths, as long as each is there: a mistyped one is no empty folder."""
    for one in paths:
        if not one.exists():
            raise typer.BadParameter(f"there is no file or folder {str(one)!r}", param_hint=hint)
    return paths


def option(flag: str, text: str, *, ours: bool = False, **more: Any) -> Any:
    """An option that is also an environment variable: by our prefix, and by the public command's unless the option is
    ours alone."""
    name = flag.strip("-").replace("-", "_").upper()
    variables = [f"INGESTD_{name}"] if ours else [f"INGESTD_{name}", f"PANTHER_{name}"]
    return typer.Option(flag, envvar=variables, help=text, **more)
