"""Copies for those who want them encrypted, and what becomes of them where a key is of no use (spec section 6)."""

import pytest

from mailrelay.core.header import split
from mailrelay.core.notices import Code
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.rules import stored
from tests.unit.locksmith import GOOD, opened
from tests.unit.office import MESSAGE, OK, TEMP, Office, new_office
from tests.unit.ruled import action, row

A1, BOTH = "a1@alias.example", "both@alias.example"
REAL, SECOND = "real@inbox.example", "second@inbox2.example"
EXPIRED = b"expired"
BODY = b"Thank you.\r\n"


@pytest.fixture
def office() -> Office:
    return new_office()


def lock(office: Office, recipient: int = 1, key: bytes = GOOD, **wishes: object) -> None:
    """Let a recipient want encryption."""
    office.store.update("recipient", recipient, should_encrypt=True)
    office.locksmith.lock(recipient, key, **wishes)


def content(copy: Copy) -> bytes:
    return b"".join(copy.content)


def copies(office: Office) -> dict[str, bytes]:
    """The one copy of each mailbox."""
    rcpts = office.outside.rcpts
    assert len(set(rcpts)) == len(rcpts)
    return {copy.rcpt: content(copy) for copy in office.outside.copies}


def told(office: Office) -> list[tuple[str, int | None]]:
    return [(notice.code.value, notice.recipient_id) for notice in office.store.posted]


def off(office: Office) -> None:
    """A rule switches encryption off."""
    office.book = stored.book([row(actions=(action("encryption", False),))])
    assert office.book.broken == ()


class Refusing:
    """Postfix, which has no room for one mailbox now."""

    def __init__(self, office: Office, mailbox: str) -> None:
        self.submit, self.mailbox = office.outside.__call__, mailbox
        office.dispatcher.submit = self

    async def __call__(self, copy: Copy) -> Handed | Refused:
        return Refused(452, "4.3.1 no room") if copy.rcpt == self.mailbox else await self.submit(copy)


# -- Encrypted copies ------------------------------------------------------------------------------------------------


async def test_6_1_who_wants_encryption_gets_it_and_others_do_not(office: Office) -> None:
    lock(office)
    assert await office.deliver(BOTH) == [OK]
    made = copies(office)
    assert opened(made[REAL]).endswith(b"\r\n\r\n" + BODY)
    assert BODY not in made[REAL]
    assert made[SECOND].endswith(MESSAGE)
    head = split(made[REAL])
    assert (head.first(b"content-type") or b"").startswith(b"multipart/encrypted;")
    assert head.first(b"x-mailrelay-mode") == b"rewrite; reason=encryption"
    assert head.first(b"subject") == b"Your order 77"
    assert office.outcomes() == [(BOTH, "delivered", None), (BOTH, "delivered", None)]
    assert [row["mode"] for row in office.store.rows("outbound")] == ["rewrite", "transparent"]
    assert office.store.posted == []


async def test_6_3_a_hidden_subject_is_nowhere_outside(office: Office) -> None:
    office.store.update("account", 1, email_subject="[shop] {{subject}}", compat_headers=True)
    lock(office, hide_subject=True)
    await office.deliver(A1)
    made = copies(office)[REAL]
    assert b"order 77" not in made
    assert split(made).first(b"subject") == b"[...]"
    assert b"Subject: [shop] Your order 77" in opened(made)


async def test_recipients_that_rules_name_get_it_encrypted(office: Office) -> None:
    uuid = office.store.rows("recipient")[1]["uuid"]
    office.book = stored.book([row(actions=(action("forwardTo", str(uuid)),))])
    assert office.book.broken == ()
    lock(office, 2)
    await office.deliver(A1)
    assert list(copies(office)) == [SECOND]
    assert opened(copies(office)[SECOND]).endswith(BODY)


async def test_5_6_a_rule_switches_it_off(office: Office) -> None:
    lock(office)
    lock(office, 2, never_plaintext=True)
    off(office)
    await office.deliver(BOTH)
    made = copies(office)
    assert made[REAL].endswith(MESSAGE)
    assert opened(made[SECOND]).endswith(BODY)


async def test_where_a_rule_switches_it_off_a_bad_key_is_no_matter(office: Office) -> None:
    lock(office, key=EXPIRED)
    off(office)
    await office.deliver(A1)
    assert copies(office)[REAL].endswith(MESSAGE)
    assert office.store.posted == []


ENCRYPTED = (
    b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\r\n\r\n'
    b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
    b"--b\r\nContent-Type: application/octet-stream\r\n\r\n"
    b"-----BEGIN PGP MESSAGE-----\r\n\r\nwcBM\r\n-----END PGP MESSAGE-----\r\n--b--\r\n"
)
INLINE = b"\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nwcBM\r\n-----END PGP MESSAGE-----\r\n"


@pytest.mark.parametrize("rest", [ENCRYPTED, INLINE], ids=["mime", "inline"])
@pytest.mark.parametrize("key", [GOOD, EXPIRED])
async def test_6_6_what_is_encrypted_already_is_not_touched(office: Office, rest: bytes, key: bytes) -> None:
    lock(office, key=key, never_plaintext=True)
    message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n" + rest
    assert await office.deliver(A1, content=message) == [OK]
    assert copies(office)[REAL].endswith(message)
    assert office.store.posted == []


@pytest.mark.parametrize("never", [False, True])
async def test_3_13_a_piece_of_a_message_is_encrypted_for_who_never_wants_plain_text(
    office: Office, never: bool
) -> None:
    lock(office, never_plaintext=never)
    piece = MESSAGE.replace(b"\r\n\r\n", b"\r\nContent-Type: message/partial; id=a; number=1; total=2\r\n\r\n", 1)
    await office.deliver(A1, content=piece)
    assert (BODY in copies(office)[REAL]) is not never


# -- Trouble of our own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["hold", "stub", "plain"])
@pytest.mark.parametrize("trouble", ["down", "jammed"])
async def test_6_5_what_passes_changes_nothing_and_leads_to_one_copy(
    office: Office, failure: str, trouble: str
) -> None:
    lock(office, failure=failure)
    setattr(office.locksmith, trouble, True)
    assert await office.deliver(BOTH) == [TEMP]
    assert (office.outside.rcpts, office.store.posted, office.locksmith.given_up) == ([SECOND], [], [])
    assert office.store.rows("failed_delivery") == []
    setattr(office.locksmith, trouble, False)
    assert await office.deliver(BOTH) == [OK]
    assert [copy.rcpt for copy in office.outside.copies] == [SECOND, REAL]
    assert opened(content(office.outside.copies[1])).endswith(BODY)


async def test_where_it_is_not_known_who_wants_it_the_mail_waits(office: Office) -> None:
    lock(office)
    office.locksmith.away = True
    assert await office.deliver(BOTH) == [TEMP]
    assert office.outside.copies == []


# -- Useless keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("never", [False, True])
async def test_6_5_mail_is_held_and_others_get_theirs(office: Office, never: bool) -> None:
    lock(office, key=EXPIRED, never_plaintext=never, failure="plain" if never else "hold")
    for _ in range(2):  # tried again, it is done once
        assert await office.deliver(BOTH) == [OK]
    assert office.outside.rcpts == [SECOND]
    assert office.outcomes() == [(BOTH, "delivered", None), (BOTH, "held", "key_unusable")]
    [record] = office.store.rows("failed_delivery")
    assert (record["hold"].status, record["hold"].kind, record["content"]) == ("5.7.10", "held", MESSAGE)
    assert office.locksmith.given_up == []
    assert set(told(office)) == {("GKE", 1), ("STB", 1)}
    [stub] = {notice.dedupe_key: notice for notice in office.store.posted if notice.code is Code.NOT_ENCRYPTED}.values()
    assert stub.data == {
        "alias": BOTH,
        "domain": "shop.example",
        "at": "2026-01-06T12:30:00+00:00",
        "problem": "key_expired",
        "kept": True,
    }


async def test_6_5_only_a_stub_is_sent(office: Office) -> None:
    lock(office, key=EXPIRED, failure="stub")
    assert await office.deliver(BOTH) == [OK]
    assert office.outside.rcpts == [SECOND]
    assert office.outcomes() == [(BOTH, "delivered", None), (BOTH, "failed", "key_unusable")]
    assert office.store.rows("failed_delivery") == []
    assert told(office) == [("GKE", 1), ("STB", 1)]
    assert office.store.posted[1].data["kept"] is False


async def test_6_5_plain_text_is_sent_and_encryption_ends(office: Office) -> None:
    lock(office, key=EXPIRED, failure="plain")
    assert await office.deliver(A1) == [OK]
    assert copies(office)[REAL].endswith(MESSAGE)
    assert [one.recipient_id for one in office.locksmith.given_up] == [1]
    assert office.store.posted == []  # whoever switches it off tells of it


async def test_6_5_every_fate_in_one_message(office: Office) -> None:
    third, fourth = office.recipient(1, "third@inbox4.example"), office.recipient(1, "fourth@inbox4.example")
    office.alias("all@alias.example", recipients=(1, 2, third, fourth))
    for number, failure in ((1, "hold"), (2, "stub"), (third, "plain")):
        lock(office, number, EXPIRED, failure=failure)
    lock(office, fourth)
    assert await office.deliver("all@alias.example") == [OK]
    assert list(copies(office)) == ["third@inbox4.example", "fourth@inbox4.example"]
    outcomes = sorted((row["recipient_id"], row["outcome"]) for row in office.entries())
    assert outcomes == [(0, "held"), (2, "failed"), (third, "delivered"), (fourth, "delivered")]


async def test_without_room_it_waits_at_postfix_and_nobody_is_told_that_it_is_kept(office: Office) -> None:
    lock(office, key=EXPIRED)
    office.shelf.room_octets = 10
    assert await office.deliver(BOTH) == [TEMP]
    assert (office.outside.copies, office.store.posted, office.entries()) == ([], [], [])
    office.shelf.room_octets = 1 << 20
    assert await office.deliver(BOTH) == [OK]
    assert office.outside.rcpts == [SECOND]


async def test_mail_that_is_held_is_held_once_though_another_copy_has_to_wait(office: Office) -> None:
    lock(office, key=EXPIRED)
    refusing = Refusing(office, SECOND)
    assert await office.deliver(BOTH) == [TEMP]
    refusing.mailbox = ""
    assert await office.deliver(BOTH) == [OK]
    assert office.outside.rcpts == [SECOND]
    assert len(office.store.rows("failed_delivery")) == 1
    assert office.outcomes() == [(BOTH, "delivered", None), (BOTH, "held", "key_unusable")]


# -- Who is told -----------------------------------------------------------------------------------------------------


async def test_a_stub_is_told_of_though_another_copy_has_to_wait(office: Office) -> None:
    """By the next try the key may be good, and the copy that was given up is not made any more."""
    lock(office, key=EXPIRED, failure="stub")
    refusing = Refusing(office, SECOND)
    assert await office.deliver(BOTH) == [TEMP]
    lock(office, key=GOOD, failure="stub")
    refusing.mailbox = ""
    assert await office.deliver(BOTH) == [OK]
    assert office.outside.rcpts == [SECOND]
    assert told(office) == [("GKE", 1), ("STB", 1)]


async def test_each_mailbox_hears_of_each_message_once(office: Office) -> None:
    for number in (1, 2):
        lock(office, number, EXPIRED)
    for at in range(2):  # the answer to the first was lost
        office.now = office.now.replace(minute=30 + at)
        await office.deliver(BOTH)
        await office.deliver(A1)
    stubs = [notice for notice in office.store.posted if notice.code is Code.NOT_ENCRYPTED]
    assert len({one.dedupe_key for one in stubs}) == len({one.counted_for for one in stubs}) == 3
