"""Whose address a sender is: what is asked of the database, and what Postfix hears of it."""

import asyncio
from collections.abc import Sequence

import pytest

from mailrelay.core.address import Address
from mailrelay.core.errors import Unavailable
from mailrelay.flows.senders import logins_for


class Reader:
    """Remembers the questions."""

    def __init__(self, *logins: str) -> None:
        self.logins = logins
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, base: str, whole: Address) -> Sequence[str]:
        self.asked.append((base, str(whole)))
        return self.logins


@pytest.mark.parametrize(
    ("key", "base", "whole"),
    [
        pytest.param("Shop@Alias.Example", "shop", "Shop@alias.example", id="folded"),
        pytest.param("shop+tag@alias.example", "shop", "shop+tag@alias.example", id="a-tag-is-the-alias"),
        pytest.param("shop+2.3@alias.example", "shop", "shop+2.3@alias.example", id="recipient-keys"),
        pytest.param(
            "shop+news=shop.example@alias.example", "", "shop+news=shop.example@alias.example", id="reverse-address"
        ),
        pytest.param("büro@inbox.example", "büro", "büro@inbox.example", id="smtputf8"),
        pytest.param("me@BÜCHER.example", "me", "me@xn--bcher-kva.example", id="idn"),
    ],
)
async def test_an_address_is_an_alias_or_a_recipient(key: str, base: str, whole: str) -> None:
    read = Reader("me@inbox.example")
    assert await logins_for(key, read) == ("me@inbox.example",)
    assert read.asked == [(base, whole)]


@pytest.mark.parametrize(
    "key", ["", "shop", "@alias.example", "a b@alias.example", "shop@", "x@[192.0.2.1]", "\udcff@x"]
)
async def test_what_is_no_address_is_nobodys_and_not_asked_for(key: str) -> None:
    read = Reader("me@inbox.example")
    assert await logins_for(key, read) == ()
    assert read.asked == []


async def test_a_mailbox_with_a_separator_in_its_name_speaks_for_nobody() -> None:
    read = Reader("x,victim@inbox.example", "a b@inbox.example", "me@inbox.example", "t\tb@inbox.example")
    assert await logins_for("shop@alias.example", read) == ("me@inbox.example",)


async def test_a_slow_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailrelay.flows.senders._DEADLINE_SECONDS", 0.0)

    async def never(base: str, whole: Address) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(Unavailable):
        await logins_for("shop@alias.example", never)
