"""Changes of one alias: addy-api.md section 6, "Alias changes" (T-AU) and "Alias recipients" (T-AR), and bad input."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.addy.conftest import Desk

SHARED, OWN = "alias.example", "johndoe.alias.example"
RESTORE_FIRST = "You need to restore this alias before you can activate it"
INVALID_RECIPIENT = {"message": "Invalid Recipient", "errors": {"recipient_ids": ["Invalid Recipient"]}}


def not_found(raw: object) -> dict[str, str]:
    return {"message": f"No query results for model [App\\Models\\Alias] {raw}"}


async def state(desk: Desk, alias: UUID) -> Any:
    rows = await desk.sql("select state from alias where uuid = %s", alias)
    return rows[0][0] if rows else None


async def deleted(desk: Desk, address: str = f"old@{OWN}", **columns: Any) -> UUID:
    return await desk.alias(address, state="deleted", deleted_at="2026-01-02 03:04:05+00", **columns)


async def attached(desk: Desk, alias: UUID) -> list[UUID]:
    rows = await desk.sql(
        "select r.uuid from alias_recipient ar join recipient r on r.id = ar.recipient_id"
        " where ar.alias_id = (select id from alias where uuid = %s) order by ar.created_at",
        alias,
    )
    return [row[0] for row in rows]


async def actions(desk: Desk) -> list[tuple[Any, ...]]:
    return await desk.sql("select actor, account_id, action from audit order by id")


@pytest.mark.parametrize(
    ("name", "longest"),
    [pytest.param("description", 200, id="t_au_1"), pytest.param("from_name", 50, id="t_au_2")],
)
async def test_texts_are_set_and_cleared(desk: Desk, name: str, longest: int) -> None:
    alias = await desk.alias(f"first@{OWN}", description="was", from_name="was")
    other = "from_name" if name == "description" else "description"
    for sent, kept in (("new", "new"), ("ü" * longest, "ü" * longest), ("", None), (" x ", "x"), (None, None)):
        answer = await desk.patch(f"aliases/{alias}", {name: sent})
        assert answer.status_code == 200
        assert (answer.json()["data"][name], answer.json()["data"][other]) == (kept, "was")
    wrong: tuple[Any, ...] = ("ü" * (longest + 1), ["x"], {"a": "b"}, 7, True, "a\0b", "\ud800")
    for value in wrong:
        answer = await desk.patch(f"aliases/{alias}", {name: value})
        assert answer.status_code == 422
        assert list(answer.json()["errors"]) == [name]
    assert await desk.one(f"select {name} from alias") is None
    said = (await desk.patch(f"aliases/{alias}", {name: "x" * (longest + 1)})).json()["message"]
    assert said == f"The {name.replace('_', ' ')} may not be greater than {longest} characters."


async def test_a_change_that_changes_nothing_leaves_no_trace(desk: Desk) -> None:
    alias = await desk.alias(f"first@{OWN}", description="was")
    before = await desk.one("select updated_at from alias")
    for document in ({}, {"description": "was"}, {"id": str(uuid4()), "active": False}):
        answer = await desk.patch(f"aliases/{alias}", document)
        assert (answer.status_code, answer.json()["data"]["active"]) == (200, True)
    await desk.post("active-aliases", {"id": str(alias)})
    await desk.delete(f"pinned-aliases/{alias}")
    assert await desk.one("select updated_at from alias") == before
    assert await actions(desk) == []
    await desk.patch(f"aliases/{alias}", {"description": "is"})
    assert await desk.one("select updated_at from alias") > before


async def test_t_au_3(desk: Desk) -> None:
    alias = await desk.alias(f"first@{OWN}")
    recipient = await desk.recipient("r@inbox.example")
    await desk.attach(alias, recipient)
    answer = await desk.delete(f"aliases/{alias}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await desk.one("select count(*) from alias where deleted_at is null") == 0
    assert await state(desk, alias) == "deleted"
    assert await attached(desk, alias) == [recipient]
    again = await desk.delete(f"aliases/{alias}")
    assert (again.status_code, again.json()) == (404, not_found(alias))


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_t_au_4(desk: Desk, is_deleted: bool) -> None:
    alias = await deleted(desk) if is_deleted else await desk.alias(f"old@{OWN}")
    await desk.attach(alias, await desk.recipient("r@inbox.example"))
    answer = await desk.delete(f"aliases/{alias}/forget")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await desk.get("aliases?filter[deleted]=with")).json()["data"] == []
    assert await state(desk, alias) is None
    assert (await desk.delete(f"aliases/{alias}/forget")).status_code == 404
    document = {"domain": OWN, "format": "custom", "local_part": "old"}
    assert (await desk.post("aliases", document)).status_code == 201


async def test_t_au_5(desk: Desk) -> None:
    used: dict[str, Any] = {
        "emails_forwarded": 10,
        "emails_blocked": 1,
        "emails_replied": 2,
        "emails_sent": 3,
        "last_sent": "now",
    }
    used |= {"pinned": True, "attached_recipients_only": True}
    alias = await desk.alias(f"first@{SHARED}", extension="e", description="d", from_name="Me", **used)
    await desk.attach(alias, await desk.recipient("r@inbox.example"))
    assert (await desk.delete(f"aliases/{alias}/forget")).status_code == 204
    assert (await desk.get(f"aliases/{alias}")).status_code == 404
    assert (await desk.get("aliases?filter[deleted]=with")).json()["data"] == []
    left = await desk.sql(
        "select account_id, extension, description, from_name, pinned, attached_recipients_only, emails_forwarded,"
        " emails_blocked, emails_replied, emails_sent, last_sent, state, deleted_at is not null from alias"
    )
    assert left == [(None, None, None, None, False, False, 0, 0, 0, 0, None, "forgotten", True)]
    assert await desk.one("select count(*) from alias_recipient") == 0
    assert (await desk.patch(f"aliases/{alias}/restore")).status_code == 404


async def test_t_au_6(desk: Desk) -> None:
    alias = await deleted(desk)
    answer = await desk.patch(f"aliases/{alias}/restore")
    assert answer.status_code == 200
    assert (answer.json()["data"]["deleted_at"], answer.json()["data"]["active"]) == (None, True)
    assert await state(desk, alias) == "active"


async def test_restoring_activates_what_was_not_deleted(desk: Desk) -> None:
    alias = await desk.alias(f"first@{OWN}", state="inactive")
    assert (await desk.patch(f"aliases/{alias}/restore")).json()["data"]["active"] is True
    assert (await desk.patch(f"aliases/{alias}/restore")).status_code == 200


async def test_an_alias_without_a_home_cannot_be_restored(desk: Desk) -> None:
    await desk.sql("insert into domain (account_id, name, verified_at) values (1, 'own.example', now())")
    lost = await deleted(desk, "x@own.example")
    await desk.sql("update alias set domain_id = null where uuid = %s", lost)
    await desk.sql("delete from domain where name = 'own.example'")
    answer = await desk.patch(f"aliases/{lost}/restore")
    assert answer.status_code == 422
    message = "This alias cannot be restored, because its domain, username or handle is no longer yours"
    assert answer.json() == {"message": message}
    await desk.sql("insert into domain (account_id, name, verified_at) values (2, 'own.example', now())")
    assert (await desk.patch(f"aliases/{lost}/restore")).json() == {"message": message}
    assert await state(desk, lost) == "deleted"
    assert (await desk.get(f"aliases/{lost}")).status_code == 200
    bulk = await desk.post("aliases/restore/bulk", {"ids": [str(lost)]})
    assert (bulk.status_code, bulk.json()) == (404, {"message": "No aliases found"})
    other = await deleted(desk)
    bulk = await desk.post("aliases/restore/bulk", {"ids": [str(lost), str(other)]})
    assert bulk.json()["ids"] == [str(other)]


async def test_t_au_7(desk: Desk) -> None:
    alias = await desk.alias(f"first@{OWN}", state="inactive")
    answer = await desk.post("active-aliases/", {"id": str(alias).upper()})
    assert (answer.status_code, answer.json()["data"]["active"]) == (200, True)
    assert (await desk.post("active-aliases", {"id": str(alias)})).status_code == 200


async def test_t_au_8(desk: Desk) -> None:
    alias = await desk.alias(f"first@{OWN}")
    for _ in range(2):
        answer = await desk.delete(f"active-aliases/{alias}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert await state(desk, alias) == "inactive"


async def test_deleted_aliases_are_not_activated(desk: Desk) -> None:
    alias = await deleted(desk)
    answer = await desk.post("active-aliases", {"id": str(alias)})
    assert (answer.status_code, answer.text) == (422, RESTORE_FIRST)
    assert (await desk.delete(f"active-aliases/{alias}")).status_code == 204
    assert await state(desk, alias) == "deleted"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        pytest.param("pinned-aliases", "pinned", id="t_au_9-t_au_10"),
        pytest.param("attached-recipients-only", "attached_recipients_only", id="n05-n06"),
    ],
)
async def test_switches(desk: Desk, path: str, name: str) -> None:
    for alias in (await desk.alias(f"first@{OWN}"), await deleted(desk)):
        for _ in range(2):
            answer = await desk.post(f"{path}/", {"id": str(alias)})
            assert (answer.status_code, answer.json()["data"][name]) == (200, True)
        for _ in range(2):
            answer = await desk.delete(f"{path}/{alias}")
            assert (answer.status_code, answer.content) == (204, b"")
        assert (await desk.get(f"aliases/{alias}")).json()["data"][name] is False


async def test_who_did_what_is_noted(desk: Desk) -> None:
    alias = await desk.alias(f"first@{OWN}")
    await desk.patch(f"aliases/{alias}", {"description": "secret"})
    await desk.delete(f"active-aliases/{alias}")
    await desk.post("active-aliases", {"id": str(alias)})
    await desk.post("alias-recipients", {"alias_id": str(alias), "recipient_ids": []})
    await desk.delete(f"aliases/{alias}")
    await desk.patch(f"aliases/{alias}/restore")
    await desk.post("aliases", {"domain": SHARED})
    await desk.post("aliases/forget/bulk", {"ids": [str(alias)]})
    names = "change deactivate activate recipients delete restore create forget"
    assert await actions(desk) == [("token:1", 1, f"alias.{name}") for name in names.split()]
    assert "secret" not in str(await desk.sql("select detail from audit"))


# --- recipients of an alias ------------------------------------------------------------------------------------------


async def put(desk: Desk, alias: object, recipients: object) -> Any:
    return await desk.post("alias-recipients", {"alias_id": alias, "recipient_ids": recipients})


@pytest.mark.parametrize("count", [pytest.param(1, id="t_ar_1"), pytest.param(3, id="t_ar_2"), 10])
async def test_recipients_are_attached_in_order(desk: Desk, count: int) -> None:
    alias = await desk.alias(f"first@{OWN}")
    recipients = [await desk.recipient(f"r{n}@inbox.example") for n in range(count)][::-1]
    answer = await put(desk, str(alias), [str(one) for one in recipients])
    assert answer.status_code == 200
    assert [one["id"] for one in answer.json()["data"]["recipients"]] == [str(one) for one in recipients]
    assert await attached(desk, alias) == recipients


async def test_t_ar_3(desk: Desk) -> None:
    for alias in (await desk.alias(f"first@{OWN}"), await deleted(desk)):
        first, second, third = [await desk.recipient(f"r{n}{alias}@inbox.example") for n in (1, 2, 3)]
        await desk.attach(alias, first)
        assert (await put(desk, str(alias), [str(second), str(third).upper(), str(second)])).status_code == 200
        assert await attached(desk, alias) == [second, third]
        assert (await put(desk, str(alias), [])).json()["data"]["recipients"] == []
        assert await attached(desk, alias) == []
        await desk.attach(alias, first)
        assert (await desk.post("alias-recipients", {"alias_id": str(alias)})).json()["data"]["recipients"] == []


async def test_t_ar_4(desk: Desk) -> None:
    alias = await desk.alias(f"first@{OWN}")
    before = await desk.recipient("r@inbox.example")
    await desk.attach(alias, before)
    unverified = await desk.recipient("u@inbox.example", verified=False)
    theirs = await desk.one("select uuid from recipient where account_id = 2")
    for wrong in ([unverified], [before, theirs], [uuid4()], ["x"], [None], [["x"]]):
        answer = await put(desk, str(alias), [str(one) if isinstance(one, UUID) else one for one in wrong])
        assert (answer.status_code, answer.json()) == (422, INVALID_RECIPIENT)
    assert await attached(desk, alias) == [before]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        pytest.param([str(uuid4()) for _ in range(11)], "The recipient ids may not have more than 10 items."),
        pytest.param([str(uuid4())] * 10_000, "The recipient ids may not have more than 10 items."),
        (None, "The recipient ids must be an array."),
        ("x", "The recipient ids must be an array."),
    ],
)
async def test_t_ar_5(desk: Desk, sent: object, message: str) -> None:
    alias = await desk.alias(f"first@{OWN}")
    answer = await put(desk, str(alias), sent)
    assert (answer.status_code, answer.json()["errors"]) == (422, {"recipient_ids": [message]})
    assert await attached(desk, alias) == []


async def test_t_ar_6(desk: Desk) -> None:
    alias = await desk.alias(f"first@{OWN}")
    recipient = await desk.recipient("r@inbox.example")
    await put(desk, str(alias), [str(recipient)])
    await desk.sql("delete from recipient where uuid = %s", recipient)
    assert (await desk.get(f"aliases/{alias}")).json()["data"]["recipients"] == []


async def test_recipients_of_no_alias(desk: Desk) -> None:
    answer = await desk.post("alias-recipients", {})
    assert (answer.status_code, answer.json()) == (404, {"message": "No query results for model [App\\Models\\Alias]."})
    for sent in ("foo", str(uuid4()), str(await desk.alias("x@alias.example", account=2))):
        answer = await put(desk, sent, [])
        assert (answer.status_code, answer.json()) == (404, not_found(sent))
    answer = await put(desk, ["x"], [])
    assert (answer.status_code, answer.json()["errors"]) == (422, {"alias_id": ["The alias id must be a string."]})


# --- ids that name nothing of one's own ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "aliases/{}"),
        ("PATCH", "aliases/{}/restore"),
        ("DELETE", "aliases/{}"),
        ("DELETE", "aliases/{}/forget"),
        ("DELETE", "active-aliases/{}"),
        ("DELETE", "pinned-aliases/{}"),
        ("DELETE", "attached-recipients-only/{}"),
    ],
)
async def test_others_aliases_are_not_there(desk: Desk, method: str, path: str) -> None:
    theirs = await desk.alias("x@stranger.alias.example", account=2, pinned=True, attached_recipients_only=True)
    before = await desk.sql("select * from alias")
    for sent in (str(theirs), str(uuid4()), "foo", "1;drop", "00000000-0000-0000-0000-000000000000"):
        answer = await desk.ask(method, path.format(sent), {"description": "mine"})
        assert (answer.status_code, answer.json()) == (404, not_found(sent))
    assert await desk.sql("select * from alias") == before
    assert await actions(desk) == []


@pytest.mark.parametrize("path", ["active-aliases", "pinned-aliases", "attached-recipients-only"])
async def test_switching_on_needs_an_id_of_one_s_own(desk: Desk, path: str) -> None:
    theirs = await desk.alias("x@stranger.alias.example", account=2, state="inactive")
    for sent in (str(theirs), str(uuid4()), "foo"):
        answer = await desk.post(path, {"id": sent})
        assert (answer.status_code, answer.json()) == (404, not_found(sent))
    missing: tuple[dict[str, Any], ...] = ({}, {"id": None}, {"id": ""}, {"id": []})
    for document in missing:
        answer = await desk.post(path, document)
        assert (answer.status_code, answer.json()["errors"]) == (422, {"id": ["The id field is required."]})
    for odd in (["x"], {"a": 1}, 7, "a\0", "\ud800"):
        answer = await desk.post(path, {"id": odd})
        assert (answer.status_code, answer.json()["errors"]) == (422, {"id": ["The id must be a string."]})
    assert await state(desk, theirs) == "inactive"
