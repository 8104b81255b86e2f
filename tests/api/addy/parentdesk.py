"""Short ways to have domains and usernames, for the tests of both."""

from typing import Any
from uuid import UUID

import httpx2

from tests.api.addy.conftest import Desk

DANGEROUS = ["(.*)*", "(.+)+", "(a+)+", r"(\w+)+"]
_TROUBLE = "that can cause excessive CPU use. Please use a simpler expression."
NESTED = f"The auto create regex contains nested quantifiers {_TROUBLE}"
HEAVY = f"The auto create regex contains a pattern {_TROUBLE}"
NO_REGEX = "auto_create_regex is an invalid regular expression."


async def domain(desk: Desk, name: str = "own.example", *, account: int = 1, **columns: Any) -> UUID:
    """A verified custom domain that is simply there."""
    values = {"name": name, "account_id": account, "catch_all": True, **columns}
    names, places = ", ".join(values), ", ".join(["%s"] * len(values))
    query = f"insert into domain ({names}, verified_at) values ({places}, now()) returning uuid"
    found: UUID = await desk.one(query, *values.values())
    return found


async def username(desk: Desk, name: str = "janedoe", *, account: int = 1, **columns: Any) -> UUID:
    """One more username that is simply there."""
    values = {"name": name, "account_id": account, **columns}
    names, places = ", ".join(values), ", ".join(["%s"] * len(values))
    found: UUID = await desk.one(f"insert into username ({names}) values ({places}) returning uuid", *values.values())
    return found


def errors(response: httpx2.Response) -> Any:
    """Messages by attribute of a 422."""
    assert response.status_code == 422, response.text
    return response.json()["errors"]


async def audited(desk: Desk) -> list[tuple[Any, ...]]:
    """Who did what, in order."""
    return await desk.sql("select actor, account_id, action from audit order by id")
