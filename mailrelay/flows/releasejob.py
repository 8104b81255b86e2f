"""Held mail that its owner wants sent: the job `release` (spec section 4.3).

Whoever takes the wish has no keys to sign with and no connection to Postfix; the worker has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mailrelay import log
from mailrelay.core.errors import Absent, Conflict, Malformed
from mailrelay.core.facts import Reason
from mailrelay.core.held import HeldId, HeldRecord
from mailrelay.core.jobs import RELEASE
from mailrelay.core.notices import Code, Notice
from mailrelay.flows.ports import Post
from mailrelay.flows.release import Released


class Release(Protocol):
    """Sends a held message, as flows/release.py does. Raises Absent, Conflict, Malformed, Unavailable."""

    async def __call__(self, held_id: HeldId, actor: str) -> Released: ...


class ReadHeld(Protocol):
    """The record of a held message. Raises Absent, Unavailable."""

    async def __call__(self, held_id: HeldId, /) -> HeldRecord: ...


class Put(Protocol):
    """Adds a job, unless one with this key waits already. Raises Unavailable."""

    async def __call__(self, kind: str, payload: Mapping[str, object], dedupe_key: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class ReleaseLater:
    """Leaves a release to the worker."""

    put: Put

    async def __call__(self, held_id: HeldId, actor: str) -> None:
        """Durable once it returns; asked for twice, it is done once. Raises Unavailable."""
        await self.put(RELEASE, {"held_id": held_id, "actor": actor}, f"{RELEASE}:{held_id}")


@dataclass(frozen=True, slots=True)
class ReleaseJobs:
    """Handler of the job."""

    release: Release
    read: ReadHeld
    post: Post

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Its owner hears of it if it cannot go out after all. Raises Malformed and Unavailable.

        What Postfix refuses for good is told of as any other copy is, see core/chronicle.py.
        """
        number = payload.get("held_id")
        if not isinstance(number, int):
            raise Malformed("held_id of the job is no number")
        held_id = HeldId(number)
        try:
            await self.release(held_id, str(payload.get("actor", "")))
        except (Conflict, Malformed) as error:
            await self._tell(held_id, str(error))
        except Absent:
            log.logger().info("held.not_released", held=held_id, problem="its record is gone")

    async def _tell(self, held_id: HeldId, why: str) -> None:
        log.logger().info("held.not_released", held=held_id, problem=why)
        try:
            record = await self.read(held_id)
        except Absent:
            return  # its owner deleted it meanwhile
        if record.state == "released" or record.reason == Reason.KEY_UNUSABLE:
            return  # pressed twice; or the owner knows that there is a key to mend
        data = {"alias": record.alias or "", "contact": record.rcpt, "reason": why}
        await self.post(Notice(Code.DRSA, record.account_id, data=data))
