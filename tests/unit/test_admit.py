"""What RCPT hears, row by row of spec sections 2.2 and 12.1, and what is noted of it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from mailrelay.core import srs, verp
from mailrelay.core.address import Address
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.screen import RcptRequest, day_number
from tests.unit.fakes import NOW
from tests.unit.office import CLIENT, KEY, SENDER, SRS, UNKNOWN, Office, new_office

YES = "DUNNO"
Prepare = Callable[[Office], object]
LOOKUP = "451 4.3.0 Temporary look-up failure"


@pytest.fixture
def office() -> Office:
    return new_office()


def nothing(office: Office) -> None:
    """The fixture as it is."""


def inactive(behaviour: str) -> Prepare:
    return lambda office: office.store.update("account", 1, block_behaviour=behaviour)


def used(kind: str, amount: int, subject: str = "") -> Prepare:
    return lambda office: office.store.use(1, kind, subject, amount)


def at(day: int, prepare: Prepare) -> Prepare:
    def prepared(office: Office) -> None:
        office.now = NOW.replace(day=day)
        prepare(office)

    return prepared


def unverified(hours: float) -> Prepare:
    def prepare(office: Office) -> None:
        for number in (1, 2, 3):
            since = office.now - timedelta(hours=hours)
            office.store.update("recipient", number, verified_at=None, unverified_since=since)

    return prepare


def handle(office: Office) -> None:
    office.store.insert("handle", account_id=1, local_part="shop")


def handle_off(office: Office) -> None:
    handle(office)
    office.store.insert("handle_domain_off", handle_id=1, domain="alias.example", active=True)


def handle_released(office: Office) -> None:
    handle(office)
    office.store.update("handle", 1, state="released", account_id=None)


def blocked(kind: str, value: str) -> Prepare:
    return lambda office: office.store.insert("blocked_sender", account_id=1, type=kind, value=value)


GENUINE = srs.forward(Address("x", "elsewhere.example"), SRS, day_number(NOW))


def moved(*numbers: int) -> Prepare:
    """These recipients are at a domain that has become ours since."""

    def prepare(office: Office) -> None:
        for number in numbers:
            office.store.update("recipient", number, address=f"moved{number}@own.example")

    return prepare


# row: preparation, recipient, sender, answer
ROWS: dict[str, tuple[Prepare, str, str, str]] = {
    "12.1-1": (nothing, "a1@alias.example", SENDER, YES),
    "12.1-2": (nothing, "A1@ALIAS.EXAMPLE", SENDER, YES),
    "12.1-3": (nothing, "a1+promo@alias.example", SENDER, YES),
    "12.1-4": (nothing, "new@own.example", SENDER, YES),
    "12.1-5": (nothing, "new+2@own.example", SENDER, YES),
    "12.1-9": (nothing, "x@u1.alias.example", SENDER, YES),
    "12.1-10": (nothing, "x@nobody.alias.example", SENDER, UNKNOWN),
    "12.1-11": (nothing, "x@a.u1.alias.example", SENDER, UNKNOWN),
    "12.1-12": (nothing, "unknown@alias.example", SENDER, UNKNOWN),
    "12.1-13": (nothing, "prefix-shop@rx.example", SENDER, YES),
    "12.1-14": (nothing, "shop@rx.example", SENDER, UNKNOWN),
    "12.1-15": (nothing, "PREFIX9@rx.example", SENDER, YES),
    "12.1-16": (nothing, "gone@alias.example", SENDER, UNKNOWN),
    "12.1-17": (nothing, "gone2@own.example", SENDER, UNKNOWN),
    "12.1-18": (nothing, "off@alias.example", SENDER, YES),
    "12.1-19": (inactive("reject"), "off@alias.example", SENDER, UNKNOWN),
    "12.1-20": (inactive("defer"), "off@alias.example", SENDER, "450 4.2.1 Address is not accepting mail now"),
    "2.2-16-reverse": (inactive("reject"), "off+a=b.example@alias.example", SENDER, YES),
    "12.1-22": (lambda office: office.store.update("domain", 2, active=False), "x@own.example", SENDER, YES),
    "12.1-23": (nothing, "x" * 241 + "@alias.example", SENDER, "550 5.1.3 Recipient address too long"),
    "12.1-24": (nothing, "ñ@own.example", SENDER, "553 5.6.7 Non-ASCII local part not available at this domain"),
    "12.1-25": (nothing, '"a1"@alias.example', SENDER, YES),
    "12.1-25-space": (
        nothing,
        '"a 1"@alias.example',
        SENDER,
        "553 5.1.3 Quoted local part not available at this domain",
    ),
    "12.1-26": (nothing, "b-" + "a" * 34 + "@own.example", "", UNKNOWN),
    "12.1-28": (
        lambda office: office.ban("ip", "192.0.2.0/24"),
        "a1@alias.example",
        SENDER,
        "554 5.7.1 Not accepted here (ref 1)",
    ),
    "12.1-29": (
        lambda office: office.ban("domain", "bad.example"),
        "a1@alias.example",
        "x@sub.bad.example",
        "554 5.7.1 Not accepted here (ref 1)",
    ),
    "12.1-30": (lambda office: office.ban("name", "admin"), "admin@own.example", SENDER, UNKNOWN),
    "12.1-31": (
        nothing,
        "a1@alias.example",
        "SRS0=aaaa=2W=x.example=y@srs.relay.example",
        "550 5.7.1 Forged or expired return path",
    ),
    "12.1-32": (nothing, "a1@alias.example", "SRS0=abcd=2W=x.example=y@otherforwarder.example", YES),
    "2.2-12-genuine": (nothing, "a1@alias.example", str(GENUINE), YES),
    "12.1-33": (
        nothing,
        "a1@alias.example",
        "z@alias.example",
        "550 5.7.1 Sender address may not be used from outside",
    ),
    "12.1-34": (nothing, "a1@alias.example", "info@own.example", YES),
    "12.1-36-200th": (used("message", 199), "a1@alias.example", SENDER, YES),
    "12.1-36": (
        used("message", 200),
        "a1@alias.example",
        SENDER,
        "450 4.2.1 Recipient is receiving mail too fast, try later",
    ),
    "2.6-one-sender": (
        used("message", 100, "shop.example"),
        "a1@alias.example",
        "x@mail.shop.example",
        "450 4.2.1 Recipient is receiving mail too fast, try later",
    ),
    "2.6-other-sender": (used("message", 100, "shop.example"), "a1@alias.example", "x@other.example", YES),
    "12.1-37": (
        used("new_alias", 100),
        "new@own.example",
        SENDER,
        "450 4.2.1 Too many new addresses, try later",
    ),
    "12.1-37-existing": (used("new_alias", 100), "a1@alias.example", SENDER, YES),
    "2.6-network": (
        used("new_alias", 30, "192.0.2.0/24"),
        "new@own.example",
        SENDER,
        "450 4.2.1 Too many new addresses, try later",
    ),
    "12.1-38-10-days": (
        at(22, used("bandwidth", 1 << 30)),
        "a1@alias.example",
        SENDER,
        "552 5.2.2 Recipient is over quota",
    ),
    "12.1-38-2-days": (
        at(30, used("bandwidth", 1 << 30)),
        "a1@alias.example",
        SENDER,
        "452 4.2.2 Recipient is over quota",
    ),
    "12.1-38-reverse": (at(22, used("bandwidth", 1 << 30)), "a1+a=b.example@alias.example", SENDER, YES),
    "12.1-40": (unverified(0.2), "a1@alias.example", SENDER, "450 4.2.1 Address is not ready to receive mail"),
    "12.1-40-72h": (unverified(72), "a1@alias.example", SENDER, "550 5.2.1 Address is not ready to receive mail"),
    "12.1-41": (lambda office: office.store.update("domain", 2, default_recipient_id=3), "x@own.example", SENDER, YES),
    "12.1-42": (blocked("domain", "shop.example"), "a1@alias.example", "x@news.shop.example", UNKNOWN),
    "12.1-43-other-sender": (blocked("domain", "shop.example"), "a1@alias.example", "x@other.example", YES),
    "12.1-44": (used("message", 10_000), "postmaster@alias.example", SENDER, YES),
    "12.1-44b": (handle_released, "shop@alias.example", SENDER, UNKNOWN),
    "12.1-44c-from": (
        lambda office: office.ban("domain", "inbox.example", "destination"),
        "both@alias.example",
        "x@inbox.example",
        YES,
    ),
    "12.1-45": (handle, "shop@alias.example", SENDER, YES),
    "12.1-45-off": (handle_off, "shop@alias.example", SENDER, UNKNOWN),
    "2.2-17": (
        lambda office: office.store.update("account", 1, state="suspended"),
        "a1@alias.example",
        SENDER,
        "550 5.2.1 Account is suspended",
    ),
    "12.6-181": (moved(1, 2, 3), "a1@alias.example", SENDER, "450 4.2.1 Address is not ready to receive mail"),
    "12.6-181-new": (moved(1, 2, 3), "new@own.example", SENDER, "450 4.2.1 Address is not ready to receive mail"),
    "12.6-181-off": (moved(1, 2, 3), "off@alias.example", SENDER, YES),
    "12.6-181-another": (moved(1), "both@alias.example", SENDER, YES),
    "2.2-4": (nothing, "x@elsewhere.example", SENDER, YES),
    "2.2-1": (nothing, "a..b@alias.example", SENDER, "501 5.1.3 Bad recipient address syntax"),
}


@pytest.mark.parametrize(("prepare", "rcpt", "sender", "answer"), ROWS.values(), ids=ROWS)
async def test_rcpt_hears(office: Office, prepare: Prepare, rcpt: str, sender: str, answer: str) -> None:
    prepare(office)
    assert await office.ask(rcpt, sender) == answer
    assert await office.ask(rcpt, sender) == answer  # and again, where the cache may answer


@pytest.mark.parametrize(("prepare", "rcpt", "sender", "answer"), ROWS.values(), ids=ROWS)
async def test_a_refusal_is_noted_once_and_nothing_else_is(
    office: Office, prepare: Prepare, rcpt: str, sender: str, answer: str
) -> None:
    prepare(office)
    for _ in range(2):
        await office.ask(rcpt, sender)
    outcomes = [row["outcome"] for row in office.entries()]
    assert outcomes == ([] if answer == YES else ["refused"])
    assert office.store.rows("alias", local_part="new") == []  # nothing is created at RCPT


@pytest.mark.parametrize(
    ("prepare", "rcpt", "sender", "table", "counter"),
    [
        pytest.param(nothing, "gone@alias.example", SENDER, "alias", "emails_blocked", id="12.1-16"),
        pytest.param(inactive("reject"), "off@alias.example", SENDER, "alias", "emails_blocked", id="12.1-19"),
        pytest.param(
            lambda office: office.ban("ip", "192.0.2.0/24"), "a1@alias.example", SENDER, "ban", "hits", id="12.1-28"
        ),
        pytest.param(lambda office: office.ban("name", "a1"), "a1@alias.example", SENDER, "ban", "hits", id="12.1-30"),
        pytest.param(
            blocked("email", SENDER), "a1@alias.example", SENDER, "blocked_sender", "blocked", id="12.1-42-entry"
        ),
        pytest.param(
            blocked("email", SENDER), "a1@alias.example", SENDER, "alias", "emails_blocked", id="12.1-42-alias"
        ),
    ],
)
async def test_a_refusal_counts_once_per_transaction(
    office: Office, prepare: Prepare, rcpt: str, sender: str, table: str, counter: str
) -> None:
    prepare(office)
    for instance in ("i.1", "i.1", "i.2"):
        await office.ask(rcpt, sender, instance=instance)
    assert sum(row[counter] or 0 for row in office.store.rows(table)) == 2


async def test_the_limit_ends_an_hour_later(office: Office) -> None:
    office.store.use(1, "message", "", 200)  # 12.1 row 36
    assert (await office.ask("a1@alias.example")).startswith("450 4.2.1")
    office.now += timedelta(hours=1, minutes=1)
    assert await office.ask("a1@alias.example") == YES


# -- The null sender -----------------------------------------------------------------------------------------------


async def test_the_null_sender_has_one_recipient_at_a_time(office: Office) -> None:
    """Spec 12.1 row 35."""
    assert await office.ask("a1@alias.example", "") == YES
    assert await office.ask("both@alias.example", "") == "452 4.5.3 One recipient at a time for the null sender"
    assert await office.ask("both@alias.example", "", instance="i.2") == YES
    assert await office.ask("a1@alias.example", "", instance="i.1") == YES  # asked again about the first
    assert [row["reason"] for row in office.entries()] == [Reason.NULL_SENDER_MULTI]


def return_path(number: int) -> str:
    path = verp.VerpId(verp.EmailType.FORWARD, number, day_number(NOW))
    return f"{verp.encode(path, 'bounces.relay.example', KEY)}@bounces.relay.example"


async def test_return_paths_do_not_count_as_recipients_of_the_null_sender(office: Office) -> None:
    for number in (1, 2):
        office.store.insert("outbound", id=number)
        assert await office.ask(return_path(number), "") == YES
    assert await office.ask("a1@alias.example", "") == YES


async def test_a_return_path_is_taken_as_long_as_its_copy_is_known(office: Office) -> None:
    """Spec 2.2 row 8."""
    assert await office.ask(return_path(7), "") == UNKNOWN
    office.store.insert("outbound", id=7)
    assert await office.ask(return_path(7), "", instance="i.2") == YES
    assert [row["reason"] for row in office.entries()] == [Reason.RETURN_PATH_UNKNOWN]


async def test_senders_without_instance_are_not_mixed_up(office: Office) -> None:
    for rcpt in ("a1@alias.example", "both@alias.example"):
        assert await office.ask(rcpt, "", instance="") == YES


async def test_memory_of_null_senders_is_bounded(office: Office) -> None:
    for number in range(10_000):
        await office.ask("a1@alias.example", "", instance=f"i.{number}")
    assert len(office.admission._null_senders._first) <= 4096


# -- Cache and database --------------------------------------------------------------------------------------------


def at_once(office: Office, rcpt: str, sender: str = SENDER) -> str | None:
    return office.admission.at_once(RcptRequest(sender, rcpt, CLIENT, "i.9", authenticated=False))


async def test_a_second_recipient_is_answered_from_memory(office: Office) -> None:
    assert at_once(office, "a1@alias.example") is None
    await office.ask("a1@alias.example")
    assert at_once(office, "A1+x@alias.example") == YES


async def test_a_change_that_was_announced_is_seen_at_once(office: Office) -> None:
    await office.ask("a1@alias.example")
    office.store.update("alias", 1, state="deleted")
    assert await office.ask("a1@alias.example") == YES  # nobody told us yet
    office.cache.forget_address("a1", "alias.example")
    assert await office.ask("a1@alias.example") == UNKNOWN


async def test_no_refusal_comes_from_memory(office: Office) -> None:
    await office.ask("off@alias.example")
    office.store.update("alias", 2, state="active")
    office.store.update("account", 1, block_behaviour="reject")
    assert await office.ask("off@alias.example") == YES
    await office.ask("unknown@alias.example")
    office.alias("unknown@alias.example")
    assert await office.ask("unknown@alias.example") == YES


async def test_addresses_that_would_be_created_are_asked_for_every_time(office: Office) -> None:
    for _ in range(3):
        assert await office.ask("new@own.example") == YES
    assert at_once(office, "new@own.example") is None


def away(moment: str, operation: str) -> None:
    raise Unavailable("the database is away")


KNOWN = ["a1@alias.example", "off@alias.example"]


async def test_with_the_database_away_only_known_addresses_are_taken(office: Office) -> None:
    """Spec 12.1 row 27."""
    for rcpt in KNOWN:
        await office.ask(rcpt)
    office.store.trouble = away
    office.now += timedelta(days=2)  # far too old to be fresh
    office.cache.trusted = False
    office.store.insert("outbound", id=7)
    assert [await office.ask(rcpt) for rcpt in KNOWN] == [YES, YES]
    for rcpt in ("both@alias.example", "unknown@alias.example", "new@own.example", "gone@alias.example"):
        assert await office.ask(rcpt) == LOOKUP
    assert await office.ask(return_path(7), "") == LOOKUP
    assert await office.ask("x@elsewhere.example") == YES
    assert await office.ask("postmaster@alias.example") == YES
    assert office.entries() == []


async def test_what_needs_no_database_is_refused_without_it(office: Office) -> None:
    office.store.trouble = away
    office.ban("ip", CLIENT)
    assert await office.ask("a1@alias.example") == "554 5.7.1 Not accepted here (ref 1)"


async def test_a_cached_address_with_a_limit_that_is_reached_is_not_taken_for_ever(office: Office) -> None:
    office.store.update("account", 1, messages_per_hour=8)
    answers = []
    for _ in range(12):
        answers.append(await office.ask("a1@alias.example"))
        office.store.use(1, "message", "", 1)  # as if each were delivered at once
    assert answers.count(YES) <= 10
    assert answers[-1].startswith("450 4.2.1")


async def test_a_bug_in_the_store_reaches_the_server(office: Office) -> None:
    """The policy server answers DEFER_IF_PERMIT then; never a refusal."""

    def bug(moment: str, operation: str) -> None:
        raise RuntimeError("bug")

    office.store.trouble = bug
    with pytest.raises(RuntimeError):
        await office.ask("a1@alias.example")


async def test_a_note_that_cannot_be_written_changes_no_answer(office: Office) -> None:
    def only_facts(moment: str, operation: str) -> None:
        if operation == "end":
            raise Unavailable("away")

    office.store.trouble = only_facts
    assert await office.ask("unknown@alias.example") == UNKNOWN
    assert office.entries() == []
