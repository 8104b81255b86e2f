"""Recipients over HTTP: T-RE-1 to T-RE-15, T-RE-22, T-RE-23 and T-RE-28 to T-RE-31 of addy-api.md, and what is ours."""

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from mailrelay.core.lookup import Answer
from tests.api.addy.conftest import Desk

QUIET: dict[str, Any] = {"addy": {"check_mail_domains": False}}
TRUSTING: dict[str, Any] = {"addy": {"check_mail_domains": False, "verify_recipients": False}}
DEFAULT = "select uuid from recipient where id = 1"
SHAPE = {
    *("id", "user_id", "email", "description", "can_reply_send", "should_encrypt", "inline_encryption"),
    *("protected_headers", "remove_pgp_keys", "remove_pgp_signatures", "fingerprint", "email_verified_at", "aliases"),
    *("aliases_count", "created_at", "updated_at"),
}
INVALID = "The email must be a valid email address."
TAKEN = "A recipient with that email already exists."
LOCAL = "The recipient cannot use a local domain or be an alias."
CUSTOM = "The recipient cannot use a domain that is already used by a custom domain."


@pytest.fixture
def chosen() -> dict[str, Any]:
    return QUIET


def said(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.text


def wrong(response: httpx2.Response) -> list[str]:
    """What is wrong with the email, and nothing else is."""
    assert response.status_code == 422, response.text
    document = response.json()
    assert list(document["errors"]) == ["email"]
    messages: list[str] = document["errors"]["email"]
    assert document["message"].startswith(messages[0])
    return messages


def lost(id: object) -> tuple[int, str]:
    return 404, f'{{"message": "No query results for model [App\\\\Models\\\\Recipient] {id}"}}'


async def add(desk: Desk, email: object) -> httpx2.Response:
    return await desk.post("recipients", {"email": email})


async def custom(desk: Desk, name: str, account: int = 1) -> None:
    await desk.sql("insert into domain (name, account_id, verified_at) values (%s, %s, now())", name, account)


async def count(desk: Desk) -> int:
    found: int = await desk.one("select count(*) from recipient where account_id = 1")
    return found


# --- looking --------------------------------------------------------------------------------------------------------


async def test_t_re_1_all_are_listed_newest_first(desk: Desk) -> None:
    for number in range(3):
        await desk.recipient(f"r{number}@inbox.example")
    response = await desk.get("recipients")
    assert response.status_code == 200
    assert list(response.json()) == ["data"]
    found = response.json()["data"]
    assert [one["email"].partition("@")[0] for one in found] == ["r2", "r1", "r0", "me"]
    assert all(one["aliases_count"] == 0 for one in found)


async def test_t_re_2_one_is_shown(desk: Desk) -> None:
    uuid = await desk.recipient("One@inbox.example")
    response = await desk.get(f"recipients/{str(uuid).upper()}")
    assert response.status_code == 200
    assert list(response.json()) == ["data"]
    found = response.json()["data"]
    assert set(found) == SHAPE
    assert (found["id"], found["email"], found["aliases_count"]) == (str(uuid), "one@inbox.example", 0)
    assert found["user_id"] == str(await desk.one("select uuid from account where id = 1"))
    assert (found["aliases"], found["description"], found["fingerprint"]) == ([], None, None)
    flags = ("can_reply_send", "should_encrypt", "inline_encryption", "protected_headers", "remove_pgp_keys")
    assert [found[flag] for flag in flags] == [True, False, False, False, True]
    assert len(found["email_verified_at"]) == len(found["created_at"]) == len("2019-10-01 09:00:00")


async def test_t_re_3_and_5_nobody_counts_unless_asked(desk: Desk) -> None:
    uuid = await desk.recipient("one@inbox.example")
    everyone = (await desk.get("recipients?filter[alias_count]=false")).json()["data"]
    one = (await desk.get(f"recipients/{uuid}?filter[alias_count]=false")).json()["data"]
    assert len(everyone) == 2
    assert all(set(found) == SHAPE - {"aliases_count"} for found in (*everyone, one))
    # The extension sends a stray top-level parameter, which means nothing.
    assert set((await desk.get(f"recipients/{uuid}?alias_count=false")).json()["data"]) == SHAPE
    assert set((await desk.get(f"recipients/{uuid}?filter[alias_count]=true")).json()["data"]) == SHAPE


async def test_t_re_4_deleted_aliases_do_not_count(desk: Desk) -> None:
    uuid = await desk.recipient("one@inbox.example")
    for name, deleted_at in (("a", None), ("b", "2026-01-01")):
        state = "deleted" if deleted_at else "active"
        await desk.attach(await desk.alias(f"{name}@alias.example", state=state, deleted_at=deleted_at), uuid)
    found = (await desk.get("recipients")).json()["data"]
    assert [(one["email"], one["aliases_count"]) for one in found] == [
        ("one@inbox.example", 1),
        ("me@inbox.example", 0),
    ]


async def test_a_list_can_be_of_verified_ones(desk: Desk) -> None:
    await desk.recipient("new@inbox.example", verified=False)

    async def listed(verified: str) -> list[str]:
        found = (await desk.get(f"recipients?filter[verified]={verified}")).json()["data"]
        return [one["email"].partition("@")[0] for one in found]

    assert (await listed("true"), await listed("false"), await listed("")) == (["me"], ["new"], ["new", "me"])
    refused = await desk.get("recipients?filter[verified]=1&filter[alias_count]=no")
    assert refused.json() == {
        "message": "The selected filter.verified is invalid. (and 1 more error)",
        "errors": {
            "filter.verified": ["The selected filter.verified is invalid."],
            "filter.alias_count": ["The selected filter.alias count is invalid."],
        },
    }
    assert (await desk.get("recipients?filter=x")).json()["errors"] == {"filter": ["The filter must be an array."]}


# --- adding ---------------------------------------------------------------------------------------------------------


async def test_t_re_6_a_new_one_is_asked_by_mail(desk: Desk) -> None:
    response = await add(desk, " JohnDoe@Example.Example ")
    assert response.status_code == 201, response.text
    found = response.json()["data"]
    assert set(found) == SHAPE
    assert (found["email"], found["email_verified_at"], found["aliases_count"]) == (
        "johndoe@example.example",
        None,
        0,
    )
    assert await desk.one("select address from recipient where uuid = %s", UUID(found["id"])) == found["email"]
    jobs = await desk.sql("select payload->>'code', payload->>'about' from job where kind = 'notice'")
    assert jobs == [("VR", "johndoe@example.example")]
    token = await desk.one("select id from token")
    assert await desk.sql("select actor, account_id, action, detail->>'address' from audit") == [
        (f"token:{token}", 1, "recipient.add", "johndoe@example.example")
    ]


@pytest.mark.parametrize("chosen", [TRUSTING])
async def test_t_re_7_who_is_trusted_is_not_asked(desk: Desk) -> None:
    response = await add(desk, "johndoe@example.example")
    assert response.status_code == 201
    assert response.json()["data"]["email_verified_at"] is not None
    assert await desk.one("select count(*) from job") == 0


@pytest.mark.parametrize("verified", [True, False])
async def test_t_re_8_and_9_each_is_there_once(desk: Desk, verified: bool) -> None:
    await desk.recipient("johndoe@example.example", verified=verified)
    for email in ("johndoe@example.example", "JohnDoe@EXAMPLE.example"):
        assert wrong(await add(desk, email)) == [TAKEN]


async def test_t_re_10_the_default_one_is_there(desk: Desk) -> None:
    assert wrong(await add(desk, "me@inbox.example")) == [TAKEN]


@pytest.mark.parametrize("domain", ["alias.example", "ALIAS2.example", "johndoe.alias.example", "a.b.alias.example"])
async def test_t_re_11_it_is_no_alias(desk: Desk, domain: str) -> None:
    assert wrong(await add(desk, f"johndoe@{domain}")) == [LOCAL]


@pytest.mark.parametrize("account", [1, 2])
async def test_t_re_12_it_is_at_nobodys_custom_domain(desk: Desk, account: int) -> None:
    await custom(desk, "example.example", account)
    for email in ("johndoe@example.example", "johndoe@Example.EXAMPLE"):
        assert wrong(await add(desk, email)) == [CUSTOM]
    assert (await add(desk, "johndoe@sub.example.example")).status_code == 201


async def test_both_may_be_wrong(desk: Desk) -> None:
    await custom(desk, "own.alias.example")
    response = await add(desk, "johndoe@own.alias.example")
    assert wrong(response) == [CUSTOM, LOCAL]
    assert response.json()["message"] == f"{CUSTOM} (and 1 more error)"


async def test_what_is_there_already_goes_before_where_it_is(desk: Desk) -> None:
    await desk.recipient("johndoe@example.example")
    await custom(desk, "example.example")
    assert wrong(await add(desk, "johndoe@example.example")) == [TAKEN]


@pytest.mark.parametrize(
    ("email", "message"),
    [
        ("johndoe@example.", INVALID),
        ("johndoe", INVALID),
        ("johndoe@example", INVALID),
        ("a..b@example.example", INVALID),
        ("a b@example.example", INVALID),
        ('"a b"@example.example', INVALID),
        ("a@[192.0.2.1]", INVALID),
        ("a@b@example.example", INVALID),
        (f"{'a' * 65}@example.example", INVALID),
        ("a@example.example\r\nBcc: b@example.example", INVALID),
        ("a@example.example,b@example.example", INVALID),
        ("<a@example.example>", INVALID),
        ("a'); drop table recipient; --@example.example", INVALID),
        (f"{'a' * 60}@{'b.' * 89}example.example", None),
        (f"{'a' * 60}@{'b.' * 90}example.example", "The email may not be greater than 254 characters."),
        ("ä@example.example", "The email field must only contain single-byte alphanumeric characters and symbols."),
        ("a\x00@example.example", "The email must be a string."),
        ("\ud800@example.example", "The email must be a string."),
        (5, "The email must be a string."),
        (True, "The email must be a string."),
        (["a@example.example"], "The email must be a string."),
        ({"a": {"b": []}}, "The email must be a string."),
        (None, "The email field is required."),
        ("", "The email field is required."),
        ("  \u200b ", "The email field is required."),
        ([], "The email field is required."),
    ],
)
async def test_t_re_13_what_is_no_address_is_refused(desk: Desk, email: object, message: str | None) -> None:
    response = await add(desk, email)
    if message is None:
        assert response.status_code == 201, response.text
    else:
        assert wrong(response) == [message]
        assert await count(desk) == 1


async def test_nothing_at_all_is_refused(desk: Desk) -> None:
    for response in (await desk.post("recipients"), await desk.post("recipients", [])):
        assert wrong(response) == ["The email field is required."]


async def test_others_verified_ones_are_not_to_be_had(desk: Desk) -> None:
    assert wrong(await add(desk, "Stranger@inbox.example")) == [TAKEN]
    await desk.recipient("asked@inbox.example", account=2, verified=False)
    assert (await add(desk, "asked@inbox.example")).status_code == 201


async def test_a_banned_one_is_refused(desk: Desk) -> None:
    await desk.sql("insert into ban (type, value, scope) values ('domain', 'bad.example', 'destination')")
    assert wrong(await add(desk, "a@bad.example")) == ["The recipient cannot use that email or domain."]


async def test_of_fifty_at_once_exactly_one_wins(desk: Desk) -> None:
    responses = await asyncio.gather(*(add(desk, "new@inbox.example") for _ in range(50)))
    assert sorted(response.status_code for response in responses) == [201, *[422] * 49]
    assert await count(desk) == 2
    assert await desk.one("select count(*) from audit") == 1


async def test_who_was_asked_thrice_is_left_alone_for_a_while(desk: Desk) -> None:
    await desk.sql(
        "insert into notification_limit (account_id, kind, subject, window_start, sent)"
        " values (1, 'VR', 'new@inbox.example', now() - interval '50 minutes', 3)"
    )
    response = await add(desk, "new@inbox.example")
    assert said(response) == (429, '{"message": "Too Many Attempts."}')
    assert 590 <= int(response.headers["Retry-After"]) <= 600
    assert await count(desk) == 1


@pytest.mark.parametrize("chosen", [{}])
async def test_a_domain_without_mail_is_refused_and_trouble_in_dns_is_not(desk: Desk) -> None:
    assert wrong(await add(desk, "a@new.example")) == [INVALID]
    desk.dns.fails("new.example", "MX")
    assert (await add(desk, "a@new.example")).status_code == 201
    desk.dns.answers = {("new.example", "A"): Answer(("192.0.2.1",))}
    assert (await add(desk, "b@new.example")).status_code == 201


@pytest.mark.parametrize("chosen", [{**TRUSTING, "limits": {"recipients_per_account": 3}}])
async def test_an_account_has_so_many_however_many_ask_at_once(desk: Desk) -> None:
    answers = await asyncio.gather(*(add(desk, f"r{number}@new.example") for number in range(10)))
    assert sorted(one.status_code for one in answers) == [201] * 2 + [403] * 8
    assert {one.text for one in answers if one.status_code == 403} == {"You have reached your recipient limit"}
    assert await count(desk) == 3


# --- removing -------------------------------------------------------------------------------------------------------


async def test_t_re_14_one_goes_and_its_aliases_fall_back(desk: Desk) -> None:
    uuid = await desk.recipient("one@inbox.example")
    await desk.attach(await desk.alias("a@alias.example"), uuid)
    await desk.sql("update username set default_recipient_id = (select max(id) from recipient) where id = 1")
    assert said(await desk.delete(f"recipients/{uuid}")) == (204, "")
    assert [one["email"] for one in (await desk.get("recipients")).json()["data"]] == ["me@inbox.example"]
    assert await desk.sql("select count(*) from alias_recipient") == [(0,)]
    assert await desk.sql("select default_recipient_id from username where id = 1") == [(None,)]
    assert said(await desk.delete(f"recipients/{uuid}")) == lost(uuid)


@pytest.mark.parametrize("spelled", [str.lower, str.upper])
async def test_t_re_15_the_default_one_stays_however_it_is_spelled(desk: Desk, spelled: Any) -> None:
    uuid = spelled(str(await desk.one(DEFAULT)))
    assert said(await desk.delete(f"recipients/{uuid}")) == (403, "You cannot delete your default recipient")
    assert await count(desk) == 1


# --- asking again ---------------------------------------------------------------------------------------------------


async def test_the_mail_goes_out_once_a_minute(desk: Desk) -> None:
    uuid = await desk.recipient("new@inbox.example", verified=False)
    response = await desk.post("recipients/email/resend", {"recipient_id": str(uuid)})
    assert said(response) == (200, "{}")
    assert (response.headers["X-RateLimit-Limit"], response.headers["X-RateLimit-Remaining"]) == ("1", "0")
    assert await desk.one("select payload->>'code' from job") == "VR"
    again = await desk.post("recipients/email/resend", {"recipient_id": str(uuid)})
    assert said(again) == (429, '{"message": "Too Many Attempts."}')
    assert 0 < int(again.headers["Retry-After"]) <= 60
    await desk.forget_requests()
    assert (await desk.post("recipients/email/resend", {"recipient_id": str(uuid)})).status_code == 200


@pytest.mark.parametrize("sent", [{}, {"recipient_id": None}, {"recipient_id": ""}])
async def test_without_an_id_nobody_is_asked(desk: Desk, sent: dict[str, Any]) -> None:
    response = await desk.post("recipients/email/resend", sent)
    assert said(response) == (404, '{"message": "No query results for model [App\\\\Models\\\\Recipient]."}')


@pytest.mark.parametrize("sent", ["foo", 5, ["a"], {"a": 1}, str(UUID(int=7)), "theirs", "\x00", "{}' or 1=1"])
async def test_who_is_none_of_mine_is_not_asked(desk: Desk, sent: Any) -> None:
    sent = str(await desk.one("select uuid from recipient where id = 2")) if sent == "theirs" else sent
    response = await desk.post("recipients/email/resend", {"recipient_id": sent})
    assert response.status_code == 404
    assert response.json()["message"].startswith("No query results for model [App\\Models\\Recipient]")
    assert await desk.one("select count(*) from job") == 0


async def test_who_is_verified_is_not_asked(desk: Desk) -> None:
    response = await desk.post("recipients/email/resend", {"recipient_id": str(await desk.one(DEFAULT))})
    assert said(response) == (404, "Email already verified")


# --- flags ----------------------------------------------------------------------------------------------------------

FLAGS = [
    pytest.param("allowed-recipients", "can_reply_send", id="t_re_22_and_23"),
    pytest.param("remove-pgp-keys-recipients", "remove_pgp_keys", id="t_re_28_and_29"),
    pytest.param("remove-pgp-signatures-recipients", "remove_pgp_signatures", id="t_re_30_and_31"),
]


@pytest.mark.parametrize(("path", "flag"), FLAGS)
async def test_a_flag_is_cleared_and_set(desk: Desk, path: str, flag: str) -> None:
    uuid = await desk.recipient("one@inbox.example")
    await desk.sql("update recipient set updated_at = '2020-01-01' where uuid = %s", uuid)
    untouched = await desk.post(f"{path}/", {"id": str(uuid)})
    assert (untouched.status_code, untouched.json()["data"]["updated_at"]) == (200, "2020-01-01 00:00:00")
    for _ in range(2):
        assert said(await desk.delete(f"{path}/{uuid}")) == (204, "")
    assert (await desk.get(f"recipients/{uuid}")).json()["data"][flag] is False
    for _ in range(2):
        response = await desk.post(f"{path}/", {"id": str(uuid).upper()})
        assert response.status_code == 200
        assert set(response.json()["data"]) == SHAPE
        assert response.json()["data"][flag] is True
    assert await desk.sql("select action, detail from audit order by id") == [
        ("recipient.change", {flag: False}),
        ("recipient.change", {flag: True}),
    ]


@pytest.mark.parametrize("path", [flag.values[0] for flag in FLAGS])
async def test_flags_of_others_are_not_there(desk: Desk, path: str) -> None:
    theirs = await desk.one("select uuid from recipient where id = 2")
    for id in (theirs, uuid4(), "foo"):
        assert said(await desk.post(path, {"id": str(id)})) == lost(id)
        assert said(await desk.delete(f"{path}/{id}")) == lost(id)
    for sent, message in (
        ({}, "The id field is required."),
        ({"id": ""}, "The id field is required."),
        ({"id": 5}, "The id must be a string."),
        ({"id": [str(theirs)]}, "The id must be a string."),
        ({"id": "\x00"}, "The id must be a string."),
    ):
        assert (await desk.post(path, sent)).json() == {"message": message, "errors": {"id": [message]}}
    assert await desk.one("select count(*) from audit") == 0


async def test_n23_a_description_is_kept(desk: Desk) -> None:
    uuid = await desk.recipient("one@inbox.example")
    for sent, kept in (
        ({"description": "Büro\r\nX: y"}, "Büro\r\nX: y"),
        ({}, "Büro\r\nX: y"),
        ({"description": ""}, None),
    ):
        response = await desk.patch(f"recipients/{uuid}", sent)
        assert (response.status_code, response.json()["data"]["description"]) == (200, kept)
    assert (await desk.patch(f"recipients/{uuid}", {"description": "x" * 200})).status_code == 200
    refused = await desk.patch(f"recipients/{uuid}", {"description": "x" * 201})
    assert refused.json()["errors"] == {"description": ["The description may not be greater than 200 characters."]}
    for odd in (5, ["x"], {"x": 1}, "\x00", "\udfff"):
        refused = await desk.patch(f"recipients/{uuid}", {"description": odd})
        assert refused.json()["errors"] == {"description": ["The description must be a string."]}
    assert said(await desk.patch("recipients/foo", {"description": None})) == lost("foo")


# --- what is not there ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_recipients_of_others_are_not_there(desk: Desk, method: str) -> None:
    theirs = await desk.one("select uuid from recipient where id = 2")
    hidden = await desk.recipient("hidden@inbox.example")
    await desk.sql("update recipient set pending = true where uuid = %s", hidden)
    for id in (theirs, hidden, uuid4(), "foo", "1"):
        assert said(await desk.ask(method, f"recipients/{id}")) == lost(id)
    assert [one["email"] for one in (await desk.get("recipients")).json()["data"]] == ["me@inbox.example"]
    assert await desk.one("select count(*) from recipient") == 3


async def test_an_address_of_a_megabyte_takes_no_time(desk: Desk) -> None:
    begun = time.process_time()
    for email in ("a@" + "." * 900_000 + " x", "@" * 900_000, "a@" + "b." * 450_000 + "example"):
        assert (await desk.post("recipients", {"email": email})).status_code == 422
    assert time.process_time() - begun < 2
