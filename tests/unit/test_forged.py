"""Fields of ours in mail from outside."""

import pytest

from mailrelay.core.forged import forged, values

OURS = "mx.relay.example"


def gone(*header: tuple[str, bytes]) -> list[tuple[str, int]]:
    return forged(header, "X-Mailrelay-", OURS)


def test_good_mail_keeps_every_field() -> None:
    kept = [("Received", b"x"), ("From", b"a@shop.example"), ("X-Mailer", b"y"), ("X-Mailrelay", b"z")]
    assert gone(*kept, ("Authentication-Results", b"mx.shop.example; dkim=pass")) == []


def test_12_2_51_fields_of_our_prefix_go_but_the_loop_header() -> None:
    header = [
        ("x-mailrelay-ingress", b"v=1"),
        ("X-Mailrelay-Loop", b"v1; 00"),
        ("X-MAILRELAY-Ingress", b"v=1"),
        ("X-Mailrelay-", b"?"),
    ]
    assert gone(*header) == [("X-Mailrelay-", 1), ("X-MAILRELAY-Ingress", 2), ("x-mailrelay-ingress", 1)]


@pytest.mark.parametrize(
    "value",
    [b"mx.relay.example; dmarc=pass", b" MX.Relay.EXAMPLE 1; x", b"\n\tmx.relay.example;", b"(hi) mx.relay.example"],
)
def test_12_2_52_results_in_our_name_go(value: bytes) -> None:
    header = [("Authentication-Results", b"other.example; spf=pass"), ("authentication-results", value)]
    assert gone(*header) == [("authentication-results", 2)]


def test_the_lowest_goes_first_so_that_numbers_hold() -> None:
    header = [("Authentication-Results", b"mx.relay.example")] * 3
    assert [number for _, number in gone(*header)] == [3, 2, 1]


def test_another_prefix_is_another_installations() -> None:
    assert forged([("X-Mailrelay-Ingress", b"")], "X-Relay-", OURS) == []


def test_values_come_from_the_top() -> None:
    header = [("From", b"a"), ("Subject", b"b"), ("FROM", b"c")]
    assert values(header, "from") == [b"a", b"c"]
    assert values(header, "to") == []
