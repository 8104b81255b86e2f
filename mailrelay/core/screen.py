"""The checks at RCPT that need no database: rows 1 to 14 of spec section 2.2, and what to look up for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from mailrelay.core import srs, verp
from mailrelay.core.address import (
    Address,
    BadAddress,
    Fault,
    Reverse,
    classify,
    client_ip,
    is_opaque_reverse,
    parse_address,
    split_extension,
)
from mailrelay.core.bans import Ban, BanBook
from mailrelay.core.facts import Reason
from mailrelay.core.inquiry import Inquiry, OrganisationalDomain, inquire
from mailrelay.core.judge import Question
from mailrelay.core.realm import Custom, Nested, Place, Realm, ServiceDomain, Shared
from mailrelay.core.unsubscribe import alias_named, is_unsubscribe

# Answered by the operator of the installation, on service and shared domains (spec section 1.9, RFC 2142).
OPERATOR_NAMES = frozenset(
    # The last one is what notifications come from: some people answer those.
    {"postmaster", "abuse", "hostmaster", "security", "mailer-daemon", "noreply", "fbl", "notifications"}
)
EPOCH_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class RcptRequest:
    """One recipient as Postfix' policy client describes it. sender: '' for the null sender."""

    sender: str
    rcpt: str
    client: str
    instance: str
    authenticated: bool


@dataclass(frozen=True, slots=True)
class Keys:
    """What return paths are made with. The first of each signs, all verify."""

    verp: Sequence[bytes]
    loop: Sequence[bytes]
    srs: srs.Scheme


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every decision may look at besides the request."""

    realm: Realm
    bans: BanBook
    keys: Keys
    trusted: tuple[IPv4Network | IPv6Network, ...]
    organisation: OrganisationalDomain


@dataclass(frozen=True, slots=True)
class Accept:
    """Nothing of ours stands against it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refuse now. reply: key of the reply; ban: which one hit."""

    reply: str
    reason: Reason
    ban: Ban | None = None


@dataclass(frozen=True, slots=True)
class AskOutbound:
    """A genuine return path: accept if its copy is still recorded."""

    outbound_id: int


@dataclass(frozen=True, slots=True)
class AskAlias:
    """An address that the database decides about."""

    inquiry: Inquiry
    question: Question


@dataclass(frozen=True, slots=True)
class AskReverse:
    """An opaque reverse address: accept it if it was made for somebody."""

    rcpt: Address


Screened = Accept | Refusal | AskOutbound | AskAlias | AskReverse


def day_number(now: datetime) -> int:
    """Days since 1970-01-01, UTC."""
    return int(now.timestamp()) // EPOCH_SECONDS_PER_DAY


def screen(request: RcptRequest, around: Surroundings, now: datetime) -> Screened:
    """The first of the rows 1 to 14 that applies; else what to look up."""
    located = _locate(request.rcpt, around.realm)
    if not isinstance(located, tuple):
        return located
    rcpt, place = located
    found = (
        banned(request, rcpt, around, now)
        or _technical(request, rcpt, place, around, now)
        or _forged_sender(request, around, now)
        or _lookup(request, rcpt, place, around)
    )
    if isinstance(found, AskAlias | AskReverse):
        return banned_domain(rcpt, around, now) or found
    return found


def _locate(text: str, realm: Realm) -> tuple[Address, Place] | Accept | Refusal:
    """Rows 1 to 4. Postfix decides about other domains, and about what cannot be at one of ours."""
    local, at, domain = text.rpartition("@")
    if not text or (at and not (local and domain)):
        return Refusal("SYNTAX", Reason.SYNTAX)
    place = realm.locate_text(domain) if at else None
    if place is None:
        return Accept()
    try:
        rcpt = parse_address(text)
    except BadAddress as error:
        return Refusal(error.fault.value, Reason.SYNTAX)
    if not rcpt.local.isascii():
        return Refusal(Fault.NONASCII.value, Reason.SYNTAX)
    return rcpt, place


def banned(request: RcptRequest, rcpt: Address, around: Surroundings, now: datetime) -> Refusal | None:
    """Rows 5 to 7: the client, the sender, the name."""
    hit = around.bans.client(request.client, now)
    if hit is None and request.sender:
        hit = around.bans.mailbox(request.sender, "sender", now)
    if hit is not None:
        return Refusal("BANNED", Reason.BANNED, hit)
    hit = around.bans.name(split_extension(rcpt.local)[0], now)
    return Refusal("UNKNOWN", Reason.NAME_BANNED, hit) if hit is not None else None


def banned_domain(rcpt: Address, around: Surroundings, now: datetime) -> Refusal | None:
    """A ban on the domain of ours at which an alias is (haltman-api.md section 6.6). The operator's names work on."""
    hit = around.bans.domain(rcpt.domain, "destination", now)
    return Refusal("NODELIVERY", Reason.NAME_BANNED, hit) if hit is not None else None


def _technical(
    request: RcptRequest, rcpt: Address, place: Place, around: Surroundings, now: datetime
) -> Screened | None:
    """Rows 8 to 11: return paths, SRS addresses, what unsubscribes, the operator."""
    path = verp.decode(rcpt.local, rcpt.domain, around.keys.verp, day_number(now))
    if isinstance(path, verp.VerpId):
        return AskOutbound(path.outbound_id)
    if path is not None:
        return Refusal("UNKNOWN", Reason.RETURN_PATH_INVALID)
    if is_opaque_reverse(rcpt.local):
        return AskReverse(rcpt)
    if rcpt.domain == around.realm.srs_domain and srs.looks_srs(rcpt.local):
        return _srs_recipient(rcpt, request.sender, around, now)
    if is_unsubscribe(place):
        return Accept() if alias_named(rcpt) is not None else Refusal("UNKNOWN", Reason.UNKNOWN)
    if is_operator(rcpt, place):
        return Accept()
    return None


def _srs_recipient(rcpt: Address, sender: str, around: Surroundings, now: datetime) -> Accept | Refusal:
    """Spec section 10.4: a genuine one is no mailbox, but the way back for reports, which have the null sender.

    Automatic answers with a sender cannot be told from other mail yet, and would be dropped at delivery.
    """
    if not isinstance(srs.reverse(rcpt.local, around.keys.srs, day_number(now)), Address):
        return Refusal("UNKNOWN", Reason.RETURN_PATH_INVALID)
    return Refusal("REPORTSONLY", Reason.RETURN_PATH_MAIL) if sender else Accept()


def is_operator(rcpt: Address, place: Place) -> bool:
    """True for the operator's names on service and shared domains; an extension does not matter."""
    return isinstance(place, Shared | ServiceDomain) and split_extension(rcpt.local)[0] in OPERATOR_NAMES


def _forged_sender(request: RcptRequest, around: Surroundings, now: datetime) -> Refusal | None:
    """Rows 12 and 13."""
    local, _, domain = request.sender.rpartition("@")
    if not local or around.realm.locate_text(domain) is None:
        return None
    if srs.looks_srs(local):
        genuine = domain.lower() == around.realm.srs_domain and isinstance(
            srs.reverse(local, around.keys.srs, day_number(now)), Address
        )
        return None if genuine else Refusal("SRSFORGED", Reason.SRS_FORGED)
    if not around.realm.impersonated_by(domain) or request.authenticated or _trusted(request.client, around):
        return None
    if isinstance(verp.decode(local, domain.lower(), around.keys.verp, day_number(now)), verp.VerpId):
        return None
    return Refusal("LOCALSPOOF", Reason.LOCAL_SPOOF)


def _trusted(client: str, around: Surroundings) -> bool:
    ip = client_ip(client)
    return ip is not None and any(ip in network for network in around.trusted)


def _lookup(request: RcptRequest, rcpt: Address, place: Place, around: Surroundings) -> AskAlias | Refusal:
    if isinstance(place, ServiceDomain | Nested):
        return Refusal("UNKNOWN", Reason.UNKNOWN)
    inquiry = inquire(rcpt, place, request.sender, "", request.client, around.organisation)
    return AskAlias(inquiry, question(rcpt, place))


def question(rcpt: Address, place: Place, *, honour_reverse: bool = True) -> Question:
    """What to judge. At delivery, mail that is no authorised reply is judged as plain mail: honour_reverse False."""
    base, extension = split_extension(rcpt.local)
    reverse = honour_reverse and extension is not None and isinstance(classify(extension), Reverse)
    return Question(base, isinstance(place, Custom), reverse)
