"""One alias and several as clients read them (addy-api.md sections 2.1, 3.3, 3.4, 6)."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.addy.aliases import NOON, delete, three
from tests.api.addy.conftest import Desk

# --- one ------------------------------------------------------------------------------------------------------------


async def test_t_al_8_one_alias(desk: Desk) -> None:
    alias = await desk.alias("first@alias.example")
    answer = await desk.get(f"aliases/{alias}")
    assert answer.status_code == 200
    assert list(answer.json()) == ["data"]
    assert answer.json()["data"]["email"] == "first@alias.example"
    assert (await desk.get(f"aliases/{str(alias).upper()}/")).json() == answer.json()


async def test_an_alias_is_exactly_this(desk: Desk) -> None:
    alias = await desk.alias(
        "first@johndoe.alias.example",
        extension="Tag",
        description="Ärzte / news",
        from_name="John",
        emails_forwarded=5,
        emails_blocked=1,
        emails_replied=2,
        emails_sent=3,
        last_forwarded=NOON,
        created_at=NOON,
        updated_at=NOON,
    )
    more = await desk.recipient("More@inbox.example")
    await desk.sql("update recipient set verified_at = %s where uuid = %s", NOON, more)
    await desk.sql("update recipient set created_at = %s, updated_at = %s where uuid = %s", NOON, NOON, more)
    await desk.attach(alias, more)
    user = await desk.one("select uuid from account where id = 1")
    assert (await desk.get(f"aliases/{alias}")).json()["data"] == {
        "id": str(alias),
        "user_id": str(user),
        "aliasable_id": str(await desk.one("select uuid from username where name = 'johndoe'")),
        "aliasable_type": "App\\Models\\Username",
        "local_part": "first",
        "extension": "Tag",
        "domain": "johndoe.alias.example",
        "email": "first@johndoe.alias.example",
        "active": True,
        "pinned": False,
        "description": "Ärzte / news",
        "from_name": "John",
        "attached_recipients_only": False,
        "emails_forwarded": 5,
        "emails_blocked": 1,
        "emails_replied": 2,
        "emails_sent": 3,
        "recipients": [
            {
                "id": str(more),
                "user_id": str(user),
                "email": "more@inbox.example",
                "description": None,
                "can_reply_send": True,
                "should_encrypt": False,
                "inline_encryption": False,
                "protected_headers": False,
                "remove_pgp_keys": True,
                "remove_pgp_signatures": True,
                "fingerprint": None,
                "email_verified_at": "2026-05-04 12:00:00",
                "aliases": [],
                "created_at": "2026-05-04 12:00:00",
                "updated_at": "2026-05-04 12:00:00",
            }
        ],
        "last_forwarded": "2026-05-04 12:00:00",
        "last_blocked": None,
        "last_replied": None,
        "last_sent": None,
        "created_at": "2026-05-04 12:00:00",
        "updated_at": "2026-05-04 12:00:00",
        "deleted_at": None,
    }


async def test_an_alias_of_a_custom_domain_says_so_and_a_shared_one_nothing(desk: Desk) -> None:
    await desk.sql("insert into domain (name, account_id, verified_at) values ('own.example', 1, now())")
    own = await desk.alias("a1@own.example")
    found = (await desk.get(f"aliases/{own}")).json()["data"]
    domain = await desk.one("select uuid from domain where name = 'own.example'")
    assert (found["aliasable_type"], found["aliasable_id"]) == ("App\\Models\\Domain", str(domain))
    shared = await desk.alias("a1@alias.example")
    found = (await desk.get(f"aliases/{shared}")).json()["data"]
    assert (found["aliasable_type"], found["aliasable_id"]) == (None, None)


async def test_a_deleted_alias_is_found(desk: Desk) -> None:
    alias = await desk.alias("a1@alias.example", state="deleted", deleted_at=NOON)
    found = (await desk.get(f"aliases/{alias}")).json()["data"]
    assert (found["active"], found["deleted_at"]) == (False, "2026-05-04 12:00:00")


@pytest.mark.parametrize("sent", ["foo", "00000000-0000-0000-0000-000000000000", "%27%3B--", "null"])
async def test_what_is_no_alias_is_not_found(desk: Desk, sent: str) -> None:
    answer = await desk.get(f"aliases/{sent}")
    assert answer.status_code == 404
    shown = sent.replace("%27", "'").replace("%3B", ";")
    assert answer.json() == {"message": f"No query results for model [App\\Models\\Alias] {shown}"}


# --- several --------------------------------------------------------------------------------------------------------


async def test_t_ab_1_several_aliases(desk: Desk) -> None:
    first, second, third = await three(desk)
    await delete(desk, second)
    await desk.attach(first, await desk.one("select uuid from recipient where id = 1"))
    answer = await desk.post("aliases/get/bulk", {"ids": [str(second), None, str(first), "", str(uuid4())]})
    assert answer.status_code == 200
    assert list(answer.json()) == ["data"]
    found = answer.json()["data"]
    assert [(one["local_part"], len(one["recipients"])) for one in found] == [("a2", 0), ("a1", 1)]
    assert found[1] == (await desk.get(f"aliases/{first}")).json()["data"]
    assert str(third) not in answer.text


async def test_t_ab_2_aliases_of_others_are_not_found(desk: Desk) -> None:
    theirs = await desk.alias("theirs@alias.example", account=2)
    answer = await desk.post("aliases/get/bulk", {"ids": [str(theirs)]})
    assert (answer.status_code, answer.json()) == (404, {"message": "No aliases found"})


async def test_an_id_in_two_spellings_is_one_alias(desk: Desk) -> None:
    first, *_ = await three(desk)
    answer = await desk.post("aliases/get/bulk", {"ids": [str(first), str(first).upper()]})
    assert [one["local_part"] for one in answer.json()["data"]] == ["a1"]


ID = str(UUID(int=7))


@pytest.mark.parametrize(
    ("document", "errors"),
    [
        ({}, {"ids": ["The ids field is required."]}),
        ({"ids": None}, {"ids": ["The ids field is required."]}),
        ({"ids": []}, {"ids": ["The ids field is required."]}),
        ({"ids": [None, "", " "]}, {"ids": ["The ids field is required."]}),
        ({"ids": ID}, {"ids": ["The ids must be an array."]}),
        ({"ids": 5}, {"ids": ["The ids must be an array."]}),
        ({"ids": [str(uuid4()) for _ in range(26)]}, {"ids": ["The ids may not have more than 25 items."]}),
        ({"ids": ["x"] * 10_000}, {"ids": ["The ids may not have more than 25 items."]}),
        ({"ids": ["first"]}, {"ids.0": ["The ids.0 must be a valid UUID."]}),
        ({"ids": [[ID]]}, {"ids.0": ["The ids.0 must be a valid UUID."]}),
        ({"ids": [ID, 5]}, {"ids.1": ["The ids.1 must be a valid UUID."]}),
        (
            {"ids": [ID, ID]},
            {"ids.0": ["The ids.0 field has a duplicate value."], "ids.1": ["The ids.1 field has a duplicate value."]},
        ),
    ],
)
async def test_ids_are_checked(desk: Desk, document: dict[str, Any], errors: dict[str, Any]) -> None:
    answer = await desk.post("aliases/get/bulk", document)
    assert (answer.status_code, answer.json()["errors"]) == (422, errors)


async def test_twelve_bulk_requests_a_minute(desk: Desk) -> None:
    first, *_ = await three(desk)
    for left in range(11, -1, -1):
        answer = await desk.post("aliases/get/bulk", {"ids": [str(first)]})
        assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (200, str(left))
    answer = await desk.post("aliases/get/bulk", {"ids": [str(first)]})
    assert (answer.status_code, answer.json()) == (429, {"message": "Too Many Attempts."})
