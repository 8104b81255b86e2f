"""Domains over the addy.io API, but for bringing them here: E23, E24, E26 to E32 (addy-api.md sections 3.5 and 6)."""

import re
from uuid import uuid4

import pytest

from tests.api.addy.conftest import Desk
from tests.api.addy.parentdesk import DANGEROUS, HEAVY, NESTED, NO_REGEX, audited, domain, errors


async def test_t_do_1_all_domains_newest_first(desk: Desk) -> None:
    for name in ("one.example", "two.example", "three.example"):
        await domain(desk, name)
    await domain(desk, "strange.example", account=2)
    response = await desk.get("domains")
    assert response.status_code == 200
    assert [one["domain"] for one in response.json()["data"]] == ["three.example", "two.example", "one.example"]
    assert list(response.json()) == ["data"]


async def test_t_do_2_one_domain_with_all_its_fields(desk: Desk) -> None:
    owner = str(await desk.one("select uuid from account where id = 1"))
    recipient = await desk.recipient("two@inbox.example")
    number = await domain(desk)
    await desk.sql("update domain set default_recipient_id = 3 where uuid = %s", number)
    await desk.alias("a@own.example")
    await desk.alias("b@own.example", state="inactive")
    await desk.sql("update alias set state = 'deleted', deleted_at = now() where local_part = 'b'")
    response = await desk.get(f"domains/{str(number).upper()}")
    assert response.status_code == 200
    assert list(response.json()) == ["data"]
    found = response.json()["data"]
    embedded = found.pop("default_recipient")
    assert (embedded["id"], embedded["email"], embedded["aliases"]) == (str(recipient), "two@inbox.example", [])
    assert "aliases_count" not in embedded
    stamps = {name: found.pop(name) for name in ("domain_verified_at", "created_at", "updated_at")}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", stamp) for stamp in stamps.values())
    assert found == {
        "id": str(number),
        "user_id": owner,
        "domain": "own.example",
        "description": None,
        "from_name": None,
        "aliases": [],
        "aliases_count": 1,
        "active": True,
        "catch_all": True,
        "auto_create_regex": None,
        "domain_mx_validated_at": None,
        "domain_sending_verified_at": None,
    }


# --- changes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "column", "before"),
    [
        pytest.param("active-domains", "active", False, id="T-DO-9"),
        pytest.param("catch-all-domains", "catch_all", False, id="T-DO-11"),
    ],
)
async def test_t_do_9_t_do_11_switched_on(desk: Desk, path: str, column: str, before: bool) -> None:
    number = await domain(desk, "own.example", **{column: before})
    for sent in (str(number), str(number).upper()):
        response = await desk.post(f"{path}/", {"id": sent})
        assert (response.status_code, response.json()["data"][column]) == (200, True)
    assert await desk.one(f"select {column} from domain where uuid = %s", number) is True
    assert await audited(desk) == [("token:1", 1, "domain.set")]  # the second time there was nothing to change


@pytest.mark.parametrize(
    ("path", "column"),
    [
        pytest.param("active-domains", "active", id="T-DO-10"),
        pytest.param("catch-all-domains", "catch_all", id="T-DO-12"),
    ],
)
async def test_t_do_10_t_do_12_switched_off(desk: Desk, path: str, column: str) -> None:
    number = await domain(desk)
    response = await desk.delete(f"{path}/{number}")
    assert (response.status_code, response.content) == (204, b"")
    shown = (await desk.get(f"domains/{number}")).json()["data"]
    assert shown[column] is False
    assert (await desk.delete(f"{path}/{number}")).status_code == 204
    assert (await desk.get(f"domains/{number}")).json()["data"] == shown


async def test_its_time_of_change_moves_only_with_a_change(desk: Desk) -> None:
    number = await domain(desk)
    before = await desk.one("select updated_at from domain where uuid = %s", number)
    await desk.patch(f"domains/{number}", {})
    await desk.post("active-domains", {"id": str(number)})
    await desk.patch(f"domains/{number}", {"description": None})
    assert await desk.one("select updated_at from domain where uuid = %s", number) == before
    await desk.patch(f"domains/{number}", {"description": "Changed"})
    assert await desk.one("select updated_at from domain where uuid = %s", number) > before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("description", "The new description", id="T-DO-13"),
        pytest.param("from_name", "John Doe", id="T-DO-14"),
        pytest.param("auto_create_regex", "^prefix", id="T-DO-15"),
        ("auto_create_regex", r"^a\/b$"),
        ("description", "ü" * 200),
        ("from_name", "ü" * 50),
    ],
)
async def test_t_do_13_t_do_14_t_do_15_fields_change_one_by_one(desk: Desk, field: str, value: str) -> None:
    number = await domain(desk, description="Old", from_name="Old", auto_create_regex="old")
    old = {"description": "Old", "from_name": "Old", "auto_create_regex": "old"}
    response = await desk.patch(f"domains/{number}", {field: value})
    assert response.status_code == 200
    assert {name: response.json()["data"][name] for name in old} == {**old, field: value}
    response = await desk.patch(f"domains/{number}", {field: ""})
    assert {name: response.json()["data"][name] for name in old} == {**old, field: None}
    details = await desk.sql("select detail from audit order by id")
    shown = value if field == "auto_create_regex" else "changed"
    assert [row[0][field] for row in details] == [shown, None if field == "auto_create_regex" else "changed"]


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        pytest.param({"auto_create_regex": "///"}, {"auto_create_regex": [NO_REGEX]}, id="T-DO-16"),
        ({"auto_create_regex": "(?=x)"}, {"auto_create_regex": [NO_REGEX]}),
        ({"auto_create_regex": "[a"}, {"auto_create_regex": [NO_REGEX]}),
        pytest.param({"auto_create_regex": DANGEROUS[0]}, {"auto_create_regex": [HEAVY]}, id="T-DO-17-1"),
        pytest.param({"auto_create_regex": DANGEROUS[1]}, {"auto_create_regex": [HEAVY]}, id="T-DO-17-2"),
        pytest.param({"auto_create_regex": DANGEROUS[2]}, {"auto_create_regex": [NESTED]}, id="T-DO-17-3"),
        pytest.param({"auto_create_regex": DANGEROUS[3]}, {"auto_create_regex": [HEAVY]}, id="T-DO-17-4"),
        ({"auto_create_regex": "((a+)+"}, {"auto_create_regex": [NO_REGEX, NESTED]}),
        (
            {"auto_create_regex": "a" * 101},
            {"auto_create_regex": ["The auto create regex may not be greater than 100 characters."]},
        ),
        ({"auto_create_regex": ["a"]}, {"auto_create_regex": ["The auto create regex must be a string."]}),
        (
            {"auto_create_regex": 5, "from_name": "x" * 51, "description": ["x"]},
            {
                "description": ["The description must be a string."],
                "from_name": ["The from name may not be greater than 50 characters."],
                "auto_create_regex": ["The auto create regex must be a string."],
            },
        ),
        ({"description": "x" * 201}, {"description": ["The description may not be greater than 200 characters."]}),
        ({"description": "x\x00"}, {"description": ["The description must be a string."]}),
    ],
)
async def test_t_do_16_t_do_17_what_a_change_cannot_have(
    desk: Desk, given: dict[str, object], messages: dict[str, list[str]]
) -> None:
    number = await domain(desk)
    found = errors(await desk.patch(f"domains/{number}", {**given, "unknown": 1}))
    assert (found, list(found)) == (messages, list(messages))
    assert await audited(desk) == []


async def test_t_do_18_a_domain_goes_with_its_aliases_for_good(desk: Desk) -> None:
    number = await domain(desk)
    kept = await desk.alias("shop@alias.example")
    alias = await desk.alias("shop@own.example")
    gone = await desk.alias("old@own.example")
    await desk.attach(alias, await desk.recipient("two@inbox.example"))
    await desk.sql("update alias set state = 'deleted', deleted_at = now() where uuid = %s", gone)
    assert (await desk.delete(f"domains/{str(number).upper()}")).status_code == 204
    assert [row[0] for row in await desk.sql("select uuid from alias")] == [kept]
    assert await desk.one("select count(*) from alias_recipient") == 0
    assert await audited(desk) == [("token:1", 1, "domain.remove")]
    assert (await desk.delete(f"domains/{number}")).status_code == 404
    assert (await desk.get(f"domains/{await domain(desk)}")).json()["data"]["aliases_count"] == 0


async def test_t_do_19_a_verified_recipient_becomes_the_default(desk: Desk) -> None:
    number, recipient = await domain(desk), await desk.recipient("two@inbox.example")
    response = await desk.patch(f"domains/{number}/default-recipient", {"default_recipient": str(recipient).upper()})
    assert response.status_code == 200
    assert response.json()["data"]["default_recipient"]["id"] == str(recipient)
    assert await desk.one("select default_recipient_id from domain where uuid = %s", number) == 3


async def test_t_do_20_an_unverified_recipient_does_not(desk: Desk) -> None:
    number = await domain(desk)
    unverified = await desk.recipient("two@inbox.example", verified=False)
    strange = await desk.one("select uuid from recipient where id = 2")
    for sent in (str(unverified), str(strange), str(uuid4()), "nonsense"):
        response = await desk.patch(f"domains/{number}/default-recipient", {"default_recipient": sent})
        message = f"No query results for model [App\\Models\\Recipient] {sent}"
        assert (response.status_code, response.json()) == (404, {"message": message})
    assert await desk.one("select default_recipient_id from domain where uuid = %s", number) is None


@pytest.mark.parametrize("document", [{"default_recipient": ""}, {"default_recipient": None}, {}])
async def test_t_do_21_no_default_recipient(desk: Desk, document: object) -> None:
    number = await domain(desk, default_recipient_id=1)
    response = await desk.patch(f"domains/{number}/default-recipient", document)
    assert (response.status_code, response.json()["data"]["default_recipient"]) == (200, None)


async def test_a_default_recipient_is_a_string(desk: Desk) -> None:
    number = await domain(desk)
    response = await desk.patch(f"domains/{number}/default-recipient", {"default_recipient": [1]})
    assert errors(response) == {"default_recipient": ["The default recipient must be a string."]}


async def test_what_belongs_to_others_is_not_there(desk: Desk) -> None:
    strange = await domain(desk, "strange.example", account=2)
    shared = await desk.one("select uuid from domain where name = 'alias.example'")
    before = await desk.sql("select * from domain order by id")
    for sent in (str(strange), str(shared), str(uuid4()), "foo", "1", "%00"):
        echoed = "\x00" if sent == "%00" else sent
        answers = [
            await desk.get(f"domains/{sent}"),
            await desk.patch(f"domains/{sent}", {"description": "mine"}),
            await desk.delete(f"domains/{sent}"),
            await desk.patch(f"domains/{sent}/default-recipient", {"default_recipient": "nonsense"}),
            await desk.delete(f"active-domains/{sent}"),
            await desk.delete(f"catch-all-domains/{sent}"),
            await desk.post("active-domains", {"id": sent}) if sent != "%00" else None,
        ]
        for response in answers:
            if response is not None:
                message = f"No query results for model [App\\Models\\Domain] {echoed}"
                assert (response.status_code, response.json()) == (404, {"message": message})
    assert await desk.sql("select * from domain order by id") == before


async def test_the_body_of_a_toggle_names_it(desk: Desk) -> None:
    assert errors(await desk.post("active-domains", {})) == {"id": ["The id field is required."]}
    assert errors(await desk.post("active-domains", {"id": 5})) == {"id": ["The id must be a string."]}
