"""A failed delivery that its owner wants sent once more: the job `resend` (addy-api.md N12).

As with releases, whoever takes the wish has no keys to sign with and no connection to Postfix; the worker has. But this
wish waits for its answer, so the job is tried once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.core.facts import AccountId, Target
from mailrelay.core.failed import FailedId, FailedRecord, NotSent, Resent, check_resend
from mailrelay.core.jobs import RESEND, JobEnd, JobId
from mailrelay.flows.manage import failed as desk
from mailrelay.flows.manage.failed import ReadTargets

# A client gives up after half a minute or so; Postfix takes a copy within milliseconds.
_PATIENCE_SECONDS = 20.0
_FIRST_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 0.5


class Jobs(Protocol):
    """The queue, see store/jobs.py. All raise Unavailable."""

    async def ask(self, kind: str, payload: Mapping[str, object], dedupe_key: str) -> JobId: ...
    async def end(self, job_id: JobId) -> JobEnd | None: ...
    async def withdraw(self, job_id: JobId) -> None: ...


@dataclass(frozen=True, slots=True)
class ResendByWorker:
    """The story of a resend as those see it who leave it to the worker. rest: sleeps for so many seconds."""

    jobs: Jobs
    read_targets: ReadTargets
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def chosen(self, account_id: AccountId, uuids: Sequence[UUID]) -> tuple[Target, ...]:
        """As flows/manage/failed.py does."""
        return await desk.chosen(self.read_targets, account_id, uuids)

    async def __call__(self, record: FailedRecord, actor: str, to: Sequence[Target] = ()) -> Resent:
        """Returns when it is done; who asks meanwhile waits for the same copies, whose number is not known here.

        Raises NotStored, AlreadyResent, NotForward, NotSent with why it failed, and Unavailable.
        """
        check_resend(record)
        addresses = [str(target.address) for target in to]
        payload = {"failed_id": record.id, "actor": actor, "data": {"to": addresses}}
        job = await self.jobs.ask(RESEND, payload, f"{RESEND}:{record.id}")
        end = await self._end(job)
        if end is None:
            await self.jobs.withdraw(job)
            raise NotSent("no worker has done it in time")
        if end.problem:
            raise NotSent(end.problem)
        return Resent(record.id, 0)

    async def _end(self, job: JobId) -> JobEnd | None:
        waited, pause = 0.0, _FIRST_LOOK_SECONDS
        while waited < _PATIENCE_SECONDS:
            await self.rest(pause)
            end = await self.jobs.end(job)
            if end is not None:
                return end
            waited += pause
            pause = min(1.5 * pause, _LONGEST_LOOK_SECONDS)
        return None


class SendAgain(Protocol):
    """Resends a message of any account, as flows/manage/failed.py does for the operator."""

    async def __call__(self, failed_id: FailedId, actor: str, mailboxes: Sequence[Address]) -> Resent: ...


@dataclass(frozen=True, slots=True)
class ResendJobs:
    """Handler of the job."""

    send: SendAgain

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Raises Malformed whatever was in the way: its owner hears of it at once, and asks again."""
        number, data = payload.get("failed_id"), payload.get("data")
        to = data.get("to") if isinstance(data, dict) else None
        if not isinstance(number, int) or not isinstance(to, list):
            raise Malformed("the job does not say what to send, or to whom")
        try:
            mailboxes = [parse_address(str(one)) for one in to]
            await self.send(FailedId(number), str(payload.get("actor", "")), mailboxes)
        except (Absent, Conflict, Unavailable) as error:
            raise Malformed(str(error)) from error
