"""What clients ask of the list of aliases, rightly or not (addy-api.md sections 4.2, 4.3)."""

from typing import Any

import pytest

from tests.api.addy.aliases import NOON, listed, three
from tests.api.addy.conftest import HOST, Desk

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
