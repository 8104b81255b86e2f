"""Confirmation codes: when one is mailed, how it is hidden until then, and how often somebody may guess."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core import codes
from mailrelay.core.address import Address
from mailrelay.core.codes import (
    DAILY,
    HOURLY,
    MAX_PENDING,
    TERMS,
    TRIES,
    Asked,
    Intent,
    Pending,
    Sent,
    Standing,
    Terms,
    Wanted,
    sent,
    withheld,
)
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.notices import Code, Notice
from mailrelay.core.requests import Limit, Window
from mailrelay.core.sealed import vault
from mailrelay.flows.codes import Codes, Guess, TooManyTries, revealed

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TEN_MINUTES = timedelta(minutes=10)
FORWARD, CREDENTIALS = TERMS["forward"], TERMS["credentials"]
VAULT = vault([b"a secret of the installation"])
BOB = Address("Bob", "inbox.example")
WANTED = Wanted(Intent.SUBSCRIBE, BOB, "shop", "alias.example", ip="192.0.2.7")
LINK = "https://app.relay.example/confirm?token="
NOTICE = Notice(Code.CNF, None, data={"action": "create", "link": LINK})


def waiting(ago: timedelta, count: int = 1, terms: Terms = FORWARD) -> Sent:
    return Sent(count, NOON - ago, NOON - ago + terms.ttl)


# --- whether a mail goes out -------------------------------------------------------------------------------------


def test_the_first_request_is_mailed() -> None:
    assert withheld(Standing(None), FORWARD, NOON) is None
    assert sent(1, FORWARD, NOON) == Asked(True, None, NOON + TEN_MINUTES, NOON, NOON + 60 * SECOND, 1, None)
    assert sent(1, CREDENTIALS, NOON).remaining == 2


def test_the_same_request_waits_for_the_end_of_the_cooldown() -> None:
    held = withheld(Standing(waiting(59 * SECOND)), FORWARD, NOON)
    assert held == Asked(
        False, "cooldown", NOON - 59 * SECOND + TEN_MINUTES, NOON - 59 * SECOND, NOON + SECOND, 1, None
    )
    assert withheld(Standing(waiting(60 * SECOND)), FORWARD, NOON) is None


@pytest.mark.parametrize("family", ["credentials", "reset"])
def test_a_key_and_a_password_are_mailed_about_three_times(family: codes.Family) -> None:
    terms = TERMS[family]
    assert withheld(Standing(waiting(61 * SECOND, 2, terms)), terms, NOON) is None
    held = withheld(Standing(waiting(61 * SECOND, 3, terms)), terms, NOON)
    assert held is not None
    assert (held.sent, held.reason, held.remaining) == (False, "rate_limited", 0)
    assert held.next_allowed_at == held.expires_at == NOON - 61 * SECOND + timedelta(minutes=15)


def test_an_alias_is_mailed_about_as_often_as_the_mailbox_bears() -> None:
    assert withheld(Standing(waiting(61 * SECOND, 50)), FORWARD, NOON) is None


def test_a_mailbox_has_five_requests_that_wait() -> None:
    assert withheld(Standing(None, MAX_PENDING - 1, NOON + SECOND), FORWARD, NOON) is None
    held = withheld(Standing(None, MAX_PENDING, NOON + SECOND), FORWARD, NOON)
    assert held == Asked(False, "rate_limited", None, None, NOON + SECOND, 0, None)
    # One of them may have its code again.
    assert withheld(Standing(waiting(61 * SECOND), MAX_PENDING), FORWARD, NOON) is None


@pytest.mark.parametrize("same", [None, waiting(61 * SECOND)])
@pytest.mark.parametrize("limit", [HOURLY, DAILY])
def test_a_mailbox_gets_so_many_mails_in_an_hour_and_in_a_day(limit: Limit, same: Sent | None) -> None:
    opened = NOON - 100 * SECOND
    assert withheld(Standing(same, windows=[Window(limit, limit.requests - 1, opened)]), FORWARD, NOON) is None
    held = withheld(Standing(same, windows=[Window(limit, limit.requests, opened)]), FORWARD, NOON)
    assert held is not None
    assert (held.sent, held.reason) == (False, "rate_limited")
    assert held.next_allowed_at == opened + timedelta(seconds=limit.seconds)


def test_intents_belong_to_families() -> None:
    assert Intent.UNSUBSCRIBE.family == Intent.HANDLE_DOMAIN_ENABLE.family == "forward"
    assert Intent.API_KEY_LIST.family == "credentials"
    assert Intent.PASSWORD_RESET.family == "reset"


@pytest.mark.parametrize(
    ("intent", "tag", "about"),
    [
        (Intent.SUBSCRIBE, "alias:create", "x@y"),
        (Intent.UNSUBSCRIBE, "alias:delete", "x@y"),
        (Intent.HANDLE_SUBSCRIBE, "handle:create", "x"),
        (Intent.HANDLE_UNSUBSCRIBE, "handle:delete", "x"),
        (Intent.HANDLE_DOMAIN_DISABLE, "handle:create", "x @ y"),
        (Intent.HANDLE_DOMAIN_ENABLE, "handle:create", "x @ y"),
        (Intent.PASSWORD_RESET, "Password reset", "x"),
    ],
)
def test_mails_say_what_they_are_about(intent: Intent, tag: str, about: str) -> None:
    wanted = Wanted(intent, BOB, "x", "y")
    assert (wanted.tag, wanted.about) == (tag, about)


# --- the code ------------------------------------------------------------------------------------------------------


@dataclass
class FakeStore:
    """Codes in `taken` are somebody else's; `hits` are counted by limit and subject."""

    taken: set[bytes] = field(default_factory=set)
    asked: list[tuple[Sequence[bytes], Notice, Terms]] = field(default_factory=list)
    hits: dict[tuple[str, str], int] = field(default_factory=dict)
    pending: Pending | None = None

    async def ask(
        self, wanted: Wanted, macs: Sequence[bytes], notice: Notice, terms: Terms, now: datetime
    ) -> Asked | None:
        if self.taken & set(macs):
            return None
        self.asked.append((macs, notice, terms))
        return sent(1, terms, now)

    async def look(self, macs: Sequence[bytes], now: datetime) -> Pending | None:
        return self.pending

    async def count_try(self, limits: Sequence[Limit], subjects: Sequence[str]) -> tuple[Window, ...]:
        windows: list[Window] = []
        for limit, subject in zip(limits, (*subjects, ""), strict=True):
            if limit is limits[-1] and any(window.is_over for window in windows):
                break
            hits = self.hits[limit.name, subject] = self.hits.get((limit.name, subject), 0) + 1
            windows.append(Window(limit, hits, NOON))
        return tuple(windows)

    async def forgive_try(self, limits: Sequence[Limit], subjects: Sequence[str]) -> None:
        for limit, subject in zip(limits, (*subjects, ""), strict=True):
            self.hits[limit.name, subject] -= 1


class Desk:
    """Codes over a store that behaves; `drawn` are drawn next."""

    def __init__(self, *drawn: str, keys: Sequence[bytes] = (b"new", b"old")) -> None:
        self.store = FakeStore()
        self.paused: list[float] = []
        left = list(drawn)

        async def pause(seconds: float) -> None:
            self.paused.append(seconds)

        self.codes = Codes(self.store, keys, VAULT, lambda: left.pop(0), lambda n: b"n" * n, pause, lambda: NOON)

    async def tries(self, number: int, client: str, family: codes.Family = "forward") -> list[Guess | TooManyTries]:
        return [await self.codes.guess("123456", family, client) for _ in range(number)]


async def test_the_code_travels_sealed_and_is_opened_for_the_mail() -> None:
    desk = Desk("012345")
    assert (await desk.codes.ask(WANTED, NOTICE)).sent
    [(macs, notice, terms)] = desk.store.asked
    assert terms == FORWARD
    assert macs == (codes.mac(b"new", "forward", "012345"), codes.mac(b"old", "forward", "012345"))
    assert "012345" not in str(notice.to_json())
    assert notice.data["address"] == "bob@inbox.example"
    assert (notice.data["minutes"], notice.data["ip"]) == (10, "192.0.2.7")
    assert (notice.data["action"], notice.data["about"]) == ("create", "shop@alias.example")
    told = revealed(notice, VAULT)
    assert told.data["code"] == "012345"
    assert told.data["link"] == f"{LINK}012345"
    assert "sealed" not in told.data


async def test_a_code_that_was_sealed_for_one_mailbox_opens_for_no_other() -> None:
    desk = Desk("012345")
    await desk.codes.ask(WANTED, NOTICE)
    [(_, notice, _)] = desk.store.asked
    for wrong in ({"address": "eve@inbox.example"}, {"sealed": "no base64"}, {"sealed": "AAAA"}):
        with pytest.raises(Malformed):
            revealed(Notice(Code.CNF, None, data={**notice.data, **wrong}), VAULT)


def test_a_notice_without_a_code_stays_as_it_is() -> None:
    assert revealed(NOTICE, VAULT) is NOTICE


async def test_a_code_that_is_taken_is_drawn_again() -> None:
    desk = Desk("111111", "111111", "222222")
    desk.store.taken = {codes.mac(b"old", "forward", "111111")}
    assert (await desk.codes.ask(WANTED, NOTICE)).sent
    [(macs, notice, _)] = desk.store.asked
    assert macs[0] == codes.mac(b"new", "forward", "222222")
    assert revealed(notice, VAULT).data["code"] == "222222"


async def test_drawing_ends() -> None:
    desk = Desk(*["111111"] * 100)
    desk.store.taken = {codes.mac(b"new", "forward", "111111")}
    with pytest.raises(Unavailable):
        await desk.codes.ask(WANTED, NOTICE)


def test_codes_of_different_families_and_keys_have_nothing_in_common() -> None:
    keys = (b"new", b"old")
    families: tuple[codes.Family, ...] = ("forward", "credentials", "reset")
    assert len({codes.mac(key, family, "123456") for key in keys for family in families}) == 6


# --- guessing ------------------------------------------------------------------------------------------------------


async def test_d_09_an_address_may_guess_ten_times_an_hour() -> None:
    desk = Desk()
    *allowed, last = await desk.tries(11, "192.0.2.1")
    assert all(isinstance(one, Guess) for one in allowed)
    assert isinstance(last, TooManyTries)
    assert (last.whose, last.window.limit) == ("ip", TRIES["code"][0])
    assert isinstance((await desk.tries(1, "192.0.2.2"))[0], Guess)


@pytest.mark.parametrize("pattern", ["192.0.2.{}", "2001:db8::{}"])
async def test_d_09_a_network_may_guess_thirty_times_an_hour(pattern: str) -> None:
    desk = Desk()
    done = [one for host in range(1, 7) for one in await desk.tries(6, pattern.format(host))]
    assert [isinstance(one, Guess) for one in done] == [True] * 30 + [False] * 6
    assert isinstance(done[-1], TooManyTries)
    assert done[-1].whose == "network"
    assert isinstance((await desk.tries(1, "198.51.100.1"))[0], Guess)


async def test_d_09_while_everybody_guesses_each_has_few_tries_and_waits() -> None:
    desk = Desk()
    limit = TRIES["code"][2]
    desk.store.hits[limit.name, ""] = limit.requests
    done = await desk.tries(4, "192.0.2.1")
    assert [isinstance(one, Guess) for one in done] == [True] * 3 + [False]
    assert isinstance(done[-1], TooManyTries)
    assert done[-1].whose == "all"
    assert desk.paused == [2.0] * 3


async def test_what_is_refused_raises_no_alarm_for_others() -> None:
    desk = Desk()
    await desk.tries(1000, "192.0.2.1")
    assert desk.store.hits[TRIES["code"][2].name, ""] == 10
    assert not desk.paused


async def test_a_right_code_counts_for_nothing() -> None:
    desk = Desk()
    for _ in range(100):
        [guess] = await desk.tries(1, "192.0.2.1")
        assert isinstance(guess, Guess)
        await desk.codes.was_right(guess)
    assert set(desk.store.hits.values()) == {0}


async def test_a_look_at_a_code_is_a_try_as_well() -> None:
    desk = Desk()
    [guess] = await desk.tries(1, "192.0.2.1")
    assert isinstance(guess, Guess)
    assert await desk.codes.look(guess) is None
    assert set(desk.store.hits.values()) == {1}
    desk.store.pending = Pending(
        codes.ConfirmationId(1), Intent.SUBSCRIBE, BOB, "shop", "alias.example", None, None, False, NOON
    )
    assert await desk.codes.look(guess) is desk.store.pending
    assert set(desk.store.hits.values()) == {0}


async def test_d_09_password_resets_have_a_small_budget_of_their_own() -> None:
    desk = Desk()
    done = [one for net in range(1, 9) for one in await desk.tries(5, f"10.0.{net}.1", "reset")]
    assert [isinstance(one, Guess) for one in done] == [True] * 30 + [False] * 10
    assert isinstance(done[-1], TooManyTries)
    assert done[-1].whose == "all"
    assert isinstance((await desk.tries(1, "10.0.1.1"))[0], Guess)
    six = await desk.tries(6, "192.0.2.1", "reset")
    assert isinstance(six[-1], TooManyTries)
