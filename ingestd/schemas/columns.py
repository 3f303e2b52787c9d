"""A schema as the columns of its table."""

from __future__ import annotations

from ingestd.model import Column
from ingestd.schemas import spec
from ingestd.schemas.compile import collected_lists

STANDARD: tuple[Column, ...] = (
    Column(name="p_log_type", kind="string"),
    Column(name="p_row_id", kind="string"),
    Column(name="p_event_time", kind="timestamp"),
    Column(name="p_parse_time", kind="timestamp"),
    Column(name="p_schema_version", kind="int"),
    Column(name="p_source_id", kind="string"),
    Column(name="p_source_label", kind="string"),
    Column(name="p_source_file", kind="json"),
    Column(name="p_header", kind="json"),
    Column(name="p_enrichment", kind="json"),
    Column(name="p_unknown_fields", kind="json"),
    Column(name="p_unexpected", kind="json"),
)
"""What every table has; the `p_any_*` lists differ by schema."""


def _column(name: str, value: spec.Value) -> Column:
    children: tuple[Column, ...] = ()
    if value.element is not None:
        children = (_column("element", value.element),)
    elif value.kind == "object":
        children = tuple(_column(field.name, field.value) for field in value.fields)
    return Column(name=name, kind=value.kind, children=children)


def columns_of(schema: spec.Schema) -> tuple[Column, ...]:
    """Declared fields in schema order, then the standard ones, then the `p_any_*` lists sorted."""
    text = Column(name="element", kind="string")
    lists = (Column(name=f"p_any_{name}", kind="array", children=(text,)) for name in collected_lists(schema))
    return (*(_column(field.name, field.value) for field in schema.fields), *STANDARD, *lists)
