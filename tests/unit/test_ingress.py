"""The signed header between milter and LMTP role (spec section 0)."""

import hashlib
import hmac
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import authres
from mailrelay.core.findings import Arc, Dkim, Dmarc, Findings, Spf
from mailrelay.core.header import Message, split
from mailrelay.core.ingress import MAX_AGE_SECONDS, Ingress, Invalid, compose, from_hash, read

KEY, OLD_KEY, OTHER_KEY = b"k" * 32, b"o" * 32, b"x" * 32
NOW = 1767690002
OURS = "mx.relay.example"

FINDINGS = Findings(
    spf=Spf("pass", "mta.shop.example"),
    dkim=(
        Dkim("pass", "shop.example", expires=NOW + 900, aligned=True),
        Dkim("policy", "list.example", has_length=True),
        Dkim("permerror"),
    ),
    dmarc=Dmarc("pass", "shop.example", True, "reject", "quarantine", True, False),
    arc=Arc("fail", None, highest=3, ended=True),
)
RESULTS = authres.value(FINDINGS, OURS, "192.0.2.10")
INGRESS = Ingress(
    queue_id="4XyZ12AbCd",
    time=NOW,
    ip="192.0.2.10",
    helo="mta.shop.example",
    mail_from="bounce+77@mta.shop.example",
    route="smtp",
    findings=FINDINGS,
    spam=4.25,
    action="tag",
    note="arc-override",
    results=RESULTS,
)
LETTER = b'From: "Example Shop" <news@shop.example>\r\nTo: a1@alias.example\r\n\r\nhello\r\n'


def arrived(ingress: Ingress = INGRESS, letter: bytes = LETTER, key: bytes = KEY) -> bytes:
    """The letter as the milter passes it on."""
    header = b"X-Mailrelay-Ingress: " + compose(ingress, split(letter), key) + b"\r\n"
    return authres.field(ingress.results) + header + letter if ingress.results else header + letter


def received(content: bytes, now: int = NOW + 60, keys: tuple[bytes, ...] = (KEY, OLD_KEY)) -> Ingress | Invalid:
    return read(split(content), keys, now, OURS)


def test_everything_arrives() -> None:
    assert received(arrived()) == INGRESS
    assert received(arrived(replace(INGRESS, results=b""))) == replace(INGRESS, results=b"")
    assert received(arrived(replace(INGRESS, spam=None, findings=Findings()))) == (
        replace(INGRESS, spam=None, findings=Findings())
    )


def test_the_header_has_the_keys_of_the_specification_in_order() -> None:
    text = compose(INGRESS, split(LETTER), KEY).replace(b"\r\n\t", b"")
    keys = [pair.partition(b"=")[0].decode() for pair in text.split(b";")]
    wanted = "v q t ip helo mf spf dkim dmarc arc spam act fh mac".split()  # noqa: SIM905
    assert [key for key in keys if key in wanted] == wanted
    before, _, mac = text.rpartition(b";mac=")
    assert mac.decode() == hmac.new(KEY, b"ingress-v1\0" + before, hashlib.sha256).hexdigest()[:40]
    assert b";fh=" + hashlib.sha256(b'"Example Shop" <news@shop.example>').hexdigest().encode() + b";" in text


def test_lines_are_short_where_they_can_be() -> None:
    assert max(map(len, compose(INGRESS, split(LETTER), KEY).split(b"\r\n"))) <= 80


def test_folding_and_the_fate_of_blanks_do_not_matter() -> None:
    content = arrived()
    assert received(content.replace(b"\r\n\t", b"\n ")) == INGRESS
    assert received(content.replace(b";\r\n\t", b";")) == INGRESS
    # Postfix breaks lines of more than 998 octets wherever that is.
    assert received(content.replace(b"shop.example;rou", b"sho\r\n p.example;rou")) == INGRESS


def test_each_octet_of_the_header_counts() -> None:  # 51
    content = arrived()
    begin = content.index(b"X-Mailrelay-Ingress: ") + 21
    for at in range(begin, content.index(b"\r\nFrom:")):
        if content[at : at + 1] not in b"\r\n\t":
            changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
            assert isinstance(received(changed), Invalid), content[begin:at]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LETTER, "no ingress header"),
        (b"X-Mailrelay-Ingress: v=1;dmarc=pass:none:none::shop.example;act=none\r\n" + LETTER, "of ours"),  # 51
        (b"X-Mailrelay-Ingress: v=1;dmarc=pass;mac=" + b"0" * 40 + b"\r\n" + LETTER, "another key"),  # 51
        (b"X-Mailrelay-Ingress:\r\n" + LETTER, "of ours"),
        (b"X-Mailrelay-Ingress: v=1\r\n" + arrived(), "several"),
        (arrived(key=OTHER_KEY), "another key"),
        (arrived().replace(b"From: ", b"From: x"), "another message"),
        (b"From: other@shop.example\r\n" + arrived(), "another message"),
        (arrived().replace(b"news@shop.example>\r\n", b"news@shop.example>\r\n more\r\n"), "another message"),
    ],
)
def test_what_cannot_be_believed_has_a_reason(content: bytes, reason: str) -> None:
    found = received(content)
    assert isinstance(found, Invalid) and reason in found.reason


def test_keys_that_were_replaced_still_verify() -> None:
    assert received(arrived(key=OLD_KEY)) == INGRESS
    assert isinstance(received(arrived(), keys=()), Invalid)


@pytest.mark.parametrize(
    ("age", "believed"),
    [(0, True), (MAX_AGE_SECONDS, True), (MAX_AGE_SECONDS + 1, False), (-300, True), (-301, False)],
)
def test_the_header_holds_six_days(age: int, believed: bool) -> None:
    assert isinstance(received(arrived(), now=NOW + age), Ingress) == believed


def test_results_that_are_not_ours_any_more_are_not_passed_on() -> None:
    forged = arrived().replace(b"dmarc=pass", b"dmarc=fail", 1)
    found = received(forged)
    assert isinstance(found, Ingress) and found.results == b""
    lost = arrived().replace(authres.field(RESULTS), b"")
    found = received(lost)
    assert isinstance(found, Ingress) and found.results == b""
    above = received(b"Authentication-Results: mx.relay.example; dmarc=pass\r\n" + arrived())
    assert isinstance(above, Ingress) and above.results == b""


def test_the_from_field_is_hashed_as_a_milter_sees_it() -> None:
    def fields(raw: bytes) -> Message:
        return split(raw + b"To: x@y.example\r\n\r\n")

    assert from_hash(fields(b"From: a@b.example\r\n")) == from_hash(fields(b"FROM :\ta@b.example \r\n"))
    assert from_hash(fields(b"From: a\r\n @b.example\r\n")) == from_hash(fields(b"From: a\n @b.example\n"))
    assert from_hash(fields(b"From: a\0b\r\n")) == from_hash(fields(b"From: a\r\n"))
    hashes = [
        from_hash(fields(raw))
        for raw in (b"", b"From: a\r\n", b"From: b\r\n", b"From: a\r\nFrom: b\r\n", b"From: ab\r\n", b"From: a b\r\n")
    ]
    assert len(set(hashes)) == len(hashes)


HOSTILE = [
    "",
    ";",
    "=",
    ";mac=",
    "\r\n",
    "\r\nX: y",
    '"',
    "%",
    "%3B",
    "a;b=c",
    "\u00e9",
    "\udcff",
    "\x00",
    " ",
    ",",
    ":",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_arrive_as_they_are(text: str) -> None:
    ingress = replace(INGRESS, helo=text, mail_from=text, queue_id=text, note=text, route=f"login:{text}", ip=text)
    raw = compose(ingress, split(LETTER), KEY)
    assert raw.isascii() and b"".join(raw.split()).count(b";mac=") == 1 and raw.count(b"\n") == raw.count(b"\r\n\t")
    assert received(arrived(ingress)) == ingress


OCTETS = st.binary(max_size=30).map(lambda octets: octets.decode("utf-8", "surrogateescape"))


@given(OCTETS, OCTETS, OCTETS, OCTETS)
def test_different_texts_give_different_headers(helo: str, mail_from: str, other: str, another: str) -> None:
    one = compose(replace(INGRESS, helo=helo, mail_from=mail_from), split(LETTER), KEY)
    two = compose(replace(INGRESS, helo=other, mail_from=another), split(LETTER), KEY)
    assert (one == two) == ((helo, mail_from) == (other, another))
    assert received(arrived(replace(INGRESS, helo=helo, mail_from=mail_from))) == (
        replace(INGRESS, helo=helo, mail_from=mail_from)
    )


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_none(score: float) -> None:
    found = received(arrived(replace(INGRESS, spam=score)))
    assert isinstance(found, Ingress) and found.spam is None


@given(st.lists(st.sampled_from(compose(INGRESS, split(LETTER), KEY).split(b";")) | st.binary(max_size=9), max_size=20))
def test_reading_never_raises(pieces: list[bytes]) -> None:
    line = b"".join(b";".join(pieces).split())
    mac = hmac.new(KEY, b"ingress-v1\0" + line, hashlib.sha256).hexdigest()[:40].encode()
    for value in (line, line + b";mac=" + mac):
        found = received(b"X-Mailrelay-Ingress: " + value + b"\r\n" + LETTER)
        assert isinstance(found, Invalid) or found == replace(INGRESS, results=b"")


def test_texts_that_no_client_sends_do_no_harm() -> None:
    assert compose(replace(INGRESS, helo="\ud800"), split(LETTER), KEY).isascii()
