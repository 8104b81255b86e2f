"""A store in memory and an outside world, for stories that need no PostgreSQL and no Postfix.

tests/store/test_contract.py holds the store to the real one. Rows are dicts with the columns of sql/schema.sql.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from mailrelay.core.address import Address, parse_address
from mailrelay.core.background import Background, BackgroundInquiry, Style
from mailrelay.core.context import Context, ContextInquiry, Wanted
from mailrelay.core.eom import Preferences
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import (
    NOBODY,
    Account,
    AccountId,
    Alias,
    AliasId,
    BlockedSenderId,
    Facts,
    Parent,
    ParentId,
    ParentKind,
    Reason,
    RecipientId,
    Target,
    Usage,
)
from mailrelay.core.failing import PROBE_EVERY
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import Deliver
from mailrelay.core.ledger import Closing, Ending, Envelope, Opened, Opening, OutboundCopy, OutboundId, Tally
from mailrelay.core.notices import Notice
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.receivers import Receiver, refuse
from mailrelay.core.rules.model import RuleId
from mailrelay.core.srsreport import MAX_PER_HOUR
from mailrelay.core.verp import EmailType

Row = defaultdict[str, Any]
NOW = datetime(2026, 1, 6, 12, 30, tzinfo=UTC)

# What is not null in a new row; a column that nobody set is null.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "account": {
        "state": "active",
        "block_behaviour": "discard",
        "display_from_format": 0,
        "use_reply_to": False,
        "banner_location": "off",  # unlike in the real one, so that mail may stay untouched
        "spam_warning_behaviour": "banner",
        "dmarc_reject_action": "reject",
        "store_failed_deliveries": True,
        "accept_foreign_dsn": False,
        "list_unsubscribe_behaviour": 5,
        "reverse_address_style": "plain",
        "compat_headers": False,
    },
    "recipient": {"pending": False},
    "username": {"active": True, "catch_all": True},
    "domain": {"active": True, "catch_all": False},
    "handle": {"state": "active", "catch_all": True},
    "alias": {
        "state": "active",
        "emails_forwarded": 0,
        "emails_blocked": 0,
        "reply_via_alias": False,
        "emails_replied": 0,
        "emails_sent": 0,
    },
    "ban": {"scope": "both", "hits": 0},
    "blocked_sender": {"blocked": 0},
    "outbound": {"bounce_count": 0, "email_type": "F", "mode": "transparent", "destination": "real@inbox.example"},
}
_WINDOW_STARTS: dict[str, Callable[[datetime], datetime]] = {
    "message": lambda now: now.replace(second=0, microsecond=0),
    "reply_send": lambda now: now.replace(second=0, microsecond=0),
    "new_contact": lambda now: now.replace(second=0, microsecond=0),
    "auto_reply": lambda now: now.replace(second=0, microsecond=0),
    "new_alias": lambda now: now.replace(second=0, microsecond=0),
    "bandwidth": lambda now: now.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
}


class FakeStore:
    """Facts, ledger and alias maker. trouble: called before and after each operation with its name; it may raise.

    What is raised after an operation finds it committed, like an answer that was lost on the way.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: NOW, catch_all: str | None = None) -> None:
        self.clock = clock
        self.catch_all = catch_all
        self.tables: dict[str, list[Row]] = {}
        self.count: Callable[[Tally], None] = self._count_forward  # what else a tally is for
        self.posted: list[Notice] = []
        self.counted: list[RuleId] = []  # rules, once for each message that they matched
        self.trouble: Callable[[str, str], None] = lambda moment, operation: None

    # -- Rows ------------------------------------------------------------------------------------------------------

    def rows(self, table: str, **values: Any) -> list[Row]:
        """The rows that have these values, in the order of insertion."""
        return [row for row in self.tables.get(table, ()) if all(row[name] == values[name] for name in values)]

    def row(self, table: str, **values: Any) -> Row | None:
        found = self.rows(table, **values)
        return found[0] if found else None

    def insert(self, table: str, **values: Any) -> int:
        rows = self.tables.setdefault(table, [])
        now = self.clock()
        row: Row = defaultdict(lambda: None, _DEFAULTS.get(table, {}))
        row.update(id=len(rows) + 1, uuid=UUID(int=len(rows) + 1), created_at=now, unverified_since=now)
        row.update(values)
        rows.append(row)
        return len(rows)

    def update(self, table: str, number: int, **values: Any) -> None:
        row = self.row(table, id=number)
        assert row is not None
        row.update(values)

    async def _run(self, operation: str, action: Callable[[], Any]) -> Any:
        self.trouble("before", operation)
        result = action()
        await asyncio.sleep(0)  # others get their turn, as with a real database
        self.trouble("after", operation)
        return result

    # -- Facts -----------------------------------------------------------------------------------------------------

    async def read_facts(self, inquiry: Inquiry) -> Facts:
        facts: Facts = await self._run("facts", lambda: self._facts(inquiry))
        return facts

    def _facts(self, inquiry: Inquiry) -> Facts:
        alias = self.row("alias", local_part=inquiry.base, domain=inquiry.domain)
        parent, owner = self._parent(inquiry)
        owners = [row["account_id"] for row in (alias, owner) if row is not None and row["account_id"] is not None]
        if not owners and alias is None and parent is None and inquiry.shared and self.catch_all:
            owners = [row["id"] for row in self.rows("account", name=self.catch_all)]
            parent = _CATCH_ALL if owners else None
        if not owners:
            return NOBODY if alias is None else Facts(alias=_alias(alias))
        account_id = int(owners[0])
        account = self.row("account", id=account_id)
        assert account is not None
        blocks = self._blocks(inquiry, account_id, alias)
        default = None if owner is None else owner["recipient_id"] or owner["default_recipient_id"]
        return Facts(
            account=_account(account),
            alias=_alias(alias) if alias else None,
            parent=parent,
            attached=self._attached(alias) if alias else (),
            keyed=() if alias else self._keyed(inquiry, account_id),
            parent_default=self._target(account_id, default),
            account_default=self._target(account_id, account["default_recipient_id"]),
            usage=self._usage(inquiry, account_id, alias is None),
            blocked_by=BlockedSenderId(blocks[0]["id"]) if blocks else None,
            has_block_list=bool(self.rows("blocked_sender", account_id=account_id)),
        )

    def _parent(self, inquiry: Inquiry) -> tuple[Parent | None, Row | None]:
        if inquiry.shared and (row := self.row("handle", local_part=inquiry.base)):
            off = self.rows("handle_domain_off", handle_id=row["id"], domain=inquiry.domain, active=True)
            return _parent(ParentKind.HANDLE, row, off=row["state"] == "released" or bool(off)), row
        if inquiry.label and (row := self.row("username", name=inquiry.label)):
            return _parent(ParentKind.USERNAME, row), row
        if inquiry.custom and (row := self.row("domain", name=inquiry.domain)) and row["account_id"]:
            return (_parent(ParentKind.DOMAIN, row), row) if row["verified_at"] else (None, None)
        return None, None

    def _attached(self, alias: Row) -> tuple[Target, ...]:
        attached = sorted(
            self.rows("alias_recipient", alias_id=alias["id"]), key=lambda row: (row["created_at"], row["recipient_id"])
        )
        targets = (self._target(alias["account_id"], row["recipient_id"]) for row in attached)
        return tuple(target for target in targets if target is not None)

    def _keyed(self, inquiry: Inquiry, account_id: int) -> tuple[Target, ...]:
        counted = sorted(
            self.rows("recipient", account_id=account_id, pending=False), key=lambda row: (row["created_at"], row["id"])
        )
        return tuple(_target(row) for number, row in enumerate(counted, 1) if number in inquiry.keys)

    def _target(self, account_id: int, number: int | None) -> Target | None:
        row = self.row("recipient", id=number, account_id=account_id)
        return _target(row) if row else None

    def _usage(self, inquiry: Inquiry, account_id: int, new: bool) -> Usage:
        now = self.clock()
        hour_ago, month = now - timedelta(hours=1), _WINDOW_STARTS["bandwidth"](now)

        def used(kind: str, subject: str) -> int:
            windows = self.rows("rate_window", account_id=account_id, kind=kind, subject=subject)
            return sum(
                row["amount"]
                for row in windows
                if (row["window_start"] == month if kind == "bandwidth" else row["window_start"] > hour_ago)
            )

        sender, network = inquiry.sender_org or "-", inquiry.network or "-"
        return Usage(
            messages=used("message", ""),
            messages_by_sender=used("message", sender),
            octets=used("bandwidth", ""),
            octets_by_sender=used("bandwidth", sender),
            new_aliases=used("new_alias", "") if new else 0,
            new_aliases_by_network=used("new_alias", network) if new else 0,
        )

    def _blocks(self, inquiry: Inquiry, account_id: int, alias: Row | None) -> list[Row]:
        """Entries that hit, those of addresses before those of domains."""
        narrowed = (None, alias["id"]) if alias else (None,)
        entries = [row for row in self.rows("blocked_sender", account_id=account_id) if row["alias_id"] in narrowed]
        wanted = {"email": {inquiry.sender, inquiry.author}, "domain": set(inquiry.sender_domains)}
        hits = [row for row in entries if row["value"] in wanted[row["type"]]]
        return sorted(hits, key=lambda row: (row["type"] != "email", row["id"]))

    # -- Composition -----------------------------------------------------------------------------------------------

    async def read_background(self, inquiry: BackgroundInquiry) -> Background:
        background: Background = await self._run("background", lambda: self._background(inquiry))
        return background

    async def read_newcomer(self, inquiry: BackgroundInquiry) -> Background:
        local_part, _, domain = inquiry.rcpt.partition("@")
        alias: Row = defaultdict(lambda: None, _DEFAULTS["alias"], local_part=local_part, domain=domain)
        background: Background = await self._run("newcomer", lambda: self._background(inquiry, alias))
        return background

    def _background(self, inquiry: BackgroundInquiry, alias: Row | None = None) -> Background:
        account, alias = self.row("account", id=inquiry.account_id), alias or self.row("alias", id=inquiry.alias_id)
        if account is None or alias is None:
            raise Unavailable("the alias was removed meanwhile")
        domain = self.row("domain", name=alias["domain"])
        style = Style(
            display_from_format=account["display_from_format"],
            use_reply_to=account["use_reply_to"],
            email_subject=account["email_subject"],
            banner_location=account["banner_location"],
            spam_warning=account["spam_warning_behaviour"],
            list_unsubscribe=account["list_unsubscribe_behaviour"],
            opaque_addresses=account["reverse_address_style"] == "opaque",
            compat_headers=account["compat_headers"],
            reply_via_alias=alias["reply_via_alias"],
            description=alias["description"] or "",
            sending_verified=domain is None or not domain["account_id"] or domain["sending_verified_at"] is not None,
        )
        marked = [
            row["receiver"]
            for row in self.rows("receiver_memory")
            if row["rewrite_only_until"] is not None and row["rewrite_only_until"] > self.clock()
        ]
        preferences = Preferences(account["dmarc_reject_action"], account["store_failed_deliveries"])
        arrived = {
            row["ingress_key"]
            for row in self.rows("ledger", alias_id=inquiry.alias_id, fingerprint=inquiry.fingerprint)
            if row["ingress_key"] != inquiry.key and row["created_at"] > self.clock() - timedelta(hours=24)
        }
        receivers = frozenset(inquiry.receivers).intersection(marked)
        return Background(style, preferences, account["accept_foreign_dsn"], receivers, len(arrived))

    async def note(self, receiver: str, refused_at: datetime, now: datetime, /) -> Receiver:
        known: Receiver = await self._run("note", lambda: self._note(receiver, refused_at, now))
        return known

    def _note(self, receiver: str, refused_at: datetime, now: datetime) -> Receiver:
        if self.row("receiver_memory", receiver=receiver) is None:
            self.insert("receiver_memory", receiver=receiver, refused_at=(), rewrite_only_until=None)
        [row] = self.rows("receiver_memory", receiver=receiver)
        new = refuse(Receiver(row["refused_at"], row["rewrite_only_until"]), refused_at, now)
        row.update(refused_at=new.refused_at, rewrite_only_until=new.rewrite_only_until)
        return new

    async def read_context(self, inquiry: ContextInquiry) -> Context:
        context: Context = await self._run("context", lambda: self._context(inquiry))
        return context

    def _context(self, inquiry: ContextInquiry) -> Context:
        account, asked = inquiry.account_id, set(inquiry.addresses)
        own = {
            row["address"].lower()
            for row in self.rows("recipient", account_id=account)
            if row["verified_at"] is not None and not row["pending"]
        }
        siblings = {f"{row['local_part']}@{row['domain']}" for row in self.rows("alias", account_id=account)}
        ids = {row["our_id"]: row["original_id"] for row in self.rows("message_id", alias_id=inquiry.alias_id)}
        opaque = {row["address"]: row["reverse"] for row in self.rows("contact", alias_id=inquiry.alias_id)}
        return Context(
            own=frozenset(own & asked),
            siblings=frozenset(one for one in asked if _without_extension(one) in siblings),
            ids={one: ids[one] for one in inquiry.ids if one in ids},
            opaque={one: opaque[one] for one in inquiry.contacts if one in opaque},
        )

    async def make_reverse(self, wanted: Sequence[Wanted]) -> list[Address]:
        made: list[Address] = await self._run("reverse", lambda: [self._reverse(one) for one in wanted])
        return made

    def _reverse(self, wanted: Wanted) -> Address:
        known = self.row("contact", alias_id=wanted.alias_id, address=wanted.address)
        if known is None:
            reverse = Address(f"r-{wanted.letters}", wanted.domain)
            self.insert("contact", alias_id=wanted.alias_id, address=wanted.address, reverse=reverse)
            return reverse
        address: Address = known["reverse"]
        return address

    async def read_targets(self, account_id: int, uuids: Sequence[UUID]) -> list[Target]:
        found = [self.row("recipient", uuid=uuid, account_id=account_id) for uuid in uuids]
        return [_target(row) for row in found if row is not None]

    async def count_rules(self, matched: Sequence[RuleId]) -> None:
        self.counted += matched

    async def unmake_alias(self, alias_id: AliasId) -> None:
        self.tables["alias"] = [row for row in self.tables["alias"] if row["id"] != alias_id]

    # -- Ledger ----------------------------------------------------------------------------------------------------

    def _find(self, envelope: Envelope, recipient_id: int) -> Row | None:
        return self.row("ledger", ingress_key=envelope.key, rcpt=envelope.rcpt, recipient_id=recipient_id)

    def _enter(self, envelope: Envelope, recipient_id: int, **values: Any) -> None:
        self.insert(
            "ledger",
            ingress_key=envelope.key,
            queue_id=envelope.queue_id,
            message_id=envelope.message_id,
            rcpt=envelope.rcpt,
            sender=envelope.sender,
            account_id=envelope.account_id,
            alias_id=envelope.alias_id,
            recipient_id=recipient_id,
            fingerprint=envelope.fingerprint,
            **values,
        )

    async def open(self, opening: Opening) -> Opened:
        opened: Opened = await self._run("open", lambda: self._open(opening))
        return opened

    def _open(self, opening: Opening) -> Opened:
        row = self._find(opening.envelope, opening.recipient_id)
        if row is not None:
            given_up = row["reason"] == Reason.EXPIRED_IN_QUEUE
            return Opened(row["outbound_id"], "queued" if given_up else row["outcome"])
        self._enter(opening.envelope, opening.recipient_id, outcome="queued", outbound_id=opening.outbound_id)
        self.insert(
            "outbound",
            id=opening.outbound_id,
            account_id=opening.envelope.account_id,
            alias_id=opening.envelope.alias_id,
            recipient_id=max(opening.recipient_id, 0) or None,
            destination=opening.destination,
            email_type=opening.type.value,
            mode=opening.mode,
            notice=opening.notice,
        )
        return Opened(opening.outbound_id, None)

    async def close(self, closings: Sequence[Closing], tally: Tally | None) -> None:
        await self._run("close", lambda: self._close(closings, tally))

    def _close(self, closings: Sequence[Closing], tally: Tally | None) -> None:
        for closing in closings:
            for row in self.rows("ledger", outbound_id=closing.outbound_id):
                if row["outcome"] == "queued" or row["reason"] == Reason.EXPIRED_IN_QUEUE:
                    row.update(outcome=closing.outcome, reason=closing.reason)
                    for ban in self.rows("ban", id=closing.ban_id):
                        ban["hits"] += 1
            for row in self.rows("outbound", id=closing.outbound_id):
                row["outbound_queue_id"] = closing.queue_id or None
                row["bounce_text"] = closing.note or row["bounce_text"]
        if tally is None:
            return
        self.count(tally)
        for subject in {"", tally.sender_org}:
            self.use(tally.account_id, "message", subject, 1)
            self.use(tally.account_id, "bandwidth", subject, tally.octets)

    def _count_forward(self, tally: Tally) -> None:
        for row in self.rows("alias", id=tally.alias_id):
            row["emails_forwarded"] += 1

    def use(self, account_id: int, kind: str, subject: str, amount: int) -> None:
        start = _WINDOW_STARTS[kind](self.clock())
        self.insert("rate_window", account_id=account_id, kind=kind, subject=subject, window_start=start, amount=amount)

    async def end(self, ending: Ending) -> None:
        await self._run("end", lambda: self._end(ending))

    def _end(self, ending: Ending) -> None:
        if self._find(ending.envelope, 0) is not None:
            return
        self._enter(ending.envelope, 0, outcome=ending.outcome, reason=ending.reason)
        for table, number, counter in [
            ("alias", ending.counted_alias, "emails_blocked"),
            ("ban", ending.ban_id, "hits"),
            ("blocked_sender", ending.blocked_by, "blocked"),
        ]:
            for row in self.rows(table, id=number):
                row[counter] += 1

    async def bounced(self, outbound_id: OutboundId, status: str, text: str) -> None:
        await self._run("bounced", lambda: self._bounced(outbound_id, status, text))

    def _bounced(self, outbound_id: OutboundId, status: str, text: str) -> None:
        for row in self.rows("outbound", id=outbound_id):
            if row["bounce_status"] is None:
                row["bounce_status"] = status
            if row["bounce_text"] is None:
                row["bounce_text"] = text
            row["bounce_count"] += 1
            for entry in self.rows("ledger", outbound_id=outbound_id):
                if entry["outcome"] in ("queued", "delivered"):
                    entry.update(outcome="failed", reason="bounce")

    async def outbound(self, outbound_id: OutboundId) -> OutboundCopy | None:
        copy: OutboundCopy | None = await self._run("outbound", lambda: self._outbound(outbound_id))
        return copy

    def _outbound(self, outbound_id: OutboundId) -> OutboundCopy | None:
        row = self.row("outbound", id=outbound_id)
        if row is None:
            return None
        who = (row["account_id"], row["alias_id"], row["recipient_id"])
        kind, at = EmailType(row["email_type"]), row["created_at"]
        alias = self.row("alias", id=row["alias_id"], account_id=row["account_id"]) if row["alias_id"] else None
        address = Address(alias["local_part"], alias["domain"]) if alias is not None else None
        entry = self.row("ledger", outbound_id=outbound_id)
        sender = entry["sender"] if entry is not None else ""
        return OutboundCopy(outbound_id, kind, row["mode"], row["destination"], at, *who, address, sender)

    async def take_probe(self, recipient_id: RecipientId, /) -> bool:
        return bool(await self._run("take_probe", lambda: self._take_probe(recipient_id)))

    def _take_probe(self, recipient_id: RecipientId) -> bool:
        row = self.row("recipient", id=recipient_id)
        if row is None or row["failing_since"] is None:
            return row is not None
        if max(row["failing_since"], row["probed_at"] or row["failing_since"]) > self.clock() - PROBE_EVERY:
            return False
        row["probed_at"] = self.clock()
        return True

    async def spared(self, recipients: Sequence[RecipientId], /) -> bool:
        return any(row["quarantines_tagged_at"] for row in self.rows("recipient") if row["id"] in recipients)

    async def find_recipient(self, address: Address, /) -> tuple[AccountId, RecipientId] | None:
        found = [row for row in self.rows("recipient", address=address.folded) if row["verified_at"] is not None]
        return (AccountId(found[0]["account_id"]), RecipientId(found[0]["id"])) if found else None

    async def post(self, notice: Notice, /) -> None:
        await self._run("post", lambda: self.posted.append(notice))

    async def take_report(self, sender: str) -> bool:
        taken: bool = await self._run("take_report", lambda: self._take_report(sender))
        return taken

    def _take_report(self, sender: str) -> bool:
        hour = self.clock().replace(minute=0, second=0, microsecond=0)
        if len(self.rows("rate_window", kind="srs_report", subject=sender, window_start=hour)) >= MAX_PER_HOUR:
            return False
        self.insert("rate_window", account_id=0, kind="srs_report", subject=sender, window_start=hour, amount=1)
        return True

    # -- Aliases that mail makes -----------------------------------------------------------------------------------

    async def make_alias(self, inquiry: Inquiry, verdict: Deliver, extension: str | None) -> None:
        await self._run("make_alias", lambda: self._make_alias(inquiry, verdict, extension))

    def _make_alias(self, inquiry: Inquiry, verdict: Deliver, extension: str | None) -> None:
        if self.row("alias", local_part=inquiry.base, domain=inquiry.domain):
            return
        assert verdict.parent is not None
        kind, parent_id = verdict.parent.kind, verdict.parent.id
        alias_id = self.insert(
            "alias",
            account_id=verdict.account.id,
            local_part=inquiry.base,
            domain=inquiry.domain,
            username_id=parent_id if kind is ParentKind.USERNAME else None,
            handle_id=parent_id if kind is ParentKind.HANDLE else None,
            extension=extension or None,
        )
        for target in verdict.attach:
            self.insert("alias_recipient", alias_id=alias_id, recipient_id=target.id)
        for subject in {"", inquiry.network}:
            self.use(verdict.account.id, "new_alias", subject, 1)


def _account(row: Row) -> Account:
    return Account(
        AccountId(row["id"]),
        row["state"],
        row["block_behaviour"],
        row["forward_mode"],
        row["messages_per_hour"],
        row["new_aliases_per_hour"],
        row["bandwidth_octets_per_month"],
        row["created_at"],
    )


def _alias(row: Row) -> Alias:
    return Alias(
        AliasId(row["id"]),
        row["uuid"],
        row["state"],
        row["block_behaviour"],
        row["forward_mode"],
        row["expires_at"],
        row["max_forwards"],
        row["emails_forwarded"],
        None if row["sender_allow_list"] is None else tuple(row["sender_allow_list"]),
        row["description"] or "",
    )


def _without_extension(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def _target(row: Row) -> Target:
    verified = row["verified_at"] is not None and not row["pending"]
    address = parse_address(row["address"])
    since = row["unverified_since"], row["failing_since"], row["probed_at"]
    return Target(RecipientId(row["id"]), address, verified, *since, bool(row["should_encrypt"]))


def _parent(kind: ParentKind, row: Row, *, off: bool = False) -> Parent:
    handle = kind is ParentKind.HANDLE
    return Parent(
        kind,
        ParentId(row["id"]),
        row["state"] == "active" if handle else row["active"],
        off,
        row["catch_all"],
        row["auto_create_regex"],
        row["block_behaviour"],
        row["forward_mode"] or ("auto" if handle else None),
    )


_CATCH_ALL = Parent(ParentKind.CATCH_ALL, ParentId(0), True, False, True, None, None, None)


@dataclass
class Outside:
    """Postfix' listener as the dispatcher sees it: keeps what it took. answer: what it says to a copy; may raise."""

    answer: Callable[[Copy], Handed | Refused] = lambda copy: Handed("4QqQ000001")
    copies: list[Copy] = field(default_factory=list)

    async def __call__(self, copy: Copy) -> Handed | Refused:
        await asyncio.sleep(0)
        said = self.answer(copy)
        if isinstance(said, Handed):
            self.copies.append(copy)
        return said

    @property
    def rcpts(self) -> list[str]:
        """Who got copies, sorted."""
        return sorted(copy.rcpt for copy in self.copies)


def counter(start: int = 0x0123456789ABCDEF) -> Callable[[], int]:
    """Ids as random as a test wants them."""
    numbers = count(start)
    return lambda: next(numbers)


def final(rows: Iterable[Row]) -> bool:
    """True if no ledger row waits for its outcome, and there is one."""
    outcomes = [row["outcome"] for row in rows]
    return bool(outcomes) and "queued" not in outcomes
