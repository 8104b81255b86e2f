"""Random messages and preferences through the whole delivery in rewrite mode: a copy that verifies, whatever comes."""

import asyncio
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mailrelay.core.header import split
from mailrelay.core.plan import Mail
from mailrelay.signing import DkimKeys
from tests.fuzz.test_bodies import CONTENTS
from tests.golden.cases import KEYS, default_facts, examined, furnished
from tests.golden.flow import bad_signatures
from tests.unit.fakes import NOW
from tests.unit.office import CLIENT
from tests.unit.test_leaks import answered

DKIM_KEYS = DkimKeys(KEYS)
NAMES = st.sampled_from(
    b"From From To Cc Reply-To Sender Subject Date Message-ID In-Reply-To References MIME-Version Content-Type "
    b"Content-Transfer-Encoding List-Id List-Unsubscribe List-Unsubscribe-Post List-Post List-Help Resent-To Received "
    b"Authentication-Results DKIM-Signature ARC-Seal ARC-Message-Signature Auto-Submitted Feedback-ID Return-Path "
    b"X-Mailrelay-Mode X-Mailrelay-Loop X-Mailrelay-Ingress X-Spam X-Foo from SUBJECT Mail-Followup-To".split()
)
ADDRESSES = st.sampled_from(
    [
        *(
            b"news@shop.example",
            b"<news@shop.example>",
            b"a1@alias.example",
            b"A1+x@Alias.example",
            b"both@alias.example",
        ),
        *(b"a1+b=c.example@alias.example", b"real@inbox.example", b"<>", b"g: x@x.example, y@y.example;", b"u:;"),
        *(
            b'"a b"@x.example',
            b"x@[192.0.2.1]",
            b"x" * 70 + b"@x.example",
            "jörg@müller.example".encode(),
            b"@",
            b"x@y",
        ),
    ]
)
WORDS = st.sampled_from(
    [
        *(
            b" ",
            b"\t",
            b"\r\n ",
            b"\r\n\t",
            b",",
            b";",
            b":",
            b'"',
            b"(",
            b")",
            b"<",
            b">",
            b"\\",
            b"@",
            b"\0",
            b"\xff",
        ),
        *(b"=?utf-8?q?=40=0D=0A?=", b"=?utf-8?b?4oCu?=", b"=?", b"?=", "ü".encode(), b"x" * 500, b"y" * 1100, b"Shop"),
        *(b"text/html", b"text/plain", b"multipart/mixed; boundary=b", b"base64", b"quoted-printable", b"8bit"),
        *(b"<https://x.example/>", b"<mailto:u@x.example?to=v@x.example>", b"<1@x.example>", b"i=1; cv=none", b"v1; 0"),
    ]
)
VALUES = st.lists(ADDRESSES | WORDS | st.binary(max_size=6), max_size=8).map(b"".join)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=14).map(
    lambda fields: b"".join(b"%b: %b\r\n" % field for field in fields)
)
PREFERENCES = st.fixed_dictionaries(
    {
        "display_from_format": st.integers(0, 7),
        "use_reply_to": st.booleans(),
        "email_subject": st.sampled_from([None, "Private {{subject}}", "ü" * 50]),
        "banner_location": st.sampled_from(["top", "bottom", "off"]),
        "spam_warning_behaviour": st.sampled_from(["banner", "subject", "off"]),
        "list_unsubscribe_behaviour": st.integers(0, 5),
        "reverse_address_style": st.sampled_from(["plain", "opaque"]),
        "compat_headers": st.booleans(),
    }
)
FOUND = st.sampled_from([{}, {"spam": 7.5}, {"dmarc": {"result": "fail", "published": "none", "policy": "none"}}])
OURS = ("@alias.example", "@unsent.example", "@relay.example")
# Reasons why there is no copy: spec sections 9.1 to 9.3.
NOT_SENT = {"backscatter", "loop", "hops"}


def with_whole_lines(content: bytes) -> bytes:
    """What Postfix takes has no bare CR or LF."""
    return b"\r\n".join(content.replace(b"\r\n", b"\n").replace(b"\r", b"").split(b"\n"))


@settings(max_examples=250)
@given(
    FIELDS,
    CONTENTS,
    PREFERENCES,
    FOUND,
    st.sampled_from(["news@shop.example", "", "büro@münchen.example"]),
    st.sampled_from(["a1@alias.example", "A1+tag@alias.example", "x@unsent.example"]),
    st.booleans(),
)
@example(b"", b"", {}, {}, "", "a1@alias.example", True)
def test_there_is_one_copy_and_it_verifies(
    fields: bytes,
    body: bytes,
    preferences: dict[str, Any],
    found: dict[str, Any],
    sender: str,
    rcpt: str,
    smtputf8: bool,
) -> None:
    """12.3-94, 12.7-198"""
    content = examined(with_whole_lines(fields + b"\r\n" + body), found, sender, NOW)
    office = furnished({**default_facts(), "rcpt": rcpt, "forward_mode": "rewrite", "account": preferences}, DKIM_KEYS)
    with capture_logs() as events:
        replies = asyncio.run(office.delivery(Mail("4XyZ12AbCd", sender, (rcpt,), content, CLIENT, smtputf8)))
    assert [str(reply) for reply in replies] == ["250 2.0.0 Ok"]
    assert [event["event"] for event in events] == ["recipient.done"]
    [(_, outcome, reason)] = office.outcomes()
    if outcome == "discarded":
        assert reason in NOT_SENT and office.outside.copies == []
        return
    [copy] = office.outside.copies
    assert copy.smtputf8 is False
    sent = b"".join(copy.content)
    message = split(sent)
    header = sent[: message.header_end]
    assert bad_signatures(message) == []
    assert max(map(len, header.split(b"\r\n"))) <= 998
    assert header.isascii() or not smtputf8
    names = [field.name for field in message.fields]
    assert [names.count(name) for name in (b"from", b"date", b"message-id")] == [1, 1, 1]
    assert b"to" in names or b"cc" in names
    for address in answered(message):
        assert address.lower().endswith(OURS) or address == "real@inbox.example"
