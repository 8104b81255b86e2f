"""The worked example of spec section 3.16 as values, for tests of what copies look like."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.compose import transparent_header
from mailrelay.core.dkim import body_hash
from mailrelay.core.header import Message, split
from mailrelay.core.letterhead import Letterhead, Signer
from mailrelay.core.links import Links
from mailrelay.core.listheaders import Unsubscribe, unsubscribe
from mailrelay.core.rewrite import Edits, House

KEY = bytes(range(32))
ALIAS_ID = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")
NOW = datetime(2026, 1, 6, 9, 0, 2, tzinfo=UTC)
CONTACT = Address("news", "shop.example")
HOUSE = House("X-Mailrelay-", "mx.relay.example", KEY)
LINKS = Links("https://app.relay.example", KEY, int(NOW.timestamp()))

RESULTS = (
    "mx.relay.example; spf=pass smtp.mailfrom=mta.shop.example;\r\n"
    "\tdkim=pass header.d=shop.example header.s=k1 header.a=rsa-sha256;\r\n"
    "\tdmarc=pass (p=reject) header.from=shop.example; arc=none"
)
HEAD = Letterhead(
    id="0123456789abcdef",
    loop_mark="v1; 10c03825a25dd8168c86",
    rcpt="a1@alias.example",
    sender="bounce+77@mta.shop.example",
    destination="real@inbox.example",
    authentication_results=RESULTS.replace("\r\n\t", " "),
)

_TOP = (
    b"Received: from mta.shop.example (mta.shop.example [192.0.2.10])\r\n"
    b"\tby mx.relay.example (Postfix) with ESMTPS id 4XyZ12AbCd;\r\n"
    b"\tTue,  6 Jan 2026 09:00:01 +0000 (UTC)\r\n"
    b"Authentication-Results: " + RESULTS.encode() + b"\r\n"
)
_SIGNATURE = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=shop.example; s=k1;\r\n"
    b"\th=from:to:subject:date:message-id:list-unsubscribe; bh=...; b=...\r\n"
)
_PARTIES = (
    b'From: "Example Shop" <news@shop.example>\r\n'
    b"Reply-To: Support Desk <help@shop.example>\r\n"
    b"To: a1@alias.example\r\n"
    b'Cc: "Other Customer" <other@elsewhere.example>\r\n'
)
_OUR_PARTIES = (
    b"From: \"Example Shop 'news at shop.example'\" <a1+news=shop.example@alias.example>\r\n"
    b"Reply-To: \"Support Desk 'help at shop.example'\" <a1+help=shop.example@alias.example>\r\n"
    b"To: a1@alias.example\r\n"
    b'Cc: "Other Customer" <a1+other=elsewhere.example@alias.example>\r\n'
)
_REST = (
    b"Subject: Your order 77\r\n"
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\n"
    b"Message-ID: <20260106.77@shop.example>\r\n"
    b"List-Unsubscribe: <https://shop.example/u/77>,\r\n"
    b"\t<mailto:unsub-77@shop.example?subject=stop>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"X-Shop-Campaign: winter\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative; boundary="b1"\r\n'
)
BODY = b"\r\n--b1\r\n\r\nplain\r\n--b1\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b1--\r\n"
CONTENT = _TOP + _SIGNATURE + _PARTIES + _REST + BODY
MESSAGE = split(CONTENT)

_RESULTS_FIELD = (
    b"X-Mailrelay-Authentication-Results: mx.relay.example; spf=pass\r\n"
    b"\tsmtp.mailfrom=mta.shop.example; dkim=pass header.d=shop.example header.s=k1\r\n"
    b"\theader.a=rsa-sha256; dmarc=pass (p=reject) header.from=shop.example; arc=none\r\n"
)
_ENVELOPE = (
    b"X-Mailrelay-Id: 0123456789abcdef\r\n"
    b"X-Mailrelay-Loop: v1; 10c03825a25dd8168c86\r\n"
    b"X-Mailrelay-Envelope-To: a1@alias.example\r\n"
    b"X-Mailrelay-Envelope-From: bounce+77@mta.shop.example\r\n"
)
# Up to the signatures, which go above them.
REWRITTEN = (
    b"X-Mailrelay-Mode: rewrite\r\n" + _ENVELOPE + b'X-Mailrelay-Original-From: "Example Shop" <news@shop.example>\r\n'
    b"X-Mailrelay-Original-Sender-Address: news@shop.example\r\n"
    b"X-Mailrelay-Original-Reply-To: Support Desk <help@shop.example>\r\n"
    b'X-Mailrelay-Original-Cc: "Other Customer" <other@elsewhere.example>\r\n'
    b"X-Mailrelay-Original-List-Unsubscribe: <https://shop.example/u/77>,\r\n"
    b"\t<mailto:unsub-77@shop.example?subject=stop>\r\n"
    + _RESULTS_FIELD
    + b"Feedback-ID: F:6a03c376ef1d:rewrite:mailrelay\r\n"
    + _TOP
    + _OUR_PARTIES
    + _REST.replace(b"unsub-77@shop.example", b"a1+unsub-77=shop.example@alias.example")
    + BODY
)
TRANSPARENT = (
    b"X-Mailrelay-Mode: transparent\r\n"
    + _ENVELOPE
    + _RESULTS_FIELD
    + b"X-Forwarded-To: real@inbox.example\r\n"
    + b"X-Forwarded-For: a1@alias.example real@inbox.example\r\n"
    + CONTENT
)


@dataclass(frozen=True, slots=True)
class Parties:
    """Who writes to whom in a copy, as if core.correspond had said it."""

    from_: bytes = b"From: Shop <a1+news=shop.example@alias.example>\r\n"
    reply_to: bytes | None = None
    to: bytes | None = b"To: a1@alias.example\r\n"
    cc: bytes | None = None
    unrepliable: bool = False


_FROM, _REPLY_TO, _TO, _CC = _OUR_PARTIES.splitlines(keepends=True)
EXAMPLE_PARTIES = Parties(_FROM, _REPLY_TO, _TO, _CC)


def reverse(address: Address) -> Address | None:
    """The plain reverse address at alias a1, where the contact's local part is ASCII."""
    return Address(f"a1+{address.local}={address.domain}", "alias.example") if address.local.isascii() else None


def links_of(message: Message, behaviour: int = 5) -> Unsubscribe:
    """The List-Unsubscribe fields of a copy."""
    return unsubscribe(message, behaviour, LINKS, ALIAS_ID, CONTACT, reverse)


def edits_of(message: Message, parties: Parties = EXAMPLE_PARTIES, behaviour: int = 5) -> Edits:
    """What a copy of a message to alias a1 says differently."""
    return Edits(
        correspondence=parties,
        author=str(CONTACT),
        alias=ALIAS_ID,
        alias_domain="alias.example",
        now=NOW,
        random_id="0f" * 16,
        reverse=reverse,
        unsubscribe=links_of(message, behaviour),
    )


def untouched(message: Message, head: Letterhead, signer: Signer, prefix: str = "X-Mailrelay-") -> tuple[bytes, ...]:
    """A copy in transparent mode, signed but not sealed, in chunks."""
    return transparent_header(message, head, prefix).signed(body_hash(message.body), signer).above(message)
