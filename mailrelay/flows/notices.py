"""The story of a notification: who gets it, whether it is one too many, what it says, and that it goes out once."""

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core import dkim, noticeletter, verp
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.failed import FailedId, notice_key
from mailrelay.core.header import split
from mailrelay.core.jobs import Job, JobId
from mailrelay.core.ledger import Envelope, IngressKey, Mode, OutboundId
from mailrelay.core.letterhead import Header, Signer
from mailrelay.core.links import Links
from mailrelay.core.locks import Lock
from mailrelay.core.noticefailure import Setback
from mailrelay.core.noticeletter import Note, Paper
from mailrelay.core.noticeroute import Admission, Going, Ground, Spared, admission, route
from mailrelay.core.notices import KINDS, Code, Notice, from_json
from mailrelay.core.noticewords import LISTED, Material, Signs, since, tell
from mailrelay.core.plan import Copy, Mail
from mailrelay.core.screen import day_number
from mailrelay.core.sealed import Vault
from mailrelay.core.signer import signing_domain, usable_keys
from mailrelay.core.verp import EmailType
from mailrelay.flows.codes import revealed
from mailrelay.flows.drafts import SigningKeys
from mailrelay.flows.handover import Destination, Dispatcher, Handover
from mailrelay.flows.jobs import Task
from mailrelay.flows.letter import Letter
from mailrelay.flows.ports import Clock
from mailrelay.flows.rules import Rules
from mailrelay.flows.sealing import Sealing
from mailrelay.notices import Printed, Printer

# No mailbox of an account.
_NOBODY = -1


class Books(Protocol):
    """What notices need of the database; see store/notices.py. All raise Unavailable."""

    async def grounds(self, notices: Sequence[Notice]) -> Sequence[Ground]: ...
    async def admit(self, admissions: Sequence[Admission]) -> set[JobId]: ...
    async def suppressed(self, account: AccountId, code: Code, subject: str, since: datetime) -> int: ...
    async def setback(self, account: AccountId, failed_id: int) -> Setback | None: ...
    async def latest(self, account: AccountId, since: datetime, *, inbound: bool, limit: int) -> Sequence[Setback]: ...


class Finish(Protocol):
    """Notes that jobs are done. Raises Unavailable."""

    def __call__(self, ids: Sequence[JobId], /) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Office:
    """How the installation appears in notices. product: the name that people know it by.

    links: for a time in seconds since 1970; None if it has no address that people reach. list_url: where people see
    their failed deliveries, '' if nowhere; sites: others on which people use it.
    """

    product: str
    printer: Printer
    links: Callable[[int], Links] | None = None
    list_url: str = ""
    sites: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NewNotice:
    """The notice as it goes out, for the dispatcher. It belongs to no alias, and no rule sees it."""

    note: Note
    paper: Paper
    rules: Rules
    keys: Sequence[dkim.SigningKey]
    lock: Lock | None  # None: in clear
    sealing: Sealing

    def mode(self, destination: Address) -> Mode | None:
        return None

    async def copy(self, destination: Address, outbound_id: OutboundId) -> Copy:
        body = noticeletter.body(self.note, self.paper)
        header = Header(b"", tuple(noticeletter.header(self.note, destination, outbound_id, self.paper)))
        if self.lock is not None:
            sealed = await self.sealing.seal(header, body, self.lock)
            assert sealed is not None  # what we write is not encrypted yet
            header, body = sealed
        header = header.signed(dkim.body_hash(body), Signer(self.keys, int(self.paper.now.timestamp())))
        path = verp.VerpId(EmailType.NOTIFICATION, outbound_id, day_number(self.paper.now))
        bounce_domain = self.rules.identity.bounce_domain
        international = not header.block.isascii()
        return Copy(
            sender=f"{verp.encode(path, bounce_domain, self.rules.around.keys.verp[0])}@{bounce_domain}",
            rcpt=str(destination),
            content=(header.block + b"\r\n", body),
            envelope_id=f"{outbound_id:016x}",
            eight_bit=international,
            smtputf8=international,
        )


@dataclass(frozen=True, slots=True)
class Notices:
    """Handles jobs of kind `notice`. vault: opens what they may not show in the database."""

    rules: Rules
    books: Books
    finish: Finish
    office: Office
    signing_keys: SigningKeys
    dispatcher: Dispatcher
    sealing: Sealing
    vault: Vault
    clock: Clock

    async def sift(self, jobs: Sequence[Job], /) -> Sequence[Task]:
        """Those that are to go out. The others are done. Raises Unavailable."""
        tasks: list[Task] = []
        read: list[tuple[Job, Notice]] = []
        for job in jobs:
            try:
                read.append((job, from_json(job.payload)))
            except Malformed as error:
                tasks.append(Task(job, partial(_refuse, error)))
        grounds = await self.books.grounds([notice for _, notice in read]) if read else ()
        going: list[tuple[Job, Notice, Going]] = []
        spared: list[tuple[Job, Notice, Spared]] = []
        for (job, notice), ground in zip(read, grounds, strict=True):
            place = self._place(notice, ground)
            if isinstance(place, Going):
                going.append((job, notice, place))
            else:
                spared.append((job, notice, place))
        if spared:
            await self.finish([job.id for job, _, _ in spared])
        for job, notice, why in spared:
            _done(job, notice, why.outcome, why.why)
        for job, notice, place in await self._admitted(going):
            tasks.append(Task(job, partial(self._send, job, notice, place)))
        return tasks

    def _place(self, notice: Notice, ground: Ground) -> Going | Spared:
        around, linked = self.rules.around, self.office.links is not None
        return route(notice, ground, around.realm, around.bans, self.clock(), linked=linked)

    async def _admitted(self, going: Sequence[tuple[Job, Notice, Going]]) -> list[tuple[Job, Notice, Going]]:
        """Those that are within their limits. What an earlier try of the same job counted is not counted again."""
        asked = [
            found
            for job, notice, place in going
            if not job.payload.get("admitted") and (found := admission(job.id, notice, place)) is not None
        ]
        refused = {one.job_id for one in asked} - (await self.books.admit(asked) if asked else set())
        for job, notice, _ in going:
            if job.id in refused:
                _done(job, notice, "suppressed", "too many")
        return [one for one in going if one[0].id not in refused]

    async def _send(self, job: Job, notice: Notice, going: Going) -> None:
        """Raises Unavailable when it has to be tried again; what has gone out is not sent a second time."""
        notice = revealed(notice, self.vault)
        now, key, identity, office = self.clock(), _key(job.id, notice), self.rules.identity, self.office
        # The same whenever it is tried, so that receivers can tell a second copy if there ever is one.
        number = hmac.digest(self.rules.around.keys.loop[0], b"notice-v1\0" + key, hashlib.sha256).hex()[:32]
        paper = Paper(office.product, identity.domain, identity.header_prefix, number, now)
        signs = Signs(
            office.links(int(now.timestamp())) if office.links is not None else None, office.list_url, office.sites
        )
        lock = await self._lock(notice, going)
        if lock is not None:
            going = replace(going, stub=False)
        told = tell(notice, going, await self._material(notice), signs, paper)
        if told is None:
            _done(job, notice, "unwanted", "there is nothing left to tell")
            return
        handover = await self._hand_over(key, notice, going, paper, office.printer(told), lock)
        if not handover.done:
            raise Unavailable("the notification cannot be handed to Postfix now")
        reason = handover.failed
        _done(job, notice, "failed" if reason else "sent", reason.value if reason else "")

    async def _hand_over(
        self, key: IngressKey, notice: Notice, going: Going, paper: Paper, printed: Printed, lock: Lock | None
    ) -> Handover:
        identity, now = self.rules.identity, paper.now
        note = Note(notice.code.value, printed.language, printed.subject, printed.plain, printed.html)
        domain = signing_domain(EmailType.NOTIFICATION, "rewrite", None, identity.domain, verified_for_sending=False)
        assert domain is not None  # only untouched copies may go out unsigned
        keys = usable_keys(EmailType.NOTIFICATION, "rewrite", self.signing_keys(domain))
        draft = NewNotice(note, paper, self.rules, keys, lock, self.sealing)
        size_octets = len(noticeletter.body(note, paper))
        envelope = Envelope(key, "", paper.message_id, "", paper.sender, "", size_octets, notice.account_id)
        number = going.mailbox.id if going.mailbox is not None else _NOBODY
        destination = Destination(number, going.address, encrypted=lock is not None)
        # Nothing has come in that the letter could hold.
        letter = Letter(Mail("", "", (), b""), split(b""), key, "", None, b"", now, time.perf_counter())
        return await self.dispatcher.dispatch(letter, envelope, draft, [destination], None, notice=notice.code)

    async def _lock(self, notice: Notice, going: Going) -> Lock | None:
        """How the notice is encrypted; None: it is not, or cannot be. Raises Unavailable."""
        if going.mailbox is None or not KINDS[notice.code].encrypted:
            return None
        return await self.sealing.usable(going.mailbox.id)

    async def _material(self, notice: Notice) -> Material:
        """What the notice is about, as it is now."""
        account, begun = notice.account_id, since(notice)
        if account is None:
            return Material()
        match notice.code:
            case Code.FDN:
                return Material(await self.books.setback(account, _integer(notice.data, "failed_id")))
            case Code.FDN_DIGEST if begun is not None:
                count = await self.books.suppressed(account, Code.FDN, notice.about, begun)
                latest = await self.books.latest(account, begun, inbound=False, limit=LISTED) if count else ()
                return Material(latest=latest, count=count)
            case Code.IR_DIGEST if begun is not None:
                latest = await self.books.latest(account, begun, inbound=True, limit=LISTED)
                return Material(latest=latest, count=max(_integer(notice.data, "count"), len(latest)))
        return Material()


async def _refuse(error: Malformed) -> None:
    raise error


def _integer(data: Mapping[str, object], name: str) -> int:
    found = data.get(name, 0)
    return found if isinstance(found, int) else 0


def _key(job_id: JobId, notice: Notice) -> IngressKey:
    """The ledger's key of what this job sends: however often it is tried, there is one copy."""
    if notice.code is Code.FDN:
        return notice_key(FailedId(_integer(notice.data, "failed_id")))
    return IngressKey(hashlib.sha256(b"notice\0%d" % job_id).digest()[:16])


def _done(job: Job, notice: Notice, outcome: str, why: str) -> None:
    metrics.NOTICES.labels(notice.code.value, outcome).inc()
    facts = {"code": notice.code.value, "account": notice.account_id, "recipient": notice.recipient_id}
    log.logger().info("notice.done", job=job.id, outcome=outcome, reason=why or None, **facts)
