"""Encryption of what goes out later than it came, or beside it: releases, second tries, reading along, notices."""

from dataclasses import replace

import pytest

from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.header import split
from mailrelay.core.held import HeldId
from mailrelay.core.notices import Code
from mailrelay.flows.release import Released
from tests.golden.cases import examined
from tests.unit.fakes import NOW
from tests.unit.locksmith import opened
from tests.unit.noticed import MAILBOX, notice
from tests.unit.office import MESSAGE, OK, TEMP, Office, new_office
from tests.unit.test_encrypted_forward import A1, BODY, BOTH, EXPIRED, REAL, SECOND, content, copies, lock, told
from tests.unit.test_explain import Desk as Explaining
from tests.unit.test_explain import said
from tests.unit.test_notices import GROUND
from tests.unit.test_notices import Desk as Notifying
from tests.unit.test_release import Desk as Releasing
from tests.unit.test_secondtry import REFUSED, first, refuse
from tests.unit.test_sending_flow import ANSWERS, CONTACT, HEAD, send

# -- Releases --------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk() -> Releasing:
    desk = Releasing()
    desk.shelf = desk.office.shelf
    desk.restart()
    return desk


async def hold(desk: Releasing, rcpt: str = BOTH) -> HeldId:
    """The mail that one recipient's key keeps from going out entirely."""
    lock(desk.office, key=EXPIRED)
    assert await desk.office.deliver(rcpt) == [OK]
    return HeldId(1)


async def test_6_5_nothing_is_released_while_the_key_is_useless(desk: Releasing) -> None:
    number = await hold(desk)
    with pytest.raises(Conflict, match=r"the key ABAB\w+ cannot be used"):
        await desk.release(number, "test")
    assert desk.office.outside.rcpts == [SECOND]
    assert desk.outcomes() == ["delivered", "held"]


async def test_6_5_with_a_new_key_it_reaches_who_has_not_got_it(desk: Releasing) -> None:
    number = await hold(desk)
    lock(desk.office)
    assert await desk.release(number, "test") == Released(number, 1, None)
    assert [copy.rcpt for copy in desk.office.outside.copies] == [SECOND, REAL]
    assert opened(copies(desk.office)[REAL]).endswith(BODY)
    assert await desk.office.deliver(BOTH) == [OK]  # Postfix had not heard of the first answer
    assert len(desk.office.outside.copies) == 2
    assert desk.outcomes() == ["delivered", "delivered"]


async def test_what_was_released_is_not_held_again_when_the_next_key_ends(desk: Releasing) -> None:
    number = await hold(desk)
    lock(desk.office)
    await desk.release(number, "test")
    lock(desk.office, key=EXPIRED)
    assert await desk.office.deliver(BOTH) == [OK]
    assert desk.outcomes() == ["delivered", "delivered"]
    assert len(desk.office.store.rows("failed_delivery")) == 1


async def test_a_release_waits_for_trouble_of_our_own_and_makes_one_copy(desk: Releasing) -> None:
    number = await hold(desk, A1)
    lock(desk.office)
    desk.office.locksmith.down = True
    with pytest.raises(Unavailable):
        await desk.release(number, "test")
    desk.office.locksmith.down = False
    await desk.release(number, "test")
    assert desk.office.outside.rcpts == [REAL]


async def test_nobody_waits_for_the_key_of_somebody_else(desk: Releasing) -> None:
    number = await hold(desk)
    lock(desk.office)
    lock(desk.office, 2, EXPIRED)  # who has got the mail already
    with pytest.raises(Conflict, match="cannot be used"):
        await desk.release(number, "test")
    assert [copy.rcpt for copy in desk.office.outside.copies] == [SECOND, REAL]
    lock(desk.office, 2)
    assert await desk.release(number, "test") == Released(number, 0, None)
    assert len(desk.office.outside.copies) == 2


async def test_the_warning_is_not_lost_while_mail_waits_for_a_key(desk: Releasing) -> None:
    lock(desk.office, key=EXPIRED)
    spam = examined(MESSAGE, {"spam": 8.0}, "news@shop.example", NOW)
    assert await desk.office.deliver(A1, content=spam) == [OK]
    lock(desk.office)
    await desk.release(HeldId(1), "test")
    assert [order.warning for order in desk.orders] == ["spam"]


async def test_who_lets_no_mail_wait_for_a_key_keeps_no_other_waiting(desk: Releasing) -> None:
    lock(desk.office, 2, EXPIRED, failure="stub")
    number = await hold(desk)
    lock(desk.office)
    assert (await desk.release(number, "test")).copies == 1
    assert desk.office.outside.rcpts == [REAL]
    assert sorted(row["outcome"] for row in desk.office.entries(BOTH)) == ["delivered", "failed"]


async def test_a_release_that_would_reach_nobody_is_refused(desk: Releasing) -> None:
    number = await hold(desk, A1)
    lock(desk.office, key=EXPIRED, failure="stub")
    with pytest.raises(Conflict, match=r"the key ABAB\w+ cannot"):
        await desk.release(number, "test")


async def test_a_release_in_plain_text_ends_encryption(desk: Releasing) -> None:
    number = await hold(desk, A1)
    lock(desk.office, key=EXPIRED, failure="plain")
    await desk.release(number, "test")
    assert BODY in copies(desk.office)[REAL]
    assert [one.recipient_id for one in desk.office.locksmith.given_up] == [1]


# -- Second tries ----------------------------------------------------------------------------------------------------


async def test_who_wants_encryption_by_now_gets_the_second_copy_encrypted() -> None:
    office = new_office()
    office.bounce = REFUSED
    untouched = await first(office)
    lock(office)
    assert await refuse(office, untouched) == [OK]
    _, again = office.outside.copies
    assert b"More than" not in content(again)
    assert b"More than \xff you asked for" in opened(content(again))


@pytest.mark.parametrize("failure", ["hold", "stub"])
async def test_there_is_no_second_copy_in_clear(failure: str) -> None:
    office = new_office()
    office.bounce = REFUSED
    untouched = await first(office)
    lock(office, key=EXPIRED, failure=failure)
    assert await refuse(office, untouched) == [OK]
    assert len(office.outside.copies) == 1
    assert (A1, "failed", Reason.KEY_UNUSABLE.value) in office.outcomes()
    assert len(office.recorded) == 1


# -- Reading along ---------------------------------------------------------------------------------------------------


@pytest.fixture
def office() -> Office:
    office = new_office()
    office.store.update("account", 1, notify_co_recipients=True)
    return office


async def answer(office: Office) -> list[str]:
    return await send(
        office, "both+help=shop.example@alias.example", head=HEAD.replace(b"a1+help", b"both+help") + ANSWERS
    )


async def test_who_reads_along_gets_it_encrypted(office: Office) -> None:
    lock(office, 2)
    assert await answer(office) == [OK]
    sent, shared = office.outside.copies
    assert (sent.rcpt, shared.rcpt) == (CONTACT, SECOND)
    assert b"Yes, please." in content(sent)
    assert b"Yes, please." not in content(shared)
    assert b"Yes, please." in opened(content(shared))


async def test_who_would_read_along_is_told_that_the_key_is_useless(office: Office) -> None:
    lock(office, 2, EXPIRED)
    assert await answer(office) == [OK]
    assert office.outside.rcpts == [CONTACT]
    assert told(office) == [("GKE", 2), ("STB", 2)]
    assert office.store.posted[1].data["kept"] is False


async def test_an_answer_is_sent_once_though_reading_along_has_to_wait(office: Office) -> None:
    lock(office, 2)
    office.locksmith.down = True
    assert await answer(office) == [TEMP]
    office.locksmith.down = False
    assert await answer(office) == [OK]
    assert [copy.rcpt for copy in office.outside.copies] == [CONTACT, SECOND]


# -- Notices ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def notices() -> Notifying:
    return Notifying()


def lock_notices(notices: Notifying, key: bytes = b"good", **wishes: object) -> None:
    notices.office.locksmith.lock(int(MAILBOX.id), key, **wishes)


async def test_6_1_notices_are_encrypted(notices: Notifying) -> None:
    lock_notices(notices, hide_subject=True)
    await notices.work(notice(Code.ADUN))
    [copy] = notices.sent
    assert b"shop@" not in content(copy)
    assert b"shop@alias.example" in opened(content(copy))
    head = split(content(copy))
    assert head.first(b"subject") == b"[...]"
    assert head.count(b"dkim-signature") == 1


@pytest.mark.parametrize("code", [Code.GKE, Code.NOT_ENCRYPTED, Code.VR])
async def test_6_1_what_is_about_the_key_or_the_mailbox_itself_is_not(notices: Notifying, code: Code) -> None:
    unverified = replace(MAILBOX, verified=code is not Code.VR)
    notices.books.ground = replace(GROUND, recipient=unverified)
    lock_notices(notices, never_plaintext=True)
    await notices.work(notice(code))
    [copy] = notices.sent
    assert b"BEGIN PGP MESSAGE" not in content(copy)


@pytest.mark.parametrize("whose", ["recipient", "account"])
async def test_6_5_where_plain_text_is_never_wanted_a_bad_key_leaves_a_stub(notices: Notifying, whose: str) -> None:
    if whose == "recipient":
        notices.books.ground = replace(GROUND, default=replace(MAILBOX, never_plaintext=True))
    else:
        notices.books.ground = replace(GROUND, never_plaintext=True)
    lock_notices(notices, EXPIRED, never_plaintext=True)
    await notices.work(notice(Code.ADUN))
    lock_notices(notices, never_plaintext=True)
    await notices.work(notice(Code.ADLN), notice(Code.ADUN))  # number 1 is known already
    stub, whole = map(content, notices.sent)
    assert b"shop" not in stub
    assert b"shop@alias.example" in opened(whole)


async def test_a_notice_waits_for_trouble_of_our_own(notices: Notifying) -> None:
    lock_notices(notices)
    for trouble in ("down", "jammed", "away"):
        setattr(notices.office.locksmith, trouble, True)
        with pytest.raises(Unavailable):
            await notices.work(notice(Code.ADUN))
        setattr(notices.office.locksmith, trouble, False)
    assert notices.sent == []
    await notices.work(notice(Code.ADUN))
    assert b"shop@alias.example" in opened(content(notices.sent[0]))


# -- Explanations ----------------------------------------------------------------------------------------------------


async def test_it_is_explained_that_a_copy_is_encrypted() -> None:
    desk = Explaining()
    lock(desk.office)
    [copy] = (await desk.explain(A1)).copies
    assert (copy.destination, copy.mode, copy.reasons) == (REAL, "rewrite", ("its recipient wants it encrypted",))
    assert "Thank you" not in str(copy)
    desk.office.alias("s@alias.example", recipients=(2,))
    [other] = (await desk.explain("s@alias.example")).copies
    assert (other.destination, other.mode, other.reasons) == (SECOND, "transparent", ())


@pytest.mark.parametrize("failure", ["hold", "stub", "plain"])
async def test_what_is_explained_of_a_useless_key_changes_nothing(failure: str) -> None:
    desk = Explaining()
    lock(desk.office, key=EXPIRED, failure=failure)
    found = await desk.explain(A1)
    delivery = {
        "hold": "held, until its owner decides: encryption key unusable",
        "stub": "failed: encryption key unusable",
        "plain": "1 copy",
    }
    assert said(found, "delivery") == delivery[failure]
    assert (desk.office.locksmith.given_up, desk.office.store.posted) == ([], [])
