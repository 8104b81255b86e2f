"""The worker role: what is done later than the mail, each duty for itself."""

import asyncio
import random
import secrets
import socket
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from mailrelay import log
from mailrelay.clients.logtail import FileTail, JournalTail, local_zone
from mailrelay.clients.resolver import Resolver
from mailrelay.clients.submit import Submitter
from mailrelay.config import Config
from mailrelay.core.jobs import (
    ACCOUNT_DELETION,
    ALIAS_BOUNCES,
    DOMAIN_KEYS,
    DOMAIN_RECHECK,
    NOTICE,
    OWNER_REQUEST,
    RECOVERY,
    RELEASE,
    RESEND,
)
from mailrelay.core.sealed import Vault, vault
from mailrelay.flows.bouncing import BouncingAliases
from mailrelay.flows.chronicle import Chronicle, Manner
from mailrelay.flows.deletion import AccountDeletion
from mailrelay.flows.domainkeys import DomainKeys
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.jobs import Handler, JobRunner
from mailrelay.flows.keycheck import KeyCheck
from mailrelay.flows.releasejob import ReleaseJobs
from mailrelay.flows.retain import Retention
from mailrelay.flows.upkeep import Step, Upkeep
from mailrelay.flows.watchlog import Consequences, LogSource, LogWatch, Reading
from mailrelay.keyring import read_secret
from mailrelay.signing import DkimKeys
from mailrelay.store import jobs
from mailrelay.store.chronicle import ChronicleStore
from mailrelay.store.deletion import Deletions
from mailrelay.store.failing import FailingStore
from mailrelay.store.jobs import JobStore
from mailrelay.store.keys import RecipientKeys
from mailrelay.store.manage_domains import Domains
from mailrelay.store.reminders import Reminders
from mailrelay.store.retention import RetentionStore
from mailrelay.store.watchlog import WatchStore
from mailrelay.wire import maillog
from mailrelay.wiring import domaincheck, keys, resealing, webhooks
from mailrelay.wiring.failed import resend_jobs
from mailrelay.wiring.haltman.codes import owner_mailing
from mailrelay.wiring.haltman.people import code_mailing
from mailrelay.wiring.held import archive, furnished, held_store
from mailrelay.wiring.notices import notices
from mailrelay.wiring.runtime import Runtime, utc_now
from mailrelay.wiring.spool import spool

# Entries of the ledger that are still being written must not be passed over.
_LAG_SECONDS = 15.0
_CHECK_SECONDS = 60.0  # between looks for domains that are due
_PROPOSAL_SECONDS = 5.0  # and for those that are proposed, of which each is due once a minute
_JOBS = "jobs"  # the one duty that makes copies
# For its end, which takes 15, and for records of copies; less than TimeoutStopSec of the unit.
_LAST_SECONDS = 23.0


class Duty(Protocol):
    """Runs until stop is set and deals with all trouble itself. health: `ok`, or what is wrong."""

    @property
    def health(self) -> str: ...
    async def run(self, stop: asyncio.Event) -> None: ...


class WorkerRole:
    """Several workers may run: what one must do alone, the one that leads does. Raises BadConfig."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._runtime = runtime
        self._archive = archive(config)
        self._resolver = Resolver(config.dns.nameservers)
        self._submitter = Submitter(
            config.submit.address, config.service.hostname, config.submit.connections, config.submit.timeout_seconds
        )
        self._checking = domaincheck.resolvers(config)
        self._keys = DkimKeys(config.dkim)
        self._dispatcher = Dispatcher(
            runtime.ledger,
            self._submitter.submit,
            lambda: secrets.randbits(64),
            banned_hosts=runtime.banned_hosts,
        )
        runtime.on_restored.append(self._dispatcher.catch_up)
        self._failing = FailingStore(runtime.database)
        self._jobs = self._job_runner(config)
        self._duties: dict[str, Duty] = {
            "retention": Retention(RetentionStore(config.database.dsn), config.worker, utc_now),
            _JOBS: self._jobs,
            "chronicle": self._chronicle(config),
            "webhooks": webhooks.runner(config, runtime.database, self._resolver),
            "upkeep": self._upkeep(config),
            "domains": Upkeep({"checks of domains": self._checks(config)}, utc_now, _CHECK_SECONDS),
            "proposals": Upkeep({"proposed domains": self._proposals(config)}, utc_now, _PROPOSAL_SECONDS),
        }
        if config.worker.mail_log:
            self._duties["mail log"] = self._watch(config)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _job_runner(self, config: Config) -> JobRunner:
        store = JobStore(self._runtime.database, f"{socket.gethostname()} {secrets.token_hex(4)}")
        told = notices(config, self._runtime, store, self._dispatcher, self._keys)
        bench = furnished(config, self._runtime, self._archive, self._dispatcher, self._keys)
        handlers: dict[str, Handler] = {
            ALIAS_BOUNCES: BouncingAliases(self._failing, utc_now),
            RELEASE: ReleaseJobs(bench.release, held_store(config, self._archive).one, self._runtime.post),
            RESEND: resend_jobs(bench),
            ACCOUNT_DELETION: AccountDeletion(Deletions(self._runtime.database)),
            DOMAIN_RECHECK: domaincheck.recheck_job(config, self._runtime.database, self._checking),
            RECOVERY: code_mailing(config, self._runtime.database, utc_now),
            OWNER_REQUEST: owner_mailing(config, self._runtime.database, utc_now),
            DOMAIN_KEYS: DomainKeys(Domains(self._runtime.database), domaincheck.signing_keys(config)),
        }
        return JobRunner(store, handlers, {NOTICE: told.sift}, random.random, utc_now)

    def _checks(self, config: Config) -> Step:
        return domaincheck.checks(config, self._runtime.database, self._checking)

    def _proposals(self, config: Config) -> Step:
        return domaincheck.proposals(config, self._runtime.database, self._checking)

    def _chronicle(self, config: Config) -> Chronicle:
        lag = timedelta(seconds=max(_LAG_SECONDS, 2 * config.database.timeout_seconds))
        store = ChronicleStore(config.database.dsn, storage_keys(config), secrets.token_bytes, lag)
        manner = Manner(config.service.hostname, config.limits.bandwidth_octets_per_month)
        return Chronicle(store, manner, utc_now)

    def _upkeep(self, config: Config) -> Upkeep:
        files, failing = spool(config), self._failing

        async def recovered(now: datetime) -> int:
            return len(await failing.clear_recovered(now))

        async def ended(now: datetime) -> int:
            return len(await failing.unverify_long_failing(now))

        async def undeleted(now: datetime) -> int:
            return await deletions.post()

        reminders, deletions = Reminders(self._runtime.database), Deletions(self._runtime.database)
        steps: dict[str, Step] = {
            "recipients that recovered": recovered,
            "recipients that failed for long": ended,
            "tokens that expire": reminders.tokens,
            "digests of rejections": reminders.rejections,
            "accounts that are being deleted": undeleted,
            "domains with wrong records": domaincheck.incidents(config, self._runtime.database),
            "keys of recipients": KeyCheck(RecipientKeys(self._runtime.database), keys.gate()),
            "sealing with the newest key": resealing.step(config, self._archive),
        }
        if not config.worker.mail_log:
            # What was kept while somebody read the log; now nobody would learn when to let it go.
            steps["spool"] = files.sweep
        return Upkeep(steps, utc_now)

    def _watch(self, config: Config) -> LogWatch:
        path = config.worker.mail_log
        source: LogSource = JournalTail() if path == "journal" else FileTail(Path(path))
        store = WatchStore(
            config.database.dsn, f"{socket.gethostname()} {path}", storage_keys(config), secrets.token_bytes
        )
        rules, files = self._runtime.rules, spool(config)
        reading = Reading(
            partial(maillog.read, zone=local_zone()), rules.around.keys.verp, rules.replies["UNKNOWN"].text
        )
        consequences = Consequences(
            self._failing.note_success, self._failing.note_contact_success, files.drop, files.sweep
        )
        return LogWatch(source, store, reading, consequences, utc_now)

    async def start(self) -> None:
        await self._archive.open()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(duty.run(self._stop), name=name) for name, duty in self._duties.items()]
        listening = jobs.listen(self._runtime.config.database.dsn, self._jobs.wake.set)
        self._listener = loop.create_task(listening, name="job listener")

    async def stop(self) -> None:
        end = time.monotonic() + _LAST_SECONDS
        self._stop.set()
        self._jobs.wake.set()
        await asyncio.gather(*(task for task in self._tasks if task.get_name() == _JOBS), return_exceptions=True)
        left = await self._dispatcher.finish(end - time.monotonic())
        if left:
            log.logger().warning("worker.unrecorded", copies=left)
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                log.logger().error("worker.duty_ended", problem=repr(result))
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        self._submitter.close()
        for resolver in (self._resolver, *self._checking):
            await resolver.close()
        await self._archive.close()

    def reload(self, config: Config) -> None:
        """Read the signing keys again; the rest of its settings is read when it starts."""
        self._keys.forget()

    def health(self) -> Mapping[str, str]:
        """A duty that has ended, which none should, says so."""
        ended = {task.get_name() for task in self._tasks if task.done() and not self._stop.is_set()}
        return {name: "ended, see the log" if name in ended else duty.health for name, duty in self._duties.items()}


def storage_keys(config: Config) -> Vault:
    """What seals mail and addresses at rest. Raises BadConfig."""
    return vault(read_secret(config.secrets, "storage.key"))
