"""Failed deliveries for commands and APIs: the store with its keys, and the parts that a resend needs."""

from collections.abc import Sequence

from mailrelay.config import Config
from mailrelay.core.address import Address
from mailrelay.core.failed import FailedId, Resent
from mailrelay.core.sealed import vault
from mailrelay.flows.manage import failed as desk
from mailrelay.flows.ports import ReadBackground
from mailrelay.flows.release import Release
from mailrelay.flows.release import Resend as MakeCopies
from mailrelay.flows.resend import Resend
from mailrelay.flows.resendjob import ResendByWorker, ResendJobs
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.failed import FailedStore
from mailrelay.store.jobs import JobStore
from mailrelay.store.targets import TargetReader
from mailrelay.wiring.held import Bench, bench
from mailrelay.wiring.runtime import Runtime, utc_now


def failed_store(config: Config, database: Database) -> FailedStore:
    """Failed deliveries, with the keys of storage.key. Raises BadConfig."""
    return FailedStore(database, vault(read_secret(config.secrets, "storage.key")))


def resender(
    runtime: Runtime, shelf: FailedStore, read_background: ReadBackground, release: Release, make: MakeCopies
) -> Resend:
    """The story of resends, out of the parts of a process that releases held mail."""
    read_targets = TargetReader(runtime.database).read
    return Resend(runtime.rules, shelf, runtime.read_facts, read_background, read_targets, release, make, utc_now)


def by_worker(database: Database) -> ResendByWorker:
    """For a process that has no keys to send anything with."""
    return ResendByWorker(JobStore(database), TargetReader(database).read)


def resend_jobs(parts: Bench) -> ResendJobs:
    """For the worker. Raises BadConfig."""
    shelf = failed_store(parts.config, parts.database)
    story = resender(parts.runtime, shelf, parts.read_background, parts.release, parts.make)

    async def send(failed_id: FailedId, actor: str, mailboxes: Sequence[Address]) -> Resent:
        return await desk.resend(shelf, story, None, failed_id, actor, mailboxes=mailboxes)

    return ResendJobs(send)


async def resend(config: Config, failed_id: FailedId, actor: str, mailboxes: Sequence[Address]) -> Resent:
    """Resend one message now, from this process. Raises BadConfig and as flows/manage/failed.py does."""
    async with bench(config, "resend") as parts:
        return await resend_jobs(parts).send(failed_id, actor, mailboxes)
