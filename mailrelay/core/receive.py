"""The checks at delivery that look at the message itself: size, bare line ends, hops, loops, backscatter."""

import re
from collections.abc import Sequence
from uuid import UUID

from mailrelay.core import loop
from mailrelay.core.facts import Reason
from mailrelay.core.header import Message
from mailrelay.core.reply import Replies, Reply

MAX_HOPS = 50  # spec section 9.1
_QUEUE_ID = re.compile(rb"\(Postfix(?:, from userid \d+)?\).*?\bid ([0-9A-Za-z]{6,20})\b", re.DOTALL)


def structural_refusal(content: bytes, limit_octets: int, replies: Replies) -> tuple[Reply, Reason] | None:
    """What no recipient can have, whoever it is (spec section 2.3 rows 3 and 4)."""
    if len(content) > limit_octets:
        return replies.too_large(limit_octets), Reason.TOO_LARGE
    if content.count(b"\n") != content.count(b"\r\n") or content.count(b"\r") != content.count(b"\r\n"):
        return replies["BARE"], Reason.BARE_NEWLINE
    return None


def received_id(message: Message) -> str:
    """The queue id in the topmost Received field, '' if there is none of Postfix: for logs only, it can be forged."""
    top = message.first(b"received")
    found = _QUEUE_ID.search(top) if top is not None else None
    return found[1].decode("ascii") if found else ""


def dead_end(message: Message, sender: str, alias: UUID, keys: Sequence[bytes], loop_name: bytes) -> Reason | None:
    """Why this message must not be forwarded by this alias, None if it may (spec sections 9.1 to 9.3)."""
    if message.count(b"received") > MAX_HOPS:
        return Reason.HOPS
    if loop.is_loop(message.values(loop_name), alias, keys):
        return Reason.LOOP
    if not sender and is_report(message):
        return Reason.BACKSCATTER
    return None


def is_report(message: Message) -> bool:
    """True for multipart/report: a bounce, a read receipt, a complaint (RFC 6522)."""
    content_type = message.first(b"content-type") or b""
    return content_type.partition(b";")[0].strip().lower() == b"multipart/report"
