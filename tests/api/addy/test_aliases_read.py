"""Aliases as clients read them: the list, one, several (addy-api.md sections 3.3, 3.4, 4, 6, 7)."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from mailrelay.core.own_aliases import AliasSort
from tests.api.addy.conftest import HOST, Desk

NOON = "2026-05-04 12:00:00.75+00"
LIST = f"{HOST}/api/v1/aliases"


async def three(desk: Desk, **columns: Any) -> list[UUID]:
    """Three aliases, the youngest first."""
    return [
        await desk.alias(f"a{age}@alias.example", created_at=f"2026-05-0{9 - age} 12:00:00+00", **columns)
        for age in (1, 2, 3)
    ]


async def delete(desk: Desk, *aliases: UUID) -> None:
    await desk.sql("update alias set state = 'deleted', deleted_at = now() where uuid = any (%s)", list(aliases))


async def forget(desk: Desk, alias: UUID) -> None:
    await desk.sql("update alias set state = 'forgotten', account_id = null, deleted_at = now() where uuid = %s", alias)


async def listed(desk: Desk, query: str = "") -> list[str]:
    """The local parts of what a list has."""
    answer = await desk.get(f"aliases{query}")
    assert answer.status_code == 200, answer.text
    return [alias["local_part"] for alias in answer.json()["data"]]


# --- the list -------------------------------------------------------------------------------------------------------


async def test_t_al_1_all_aliases(desk: Desk) -> None:
    await three(desk)
    assert await listed(desk) == ["a1", "a2", "a3"]


async def test_t_al_2_the_legacy_parameter_shows_deleted_ones(desk: Desk) -> None:
    _, second, _ = await three(desk)
    await delete(desk, second)
    assert len(await listed(desk, "?deleted=with")) == 3
    assert await listed(desk) == ["a1", "a3"]


async def test_t_al_3_deleted_ones_only(desk: Desk) -> None:
    first, second, _ = await three(desk)
    await delete(desk, first, second)
    assert await listed(desk, "?filter[deleted]=only") == ["a1", "a2"]


async def test_t_al_4_active_ones(desk: Desk) -> None:
    first, second, _ = await three(desk)
    await desk.sql("update alias set state = 'inactive' where uuid in (%s, %s)", first, second)
    assert await listed(desk, "?filter[active]=true") == ["a3"]
    assert await listed(desk, "?filter[active]=false") == ["a1", "a2"]


async def test_t_al_5_pinned_ones_come_first(desk: Desk) -> None:
    _, second, _ = await three(desk)
    await desk.sql("update alias set pinned = true where uuid = %s", second)
    found = (await desk.get("aliases")).json()["data"]
    assert [(one["local_part"], one["pinned"]) for one in found] == [("a2", True), ("a1", False), ("a3", False)]
    assert await listed(desk, "?sort=-email") == ["a2", "a3", "a1"]


@pytest.mark.parametrize(("word", "found"), [("true", ["a1"]), ("false", ["a2", "a3"])], ids=["t_al_6", "t_al_7"])
async def test_t_al_6_and_7_pinned_or_not(desk: Desk, word: str, found: list[str]) -> None:
    first, _, _ = await three(desk)
    await desk.sql("update alias set pinned = true where uuid = %s", first)
    assert await listed(desk, f"?filter[pinned]={word}") == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?filter[deleted]=without&deleted=with", ["a1", "a2", "a3"]),
        ("?filter[deleted]=with&deleted=only", ["a2"]),
        ("?filter[deleted]=only&deleted=with", ["a2"]),
        ("?deleted=without", ["a1", "a3"]),
        ("?deleted=nonsense", ["a1", "a3"]),
        ("?deleted[]=only", ["a1", "a3"]),
        ("?deleted=only&with=recipients", ["a2"]),
        ("?filter[active]=false", []),
        ("?filter[active]=false&filter[deleted]=with", ["a2"]),
    ],
)
async def test_instructions_about_deleted_ones_add_up(desk: Desk, query: str, found: list[str]) -> None:
    _, second, _ = await three(desk)
    await delete(desk, second)
    assert await listed(desk, query) == found


async def test_forgotten_ones_and_those_of_others_are_never_seen(desk: Desk) -> None:
    first, second, third = await three(desk)
    await forget(desk, second)
    theirs = await desk.alias("theirs@alias.example", account=2)
    for query in ("", "?filter[deleted]=with", "?deleted=only", "?filter[search]=example", "?sort=emails_sent"):
        assert set(await listed(desk, query)) <= {"a1", "a3"}
    for hidden in (second, theirs):
        assert (await desk.get(f"aliases/{hidden}")).status_code == 404
    answer = await desk.post("aliases/get/bulk", {"ids": [str(one) for one in (theirs, third, second, first)]})
    assert [one["local_part"] for one in answer.json()["data"]] == ["a3", "a1"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("A2@ALIAS", ["a2"]),
        ("%C3%84RZTE", ["a3"]),
        ("  %C3%A4rzte%20UND ", ["a3"]),
        ("100%25", ["a1"]),
        ("_off", ["a1"]),
        ("%25ff", []),
        ("%5C_of", []),
        ("'; drop table alias", []),
        ("first tag", []),
    ],
)
async def test_a_search_takes_everything_literally(desk: Desk, search: str, found: list[str]) -> None:
    await desk.alias("a1@alias.example", description="100%_off", extension="first tag")
    await desk.alias("a2@alias.example", from_name="first tag")
    await desk.alias("a3@alias.example", description="ärzte UND andere")
    answer = (await desk.get(f"aliases?filter[search]={search}")).json()
    assert [one["local_part"] for one in answer["data"]] == found
    assert answer["meta"]["total"] == len(found)


async def test_the_aliases_of_a_recipient_a_domain_and_a_username(desk: Desk) -> None:
    """Neither attached nor a parent's default: such aliases are not the recipient's, even if it is the account's."""
    await desk.sql("insert into domain (name, account_id, verified_at) values ('own.example', 1, now())")
    more = await desk.recipient("more@inbox.example")
    await desk.sql(
        "update domain set default_recipient_id = (select id from recipient where uuid = %s) where id = 3", more
    )
    attached = await desk.alias("attached@alias.example", created_at=NOON)
    await desk.attach(attached, more)
    await desk.alias("falls@own.example")
    await desk.alias("below@johndoe.alias.example")
    default = await desk.one("select uuid from recipient where id = 1")
    domain, username = (
        await desk.one("select uuid from domain where id = 3"),
        await desk.one("select uuid from username"),
    )
    assert await listed(desk, f"?recipient={str(more).upper()}") == ["falls", "attached"]
    assert await listed(desk, f"?recipient={default}") == []
    assert await listed(desk, f"?domain={domain}") == ["falls"]
    assert await listed(desk, f"?username={username}") == ["below"]
    assert await listed(desk, f"?username={username}&domain={domain}") == []
    for name in ("recipient", "domain", "username"):
        assert await listed(desk, f"?{name}={uuid4()}") == []


async def test_null_is_the_lowest_value_in_both_directions(desk: Desk) -> None:
    first, second, _ = await three(desk)
    await desk.sql("update alias set last_forwarded = %s where uuid = %s", NOON, first)
    await desk.sql("update alias set last_replied = '2026-06-01', last_blocked = '2027-01-01' where uuid = %s", second)
    assert await listed(desk, "?sort=last_forwarded") == ["a2", "a3", "a1"]
    assert await listed(desk, "?sort=-last_forwarded") == ["a1", "a2", "a3"]
    assert await listed(desk, "?sort=last_used") == ["a3", "a1", "a2"]
    assert await listed(desk, "?sort=-last_used") == ["a2", "a1", "a3"]


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("key", list(AliasSort))
async def test_all_pages_together_are_the_list_in_any_order(desk: Desk, sign: str, key: str) -> None:
    """Though all aliases are equal: they were made at the same moment."""
    await desk.sql(
        "insert into alias (account_id, local_part, domain) select 1, 'n' || n, 'alias.example'"
        " from generate_series(1, 7) n"
    )
    whole = await listed(desk, f"?sort={sign}{key}")
    pages = [await listed(desk, f"?sort={sign}{key}&page[size]=3&page[number]={number}") for number in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert [one for page in pages for one in page] == whole
    assert sorted(whole) == [f"n{n}" for n in range(1, 8)]


# --- pages ----------------------------------------------------------------------------------------------------------


async def test_a_page_is_exactly_this(desk: Desk) -> None:
    await three(desk)
    answer = await desk.get(
        "aliases?filter[deleted]=with&filter[active]=&sort=-created_at&page[number]=2&page[size]=1&junk=%20a%2Fb%20"
    )
    document = answer.json()

    def url(number: int) -> str:
        kept = "filter%5Bdeleted%5D=with&sort=-created_at&page%5Bsize%5D=1&junk=a%2Fb"
        return f"{LIST}?{kept}&page%5Bnumber%5D={number}"

    assert [one["local_part"] for one in document.pop("data")] == ["a2"]
    assert document == {
        "links": {"first": url(1), "last": url(3), "prev": url(1), "next": url(3)},
        "meta": {
            "current_page": 2,
            "from": 2,
            "last_page": 3,
            "links": [
                {"url": url(1), "label": "&laquo; Previous", "page": 1, "active": False},
                {"url": url(1), "label": "1", "page": 1, "active": False},
                {"url": url(2), "label": "2", "page": 2, "active": True},
                {"url": url(3), "label": "3", "page": 3, "active": False},
                {"url": url(3), "label": "Next &raquo;", "page": 3, "active": False},
            ],
            "path": LIST,
            "per_page": 1,
            "to": 2,
            "total": 3,
        },
    }


@pytest.mark.parametrize("query", ["sort=email", "sort=-created_at", "filter[search]=alias"])
async def test_a_page_beyond_the_last_is_empty_and_knows_the_total(desk: Desk, query: str) -> None:
    await three(desk)
    answer = await desk.get(f"aliases?{query}&page[number]=999999999999")
    document = answer.json()
    assert (answer.status_code, document["data"]) == (200, [])
    meta = document["meta"]
    assert (meta["from"], meta["to"], meta["total"], meta["last_page"], meta["per_page"]) == (None, None, 3, 1, 100)
    assert document["links"]["next"] is None


async def test_an_account_without_aliases_has_one_empty_page(desk: Desk) -> None:
    document = (await desk.get("aliases")).json()
    assert document["data"] == []
    assert (document["meta"]["last_page"], document["meta"]["total"]) == (1, 0)
    assert document["links"] == {
        "first": f"{LIST}?page%5Bnumber%5D=1",
        "last": f"{LIST}?page%5Bnumber%5D=1",
        "prev": None,
        "next": None,
    }


async def test_a_page_has_a_hundred_unless_it_is_told_otherwise(desk: Desk) -> None:
    await desk.sql(
        "insert into alias (account_id, local_part, domain) select 1, 'n' || n, 'alias.example'"
        " from generate_series(1, 101) n"
    )
    assert len(await listed(desk)) == 100
    assert len(await listed(desk, "?page[number]=2")) == 1
    assert len(await listed(desk, "?page[number]=-3&page[size]=7")) == 7


# --- validation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("page=2", {"page": ["The page must be an array."]}),
        ("page[number]=two", {"page.number": ["The page.number must be an integer."]}),
        ("page[size]=many", {"page.size": ["The page.size must be an integer."]}),
        ("page[size]=101", {"page.size": ["The page.size may not be greater than 100."]}),
        ("page[size]=0", {"page.size": ["The page.size must be at least 1."]}),
        ("filter=x", {"filter": ["The filter must be an array."]}),
        ("filter[search][]=word", {"filter.search": ["The filter.search must be a string."]}),
        ("filter[search]=a%00bc", {"filter.search": ["The filter.search must be a string."]}),
        ("filter[search]=ab", {"filter.search": ["The filter.search must be at least 3 characters."]}),
        (
            f"filter[search]={'ä' * 51}",
            {"filter.search": ["The filter.search may not be greater than 50 characters."]},
        ),
        ("filter[deleted]=yes", {"filter.deleted": ["The selected filter.deleted is invalid."]}),
        ("filter[active]=1", {"filter.active": ["The selected filter.active is invalid."]}),
        ("filter[pinned]=TRUE", {"filter.pinned": ["The selected filter.pinned is invalid."]}),
        ("filter[pinned][]=true", {"filter.pinned": ["The selected filter.pinned is invalid."]}),
        ("sort=id", {"sort": ["The sort must be at least 3 characters.", "The selected sort is invalid."]}),
        (
            f"sort={'a' * 51}",
            {"sort": ["The sort may not be greater than 50 characters.", "The selected sort is invalid."]},
        ),
        ("sort=%2Bemail", {"sort": ["The selected sort is invalid."]}),
        ("sort[]=email", {"sort": ["The selected sort is invalid."]}),
        ("recipient=me", {"recipient": ["The recipient must be a valid UUID."]}),
        ("domain=own.example", {"domain": ["The domain must be a valid UUID."]}),
        ("username[]=johndoe", {"username": ["The username must be a valid UUID."]}),
    ],
)
async def test_what_is_wrong_is_said_in_the_originals_words(desk: Desk, query: str, errors: dict[str, Any]) -> None:
    answer = await desk.get(f"aliases?{query}")
    assert answer.status_code == 422
    document = answer.json()
    assert document["errors"] == errors
    first = next(iter(errors.values()))[0]
    more = sum(map(len, errors.values())) - 1
    assert document["message"] == first + (f" (and {more} more error)" if more else "")


async def test_all_that_is_wrong_is_told_in_order(desk: Desk) -> None:
    answer = await desk.get("aliases?username=x&sort=zz&filter[active]=x&filter[search]=y&page[size]=200")
    document = answer.json()
    assert list(document["errors"]) == ["page.size", "filter.search", "filter.active", "sort", "username"]
    assert document["message"] == "The page.size may not be greater than 100. (and 5 more errors)"


@pytest.mark.parametrize("document", [{"filter": ["x"]}, {"page": [2]}, {"filter": []}, {"page": {}}])
async def test_lists_for_groups_are_groups_without_these_names(desk: Desk, document: dict[str, Any]) -> None:
    await three(desk)
    answer = await desk.ask("GET", "aliases", document)
    assert (answer.status_code, len(answer.json()["data"])) == (200, 3)


# --- what real clients send (section 4.3) ---------------------------------------------------------------------------


async def many(desk: Desk) -> None:
    """Of each of four kinds one: active, inactive, deleted, pinned."""
    await desk.alias("active@alias.example", description="news of the shop", emails_forwarded=2)
    await desk.alias("inactive@alias.example", state="inactive", emails_forwarded=3)
    await desk.alias("deleted@alias.example", state="deleted", deleted_at=NOON)
    await desk.alias("pinned@alias.example", pinned=True)


@pytest.mark.parametrize(
    ("deleted", "active", "pinned", "search", "found"),
    [
        ("with", "", "", "", ["pinned", "deleted", "inactive", "active"]),
        ("without", "", "", "", ["pinned", "inactive", "active"]),
        ("only", "", "", "", ["deleted"]),
        ("without", "true", "", "", ["pinned", "active"]),
        ("without", "false", "", "", ["inactive"]),
        ("with", "", "true", "", ["pinned"]),
        ("without", "", "false", "shop", ["active"]),
    ],
)
async def test_the_extension_gets_what_it_wants(
    desk: Desk, deleted: str, active: str, pinned: str, search: str, found: list[str]
) -> None:
    await many(desk)
    query = (
        f"?filter[deleted]={deleted}&filter[active]={active}&filter[pinned]={pinned}&filter[search]={search}"
        "&sort=-created_at&page[number]=1&page[size]=10"
    )
    answer = await desk.get(f"aliases{query}", **{"X-Requested-From": "browser-extension"})
    document = answer.json()
    assert [one["local_part"] for one in document["data"]] == found
    assert document["meta"]["total"] == len(found)
    assert not document["links"]["next"]


async def test_the_extension_turns_pages_while_there_is_a_next_one(desk: Desk) -> None:
    await desk.sql(
        "insert into alias (account_id, local_part, domain) select 1, 'n' || n, 'alias.example'"
        " from generate_series(1, 25) n"
    )
    query = "filter[deleted]=with&filter[active]=&filter[pinned]=&filter[search]=&sort=-created_at"
    path, found = f"aliases?{query}&page[number]=1&page[size]=10", []
    while path:
        document = (await desk.get(path)).json()
        found += [one["id"] for one in document["data"]]
        path = (document["links"]["next"] or "").removeprefix(f"{HOST}/api/v1/")
    assert len(set(found)) == len(found) == 25


@pytest.mark.parametrize("stray", ["%3D", ""], ids=["android", "ios"])
@pytest.mark.parametrize(
    ("name", "word", "found"),
    [
        ("active", "true", ["pinned", "active"]),
        ("active", "false", ["inactive"]),
        ("deleted", "only", ["deleted"]),
        ("deleted", "with", ["pinned", "deleted", "inactive", "active"]),
        ("pinned", "true", ["pinned"]),
    ],
)
async def test_the_apps_get_what_they_want(desk: Desk, stray: str, name: str, word: str, found: list[str]) -> None:
    """Android writes a stray `=` into its keys."""
    await many(desk)
    head = f"?filter%5B{name}%5D{stray}={word}"
    assert await listed(desk, f"{head}&page%5Bsize%5D=20&page%5Bnumber%5D=1") == found
    assert await listed(desk, f"{head}&page%5Bsize%5D=20&filter%5Bsearch%5D=shop") == [
        one for one in found if one == "active"
    ]


async def test_the_widgets_get_what_they_want(desk: Desk) -> None:
    await many(desk)
    await desk.sql("update alias set description = 'edited' where local_part = 'inactive'")
    used = await listed(desk, "?filter%5Bdeleted%5D%3D=with&page%5Bsize%5D=15&sort=-emails_forwarded")
    assert used == ["pinned", "inactive", "active", "deleted"]
    assert (await listed(desk, "?filter%5Bactive%5D%3D=false&page%5Bsize%5D=100&sort=-updated_at"))[0] == "inactive"


@pytest.mark.parametrize(
    ("query", "count"),
    [("?with=recipients", 3), ("?filter[deleted]=only&with=recipients", 1), ("?deleted=only&with=recipients", 1)],
)
async def test_the_flutter_app_gets_what_it_wants(desk: Desk, query: str, count: int) -> None:
    await many(desk)
    document = (await desk.get(f"aliases{query}")).json()
    assert len(document["data"]) == count
    assert all(one["recipients"] == [] for one in document["data"])


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
