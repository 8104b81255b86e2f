"""Admission and delivery over the store in memory, furnished as spec section 12 has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from ipaddress import ip_network
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mailrelay.core import srs
from mailrelay.core.address import Address, parse_address
from mailrelay.core.bans import Ban, BanBook, BanId, BanScope, BanType
from mailrelay.core.bounce import (
    Arrival,
    Bounce,
    BounceType,
    Complained,
    Complaint,
    Failed,
    Failure,
    News,
    OtherMail,
)
from mailrelay.core.bounced import Bounced, Recorded
from mailrelay.core.complaints import Handled
from mailrelay.core.dkim import SigningKey
from mailrelay.core.facts import AccountId
from mailrelay.core.judge import DefaultLimits
from mailrelay.core.ledger import OutboundCopy, OutboundId
from mailrelay.core.plan import Mail
from mailrelay.core.realm import Place, Realm
from mailrelay.core.reply import Replies
from mailrelay.core.rules.model import NO_RULES, Book
from mailrelay.core.screen import Keys, RcptRequest, Surroundings
from mailrelay.core.sending.authorise import SendingLimits
from mailrelay.core.sending.contact import Reach
from mailrelay.core.spam import Thresholds
from mailrelay.flows.admit import Admission
from mailrelay.flows.books import Books
from mailrelay.flows.cache import FactsCache
from mailrelay.flows.clearance import Clearance
from mailrelay.flows.correspondence import Correspondence
from mailrelay.flows.deliver import Delivery
from mailrelay.flows.drafts import Composer, SigningKeys
from mailrelay.flows.forward import Forwarding
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.leaking import LeakTest
from mailrelay.flows.letter import Letter
from mailrelay.flows.recipients import Recipients
from mailrelay.flows.returned import ReturnPaths
from mailrelay.flows.revision import Reviser
from mailrelay.flows.rules import Checks, Identity, Rules
from mailrelay.flows.ruling import Ruling
from mailrelay.flows.secondtry import SecondTry
from mailrelay.flows.sending import Sending
from mailrelay.flows.sharing import Sharing
from mailrelay.flows.srsbounce import SrsBounces
from mailrelay.flows.technical import TechnicalMail
from mailrelay.flows.unsealing import Unsealing
from mailrelay.wire.report import returned, undelivered
from tests.unit.fake_sending import SendingRows, count_sent
from tests.unit.fakes import NOW, FakeStore, Outside, Row, counter
from tests.unit.locksmith import Locksmith
from tests.unit.shelf import FakeShelf

KEY = bytes(range(32))
SRS = srs.Scheme("srs.relay.example", (KEY,))
CLIENT = "192.0.2.10"
SENDER = "news@shop.example"
MESSAGE = (
    b"From: Example Shop <news@shop.example>\r\n"
    b"To: a1@alias.example\r\n"
    b"Subject: Your order 77\r\n"
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\n"
    b"Message-ID: <20260106.77@shop.example>\r\n"
    b"\r\n"
    b"Thank you.\r\n"
)
UNKNOWN = "550 5.1.1 Address does not exist"
OK = "250 2.0.0 Ok"
TEMP = "451 4.3.0 Temporary failure, try again"


def organisation(domain: str) -> str:
    """Good enough for `.example`."""
    return ".".join(domain.split(".")[-2:])


_PRIVATE = Ed25519PrivateKey.from_private_bytes(KEY)


def no_keys(domain: str) -> Sequence[SigningKey]:
    """The service signs nothing; what must not leave without a signature gets one."""
    return () if domain == "relay.example" else (SigningKey(domain, "mr1e", "ed25519-sha256", _PRIVATE),)


@dataclass(frozen=True)
class Kept:
    """What the spool has of a copy."""

    content: bytes
    evidence: bytes = b""


async def _no_unsubscribe(letter: Letter, rcpt: Address, place: Place, /) -> None:
    return None


def _random(octets: int) -> bytes:
    return bytes(range(octets))


def _rules() -> Rules:
    services = ("relay.example", "bounces.relay.example", "srs.relay.example")
    realm = Realm(frozenset(services), "srs.relay.example", "bounces.relay.example")
    keys = Keys((KEY,), (KEY,), SRS)
    return Rules(
        around=Surroundings(realm, BanBook(), keys, (ip_network("127.0.0.0/8"),), organisation),
        replies=Replies(),
        limits=DefaultLimits(),
        sending_limits=SendingLimits(),
        identity=Identity(
            domain="relay.example",
            hostname="mx.relay.example",
            bounce_domain="bounces.relay.example",
            header_prefix="X-Mailrelay-",
            operator=(parse_address("admin@inbox.example"),),
            forward_mode="transparent",
        ),
        checks=Checks(required=False, keys=(KEY,), thresholds=Thresholds(6.0, 15.0)),
        message_octets=100_000,
    )


class Office:
    """now: may be moved; bounce: what the reader of delivery reports finds in any message; url: where links lead."""

    def __init__(self, store: FakeStore | None = None, signing_keys: SigningKeys = no_keys, url: str = "") -> None:
        self.now = NOW
        self.bounce: Bounce | None = None
        self.arrival: Arrival | None = None  # what mail at a return path is; None: what `bounce` says
        self.complaint: Complaint | None = None  # what such mail to the operator is, though its type does not say so
        self.known_complaint = False  # whether it is about a copy, where it names none
        self.recorded: list[Bounced] = []
        self.complaints: list[tuple[Complaint, OutboundCopy | None]] = []
        self.spooled: dict[int, Kept] = {}
        self.reach: dict[str, Reach] = {}  # of domains; the others take mail
        self.book = NO_RULES
        self.store = store or FakeStore(self.clock)
        self.store.count = partial(count_sent, self.store)
        self.outside = Outside()
        self.shelf = FakeShelf(self.store)
        self.cache = FactsCache(1000, 300.0, lambda: self.now.timestamp())
        self.cache.trusted = True
        self.locksmith = Locksmith()
        self.rules = _rules()
        self.rows = SendingRows(self.store)
        self.clearance = Clearance(self.rules, self.store.read_facts, self.rows.read_sending, self._reach, self.clock)
        self.admission = Admission(
            self.rules, self.cache, self.store.read_facts, self.rows.read_sending, self.store, self.clock
        )
        self.dispatcher = Dispatcher(self.store, self.outside, counter())
        reviser = Reviser(self.rules, self.store.read_context, self.store.make_reverse, _random, url, (KEY,))
        self.composer = Composer(self.rules, signing_keys, reviser, self.locksmith.sealing)
        self.books = Books(self.rules, self.store)
        self.technical = self._technical(signing_keys)
        self.ruling = Ruling(self._read_book, self.store.read_targets, self.store.count_rules)
        self.correspondence = Correspondence(
            self.rules, self.rows.read_named, signing_keys, urlsplit(url).hostname or ""
        )
        find_leak = LeakTest(self.ruling, self.correspondence, self.clock)
        self.recipients = Recipients(
            self.rules, self.store.read_facts, self.ruling, self.clearance, find_leak, self.clock
        )
        self.forwarding = self._forwarding()
        self.sending = self._sending()
        self.delivery = Delivery(
            self.rules,
            self.books,
            self.store.read_facts,
            self.store.make_alias,
            self.technical,
            self.sending,
            self.forwarding,
            self.clock,
        )

    def _technical(self, signing_keys: SigningKeys) -> TechnicalMail:
        srs_bounces = SrsBounces(
            self.rules,
            self.store,
            self.store.read_facts,
            lambda content: self.bounce,
            undelivered,
            self.store.take_report,
            signing_keys,
            self.dispatcher,
            _random,
        )
        return TechnicalMail(
            self.rules,
            self.books,
            self.composer,
            self.dispatcher,
            self._return_paths(signing_keys),
            srs_bounces,
            _no_unsubscribe,
            self.store.find_recipient,
            self.store.post,
        )

    def _return_paths(self, signing_keys: SigningKeys) -> ReturnPaths:
        second_try = SecondTry(
            self.rules,
            self.store.read_facts,
            self.store.read_background,
            self.store.note,
            returned,
            signing_keys,
            self.composer,
            self.dispatcher,
            self.locksmith.sealing.sort,
        )
        return ReturnPaths(
            self.rules,
            self.books,
            self.read_arrival,
            self.read_complaint,
            self._record,
            self._take_spooled,
            self._drop_spooled,
            second_try,
            self._complain,
            self.store.post,
        )

    def _forwarding(self) -> Forwarding:
        return Forwarding(
            self.rules,
            self.books,
            self.store.read_background,
            self.shelf.hold,
            self.composer,
            self.dispatcher,
            self.ruling,
            self.store.unmake_alias,
            self.correspondence.answers_contact,
            self.store,
            self.locksmith.sealing.sort,
            self.store.post,
        )

    def _sending(self) -> Sending:
        sharing = Sharing(
            self.rules,
            self.store.read_background,
            self.composer,
            self.dispatcher,
            self.locksmith.sealing.sort,
            self.store.post,
        )
        return Sending(
            self.rules,
            self.books,
            self.clearance,
            self.store.make_alias,
            self.store.unmake_alias,
            self.shelf.hold,
            self.correspondence,
            self.dispatcher,
            self.ruling,
            sharing,
            Unsealing(self.locksmith.decrypt),
            self.store.post,
        )

    def clock(self) -> datetime:
        return self.now

    def read_arrival(self, content: bytes, sender: str, /) -> Arrival:
        if self.arrival is not None or self.bounce is None:
            return self.arrival or OtherMail()
        if not self.bounce.failed:
            return News()
        failure = Failure(self.bounce.status, self.bounce.text, "", "", BounceType.HARD)
        return Failed((failure,), None)

    def read_complaint(self, content: bytes, /) -> Complaint | None:
        return self.complaint or (self.arrival.complaint if isinstance(self.arrival, Complained) else None)

    async def _record(self, bounce: Bounced, /) -> Recorded:
        row = self.store.row("outbound", id=bounce.copy.id)
        first = row is not None and row["bounce_status"] is None
        await self.store.bounced(bounce.copy.id, bounce.failure.status, bounce.failure.code)
        self.recorded += [bounce] if first else []
        return Recorded(first, None)

    async def _take_spooled(self, outbound_id: OutboundId, /) -> Kept | None:
        return self.spooled.get(outbound_id)

    async def _drop_spooled(self, ids: Sequence[OutboundId], /) -> None:
        for outbound_id in ids:
            self.spooled.pop(outbound_id, None)

    async def _complain(self, letter: Letter, complaint: Complaint, copy: OutboundCopy | None, /) -> Handled | None:
        self.complaints.append((complaint, copy))
        known = copy is not None or self.known_complaint
        return Handled(alert="Somebody complains.") if known else None

    async def _reach(self, domain: str, /) -> Reach:
        return self.reach.get(domain, "yes")

    async def _read_book(self, account_id: AccountId) -> Book:
        return self.book

    # -- Rows ------------------------------------------------------------------------------------------------------

    def account(self, name: str, *mailboxes: str, **more: object) -> int:
        """An account whose recipients are verified; the first is its default."""
        number = self.store.insert("account", name=name, **more)
        recipients = [self.recipient(number, mailbox) for mailbox in mailboxes]
        if recipients:
            self.store.update("account", number, default_recipient_id=recipients[0])
        return number

    def recipient(self, account: int, mailbox: str, verified: bool = True) -> int:
        verified_at = NOW if verified else None
        return self.store.insert("recipient", account_id=account, address=mailbox, verified_at=verified_at)

    def alias(self, address: str, account: int = 1, recipients: Sequence[int] = (), **more: object) -> int:
        local_part, _, domain = address.partition("@")
        number = self.store.insert("alias", account_id=account, local_part=local_part, domain=domain, **more)
        for recipient in recipients:
            self.store.insert("alias_recipient", alias_id=number, recipient_id=recipient)
        return number

    def domain(self, name: str, account: int | None = None, **more: object) -> int:
        """A shared domain, or a verified one of an account."""
        number = self.store.insert("domain", name=name, account_id=account, verified_at=account and NOW, **more)
        around = self.rules.around
        shared = frozenset(row["name"] for row in self.store.rows("domain", account_id=None))
        custom = frozenset(row["name"] for row in self.store.rows("domain") if row["account_id"])
        realm = Realm(around.realm.service, around.realm.srs_domain, around.realm.bounce_domain, shared, custom)
        self.rules.around = Surroundings(realm, around.bans, around.keys, around.trusted, around.organisation)
        return number

    def ban(self, kind: BanType, value: str, scope: BanScope = "both") -> int:
        number = self.store.insert("ban", type=kind, value=value, scope=scope)
        self.rules.around.bans.put(Ban(BanId(number), kind, value, scope, None))
        return number

    # -- Mail ------------------------------------------------------------------------------------------------------

    async def ask(self, rcpt: str, sender: str = SENDER, client: str = CLIENT, instance: str = "i.1") -> str:
        """What RCPT hears, asked as the policy server does; refusals are written when this returns."""
        request = RcptRequest(sender, rcpt, client, instance, authenticated=False)
        answer = self.admission.at_once(request)
        if answer is None:
            answer = await self.admission.by_database(request)
        await self.admission.drain()
        return answer

    async def deliver(
        self, *rcpts: str, sender: str = SENDER, content: bytes = MESSAGE, queue_id: str = "4XyZ12AbCd"
    ) -> list[str]:
        """The LMTP replies."""
        mail = Mail(queue_id, sender, rcpts, content, CLIENT)
        return [str(reply) for reply in await self.delivery(mail)]

    def entries(self, rcpt: str | None = None) -> list[Row]:
        """Rows of the ledger."""
        return self.store.rows("ledger") if rcpt is None else self.store.rows("ledger", rcpt=rcpt)

    def outcomes(self) -> list[tuple[str, str, str | None]]:
        """(recipient, outcome, reason) of every row of the ledger, sorted."""
        return sorted((row["rcpt"], row["outcome"], row["reason"] and str(row["reason"])) for row in self.entries())


def signing_office() -> Office:
    """That of new_office, where the service signs as well."""
    return new_office(lambda domain: (SigningKey(domain, "mr1e", "ed25519-sha256", _PRIVATE),))


def new_office(signing_keys: SigningKeys = no_keys, url: str = "") -> Office:
    """The fixture of spec section 12: account 1 is U with recipients 1 to 3, of which the third is not verified."""
    office = Office(signing_keys=signing_keys, url=url)
    office.account("johndoe", "real@inbox.example", "second@inbox2.example")
    office.recipient(1, "third@inbox3.example", verified=False)
    office.domain("alias.example")
    office.domain("own.example", 1, catch_all=True, sending_verified_at=NOW)
    office.domain("unsent.example", 1, catch_all=True)
    office.domain("rx.example", 1, auto_create_regex="^prefix")
    office.store.insert("username", account_id=1, name="u1")
    office.alias("a1@alias.example")
    office.alias("off@alias.example", state="inactive")
    office.alias("gone@alias.example", state="deleted")
    office.alias("gone2@own.example", state="deleted")
    office.alias("both@alias.example", recipients=(1, 2))
    return office
