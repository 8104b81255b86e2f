"""Usernames over the addy.io API: E59 to E70 (addy-api.md sections 3.10 and 6)."""

import asyncio
from uuid import UUID, uuid4

import pytest

from tests.api.addy.conftest import Desk
from tests.api.addy.parentdesk import DANGEROUS, HEAVY, NESTED, NO_REGEX, audited, errors, username

TAKEN = {"username": ["The username has already been taken."]}
THREE = {"limits": {"usernames_per_account": 3}}
EXTERNAL = "update account set external_auth = true where id = 1"


async def default(desk: Desk) -> UUID:
    """johndoe's default username."""
    found: UUID = await desk.one("select uuid from username where name = 'johndoe'")
    return found


async def test_t_us_1_all_usernames_newest_first(desk: Desk) -> None:
    for name in ("one", "two", "three"):
        await username(desk, name)
    response = await desk.get("usernames")
    assert response.status_code == 200
    assert [one["username"] for one in response.json()["data"]] == ["three", "two", "one", "johndoe"]


async def test_t_us_2_one_username_with_all_its_fields(desk: Desk) -> None:
    number = await default(desk)
    await desk.alias("a@johndoe.alias.example")
    await desk.alias("b@johndoe.alias2.example")
    await desk.alias("shared@alias.example")
    response = await desk.get(f"usernames/{str(number).upper()}")
    assert response.status_code == 200
    assert list(response.json()) == ["data"]
    found = response.json()["data"]
    assert found.pop("created_at") == found.pop("updated_at")
    assert found == {
        "id": str(number),
        "user_id": str(await desk.one("select uuid from account where id = 1")),
        "username": "johndoe",
        "description": None,
        "from_name": None,
        "aliases": [],
        "aliases_count": 2,
        "default_recipient": None,
        "active": True,
        "catch_all": True,
        "auto_create_regex": None,
        "can_login": True,
    }


@pytest.mark.parametrize("sent", [pytest.param("janedoe", id="T-US-3"), "JaneDoe", "  janedoe\u200b "])
async def test_t_us_3_t_us_4_a_new_username(desk: Desk, sent: str) -> None:
    response = await desk.post("usernames", {"username": sent})
    assert response.status_code == 201
    made = response.json()["data"]
    assert (made["username"], made["active"], made["catch_all"], made["can_login"]) == ("janedoe", True, True, True)
    assert await audited(desk) == [("token:1", 1, "username.add")]
    assert await desk.one("select default_username_id from account where id = 1") == 1


async def test_t_us_5_usernames_do_not_sign_in_where_a_proxy_does(desk: Desk) -> None:
    await desk.sql(EXTERNAL)
    response = await desk.post("usernames", {"username": "janedoe"})
    assert (response.status_code, response.json()["data"]["can_login"]) == (201, False)


@pytest.mark.parametrize("chosen", [THREE])
async def test_t_us_6_an_account_has_only_so_many(desk: Desk, chosen: object) -> None:
    answers = [await desk.post("usernames", {"username": name}) for name in ("first", "second", "third")]
    assert [answer.status_code for answer in answers] == [201, 201, 403]
    assert answers[-1].content == b""
    assert await desk.one("select count(*) from username where account_id = 1") == 3
    assert await desk.one("select count(*) from username_used where name = 'third'") == 0
    # What is wrong with the name comes first.
    assert errors(await desk.post("usernames", {"username": "stranger"})) == TAKEN


@pytest.mark.parametrize("chosen", [THREE])
async def test_many_at_once_do_not_exceed_the_limit(desk: Desk, chosen: object) -> None:
    answers = await asyncio.gather(*(desk.post("usernames", {"username": f"name{n}"}) for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [403] * 18
    assert await desk.one("select count(*) from username where account_id = 1") == 3


@pytest.mark.parametrize("sent", ["janedoe", "JANEDOE"])
async def test_t_us_7_a_username_of_ones_own_is_taken(desk: Desk, sent: str) -> None:
    await username(desk)
    assert errors(await desk.post("usernames", {"username": sent})) == TAKEN


async def test_t_us_8_a_username_is_never_given_again(desk: Desk) -> None:
    number = await username(desk)
    assert (await desk.delete(f"usernames/{number}")).status_code == 204
    assert errors(await desk.post("usernames", {"username": "janedoe"})) == TAKEN


async def test_t_us_9_a_username_of_somebody_else_is_taken(desk: Desk) -> None:
    assert errors(await desk.post("usernames", {"username": "stranger"})) == TAKEN


@pytest.mark.parametrize("name", ["admin", "API", "postmaster", "www", "unsubscribe", "support"])
async def test_reserved_names_are_taken(desk: Desk, name: str) -> None:
    assert errors(await desk.post("usernames", {"username": name})) == TAKEN


async def test_a_name_that_is_a_domain_already_is_taken(desk: Desk) -> None:
    await desk.sql("insert into domain (name) values ('special.alias.example')")
    assert errors(await desk.post("usernames", {"username": "special"})) == TAKEN


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "The username field is required."),
        ({"username": ""}, "The username field is required."),
        pytest.param({"username": "username01_"}, "The username format is invalid.", id="T-US-10"),
        ({"username": "jané"}, "The username format is invalid."),
        ({"username": "jane-doe"}, "The username format is invalid."),
        ({"username": "jane\ndoe"}, "The username format is invalid."),
        ({"username": "jane\x00"}, "The username format is invalid."),
        ({"username": "१२३"}, "The username format is invalid."),
        ({"username": ["janedoe"]}, "The username format is invalid."),
        ({"username": True}, "The username format is invalid."),
        pytest.param({"username": "a" * 21}, "The username may not be greater than 20 characters.", id="T-US-11"),
    ],
)
async def test_t_us_10_t_us_11_what_is_no_username(desk: Desk, document: object, message: str) -> None:
    assert errors(await desk.post("usernames", document)) == {"username": [message]}


async def test_of_fifty_who_want_a_username_at_once_one_gets_it(desk: Desk) -> None:
    await desk.sql(
        """with made as (insert into account (name) select 'racer' || n from generate_series(1, 50) n returning id),
                boxes as (insert into recipient (account_id, address, verified_at)
                          select id, 'r' || id || '@inbox.example', now() from made returning id, account_id)
           insert into token (account_id, kind, name, hash)
           select id, 'addy', 'Race', sha256(('race' || id)::bytea) from made"""
    )
    await desk.sql(
        """update account set default_recipient_id = r.id from recipient r
           where r.account_id = account.id and account.id > 2"""
    )
    accounts = [row[0] for row in await desk.sql("select id from account where id > 2")]
    asks = (desk.post("usernames", {"username": "won"}, Authorization=f"Bearer race{account}") for account in accounts)
    answers = await asyncio.gather(*asks)
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 49
    assert await desk.one("select count(*) from username where name = 'won'") == 1


# --- changes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "column"),
    [
        pytest.param("active-usernames", "active", id="T-US-12"),
        pytest.param("catch-all-usernames", "catch_all", id="T-US-14"),
        pytest.param("loginable-usernames", "can_login", id="T-US-16"),
    ],
)
async def test_t_us_12_t_us_14_t_us_16_switched_on(desk: Desk, path: str, column: str) -> None:
    number = await username(desk, "janedoe", **{column: False})
    for sent in (str(number), str(number).upper()):
        response = await desk.post(f"{path}/", {"id": sent})
        assert (response.status_code, response.json()["data"][column]) == (200, True)
    assert await audited(desk) == [("token:1", 1, "username.set")]


@pytest.mark.parametrize(
    ("path", "column"),
    [
        pytest.param("active-usernames", "active", id="T-US-13"),
        pytest.param("catch-all-usernames", "catch_all", id="T-US-15"),
        pytest.param("loginable-usernames", "can_login", id="T-US-17"),
    ],
)
async def test_t_us_13_t_us_15_t_us_17_switched_off(desk: Desk, path: str, column: str) -> None:
    number = await username(desk)
    for _ in range(2):
        response = await desk.delete(f"{path}/{number}")
        assert (response.status_code, response.content) == (204, b"")
    assert (await desk.get(f"usernames/{number}")).json()["data"][column] is False
    assert await audited(desk) == [("token:1", 1, "username.set")]


async def test_the_default_username_may_be_switched_off(desk: Desk) -> None:
    assert (await desk.delete(f"active-usernames/{await default(desk)}")).status_code == 204


async def test_t_us_18_a_proxy_signs_in_instead(desk: Desk) -> None:
    number = await username(desk, can_login=False)
    await desk.sql(EXTERNAL)
    for sent in (str(number), str(uuid4()), "nonsense"):  # before anything is looked up
        response = await desk.post("loginable-usernames", {"id": sent})
        text = "You cannot allow login because you're using external authentication"
        assert (response.status_code, response.text) == (403, text)
    assert errors(await desk.post("loginable-usernames", {})) == {"id": ["The id field is required."]}
    assert await desk.one("select can_login from username where uuid = %s", number) is False


async def test_t_us_19_the_default_username_signs_in(desk: Desk) -> None:
    number = await default(desk)
    for sent in (str(number), str(number).upper()):
        response = await desk.delete(f"loginable-usernames/{sent}")
        assert (response.status_code, response.text) == (403, "You cannot disallow login for your default username")
    assert await desk.one("select can_login from username where uuid = %s", number) is True


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("description", "The new description", id="T-US-20"),
        pytest.param("from_name", "John Doe", id="T-US-21"),
        pytest.param("auto_create_regex", "^prefix", id="T-US-22"),
    ],
)
async def test_t_us_20_t_us_21_t_us_22_fields_change_one_by_one(desk: Desk, field: str, value: str) -> None:
    number = await username(desk, description="Old", from_name="Old", auto_create_regex="old")
    old = {"description": "Old", "from_name": "Old", "auto_create_regex": "old"}
    response = await desk.patch(f"usernames/{number}", {field: value})
    assert response.status_code == 200
    assert {name: response.json()["data"][name] for name in old} == {**old, field: value}
    response = await desk.patch(f"usernames/{number}", {field: None})
    assert {name: response.json()["data"][name] for name in old} == {**old, field: None}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        pytest.param("///", NO_REGEX, id="T-US-23"),
        pytest.param(DANGEROUS[0], HEAVY, id="T-US-24-1"),
        pytest.param(DANGEROUS[1], HEAVY, id="T-US-24-2"),
        pytest.param(DANGEROUS[2], NESTED, id="T-US-24-3"),
        pytest.param(DANGEROUS[3], HEAVY, id="T-US-24-4"),
    ],
)
async def test_t_us_23_t_us_24_expressions_that_are_refused(desk: Desk, pattern: str, message: str) -> None:
    number = await username(desk)
    response = await desk.patch(f"usernames/{number}", {"auto_create_regex": pattern})
    assert errors(response) == {"auto_create_regex": [message]}


async def test_t_us_25_a_username_goes_with_its_aliases_for_good(desk: Desk) -> None:
    number = await username(desk)
    kept = await desk.alias("shop@johndoe.alias.example")
    await desk.alias("shop@janedoe.alias.example")
    gone = await desk.alias("old@janedoe.alias2.example")
    await desk.sql("update alias set state = 'deleted', deleted_at = now() where uuid = %s", gone)
    assert (await desk.delete(f"usernames/{str(number).upper()}")).status_code == 204
    assert [row[0] for row in await desk.sql("select uuid from alias")] == [kept]
    assert await desk.one("select count(*) from username where account_id = 1") == 1
    assert await desk.one("select count(*) from username_used where name = 'janedoe'") == 1
    assert await audited(desk) == [("token:1", 1, "username.remove")]
    assert (await desk.delete(f"usernames/{number}")).status_code == 404


async def test_t_us_26_the_default_username_stays(desk: Desk) -> None:
    number = await default(desk)
    for sent in (str(number), str(number).upper()):
        response = await desk.delete(f"usernames/{sent}")
        assert (response.status_code, response.text) == (403, "You cannot delete your default username")
    assert await desk.one("select count(*) from username where account_id = 1") == 1


async def test_t_us_27_a_verified_recipient_becomes_the_default(desk: Desk) -> None:
    number, recipient = await username(desk), await desk.recipient("two@inbox.example")
    response = await desk.patch(f"usernames/{number}/default-recipient", {"default_recipient": str(recipient)})
    assert (response.status_code, response.json()["data"]["default_recipient"]["email"]) == (200, "two@inbox.example")
    assert await desk.one("select default_recipient_id from username where uuid = %s", number) == 3


async def test_t_us_28_an_unverified_recipient_does_not(desk: Desk) -> None:
    number = await username(desk)
    recipient = await desk.recipient("two@inbox.example", verified=False)
    response = await desk.patch(f"usernames/{number}/default-recipient", {"default_recipient": str(recipient)})
    message = f"No query results for model [App\\Models\\Recipient] {recipient}"
    assert (response.status_code, response.json()) == (404, {"message": message})
    assert await desk.one("select default_recipient_id from username where uuid = %s", number) is None


async def test_t_us_29_no_default_recipient(desk: Desk) -> None:
    number = await username(desk, default_recipient_id=1)
    response = await desk.patch(f"usernames/{number}/default-recipient", {"default_recipient": ""})
    assert (response.status_code, response.json()["data"]["default_recipient"]) == (200, None)


async def test_what_belongs_to_others_is_not_there(desk: Desk) -> None:
    strange = await username(desk, "strange", account=2)
    others = await desk.one("select uuid from username where name = 'stranger'")  # a default one
    before = await desk.sql("select * from username order by id")
    for sent in (str(strange), str(others), str(uuid4()), "foo", "1"):
        for response in (
            await desk.get(f"usernames/{sent}"),
            await desk.patch(f"usernames/{sent}", {"description": "mine"}),
            await desk.delete(f"usernames/{sent}"),
            await desk.patch(f"usernames/{sent}/default-recipient", {"default_recipient": "nonsense"}),
            await desk.delete(f"active-usernames/{sent}"),
            await desk.delete(f"loginable-usernames/{sent}"),
            await desk.post("catch-all-usernames", {"id": sent}),
            await desk.post("loginable-usernames", {"id": sent}),
        ):
            message = f"No query results for model [App\\Models\\Username] {sent}"
            assert (response.status_code, response.json()) == (404, {"message": message})
    assert await desk.sql("select * from username order by id") == before
