"""Netstrings and the look-ups they carry, whole, in pieces and broken."""

import pytest

from mailrelay.core.errors import Malformed
from mailrelay.wire import netstring, socketmap
from mailrelay.wire.socketmap import Decoder, Lookup, NotFound, Ok, Perm, Reply, Temp, Timeout

STREAM = b"20:domain alias.example,0:,12:hello world!,2:,,,"
STRINGS = [b"domain alias.example", b"", b"hello world!", b",,"]
LOOKUPS_STREAM = b"20:domain alias.example,32:recipient m\xc3\xbcll er@alias.example,"
LOOKUPS = [Lookup("domain", "alias.example"), Lookup("recipient", "müll er@alias.example")]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_netstrings_survive_any_chunking(size: int) -> None:
    decoder = netstring.Decoder()
    chunks = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    assert [string for chunk in chunks for string in decoder.feed(chunk)] == STRINGS


@pytest.mark.parametrize(
    "broken",
    [
        b"x",
        b":",
        b"05:hello,",
        b"00:,",
        b"-1:,",
        b" 5:hello,",
        b"5 :hello,",
        b"5:hello;",
        b"5:hello\n",
        b"1234567",
        b"0000000",
        b"3:abc,,",
        b"\xd9\xa5:hello,",
    ],
)
def test_other_octets_are_malformed(broken: bytes) -> None:
    with pytest.raises(Malformed):
        netstring.Decoder(limit=999_999).feed(broken)


def test_an_unfinished_length_is_waited_for() -> None:
    decoder = netstring.Decoder(limit=999_999)
    assert decoder.feed(b"100000") == []
    assert decoder.feed(b":" + b"x" * 100_000) == []
    assert decoder.feed(b",") == [b"x" * 100_000]


def test_a_length_above_the_limit_is_refused_before_its_octets_arrive() -> None:
    assert netstring.Decoder(limit=5).feed(b"5:hello,") == [b"hello"]
    with pytest.raises(Malformed):
        netstring.Decoder(limit=5).feed(b"6:")
    with pytest.raises(Malformed):
        netstring.Decoder().feed(b"100001:")


def test_what_is_encoded_is_decoded() -> None:
    assert netstring.encode(b"") == b"0:,"
    assert netstring.encode(b"hello") == b"5:hello,"


@pytest.mark.parametrize("size", range(1, len(LOOKUPS_STREAM) + 1))
def test_lookups_survive_any_chunking(size: int) -> None:
    decoder = Decoder()
    chunks = [LOOKUPS_STREAM[i : i + size] for i in range(0, len(LOOKUPS_STREAM), size)]
    assert [lookup for chunk in chunks for lookup in decoder.feed(chunk)] == LOOKUPS


def test_a_key_that_is_no_utf8_comes_back_unharmed() -> None:
    [lookup] = Decoder().feed(netstring.encode(b"recipient m\xfcll@alias.example"))
    assert lookup.key.encode("utf-8", "surrogateescape") == b"m\xfcll@alias.example"


@pytest.mark.parametrize("payload", [b"", b"domain", b" alias.example", b"domain a\0b"])
def test_a_request_without_map_and_key_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        Decoder().feed(netstring.encode(payload))


@pytest.mark.parametrize(
    ("reply", "octets"),
    [
        (Ok("mailrelay:inet:127.0.0.1:10024"), b"33:OK mailrelay:inet:127.0.0.1:10024,"),
        (Ok("ü"), b"5:OK \xc3\xbc,"),
        (NotFound(), b"9:NOTFOUND ,"),
        (Temp("database away"), b"18:TEMP database away,"),
        (Timeout("slow"), b"12:TIMEOUT slow,"),
        (Perm(""), b"5:PERM ,"),
    ],
)
def test_replies_have_the_octets_postfix_expects(reply: Reply, octets: bytes) -> None:
    assert socketmap.encode(reply) == octets


@pytest.mark.parametrize("reply", [Ok(""), Ok("a\nb"), Temp("a\r\nb"), Perm("a\0"), Ok("x" * 99_998)])
def test_replies_that_postfix_would_misread_are_refused(reply: Reply) -> None:
    with pytest.raises(ValueError, match=r"printable|empty|more than"):
        socketmap.encode(reply)
