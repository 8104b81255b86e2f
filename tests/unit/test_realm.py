"""Whose domain is it?"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.realm import Custom, Nested, Place, Realm, ServiceDomain, Shared, Subdomain

REALM = Realm(
    service=frozenset({"relay.example", "bounces.relay.example", "srs.relay.example"}),
    srs_domain="srs.relay.example",
    bounce_domain="bounces.relay.example",
    shared=frozenset({"alias.example", "deep.alias.example"}),
    custom=frozenset({"own.example", "mine.alias.example"}),
)


@pytest.mark.parametrize(
    ("domain", "place"),
    [
        ("alias.example", Shared("alias.example")),
        ("ALIAS.example.", Shared("alias.example")),
        ("own.example", Custom("own.example")),
        ("sub.own.example", None),
        ("relay.example", ServiceDomain("relay.example")),
        ("srs.relay.example", ServiceDomain("srs.relay.example")),
        ("app.relay.example", None),
        pytest.param("u1.alias.example", Subdomain("u1", "alias.example"), id="12.1-9"),
        pytest.param("a.u1.alias.example", Nested("alias.example"), id="12.1-11"),
        ("b.a.u1.alias.example", Nested("alias.example")),
        ("mine.alias.example", Custom("mine.alias.example")),
        # the longest shared domain wins
        ("deep.alias.example", Shared("deep.alias.example")),
        ("u1.deep.alias.example", Subdomain("u1", "deep.alias.example")),
        ("notalias.example", None),
        ("example", None),
        ("", None),
        ("[192.0.2.1]", None),
        ("ä\udcfc.example", None),
    ],
)
def test_a_domain_has_its_place(domain: str, place: Place | None) -> None:
    assert REALM.locate_text(domain) == place


def test_the_longest_shared_domain_holds_what_is_nested() -> None:
    assert REALM.locate("a.u1.deep.alias.example") == Nested("deep.alias.example")


@pytest.mark.parametrize(
    ("domain", "only_ours"),
    [
        ("alias.example", True),
        ("u1.alias.example", True),
        ("a.u1.alias.example", True),
        ("relay.example", True),
        ("bounces.relay.example", True),
        pytest.param("own.example", False, id="12.1-34"),
        ("mine.alias.example", False),
        ("shop.example", False),
        ("", False),
    ],
)
def test_only_we_send_from_service_shared_and_username_domains(domain: str, only_ours: bool) -> None:
    assert REALM.impersonated_by(domain) is only_ours


def test_a_service_domain_that_is_shared_has_aliases() -> None:
    realm = Realm(frozenset({"relay.example"}), "srs.relay.example", "bounces.relay.example", shared=REALM.service)
    assert realm.locate("relay.example") == Shared("relay.example")
    assert realm.locate("u1.relay.example") == Subdomain("u1", "relay.example")


@given(st.text() | st.text("alias.exmp\0\udc80ü", max_size=30))
def test_any_text_has_a_place_or_none(domain: str) -> None:
    REALM.locate_text(domain)
    REALM.locate(domain)


@pytest.mark.parametrize("domain", ["mx.alias.example", "deep.mx.alias.example"])
def test_foreign_subdomains_stay_with_postfix(domain: str) -> None:
    shared = frozenset({"alias.example"})
    realm = Realm(frozenset(), "srs.relay.example", "bounces.relay.example", shared)
    assert realm.locate(domain) is not None
    assert replace(realm, foreign=frozenset({"mx.alias.example"})).locate(domain) is None
