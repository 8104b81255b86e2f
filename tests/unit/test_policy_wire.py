"""Policy requests as Postfix writes them, whole, in pieces and broken."""

import pytest

from mailrelay.core.errors import Malformed
from mailrelay.wire.policy import Decoder, PolicyRequest, encode_action

# What Postfix 3.7 sends, in its order.
REQUEST = b"""\
request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address=192.0.2.10
client_name=mta.shop.example
client_port=40212
reverse_client_name=mta.shop.example
server_address=192.0.2.1
server_port=25
helo_name=mta.shop.example
sender=bounce+77=x@mta.shop.example
recipient=a1@alias.example
recipient_count=0
queue_id=
instance=1b2c.66a1f0e1.5d8b3.0
size=4711
etrn_domain=
stress=
sasl_method=
sasl_username=
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=
compatibility_level=3.6
mail_version=3.7.11

"""
MINIMAL = b"request=smtpd_access_policy\nrecipient=b@alias.example\n\n"
PARSED = PolicyRequest(
    protocol_state="RCPT",
    protocol_name="ESMTP",
    sender="bounce+77=x@mta.shop.example",
    recipient="a1@alias.example",
    client_address="192.0.2.10",
    client_name="mta.shop.example",
    helo_name="mta.shop.example",
    instance="1b2c.66a1f0e1.5d8b3.0",
    size="4711",
    encryption_protocol="TLSv1.3",
)
STREAM = REQUEST + MINIMAL + REQUEST


def test_a_request_of_postfix_is_understood() -> None:
    assert Decoder(limit=4096).feed(REQUEST) == [PARSED]


def test_missing_attributes_are_empty_and_unknown_ones_ignored() -> None:
    request = b"request=smtpd_access_policy\nweather=fine\nsasl_username=u1\nqueue_id=4XyZ12AbCd\n\n"
    assert Decoder(limit=4096).feed(request) == [PolicyRequest(sasl_username="u1", queue_id="4XyZ12AbCd")]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_requests_survive_any_chunking(size: int) -> None:
    decoder = Decoder(limit=4096)
    chunks = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    expected = [PARSED, PolicyRequest(recipient="b@alias.example"), PARSED]
    assert [request for chunk in chunks for request in decoder.feed(chunk)] == expected


def test_octets_that_are_no_utf8_come_back_unharmed() -> None:
    [request] = Decoder(limit=4096).feed(
        b"request=smtpd_access_policy\nhelo_name=m\xfcll\nsender=m\xc3\xbcll@x.example\n\n"
    )
    assert request.helo_name.encode("utf-8", "surrogateescape") == b"m\xfcll"
    assert request.sender == "müll@x.example"


@pytest.mark.parametrize(
    "broken",
    [
        b"request=smtpd_access_policy\nno equals sign\n\n",
        b"request=something_else\nrecipient=a@alias.example\n\n",
        b"recipient=a@alias.example\n\n",
        b"request=smtpd_access_policy\nsender=a\0b\n\n",
        b"\n",
        b"\n\n",
        b"GET / HTTP/1.1\r\nHost: mx.relay.example\r\n\r\n\n\n",
    ],
)
def test_anything_else_is_malformed(broken: bytes) -> None:
    with pytest.raises(Malformed):
        Decoder(limit=4096).feed(broken)


def test_the_limit_counts_complete_and_growing_requests() -> None:
    exact = len(MINIMAL) - 2
    assert len(Decoder(limit=exact).feed(MINIMAL)) == 1
    with pytest.raises(Malformed):
        Decoder(limit=exact - 1).feed(MINIMAL)
    in_pieces = Decoder(limit=exact)
    assert [len(in_pieces.feed(MINIMAL[at : at + 1])) for at in range(len(MINIMAL))][-1] == 1
    growing = Decoder(limit=100)
    assert growing.feed(b"x" * 100) == []
    with pytest.raises(Malformed):
        growing.feed(b"x")


def test_an_action_is_one_line_and_an_empty_one() -> None:
    assert encode_action("550 5.1.1 Address does not exist") == b"action=550 5.1.1 Address does not exist\n\n"


@pytest.mark.parametrize("action", ["", "DUNNO\n", "OK\r\naction=OK", "550 5.1.1 gelöscht", "a\0b"])
def test_an_action_cannot_break_out_of_its_line(action: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        encode_action(action)
