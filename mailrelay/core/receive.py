"""The checks at delivery that look at the message itself: size, bare line ends, hops, loops, backscatter."""

import re
from collections.abc import Sequence
from uuid import UUID

from mailrelay.core import loop, loopguard
from mailrelay.core.automatic import is_backscatter
from mailrelay.core.facts import Reason
from mailrelay.core.header import Message
from mailrelay.core.reply import Replies, Reply

_RECEIVED_OCTETS = 1024
MAX_HOPS = 50  # spec section 9.1
_QUEUE_ID = re.compile(rb"\(Postfix(?:, from userid \d+)?\).*?\bid ([0-9A-Za-z]{6,20})\b", re.DOTALL)


def structural_refusal(
    content: bytes, limit_octets: int, replies: Replies, room_octets: int = 0
) -> tuple[Reply, Reason] | None:
    """What no recipient can have, whoever it is (spec section 2.3 rows 3 and 4).

    room_octets: for what was put on top since the message was measured. The reply names the limit without it.
    """
    if len(content) > limit_octets + room_octets:
        return replies.too_large(limit_octets), Reason.TOO_LARGE
    line_ends = content.count(b"\r\n")
    if content.count(b"\n") != line_ends or content.count(b"\r") != line_ends:
        return replies["BARE"], Reason.BARE_NEWLINE
    return None


def received_id(message: Message) -> str:
    """The queue id in the topmost Received field, '' if there is none of Postfix: for logs only, it can be forged."""
    top = message.first(b"received")
    found = _QUEUE_ID.search(top[:_RECEIVED_OCTETS]) if top is not None else None
    return found[1].decode("ascii") if found else ""


def dead_end(
    message: Message,
    sender: str,
    alias: UUID,
    keys: Sequence[bytes],
    loop_name: bytes,
    *,
    accept_foreign_dsn: bool = False,
    arrivals: int = 0,
    returned: bool = False,
) -> Reason | None:
    """Why this message must not be forwarded by this alias, None if it may (spec sections 9.1 to 9.3 and 9.5).

    sender: '' for the null sender; loop_name: of the header with our marks, lower case; accept_foreign_dsn: setting of
    the account; arrivals: earlier ones of this message at this alias within loopguard.WITHIN; returned: see
    loopguard.is_returned.
    """
    if message.count(b"received") > MAX_HOPS:
        return Reason.HOPS
    if loop.is_loop(message.values(loop_name), alias, keys) or loopguard.is_repeated(arrivals, returned=returned):
        return Reason.LOOP
    if is_backscatter(message, sender, accept_foreign_dsn=accept_foreign_dsn):
        return Reason.BACKSCATTER
    return None
