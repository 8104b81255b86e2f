"""What handles, domains and bans of the Haltman API may never do to mail (haltman-api.md sections 6.3, 6.6 and 9.2)."""

import itertools
import json
from email import message_from_bytes, policy
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.system.scenario import (
    ACCEPTED,
    SHARED,
    TEMPORARY,
    UNKNOWN,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)

NOT_OURS = "454 4.7.1"
_numbers = itertools.count(1)


def handle(scenario: Scenario, name: str) -> Person:
    """A handle of somebody new."""
    owner = scenario.person()
    scenario.sql("insert into handle (account_id, local_part) values (%s, %s)", owner.account, name)
    return owner


def domain(scenario: Scenario) -> str:
    """One more installation domain, taken by Postfix for ours."""
    name = f"shared{next(_numbers)}.example"
    scenario.sql("insert into domain (name, mx_verified_at) values (%s, now())", name)
    scenario.await_domain(name)
    return name


def ask(scenario: Scenario, path: str) -> Any:
    """The answer to a GET of the Haltman API."""
    url = urlsplit(scenario.world.sandbox.http)
    assert url.hostname is not None
    connection = HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.request("GET", f"/api/{path}")
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return json.loads(text)
    finally:
        connection.close()


def fresh(local: str, place: str) -> str:
    """An address that no smtpd was asked about; its extension changes nothing."""
    return f"{local}+{next(_numbers)}@{place}"


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["com", "example", "inbox.example", "stranger.example", "localhost"])
def test_d_06_a_handle_named_like_a_domain_opens_no_relay(scenario: Scenario, name: str) -> None:
    owner = handle(scenario, name)
    scenario.answers(ACCEPTED, f"{name}@{SHARED}")
    for place in (name, f"a.{name}", "shop.com", "stranger.example", "inbox.example", "a.example"):
        if "." in place:
            assert scenario.answer(f"victim@{place}").startswith(NOT_OURS), place
            assert scenario.answer(f"{name}@{place}").startswith(NOT_OURS), place
    scenario.copies(scenario.send(f"{name}@{SHARED}"), owner.mailbox)


def test_d_39_a_handle_is_nothing_at_domains_of_others(scenario: Scenario) -> None:
    handle(scenario, "john")
    scenario.answers(ACCEPTED, f"john@{SHARED}")
    for place in ("inbox.example", "elsewhere.example", "srs.relay.example.example"):
        assert scenario.answer(f"john@{place}").startswith(NOT_OURS)
    for place in ("relay.example", "bounces.relay.example"):
        assert scenario.answer(f"john@{place}") == UNKNOWN


def test_d_02_d_39_mail_is_forwarded_once_and_to_nobody_elses_handle(scenario: Scenario) -> None:
    """Whoever has a handle, or an alias, called as the mailbox of somebody else gets none of their mail."""
    owner = scenario.person(f"captured{next(_numbers)}@inbox.example")
    name = owner.mailbox.partition("@")[0]
    address = scenario.alias(owner)
    attacker = handle(scenario, name)
    scenario.answers(ACCEPTED, f"{name}@{SHARED}")
    scenario.copies(scenario.send(address), owner.mailbox)
    scenario.copies(scenario.send(f"{name}@{SHARED}"), attacker.mailbox)


# --- domains ----------------------------------------------------------------------------------------------------------


def test_d_15_aliases_of_a_domain_that_is_switched_off_are_refused(scenario: Scenario) -> None:
    place, owner = domain(scenario), scenario.person()
    address = scenario.alias(owner, domain=place)
    local = address.partition("@")[0]
    handle(scenario, "tailor")
    assert scenario.answer(address) == ACCEPTED
    assert scenario.answer(f"tailor@{place}") == ACCEPTED
    scenario.sql("update domain set active = false where name = %s", place)

    def refused(name: str) -> bool:
        return scenario.answer(fresh(name, place))[:3] in ("454", "550", "554")

    scenario.eventually(lambda: refused(local) and refused("tailor"), "the domain to be off")
    scenario.sql("update domain set active = true where name = %s", place)
    scenario.eventually(lambda: scenario.answer(fresh(local, place)) == ACCEPTED, "the domain to be on")


def test_d_15_aliases_of_a_domain_that_is_removed_are_refused(scenario: Scenario) -> None:
    place, owner = domain(scenario), scenario.person()
    local = scenario.alias(owner, domain=place).partition("@")[0]
    assert scenario.answer(fresh(local, place)) == ACCEPTED
    scenario.world.cli("domain", "remove", place, "--yes")
    scenario.eventually(lambda: scenario.answer(fresh(local, place)).startswith(NOT_OURS), "the domain to be forgotten")


def test_d_15_mail_does_not_wait_for_the_mx_of_a_domain(scenario: Scenario) -> None:
    """That decides about new aliases; those that there are go on."""
    place = domain(scenario)
    address = scenario.alias(scenario.person(), domain=place)
    scenario.sql("update domain set mx_verified_at = null where name = %s", place)
    scenario.answers(ACCEPTED, f"after@{scenario.domain(scenario.person(), catch_all=True)}")  # so the news has come
    assert scenario.answer(address) == ACCEPTED


# --- bans -------------------------------------------------------------------------------------------------------------


def test_d_16_trouble_with_bans_refuses_nobody_for_good(scenario: Scenario) -> None:
    known, new = scenario.alias(scenario.person()), scenario.alias(scenario.person())
    scenario.remember(known)
    scenario.sql("alter table ban rename column value to elsewhere")
    try:
        for _ in range(3):
            assert {scenario.answer(known), scenario.answer(new)} <= {ACCEPTED, TEMPORARY}
    finally:
        scenario.sql("alter table ban rename column elsewhere to value")
    for address in (known, new):
        scenario.answers(ACCEPTED, address)


# --- mail of the service ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["handle", "alias"])
def test_9_2_codes_reach_the_mailbox_whoever_has_its_name_here(scenario: Scenario, kind: str) -> None:
    scenario.sql("update domain set mx_verified_at = coalesce(mx_verified_at, now()) where name = %s", SHARED)
    name = f"reader{next(_numbers)}"
    mailbox = f"{name}@inbox.example"
    attacker = handle(scenario, name) if kind == "handle" else scenario.person()
    if kind == "alias":
        scenario.alias(attacker, local_part=name)
    scenario.answers(ACCEPTED, f"{name}@{SHARED}")
    wanted = f"wanted{next(_numbers)}"
    scenario.mailboxes.add(mailbox)
    said = ask(scenario, f"forward/subscribe?name={wanted}&domain={SHARED}&to={quote(mailbox)}")
    assert said["confirmation"]["sent"] is True
    (arrived,) = scenario.world.arrived(to=mailbox)
    assert arrived.recipients == (mailbox,)
    assert scenario.world.arrivals(to=attacker.mailbox, containing=f"{wanted}@{SHARED}".encode()) == []
    read = message_from_bytes(arrived.content, policy=policy.default)
    assert read["To"] == mailbox and read["From"].addresses[0].domain == "relay.example"
    text = read.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert f"{wanted}@{SHARED}" in text
    assert set(scenario.world.signatures(arrived).values()) == {"valid"}
