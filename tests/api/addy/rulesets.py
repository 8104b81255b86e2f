"""Rules as clients send them."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tests.api.addy.conftest import Desk

BLOCK: Mapping[str, Any] = {"type": "block", "value": True}
FROM_SHOP: Mapping[str, Any] = {"type": "sender", "match": "ends with", "values": ["@shop.example"]}
RULE: Mapping[str, Any] = {"name": "no shops", "conditions": [FROM_SHOP], "actions": [BLOCK]}
# As the mobile apps send it back.
WHOLE: Mapping[str, Any] = {
    "id": "50c9e585-e7f5-41c4-9016-9014c15454bc",
    "user_id": "ca0a4e09-c266-4f6f-845c-958db5090f09",
    "name": "First Rule",
    "order": 7,
    "conditions": [
        {"type": "sender", "match": "is exactly", "values": ["will@shop.example"]},
        {"type": "sender", "match": "starts with", "values": ["will", "bill"]},
        {"type": "alias", "match": "is exactly", "values": ["ebay@johndoe.alias.example"]},
    ],
    "actions": [{"type": "subject", "value": "New Subject!"}],
    "operator": "AND",
    "forwards": True,
    "replies": False,
    "sends": False,
    "active": False,
    "applied": 99,
    "last_applied": "2019-10-01 09:00:00",
    "created_at": "2019-10-01 09:00:00",
    "updated_at": "2019-10-01 09:00:00",
}


def condition(kind: str, match: str, *values: Any) -> dict[str, Any]:
    return {"type": kind, "match": match, "values": list(values)}


def action(kind: str, value: Any = True) -> dict[str, Any]:
    return {"type": kind, "value": value}


async def made(desk: Desk, name: str = "no shops", **columns: Any) -> UUID:
    """A rule that is simply there."""
    values = {"account_id": 1, "name": name, "forwards": True, "position": 0, "active": True, **columns}
    texts = {"conditions": json.dumps([FROM_SHOP]), "actions": json.dumps([BLOCK])}
    values = {**texts, **values}
    names, places = ", ".join(values), ", ".join(["%s"] * len(values))
    found: UUID = await desk.one(f"insert into rule ({names}) values ({places}) returning uuid", *values.values())
    return found


async def errors(desk: Desk, document: Any) -> Any:
    """What a new rule is refused with; nothing of it is stored."""
    response = await desk.post("rules", document)
    assert response.status_code == 422, response.text
    assert await desk.sql("select from rule") == []
    assert await desk.sql("select from audit") == []
    return response.json()["errors"]
