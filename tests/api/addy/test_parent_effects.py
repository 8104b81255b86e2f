"""What is changed about domains and usernames over the API holds for the next mail."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailrelay.core.facts import AccountId
from mailrelay.core.ownership import proof
from mailrelay.keyring import read_secret
from tests.api.addy.conftest import Desk, settings
from tests.api.addy.mailpath import MailPath, mail_path
from tests.api.addy.parentdesk import domain, username


@pytest.fixture
async def mail(desk: Desk, dsn: str, tmp_path: Path) -> AsyncIterator[MailPath]:
    async with mail_path(settings(dsn, tmp_path), desk) as path:
        yield path


async def test_a_domain_takes_mail_from_its_proof_on_and_until_it_goes(
    desk: Desk, mail: MailPath, tmp_path: Path
) -> None:
    assert await mail.fate("new@own.example") == "NoneType"
    [key] = read_secret(tmp_path / "secrets", "ownership.key")
    desk.dns.txt("own.example", proof(key, AccountId(1), "own.example"))
    number = (await desk.post("domains", {"domain": "own.example"})).json()["data"]["id"]
    assert await mail.fate("new@own.example") == "Deliver"
    assert await mail.answer("new@own.example") == "DUNNO"
    await desk.delete(f"domains/{number}")
    assert await mail.fate("new@own.example") == "NoneType"


@pytest.mark.parametrize("things", ["domains", "usernames"])
async def test_switches_hold_at_once(desk: Desk, mail: MailPath, things: str) -> None:
    if things == "domains":
        number, host = str(await domain(desk)), "own.example"
    else:
        number, host = str(await username(desk)), "janedoe.alias2.example"
    await desk.alias(f"known@{host}")
    names = (f"new@{host}", f"known@{host}")

    async def fates() -> list[str]:
        return [await mail.fate(name) for name in names]

    assert await fates() == ["Deliver", "Deliver"]
    await desk.delete(f"active-{things}/{number}")
    assert await fates() == ["Drop", "Drop"]
    await desk.post(f"active-{things}", {"id": number})
    await desk.delete(f"catch-all-{things}/{number}")
    assert await fates() == ["Deny", "Deliver"]
    await desk.post(f"catch-all-{things}", {"id": number})
    assert await fates() == ["Deliver", "Deliver"]


@pytest.mark.parametrize("things", ["domains", "usernames"])
async def test_expressions_are_about_what_stands_before_the_extension(desk: Desk, mail: MailPath, things: str) -> None:
    if things == "domains":
        number, host = await domain(desk, catch_all=False), "own.example"
    else:
        number, host = await username(desk, catch_all=False), "janedoe.alias.example"
    await desk.patch(f"{things}/{number}", {"auto_create_regex": "^prefix.*end$"})
    expected = {
        "prefix-end": "Deliver",
        "PREFIX.end+anything": "Deliver",
        "other": "Deny",
        "prefix+end": "Deny",
        "x+prefixend": "Deny",
    }
    assert {local: await mail.fate(f"{local}@{host}") for local in expected} == expected
    await desk.patch(f"{things}/{number}", {"auto_create_regex": ""})
    assert await mail.fate(f"prefix-end@{host}") == "Deny"


@pytest.mark.parametrize("things", ["domains", "usernames"])
async def test_a_default_recipient_gets_the_mail_from_then_on(desk: Desk, mail: MailPath, things: str) -> None:
    if things == "domains":
        number, host = await domain(desk), "own.example"
    else:
        number, host = await username(desk), "janedoe.alias.example"
    await desk.alias(f"known@{host}")
    second = await desk.recipient("two@inbox.example")
    names = [f"new@{host}", f"known@{host}"]
    assert [await mail.reaches(name) for name in names] == [["me@inbox.example"]] * 2
    await desk.patch(f"{things}/{number}/default-recipient", {"default_recipient": str(second)})
    assert [await mail.reaches(name) for name in names] == [["two@inbox.example"]] * 2
    await desk.patch(f"{things}/{number}/default-recipient", {})
    assert [await mail.reaches(name) for name in names] == [["me@inbox.example"]] * 2


async def test_a_new_username_takes_mail_and_one_given_up_refuses_it(desk: Desk, mail: MailPath) -> None:
    assert await mail.fate("x@janedoe.alias.example") == "Deny"
    number = (await desk.post("usernames", {"username": "JaneDoe"})).json()["data"]["id"]
    assert await mail.fate("x@janedoe.alias.example") == "Deliver"
    await desk.alias("known@janedoe.alias.example")
    # Once from the database, then from memory, which must not outlive the username.
    assert [await mail.answer("known@janedoe.alias.example") for _ in range(2)] == ["DUNNO", "DUNNO"]
    await desk.delete(f"usernames/{number}")
    assert (await mail.answer("known@janedoe.alias.example")).startswith("550 ")
    assert await mail.fate("x@janedoe.alias.example") == "Deny"


async def test_a_known_address_is_refused_as_soon_as_its_domain_is_gone(desk: Desk, mail: MailPath) -> None:
    number = await domain(desk)
    await desk.alias("known@own.example")
    assert [await mail.answer("known@own.example") for _ in range(2)] == ["DUNNO", "DUNNO"]
    await desk.delete(f"domains/{number}")
    assert await mail.fate("known@own.example") == "NoneType"
