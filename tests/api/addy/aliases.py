"""Short ways to have aliases and to read their list."""

from typing import Any
from uuid import UUID

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
