"""What webhooks are sent, how it is signed, and where requests may go."""

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.errors import Malformed
from mailrelay.core.httptarget import Target, is_public, refusal, target
from mailrelay.core.webhooks import SIGNATURE, Event, Occurrence, body, headers, pause, verify

ID = UUID("11111111-2222-4333-8444-555555555555")
ACCOUNT = UUID("99999999-2222-4333-8444-555555555555")
AT = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
NOW = 1_767_323_045
SECRET = "whsec_secret"
PUBLIC = ip_address("8.8.8.8")
HAPPENED = Occurrence(ID, Event.ALIAS_CREATED, AT, ACCOUNT, {"alias": "shop@alias.example"})


def test_the_list_of_events_is_that_of_the_table() -> None:
    schema = (Path(__file__).parents[2] / "sql" / "schema.sql").read_text()
    constraint = schema.split("webhook_events_known")[1].split("constraint")[0]
    assert constraint.split("'")[1::2] == [event.value for event in Event]


def test_the_body_is_a_document_that_says_what_when_and_whose() -> None:
    assert json.loads(body(HAPPENED)) == {
        "id": str(ID),
        "event": "alias.created",
        "created_at": "2026-01-02T03:04:05.678Z",
        "account_id": str(ACCOUNT),
        "payload": {"alias": "shop@alias.example"},
    }
    nobodys = Occurrence(ID, Event.DOMAIN_STATE, AT, None, {"domain": "bücher.example"})
    assert json.loads(body(nobodys))["account_id"] is None
    assert body(nobodys).isascii()


def test_a_receiver_can_verify_as_the_documentation_says() -> None:
    content = body(HAPPENED)
    sent = headers(HAPPENED, content, SECRET, NOW)
    parts = dict(part.split("=", 1) for part in sent["Mailrelay-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + content, hashlib.sha256).hexdigest()
    assert parts == {"t": str(NOW), "v1": expected}
    assert sent["Webhook-Id"] == str(ID)
    assert sent["Content-Type"] == "application/json"


def test_only_what_the_holder_of_the_secret_sent_lately_is_genuine() -> None:
    content = body(HAPPENED)
    signature = headers(HAPPENED, content, SECRET, NOW)[SIGNATURE]
    assert verify(SECRET, signature, content, NOW)
    assert verify(SECRET, signature, content, NOW + 300)
    assert verify(SECRET, f"{signature},v2=whatever", content, NOW)
    assert not verify(SECRET, signature, content, NOW + 301)
    assert not verify(SECRET, signature, content, NOW - 301)
    assert not verify("whsec_other", signature, content, NOW)
    assert not verify(SECRET, signature, content + b" ", NOW)
    assert not verify(SECRET, signature.replace(f"t={NOW}", f"t={NOW + 1}"), content, NOW)


@pytest.mark.parametrize(
    "signature", ["", "t=", "v1=", f"t={NOW}", f"t={NOW},v1=", f"t={NOW},v1=é", "t=x,v1=y", "t=٣,v1="]
)
def test_a_signature_that_is_none_is_not_genuine(signature: str) -> None:
    assert not verify(SECRET, signature, b"{}", NOW)


@given(st.text(max_size=200))
def test_no_signature_makes_the_check_fall_over(signature: str) -> None:
    assert not verify(SECRET, signature, b"{}", NOW)


def test_pauses_double_up_to_an_hour_and_end_after_a_week() -> None:
    assert [pause(number) for number in range(1, 5)] == [timedelta(seconds=n) for n in (5, 10, 20, 40)]
    waited, failures = timedelta(), 1
    while (step := pause(failures)) is not None:
        assert step <= timedelta(hours=1)
        waited, failures = waited + step, failures + 1
    assert timedelta(days=7) <= waited <= timedelta(days=7, hours=1)
    assert pause(failures + 1) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hook.example", Target(True, "hook.example", 443, "/")),
        (" HTTPS://Hook.Example.:8443/a?b=%20&c ", Target(True, "hook.example", 8443, "/a?b=%20&c")),
        ("http://hook.example?x", Target(False, "hook.example", 80, "/?x")),
        ("https://bücher.example/", Target(True, "xn--bcher-kva.example", 443, "/")),
        ("https://192.0.2.1/", Target(True, "192.0.2.1", 443, "/")),
        ("https://[2001:DB8:0::1]:1024/", Target(True, "2001:db8::1", 1024, "/")),
        ("http://hook.example:443/", Target(False, "hook.example", 443, "/")),
    ],
)
def test_a_url_in_its_parts(url: str, expected: Target) -> None:
    assert target(url) == expected
    assert target(expected.url) == expected


def test_the_host_header_has_the_port_only_if_it_is_unusual() -> None:
    assert target("https://hook.example:443/").authority == "hook.example"
    assert target("https://hook.example:80/").authority == "hook.example:80"
    assert target("http://[2001:db8::1]:8080/").authority == "[2001:db8::1]:8080"


@pytest.mark.parametrize(
    "url",
    [
        *("", "hook.example", "//hook.example/", "ftp://hook.example/", "file:///etc/passwd", "https://", "https:///x"),
        *("https://user@hook.example/", "https://user:password@hook.example/", "https://hook.example@127.0.0.1/"),
        *("https://hook.example/#fragment", "https://hook.example/a b", "https://hook.example/\r\nX: y"),
        *(
            "https://hook.example\\@127.0.0.1/",
            "https://hook.example/ü",
            'https://hook.example/"',
            "https://a..example/",
        ),
        *(
            "https://hook.example:25/",
            "https://hook.example:0/",
            "https://hook.example:65536/",
            "https://hook.example:/",
        ),
        *("https://hook.example:x/", "https://hook.example:587/", "https://hook.example:443:443/"),
        # Addresses in disguise: decimal, hexadecimal, octal, short, and as percent-encoding or full width have it.
        *("http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://127.1/"),
        *("http://127.0.0.0x1/", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://127.0.0.01/", "http://0x/"),
        *("http://%31%32%37.0.0.1/", "http://[::ffff:127.0.0.1/", "http://[127.0.0.1]/", "http://[fe80::1%25eth0]/"),
        *("http://[v1.x]/", "http://[]/", f"https://hook.example/{'x' * 2000}"),
    ],
)
def test_a_url_that_could_mean_something_else_is_refused(url: str) -> None:
    with pytest.raises(Malformed):
        target(url)


def test_digits_of_other_scripts_are_the_address_that_they_look_like() -> None:
    assert target("http://１２７.0.0.1/").host == "127.0.0.1"


@given(st.text(max_size=100))
def test_any_text_is_a_url_or_malformed(text: str) -> None:
    for url in (text, f"https://{text}"):
        try:
            found = target(url)
        except Malformed:
            continue
        assert target(found.url) == found


@pytest.mark.parametrize("url", ["https://" + "a." * 500_000, "https://" + "é" * 500_000, "https://[" + ":" * 500_000])
def test_a_huge_url_costs_little(url: str) -> None:
    begun = time.process_time()
    with pytest.raises(Malformed):
        target(url)
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "2a00::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.170", "198.18.0.1", "198.19.255.255"),
        *("192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2002:808:808::"),
        *("2001::1", "2001:db8::1", "3fff::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1"),
        *("ff02::1", "100::1", "5f00::1", "4000::1"),
    ],
)
def test_addresses_that_are_no_ones_on_the_internet(address: str) -> None:
    assert not is_public(ip_address(address))


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    wanted = target("https://hook.example/")
    assert refusal(wanted, [PUBLIC], (), True) == ""
    assert "127.0.0.1" in refusal(wanted, [PUBLIC, ip_address("127.0.0.1")], (), True)
    assert "no address" in refusal(wanted, [], (), True)


def test_what_is_permitted_may_be_private_also_in_its_ipv6_form() -> None:
    wanted, networks = target("https://hook.example/"), [ip_network("127.0.0.0/8")]
    assert refusal(wanted, [ip_address("127.0.0.1")], networks, True) == ""
    assert refusal(wanted, [ip_address("::ffff:127.0.0.1")], networks, True) == ""
    assert refusal(wanted, [ip_address("::1")], networks, True)
    assert refusal(wanted, [ip_address("64:ff9b::7f00:1")], networks, True)


def test_an_account_gets_plain_http_only_where_it_is_permitted() -> None:
    wanted, networks = target("http://hook.example/"), [ip_network("192.0.2.0/24")]
    assert refusal(wanted, [PUBLIC], networks, False) == ""
    assert "https is required" in refusal(wanted, [PUBLIC], networks, True)
    assert refusal(wanted, [ip_address("192.0.2.7")], networks, True) == ""
    assert "https is required" in refusal(wanted, [ip_address("192.0.2.7"), PUBLIC], networks, True)
