"""The list of aliases with its filters, orders and pages (addy-api.md sections 4, 6)."""

from uuid import uuid4

import pytest

from mailrelay.core.own_aliases import AliasSort
from tests.api.addy.aliases import LIST, NOON, delete, forget, listed, three
from tests.api.addy.conftest import Desk

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
    """A recipient has what is attached to it, then what falls to it: by its parent's default, by the account's."""
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
    assert await listed(desk, f"?recipient={default}") == ["below"]
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
