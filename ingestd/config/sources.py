"""What every source understands: its routes, how their objects are read, and what is not wanted of them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ingestd import model
from ingestd.config.base import Model, Seconds
from ingestd.config.filters import FiltersConfig


class FramingConfig(Model):
    """How an object is cut into records."""

    name: str = "auto"
    """Name of the framing; `auto` looks at the first bytes."""
    envelope: str | None = None
    """Dotted path to the array that holds the records, e.g. `Records` or `logEvents[].message`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the framing itself understands, e.g. the delimiter of `csv`."""

    @model_validator(mode="after")
    def _is_known(self) -> FramingConfig:
        if not self.model_fields_set:
            return self
        from ingestd.decode.framing import problem_with  # codecs are loaded only where a framing is configured

        problem = problem_with(self.to_framing())
        if problem is not None:
            raise ValueError(problem)
        return self

    def to_framing(self) -> model.Framing:
        """The same as the noun that crosses the process boundary."""
        return model.Framing(name=self.name, envelope=self.envelope, options=dict(self.options))


def _framing_by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class RouteConfig(Model):
    """Which log types may be in the objects under a prefix."""

    prefix: str = ""
    """Start of the object's key, as plain text. The longest prefix that matches wins."""
    exclude: tuple[str, ...] = ()
    """Patterns with `*` (which crosses `/`) of keys to leave alone."""
    log_types: tuple[str, ...] = ()
    """Candidates for each record. Empty: every known log type is tried, which costs more."""
    resource_types: tuple[str, ...] = ()
    """Set instead of `log_types` when the records are snapshots of resources, for policies: names of resource types,
    or patterns with `*`. A record says its own in `ResourceType`."""
    framing: Annotated[
        FramingConfig, BeforeValidator(_framing_by_name, json_schema_input_type=str | FramingConfig)
    ] = FramingConfig()
    """How objects are cut into records: a name, or a name with options."""
    filters: FiltersConfig = FiltersConfig()
    """Records and events that are not wanted, beside those that the source itself does not want."""
    keep_unknown: bool | None = None
    """Whether fields that no schema declares stay in the event. Not set: as the schema says."""

    def to_route(self, filters: FiltersConfig | None = None) -> model.Route:
        """The same as the noun that crosses the process boundary, with the source's own `filters`."""
        return model.Route(
            prefix=self.prefix,
            exclude=self.exclude,
            log_types=self.log_types,
            resource_types=self.resource_types,
            framing=self.framing.to_framing(),
            filters=(filters or FiltersConfig()).to_filters(self.filters),
            keep_unknown=self.keep_unknown,
        )


class SourceConfig(Model):
    """What every source understands; its own type adds the address."""

    payload_may_be_found: ClassVar[bool] = False
    """Whether the type's messages tell by themselves what they are: `payload` may be `auto`."""

    type: str
    """Name of the source type."""
    label: str = ""
    """`p_source_label` of its events; the source's name when empty."""
    routes: tuple[RouteConfig, ...] = (RouteConfig(),)
    """Which log types may be under which prefix. Without any, every known log type is a candidate everywhere."""
    filters: FiltersConfig = FiltersConfig()
    """Records and events that are not wanted, under any of the routes."""
    on_unknown: Literal["dead_letter", "ack"] = "dead_letter"
    """What becomes of a message that no one understands, once it is in the table `rejects`."""
    max_held: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """Messages held at once, received but not yet acknowledged. Keep the sum over all replicas under half of the
    provider's limit (120,000 for an SQS queue)."""
    max_attempts: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Own failures of an object or message before it is dead-lettered. Lost leases, kills and drains do not count."""
    payload: Literal["notification", "message", "auto"] = "notification"
    """What the messages are: notifications about objects, or log events themselves (any framing and compression;
    base64 and the envelope of SNS are taken off). Messages have no key: only a route without `prefix` takes them.
    `auto`, for Pub/Sub alone, tells message by message."""
    message_dedup_secs: Seconds = 3_600
    """How long the ids of messages that are events themselves are remembered, to recognise a redelivery."""

    @field_validator("routes")
    @classmethod
    def _at_least_one(cls, routes: tuple[RouteConfig, ...]) -> tuple[RouteConfig, ...]:
        return routes or (RouteConfig(),)

    @model_validator(mode="after")
    def _payload_is_known(self) -> SourceConfig:
        if self.payload == "auto" and not self.payload_may_be_found:
            raise ValueError("`payload: auto` is for Pub/Sub alone; write `notification` or `message`")
        return self

    @model_validator(mode="after")
    def _messages_have_a_route(self) -> SourceConfig:
        if self.payload == "message" and all(route.prefix for route in self.routes):
            raise ValueError("messages have no key: with `payload: message` a route without `prefix` is needed")
        return self

    def to_routes(self) -> tuple[model.Route, ...]:
        """The routes as nouns."""
        return tuple(route.to_route(self.filters) for route in self.routes)
