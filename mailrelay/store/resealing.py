"""Sealing stored mail, addresses and secrets anew with the newest key of storage.key, row by row."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString
from uuid import UUID

from mailrelay.core import totp, webhooks
from mailrelay.core.errors import Malformed
from mailrelay.core.held import place
from mailrelay.core.resealing import Page, Shelf
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal, unseal
from mailrelay.store.database import Database

_PAGE_ROWS = 2000

# An account has no column for the key of its second factor, which the sealed value names itself (core/sealed.py).
_TOTP_KEY: LiteralString = "encode(substr(totp_secret, 2, 4), 'hex')"


def _page(table: LiteralString, key_id: LiteralString = "key_id") -> LiteralString:
    return f"""
        with page as (select id, {key_id} as key_id from {table} where id > %(after)s order by id limit %(limit)s)
        select coalesce(max(id), %(after)s), count(*) = %(limit)s,
               array_agg(id order by id) filter (where key_id <> %(key_id)s)
        from page
    """


_PAGES: Mapping[Shelf, LiteralString] = {
    "webhook": _page("webhook"),
    "account": _page("account", _TOTP_KEY),
    "failed_delivery": _page("failed_delivery"),
    "stored_message": _page("stored_message"),
}
_KEYS_USED: LiteralString = f"""
    select key_id, sum(rows)::bigint from (
        select key_id, count(*) as rows from webhook group by 1
        union all select {_TOTP_KEY}, count(*) from account where totp_secret is not null group by 1
        union all select key_id, count(*) from failed_delivery where key_id is not null group by 1
        union all select key_id, count(*) from stored_message group by 1
    ) used group by 1
"""


@dataclass(frozen=True, slots=True)
class _Table:
    """How rows are read, locked until they are written: id, UUID that they are bound to, and what is sealed.

    columns: name and place of each sealed value, in the order in which they are read.
    """

    read: LiteralString
    write: LiteralString
    columns: Sequence[tuple[str, Callable[[UUID], bytes]]]


_TABLES: Mapping[Shelf, _Table] = {
    "webhook": _Table(
        """
        select id, uuid, secret from webhook
        where id = any (%(ids)s) and key_id <> %(key_id)s order by id for no key update
        """,
        "update webhook set secret = %(secret)s, key_id = %(key_id)s where id = %(id)s",
        [("secret", webhooks.place)],
    ),
    "account": _Table(
        f"""
        select id, uuid, totp_secret from account
        where id = any (%(ids)s) and {_TOTP_KEY} <> %(key_id)s order by id for no key update
        """,
        "update account set totp_secret = %(totp_secret)s where id = %(id)s",
        [("totp_secret", totp.place)],
    ),
    "failed_delivery": _Table(
        """
        select id, uuid, sender, destination, subject from failed_delivery
        where id = any (%(ids)s) and key_id <> %(key_id)s order by id for no key update
        """,
        """
        update failed_delivery
        set sender = %(sender)s, destination = %(destination)s, subject = %(subject)s, key_id = %(key_id)s
        where id = %(id)s
        """,
        [
            ("sender", partial(place, "author")),
            ("destination", partial(place, "destination")),
            ("subject", partial(place, "subject")),
        ],
    ),
    "stored_message": _Table(
        """
        select s.id, f.uuid, s.content, s.evidence
        from stored_message s join failed_delivery f on f.id = s.failed_delivery_id
        where s.id = any (%(ids)s) and s.key_id <> %(key_id)s order by s.id for no key update of s
        """,
        """
        update stored_message set content = %(content)s, evidence = %(evidence)s, key_id = %(key_id)s
        where id = %(id)s
        """,
        [("content", partial(place, "content")), ("evidence", partial(place, "evidence"))],
    ),
}


@dataclass(frozen=True, slots=True)
class Resealer:
    """Everything raises Unavailable. random: so many unpredictable octets."""

    database: Database
    vault: Vault
    random: Callable[[int], bytes]

    async def keys_used(self) -> Mapping[str, int]:
        """How many rows are sealed with each key, by its name."""
        return dict(await self.database.rows(_KEYS_USED))

    async def page(self, shelf: Shelf, after: int) -> Page:
        """The rows behind an id, some thousands."""
        values = {"after": after, "limit": _PAGE_ROWS, "key_id": self.vault.key_id}
        row = await self.database.row(_PAGES[shelf], values)
        assert row is not None  # an aggregate gives one row
        return Page(row[0], row[1], tuple(row[2] or ()))

    async def reseal(self, shelf: Shelf, ids: Sequence[int]) -> tuple[int, int]:
        """Seal these rows anew, all or none; gives how many were, and how many none of the keys opens."""
        table = _TABLES[shelf]
        async with self.database.connection() as conn, conn.transaction():
            values = {"ids": list(ids), "key_id": self.vault.key_id}
            rows = await (await conn.execute(table.read, values)).fetchall()
            # In a thread: other work goes on, and messages can be large.
            sealed = [await asyncio.to_thread(self._anew, table, row) for row in rows]
            for one in sealed:
                if one is not None:
                    await conn.execute(table.write, one)
        return sum(one is not None for one in sealed), sealed.count(None)

    def _anew(self, table: _Table, row: Sequence[Any]) -> dict[str, object] | None:
        """What is to be written; None: no key opens it."""
        number, uuid, *old = row
        found: dict[str, object] = {"id": number, "key_id": self.vault.key_id}
        for (name, bound), value in zip(table.columns, old, strict=True):
            try:
                clear = None if value is None else unseal(self.vault, bound(uuid), value)
            except Malformed:
                return None
            found[name] = None if clear is None else seal(self.vault, self.random(NONCE_OCTETS), bound(uuid), clear)
        return found
