"""Where a service listens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.endpoint import Endpoint


@pytest.mark.parametrize(
    ("text", "endpoint", "postfix", "loopback"),
    [
        ("127.0.0.1:10031", Endpoint("127.0.0.1", 10031), "inet:127.0.0.1:10031", True),
        ("192.0.2.1:25", Endpoint("192.0.2.1", 25), "inet:192.0.2.1:25", False),
        ("0.0.0.0:1", Endpoint("0.0.0.0", 1), "inet:0.0.0.0:1", False),
        ("[::1]:65535", Endpoint("::1", 65535), "inet:[::1]:65535", True),
        ("[2001:db8::1]:25", Endpoint("2001:db8::1", 25), "inet:[2001:db8::1]:25", False),
        ("unix:/run/mailrelay/lmtp", Endpoint(path="/run/mailrelay/lmtp"), "unix:/run/mailrelay/lmtp", True),
    ],
)
def test_an_endpoint_is_read_and_written(text: str, endpoint: Endpoint, postfix: str, loopback: bool) -> None:
    assert Endpoint.parse(text) == endpoint
    assert (str(endpoint), endpoint.postfix, endpoint.loopback) == (text, postfix, loopback)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1: 25"),
        *("127.0.0.1:２５", "127.0.0.1:1e3", "localhost:25", "mx.relay.example:25", ":25", "[]:25"),
        *("unix:", "unix:run/lmtp", "unix:/" + "x" * 100, "inet:127.0.0.1:25", "127.0.0.1:25:26"),
    ],
)
def test_anything_else_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Endpoint.parse(text)
    assert repr(text) in str(caught.value)


@given(st.text() | st.text("[]:.0123456789abcdefunix/", max_size=25))
def test_what_is_read_is_written_back_alike(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except ValueError:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint
