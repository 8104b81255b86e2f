"""Failed deliveries with and without a message, for the tests of several files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mailrelay.store.manage_keys import init_secrets
from tests.api.addy.conftest import Desk
from tests.store.test_failed import CONTENT, fail

ALONE: Mapping[str, Any] = {"alias_id": None, "recipient_id": None, "content": None}
NOT_STORED = (404, {"message": ""})


@pytest.fixture(autouse=True)
def keys(tmp_path: Path) -> None:
    """Secrets of the installation; storage.key as the helpers of the store's tests have it."""
    (tmp_path / "secrets").mkdir(0o700)
    (tmp_path / "secrets" / "storage.key").write_text(b"a secret of the installation".hex())
    init_secrets(tmp_path / "secrets")


async def failed(desk: Desk, **values: Any) -> UUID:
    """A failed delivery of johndoe's, without alias, recipient and message unless values say otherwise."""
    number = await fail(desk.conn, **{**ALONE, **values})
    found: UUID = await desk.one("select uuid from failed_delivery where id = %s", number)
    return found


async def forward(desk: Desk, **values: Any) -> UUID:
    """One that can be resent: its alias is a1@alias.example."""
    if not await desk.sql("select from alias"):
        await desk.alias("a1@alias.example")
    alias = await desk.one("select id from alias")
    return await failed(desk, **{"alias_id": alias, "recipient_id": 1, "content": CONTENT, **values})
