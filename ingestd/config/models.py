"""The configuration as models: what may be written, with which default, and why that default.

Names carry their unit (`_secs`, `_bytes`); durations and sizes may also be text (`5m`, `256MiB`). What a single
source or destination type adds stands in its own file, as a subclass of `SourceConfig` or `DestinationConfig`.
This module only describes; reading files is `ingestd.config.load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from ingestd import model
from ingestd.config import components
from ingestd.config.base import Bytes, ComponentName, ConfigPath, Model, Seconds, UrlOrPath
from ingestd.config.filters import FiltersConfig
from ingestd.config.secrets import Secret
from ingestd.config.sources import FramingConfig, RouteConfig, SourceConfig

__all__ = [
    "AlertsConfig",
    "Bytes",
    "ComponentName",
    "ConfigPath",
    "DestinationConfig",
    "DetectionOverride",
    "DetectionsConfig",
    "EnrichmentConfig",
    "FiltersConfig",
    "FramingConfig",
    "HttpConfig",
    "LakeConfig",
    "LimitsConfig",
    "LoggingConfig",
    "Model",
    "Root",
    "RouteConfig",
    "RuleSecretsConfig",
    "SchemasConfig",
    "Seconds",
    "Secret",
    "SourceConfig",
    "StateConfig",
    "TlsConfig",
    "UrlOrPath",
    "WorkersConfig",
]

LogLevel = Literal["debug", "info", "warning", "error"]


# --- destinations -----------------------------------------------------------------------------------------


class DestinationConfig(Model):
    """What every destination understands; its own type adds the address and the credentials."""

    type: str
    """Name of the destination type."""
    severities: tuple[model.Severity, ...] = ()
    """Severities sent here unless the detection itself names destinations. Empty: all."""
    log_types: tuple[str, ...] = ()
    """Log types whose alerts are sent here unless the detection itself names destinations. Empty: all."""
    kinds: tuple[Literal["rule", "policy", "error", "system"], ...] = ("rule", "policy", "error", "system")
    """What is sent here: alerts of rules and policies, errors of detections, and ingestd's own."""
    default: bool = True
    """Whether alerts that name no destination come here. False: only alerts that name this one."""
    timeout_secs: Annotated[Seconds, Field(gt=0)] = 10
    """Longest time for one attempt to send."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Alerts on the way at once."""
    per_minute: Annotated[int, Field(ge=1)] = 60
    """Alerts sent per minute at most; the others wait."""
    retry_secs: Seconds = 86_400
    """How long sending is tried again before the alert counts as failed."""


class AlertsConfig(Model):
    """How matches become alerts."""

    max_per_hour: Annotated[int, Field(ge=1)] = 1_000
    """Alerts that one detection may make in an hour; more are suppressed and counted, with one alert that says so."""


# --- the rest of the daemon -------------------------------------------------------------------------------


class SchemasConfig(Model):
    """Where schemas of log types come from."""

    paths: tuple[ConfigPath, ...] = ()
    """Files and folders of your own schemas, beside the built-in ones."""
    builtin: bool = True
    """Whether the built-in log types are known."""


MOST_COUNTED = 2**31 - 1
"""Matches or minutes: what a detection's own file may say as well."""


class DetectionOverride(Model):
    """Changes to one detection without a fork. What is left out stays as the detection says."""

    enabled: bool | None = None
    """Whether it runs."""
    severity: model.Severity | None = None
    """Severity of its alerts, over the detection's static and dynamic one."""
    threshold: Annotated[int, Field(ge=1, le=MOST_COUNTED)] | None = None
    """Matches in a window that make an alert."""
    dedup_minutes: Annotated[int, Field(ge=5, le=MOST_COUNTED)] | None = None
    """Length of the window."""
    destinations: tuple[str, ...] | None = None
    """Names of destinations, in place of the detection's own; an empty list sends to nobody."""
    filter: tuple[dict[str, Any], ...] | None = None
    """Conditions in the language of InlineFilters, added to the detection's own: other events are not looked at."""


class RuleSecretsConfig(Model):
    """What detections get that ask for a secret, by `ingestd.rules.get_secret` or boto3's Secrets Manager client."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=.@-][A-Za-z0-9/_+=.@-]*$")] = "panther-analysis"
    """Detections may have what is named `<prefix>/…`, nothing else. Grant the daemon no more than that either."""
    values: dict[str, Secret] = Field(default_factory=dict)
    """Name, as detections ask for it → where the secret is."""
    manager: Literal["aws", "azure", "gcp"] | None = None
    """Where names are looked up that `values` does not have: `aws` is Secrets Manager, under the same name; `azure`
    the Key Vault `vault` and `gcp` the Secret Manager of `project`, where each `/` of a name is written `--`."""
    vault: Annotated[str | None, Field(pattern=r"^https://[^/\s?#]+$")] = None
    """For `manager: azure`: the vault's address, e.g. `https://rules.vault.azure.net`."""
    project: Annotated[str | None, Field(pattern=r"^[a-z0-9.:-]+$")] = None
    """For `manager: gcp`: the id of the project."""
    ttl_secs: Annotated[Seconds, Field(ge=1)] = 300
    """How long a value is used before it is read again: the longest that a rotated one goes unnoticed."""

    @model_validator(mode="after")
    def _under_the_prefix(self) -> RuleSecretsConfig:
        for name in self.values:
            if not self.grants(name):
                raise ValueError(f"no detection could ask for {name!r}: it is not under {self.prefix}/")
        return self

    @model_validator(mode="after")
    def _manager_has_an_address(self) -> RuleSecretsConfig:
        for manager, key in (("azure", "vault"), ("gcp", "project")):
            if (self.manager == manager) != (getattr(self, key) is not None):
                raise ValueError(f"`{key}` belongs to `manager: {manager}`, and is needed there")
        return self

    def where(self, name: str) -> Secret | None:
        """Where the secret of this name is; None where nothing says."""
        if name in self.values or self.manager is None:
            return self.values.get(name)
        if self.manager == "aws":
            return Secret("aws_secret", name)
        plain = name.replace("/", "--")  # their names have no slashes
        if self.manager == "azure":
            return Secret("azure_secret", f"{self.vault}/secrets/{plain}")
        return Secret("gcp_secret", f"projects/{self.project}/secrets/{plain}")

    def grants(self, name: str) -> bool:
        """Whether detections may have the secret of this name."""
        return name.startswith(self.prefix.rstrip("/") + "/")


class EnrichmentConfig(Model):
    """Data of lookup tables, which is added to events as `p_enrichment`."""

    paths: tuple[ConfigPath, ...] = ()
    """Folders of tables: CSV with a header line or one JSON object to a line, plain or with `.gz`, or MaxMind's
    `.mmdb`. A table's file has the name at the end of its `ObjectPath`, or its `LookupName` and a suffix."""
    max_bytes: Annotated[Bytes, Field(ge=1_048_576)] = 1_073_741_824
    """What all tables may take, in temporary files that are mapped into memory; `.mmdb` files do not count."""
    fetch_with: ComponentName | None = None
    """Name of a source with whose credentials tables' data is fetched from where it is published
    (`Refresh.ObjectPath`, `s3://`, `az://` or `gs://` as that source reads) into the first of `paths`. Not set:
    nothing is fetched."""
    refresh_secs: Annotated[Seconds, Field(ge=1)] = 60
    """How often to look whether a table's file has changed; the workers get it once it stays as it is."""


class DetectionsConfig(Model):
    """Which detections run."""

    paths: tuple[ConfigPath, ...] = ()
    """Folders of detections, helpers, data models, packs and lookup tables in the public format."""
    packs: tuple[str, ...] = ()
    """Ids of packs to run; only their detections are loaded then. Empty: everything under `paths`."""
    enable: tuple[str, ...] = ()
    """Ids of detections to run although their own file or no pack enables them."""
    disable: tuple[str, ...] = ()
    """Ids of detections not to run."""
    overrides: dict[str, DetectionOverride] = Field(default_factory=dict)
    """Detection id → what to change about it."""
    secrets: RuleSecretsConfig = RuleSecretsConfig()
    """Secrets that detections may ask for."""
    history_days: Annotated[int, Field(ge=1, le=36_500)] = 1_095
    """How long `ingestd detections history` can tell what was enabled, in which version, and whose that was."""


class LakeConfig(Model):
    """The queryable lake of events, matches, errors and rejects."""

    type: Literal["parquet"] = "parquet"
    """Format of the lake."""
    url: UrlOrPath = "./lake"
    """Folder of the lake."""
    rotate_secs: Annotated[Seconds, Field(ge=1, le=3_600)] = 60
    """Longest time until received data is committed: how long a message is held, at least."""
    rotate_bytes: Annotated[Bytes, Field(ge=1_048_576)] = 67_108_864
    """Size of the buffered columns that makes a commit due. It bounds memory, twice over: the next batch fills
    while one is written."""
    rotate_rows: Annotated[int, Field(ge=1_000)] = 1_000_000
    """Number of buffered rows that makes a commit due."""


class StateConfig(Model):
    """The durable state: ledger, alert windows, outbox, rules' key-value store."""

    type: Literal["sqlite"] = "sqlite"
    """Kind of store. One SQLite file serves all daemons of one host."""
    path: ConfigPath = Path("state.db")
    """The database file; it must lie on a local disk."""
    retention_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    """How long the ledger remembers what was committed: within it, nothing is read twice."""
    lease_secs: Annotated[Seconds, Field(ge=1, le=3_600)] = 60
    """Within this time a daemon says four times that it lives. That it has died is seen at once by the others on its
    host; the work of one that is stopped or hangs they take over after five times as long."""


def split_address(listen: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9464`, `[::1]:9464` or `:9464` (every interface). Raises `ValueError`."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError('write address and port, for example "127.0.0.1:9464", or "off"')
    host = host.removeprefix("[").removesuffix("]")
    return host or "0.0.0.0", int(port)  # noqa: S104 - asked for by leaving the address out


class TlsConfig(Model):
    """Certificate of the admin port."""

    certificate: ConfigPath
    """PEM file with the certificate and its chain."""
    key: ConfigPath
    """PEM file with the private key, readable by the daemon alone."""


class HttpConfig(Model):
    """The admin port: metrics, health, status."""

    listen: str = "127.0.0.1:9464"
    """Address and port, `off` for none. Anything but loopback should have a token or lie behind a network policy."""
    token: Secret | None = None
    """Bearer token that every request but the health checks needs."""
    tls: TlsConfig | None = None
    """Serve HTTPS."""
    admin: bool = False
    """Whether admin calls such as `POST /-/log-level` are answered. Beyond loopback they need a token."""
    debug: bool = False
    """Whether `/debug/tasks` and `/debug/stacks` are answered; they show code, never data."""

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, listen: str) -> str:
        if listen != "off":
            split_address(listen)
        return listen

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port, None when the port is off."""
        return None if self.listen == "off" else split_address(self.listen)


class WorkersConfig(Model):
    """The processes in which bytes are parsed and detections run."""

    count: Annotated[int, Field(ge=0, le=512)] = 0
    """Number of worker processes; 0 means one per CPU."""
    memory_bytes: Annotated[Bytes, Field(ge=67_108_864)] = 268_435_456
    """Address space that a worker may take beyond its size after start. A rule that wants more gets a MemoryError."""
    rule_secs: Annotated[Seconds, Field(gt=0)] = 1
    """CPU time that one detection may take for one event."""
    chunk_secs: Annotated[Seconds, Field(gt=0)] = 10
    """CPU time, and time asleep in a detection, after which a worker that comes no further is replaced."""
    in_flight_bytes: Annotated[Bytes, Field(ge=1_048_576)] = 67_108_864
    """Compressed bytes on their way to the workers at once."""


class LimitsConfig(Model):
    """Bounds on hostile input. What is past a bound is rejected with the reason; its neighbours go on."""

    max_record_bytes: Annotated[Bytes, Field(ge=1_024)] = 16_777_216
    """Longest record. The largest legitimate ones (Kubernetes audit) are about 1.5 MiB."""
    max_ratio: Annotated[int, Field(ge=10)] = 500
    """Highest ratio of plain to compressed bytes. Audit logs reach 50, text of equal lines 300, bombs 1,000."""
    max_plain_bytes: Annotated[Bytes, Field(ge=1_048_576)] = 68_719_476_736
    """Most plain bytes of one compressed object, whatever the ratio."""
    payload_bytes: Annotated[Bytes, Field(le=1_048_576)] = 4_096
    """How much of a rejected record is kept in the table `rejects`."""


class LoggingConfig(Model):
    """The daemon's own log, on stderr."""

    level: LogLevel = "info"
    """Least important lines shown; `POST /-/log-level` changes it at run time."""
    format: Literal["auto", "json", "logfmt", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""
    fold_secs: Seconds = 10
    """A line that repeats within this time is shown once and then counted; 0 shows all."""


def _at_type(message: str) -> ValidationError:
    """An error that stands at the key `type` of the component."""
    what = PydanticCustomError("unknown_type", "{message}", {"message": message})
    return ValidationError.from_exception_data("type", [InitErrorDetails(type=what, loc=("type",), input=None)])


def _component(kind: components.Kind, base: type[Model]) -> PlainValidator:
    def validate(value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, base):
            return value
        if not isinstance(value, dict):
            raise ValueError("a mapping with a `type` is expected here")  # noqa: TRY004 - pydantic collects ValueError
        type_name = value.get("type")
        try:
            component = components.load(kind, type_name if isinstance(type_name, str) else "")
        except components.UnknownType as error:
            raise _at_type(str(error)) from None
        return component.Config.model_validate(value, context=info.context)

    return PlainValidator(validate, json_schema_input_type=base)


AnySource = Annotated[SerializeAsAny[SourceConfig], _component("sources", SourceConfig)]
AnyDestination = Annotated[SerializeAsAny[DestinationConfig], _component("destinations", DestinationConfig)]


class Root(Model):
    """The whole configuration."""

    include: tuple[str, ...] = ("sources.d/*.yml",)
    """Patterns of further files, relative to the root file. Each may have every key but `include`; what two files
    both define is an error."""
    sources: dict[ComponentName, AnySource] = Field(default_factory=dict)
    """Name → where data comes from."""
    schemas: SchemasConfig = SchemasConfig()
    """Where schemas of log types come from."""
    detections: DetectionsConfig = DetectionsConfig()
    """Which detections run."""
    enrichment: EnrichmentConfig = EnrichmentConfig()
    """What is added to events."""
    destinations: dict[ComponentName, AnyDestination] = Field(default_factory=dict)
    """Name → where alerts are sent."""
    alerts: AlertsConfig = AlertsConfig()
    """How matches become alerts."""
    lake: Annotated[LakeConfig, Field(default_factory=dict)]
    """The queryable lake."""
    state: Annotated[StateConfig, Field(default_factory=dict)]
    """The durable state."""
    workers: WorkersConfig = WorkersConfig()
    """The processes in which bytes are parsed and detections run."""
    limits: LimitsConfig = LimitsConfig()
    """Bounds on hostile input."""
    http: HttpConfig = HttpConfig()
    """The admin port."""
    logging: LoggingConfig = LoggingConfig()
    """The daemon's own log."""
    shutdown_secs: Annotated[Seconds, Field(ge=1)] = 25
    """Time to finish what was begun after SIGTERM; must be under the supervisor's own limit (30 s in Kubernetes)."""
