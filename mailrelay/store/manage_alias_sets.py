"""Aliases, several at once: each change reaches all of those that qualify, in one transaction, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from mailrelay.core.errors import Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.records import OwnedSet
from mailrelay.store import alias_rows
from mailrelay.store.alias_rows import Held
from mailrelay.store.database import Database

_VERIFIED = """
    select uuid from recipient
    where account_id = %(account)s and uuid = any(%(uuids)s::uuid[]) and verified_at is not null and not pending
"""


@dataclass(frozen=True, slots=True)
class AliasSets:
    """Aliases of one account, deleted ones too. Returned are the ids of the changed ones, in the order asked for."""

    database: Database

    async def activate(self, which: OwnedSet, actor: str) -> tuple[tuple[UUID, ...], tuple[UUID, ...]]:
        """Those that were inactive; and, if there was none of them, those that are deleted."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold_several(conn, which.account, which.uuids)
            inactive = [one for one in held if one.state == "inactive"]
            await alias_rows.set_active(conn, inactive, True, actor)
            deleted = [] if inactive else [one for one in held if one.state == "deleted"]
            return _ordered(which, inactive), _ordered(which, deleted)

    async def deactivate(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]:
        """Those that were active."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold_several(conn, which.account, which.uuids)
            active = [one for one in held if one.state == "active"]
            await alias_rows.set_active(conn, active, False, actor)
            return _ordered(which, active)

    async def delete(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]:
        """Those that were not deleted."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold_several(conn, which.account, which.uuids)
            present = [one for one in held if one.state != "deleted"]
            await alias_rows.delete(conn, present, actor)
            return _ordered(which, present)

    async def restore(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]:
        """Those that were deleted and can be restored: their domain, username or handle is still what it was."""
        done = []
        async with self.database.connection() as conn, conn.transaction():
            for one in await alias_rows.hold_several(conn, which.account, which.uuids):
                if one.state == "deleted":
                    try:
                        await alias_rows.restore(conn, one, actor)
                    except Conflict:
                        continue
                    done.append(one)
        return _ordered(which, done)

    async def forget(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]:
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold_several(conn, which.account, which.uuids)
            if held:
                await alias_rows.forget(conn, held, actor)
            return _ordered(which, held)

    async def pin(self, which: OwnedSet, pinned: bool, actor: str) -> tuple[UUID, ...]:
        """Those that were not pinned, or no longer are."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold_several(conn, which.account, which.uuids)
            others = [one for one in held if one.pinned is not pinned]
            await alias_rows.pin(conn, others, pinned, actor)
            return _ordered(which, others)

    async def attach(self, which: OwnedSet, recipients: tuple[UUID, ...], actor: str) -> tuple[UUID, ...]:
        """Let these be the attached recipients of all. Raises Absent for one that is no verified one of theirs."""
        async with self.database.connection() as conn, conn.transaction():
            numbers = await alias_rows.chosen(conn, which.account, recipients)
            held = await alias_rows.hold_several(conn, which.account, which.uuids)
            if held:
                await alias_rows.attach(conn, held, numbers, actor)
            return _ordered(which, held)

    async def recipients(self, account: AccountId, uuids: Sequence[UUID]) -> frozenset[UUID]:
        """Those that are verified recipients of the account."""
        if not uuids:
            return frozenset()
        rows = await self.database.rows(_VERIFIED, {"account": account, "uuids": list(uuids)})
        return frozenset(row[0] for row in rows)


def _ordered(which: OwnedSet, held: Sequence[Held]) -> tuple[UUID, ...]:
    there = {one.uuid for one in held}
    return tuple(uuid for uuid in which.uuids if uuid in there)
