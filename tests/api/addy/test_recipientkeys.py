"""OpenPGP keys over HTTP: T-RE-16 to T-RE-21 and T-RE-24 to T-RE-27 of addy-api.md."""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from mailrelay.api.addy.recipientkeys import is_block
from mailrelay.clients.openpgp import create_service_key
from mailrelay.core.servicekeys import public_block
from tests.api.addy.conftest import Desk

_, BINARY = create_service_key("one@inbox.example", datetime.now(UTC))
ARMORED = public_block(BINARY).decode("ascii").replace("\r\n", "\n")
BEGIN, END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
NOT_IMPORTED = (404, "Key could not be imported")
NEEDED = "You need to add a public key to this recipient before you can enable"
SWITCHES = {
    "encrypted-recipients": "should_encrypt",
    "inline-encrypted-recipients": "inline_encryption",
    "protected-headers-recipients": "protected_headers",
}


def said(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.text


def lost(id: object) -> tuple[int, str]:
    return 404, f'{{"message": "No query results for model [App\\\\Models\\\\Recipient] {id}"}}'


@pytest.fixture
async def one(desk: Desk) -> UUID:
    """A recipient without a key."""
    return await desk.recipient("one@inbox.example")


@pytest.fixture
async def keyed(desk: Desk, one: UUID) -> UUID:
    """A recipient with a key that is not used."""
    query = "update recipient set fingerprint = %s, public_key = %s where uuid = %s"
    await desk.sql(query, "A" * 40, b"key", one)
    return one


async def put(desk: Desk, id: object, key: Any) -> httpx2.Response:
    return await desk.patch(f"recipient-keys/{id}", {"key_data": key})


async def shown(desk: Desk, id: object) -> dict[str, Any]:
    found: dict[str, Any] = (await desk.get(f"recipients/{id}")).json()["data"]
    return found


def variants() -> dict[str, str]:
    body = ARMORED.removeprefix(BEGIN).strip()
    return {
        "as it comes": ARMORED,
        "crlf": ARMORED.replace("\n", "\r\n"),
        "headers": f"{BEGIN}\nVersion: X 1\nComment: made by (ü)\n\n{body}",
        "text around": f"My key:\n{ARMORED}\nbye",
    }


@pytest.mark.parametrize("spelled", variants())
async def test_t_re_16_a_key_is_set_and_used(desk: Desk, one: UUID, spelled: str) -> None:
    response = await put(desk, one, variants()[spelled])
    assert response.status_code == 200, response.text
    found = response.json()["data"]
    assert found["should_encrypt"] is True
    assert found["fingerprint"] == found["fingerprint"].upper()
    assert len(found["fingerprint"]) in (40, 64)
    assert found["aliases_count"] == 0
    assert await desk.one("select public_key is not null from recipient where uuid = %s", one)
    (actor, action), *more = await desk.sql("select actor, action from audit")
    assert (actor.partition(":")[0], action, more) == ("token", "recipient.key_set", [])


async def test_a_key_takes_the_place_of_another_and_lets_mail_go(desk: Desk, keyed: UUID) -> None:
    assert (await put(desk, keyed, ARMORED)).status_code == 200
    assert (await shown(desk, keyed))["fingerprint"] != "A" * 40


async def test_who_is_not_verified_may_have_one(desk: Desk) -> None:
    uuid = await desk.recipient("new@inbox.example", verified=False)
    assert (await put(desk, uuid, ARMORED)).status_code == 200


FORMAT, TEXT = "The key data format is invalid.", "The key data must be a string."


@pytest.mark.parametrize(
    ("key", "messages"),
    [
        ("Invalid Key Data", [FORMAT]),
        (f"{END}\nabcd\n{BEGIN}", [FORMAT]),
        (f"{BEGIN}{END}", [FORMAT]),
        (f"{BEGIN}\nab!cd\n{END}", [FORMAT]),
        (f"{BEGIN}\nabcd\n", [FORMAT]),
        (ARMORED.replace("PUBLIC", "PRIVATE"), [FORMAT]),
        (f"{BEGIN}\nab\x00cd\n{END}", [TEXT, FORMAT]),
        (f"{BEGIN}\nComment: \ud800\n{END}", [TEXT]),
        (None, [TEXT, FORMAT]),
        ("", [TEXT, FORMAT]),
        (5, [TEXT, FORMAT]),
        ([ARMORED], [TEXT, FORMAT]),
    ],
)
async def test_t_re_17_what_is_no_block_is_refused(desk: Desk, one: UUID, key: Any, messages: list[str]) -> None:
    response = await put(desk, one, key)
    assert (response.status_code, response.json()["errors"]) == (422, {"key_data": messages})


@pytest.mark.parametrize(
    "key",
    [
        f"{BEGIN}\n\nAAAA\n{END}",
        f"{BEGIN}\n{END}",
        ARMORED.replace(ARMORED[200:240], ""),
        f"{ARMORED}\n{ARMORED}",
        ARMORED.lower(),
        f"{BEGIN}\n{'A' * 900_000}\n{END}",
    ],
    ids=["broken", "empty", "cut", "two", "lower", "large"],
)
async def test_t_re_18_what_is_no_key_is_not_imported(desk: Desk, keyed: UUID, key: str) -> None:
    assert said(await put(desk, keyed, key)) == NOT_IMPORTED
    assert (await shown(desk, keyed))["fingerprint"] == "A" * 40


async def test_without_a_key_nothing_is_imported(desk: Desk, one: UUID) -> None:
    assert said(await desk.patch(f"recipient-keys/{one}")) == NOT_IMPORTED


async def test_keys_of_others_are_not_there(desk: Desk) -> None:
    theirs = await desk.one("select uuid from recipient where id = 2")
    for id in (theirs, uuid4(), "foo"):
        for sent in ({"key_data": ARMORED}, {}, {"key_data": f"{BEGIN}\nAAAA\n{END}"}):
            assert said(await desk.patch(f"recipient-keys/{id}", sent)) == lost(id)
        assert said(await desk.delete(f"recipient-keys/{id}")) == lost(id)
        for path in SWITCHES:
            assert said(await desk.post(path, {"id": str(id)})) == lost(id)
            assert said(await desk.delete(f"{path}/{id}")) == lost(id)
    assert await desk.one("select count(*) from audit") == 0


async def test_t_re_19_a_key_goes_with_all_that_it_is_for(desk: Desk, keyed: UUID) -> None:
    await desk.sql("update recipient set should_encrypt = true, inline_encryption = true where uuid = %s", keyed)
    for _ in range(2):
        assert said(await desk.delete(f"recipient-keys/{keyed}")) == (204, "")
    found = await shown(desk, keyed)
    assert [found[name] for name in ("fingerprint", *SWITCHES.values())] == [None, False, False, False]
    assert await desk.sql("select action from audit") == [("recipient.key_removed",)]


@pytest.mark.parametrize(
    ("path", "flag"),
    SWITCHES.items(),
    ids=["t_re_20_and_21", "t_re_24_and_25", "t_re_26_and_27"],
)
async def test_encryption_is_switched(desk: Desk, keyed: UUID, path: str, flag: str) -> None:
    for _ in range(2):
        response = await desk.post(f"{path}/", {"id": str(keyed)})
        assert (response.status_code, response.json()["data"][flag]) == (200, True)
    for _ in range(2):
        assert said(await desk.delete(f"{path}/{keyed}")) == (204, "")
    found = await shown(desk, keyed)
    assert (found[flag], found["fingerprint"]) == (False, "A" * 40)
    assert await desk.sql("select action, detail from audit order by id") == [
        ("recipient.encryption", {flag: True}),
        ("recipient.encryption", {flag: False}),
    ]


@pytest.mark.parametrize(
    ("path", "what"),
    [*zip(SWITCHES, ("encryption", "inline encryption", "protected headers (hide subject)"), strict=True)],
)
async def test_without_a_key_nothing_is_switched_on(desk: Desk, one: UUID, path: str, what: str) -> None:
    assert said(await desk.post(path, {"id": str(one)})) == (422, f"{NEEDED} {what}")
    assert said(await desk.delete(f"{path}/{one}")) == (204, "")
    assert (await desk.post(path, {})).json()["errors"] == {"id": ["The id field is required."]}


async def test_inline_and_a_hidden_subject_exclude_each_other(desk: Desk, keyed: UUID) -> None:
    sent = {"id": str(keyed)}
    await desk.post("inline-encrypted-recipients", sent)
    words = "You need to disable inline encryption before you can enable protected headers (hide subject)"
    assert said(await desk.post("protected-headers-recipients", sent)) == (422, words)
    await desk.delete(f"inline-encrypted-recipients/{keyed}")
    await desk.post("protected-headers-recipients", sent)
    words = "You need to disable protected headers (hide subject) before you can enable inline encryption"
    assert said(await desk.post("inline-encrypted-recipients", sent)) == (422, words)


@pytest.mark.parametrize(
    "text",
    [
        (BEGIN + "\n") * 25_000,
        f"{BEGIN}{' ' * 250_000}!{END}",
        f"{BEGIN}{'a:' * 125_000}!{END}",
        f"{BEGIN}{chr(10) * 250_000}!{END}",
        f"{BEGIN}\n{('a:' + chr(10)) * 80_000}!\n{END}",
        f"{BEGIN}\n{'A' * 250_000}!\n{END}",
        f"{BEGIN}\n{'!' * 900_000}!\n{END}",
    ],
    ids=["begins", "spaces", "header", "lines", "headers", "data", "large"],
)
def test_whatever_it_is_it_is_looked_at_in_no_time(text: str) -> None:
    began = time.process_time()
    is_block(text)
    assert time.process_time() - began < 2
