"""Names of columns, and a schema as a table."""

import pytest

from ingestd.model import Column
from ingestd.schemas.memo import Memo
from ingestd.schemas.transliterate import column_name
from tests.schemas.build import log_type


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("@timestamp", "at_sign_timestamp"), ("detail-type", "detail-type"), ("a.b c", "a.b c"), ("a=b", "a_eq_b"),
        ("cost$", "cost_dollar_sign"), ("#/~\\", "hash_slash_tilde_backslash"), ("é", "é"), ("x^]", "x^]"), ("", ""),
    ],
)  # fmt: skip
def test_special_characters_are_spelled_out(name: str, wanted: str) -> None:
    """Each special character has a word; others stay."""
    assert column_name(name) == wanted


def test_columns_are_fields_standard_fields_and_lists() -> None:
    """The table has every declared field by type, the standard columns, and the lists that the schema writes."""
    kind = log_type("""
        fields:
          - {name: '@t', type: timestamp}
          - {name: o, type: object, fields: [{name: ip, type: string, indicators: [hostname]}]}
          - {name: l, type: array, element: {type: smallint}}
    """)
    columns = {column.name: column for column in kind.columns}
    assert columns["at_sign_t"].kind == "timestamp"
    assert columns["o"].children == (Column(name="ip", kind="string"),)
    assert columns["l"].children == (Column(name="element", kind="smallint"),)
    assert columns["p_unknown_fields"].kind == columns["p_source_file"].kind == "json"
    lists = [name for name in columns if name.startswith("p_any_")]
    assert lists == ["p_any_domain_names", "p_any_ip_addresses"]
    assert len(columns) == len(kind.columns)


def test_a_memo_is_bounded() -> None:
    """A cache forgets rather than grow, and keeps no long texts."""
    memo = Memo(len)
    for n in range(20_000):
        assert memo[str(n)] == len(str(n))
    assert len(memo) <= 4096
    assert memo["x" * 1000] == 1000
    assert "x" * 1000 not in memo
