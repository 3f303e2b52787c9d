"""CloudWatch Logs envelopes, as subscription filters deliver them: one record for each `logEvents[].message`."""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from ingestd.decode.block import Block, Damage, Record
from ingestd.decode.json_values import JsonValuesFramer
from ingestd.decode.limits import Limits


class _LogEvent(msgspec.Struct):
    message: str


class _Envelope(msgspec.Struct, rename="camel"):
    message_type: str
    log_events: list[_LogEvent]
    owner: str = ""
    log_group: str = ""
    log_stream: str = ""
    subscription_filters: list[str] = []


_decode = msgspec.json.Decoder(_Envelope).decode


class CloudWatchLogsFramer(JsonValuesFramer):
    """Each envelope is one block; its fields but the events are the block's header. Control messages and blank
    messages take no ordinal. An envelope, like a record, is held whole."""

    def parse(self) -> Generator[Block | None, None, None]:
        """See `JsonFramer`."""
        for block in super().parse():
            if block is None:
                yield None
                continue
            for index, envelope in enumerate(block.records):
                yield from self._messages(envelope, block, index)

    def _messages(self, envelope: Record, block: Block, index: int) -> Generator[Block, None, None]:
        if isinstance(envelope, Damage):
            yield Block([envelope], offsets=[block.offset_of(index)])
            return
        try:
            content = _decode(envelope)
        except (msgspec.DecodeError, RecursionError) as error:
            offset = block.offset_of(index)
            yield Block([_not_an_envelope(envelope, str(error), offset, self.limits)], offsets=[offset])
            return
        if content.message_type == "CONTROL_MESSAGE":
            return
        records: list[Record] = [event.message.encode() for event in content.log_events if event.message.strip()]
        if records:
            # the messages were escaped in there, so each is said to lie where its envelope does
            yield Block(records, offsets=[block.offset_of(index)] * len(records), header=_header(content))


def _header(content: _Envelope) -> dict[str, object]:
    return {
        "messageType": content.message_type,
        "owner": content.owner,
        "logGroup": content.log_group,
        "logStream": content.log_stream,
        "subscriptionFilters": content.subscription_filters,
    }


def _not_an_envelope(data: bytes, error: str, offset: int, limits: Limits) -> Damage:
    return Damage(
        reason="not_cloudwatch_logs",
        detail=f"not an envelope of CloudWatch Logs: {error}",
        payload=data[: limits.payload_bytes],
        offset=offset,
    )
