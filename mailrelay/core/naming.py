"""Which names and mailboxes may be given to somebody: what the grammar, our own domains and the bans say."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

import re2

from mailrelay.core.address import Address, is_creatable, is_opaque_reverse
from mailrelay.core.bans import BanBook
from mailrelay.core.errors import Absent, Conflict, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.realm import Custom, Nested, Realm, ServiceDomain, Shared, Subdomain
from mailrelay.core.recipients import Hindrance, Unsuitable
from mailrelay.core.records import Ground, KnownDomain
from mailrelay.core.screen import OPERATOR_NAMES
from mailrelay.core.srs import looks_srs
from mailrelay.core.unsubscribe import LABEL as UNSUBSCRIBE

# Labels that mean something below a mail domain: a username of that name would take over `<name>.<shared domain>`.
_TECHNICAL_LABELS = """
    autoconfig autodiscover bounce bounces dns ftp imap lists localhost mail mta-sts mx mx1 mx2 ns ns1 ns2 pop pop3
    smtp srs submission webmail www
"""
RESERVED_USERNAMES = OPERATOR_NAMES.union(_TECHNICAL_LABELS.split(), (UNSUBSCRIBE,))

_PUNCTUATION = re.compile(r"[._-]")
_RETURN_PATH = re.compile(r"b-[a-z2-7]{34}")
_ACCOUNT_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
_USERNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """The installation's own domains, from the configuration."""

    domain: str
    bounce_domain: str
    srs_domain: str
    hostname: str

    @property
    def domains(self) -> frozenset[str]:
        """Those that get mail of their own."""
        return frozenset((self.domain, self.bounce_domain, self.srs_domain))


def realm_of(ground: Ground, service: ServiceNames) -> Realm:
    """Our domains around a name, as mail finds them."""
    return Realm(
        service=service.domains,
        srs_domain=service.srs_domain,
        bounce_domain=service.bounce_domain,
        shared=frozenset(domain.name for domain in ground.domains if domain.account is None),
        custom=frozenset(domain.name for domain in ground.domains if domain.account is not None and domain.verified),
    )


def account_name(text: str) -> str:
    """Fold the name that somebody signs in with. Raises Malformed."""
    name = text.strip().lower()
    if _ACCOUNT_NAME.fullmatch(name) is None:
        raise Malformed(f"{text!r}: an account name is 1 to 64 of a-z 0-9 . _ - and begins and ends with a-z 0-9")
    return name


def username(text: str) -> str:
    """Fold a username. Raises Malformed, and Conflict for a reserved one."""
    name = text.strip().lower()
    if _USERNAME.fullmatch(name) is None:
        raise Malformed(f"{text!r}: a username is 1 to 63 of a-z 0-9 - and begins and ends with a-z 0-9")
    if name in RESERVED_USERNAMES:
        raise Conflict(f"{name} is reserved")
    return name


def check_mailbox(mailbox: Address, ground: Ground, service: ServiceNames, now: datetime) -> None:
    """Raises Unsuitable for a mailbox that cannot be a recipient: at our domains, or banned (spec 9.5, 2.7)."""
    realm = realm_of(ground, service)
    ours = []
    if mailbox.domain in realm.custom:
        ours.append(Hindrance.CUSTOM_DOMAIN)
    if replace(realm, custom=frozenset()).locate(mailbox.domain) is not None:
        ours.append(Hindrance.OUR_DOMAIN)
    if ours:
        raise Unsuitable(f"{mailbox} is at a domain that is served here: mail to it would come back", *ours)
    ban = BanBook.of(ground.bans).mailbox(str(mailbox), "destination", now)
    if ban is not None:
        raise Unsuitable(f"{mailbox} is banned (ban {ban.id}, {ban.type} {ban.value})", Hindrance.BANNED)


def is_technical(local: str) -> bool:
    """Whether addresses of this folded local part mean something else: return paths, reverse addresses."""
    return _RETURN_PATH.fullmatch(local) is not None or is_opaque_reverse(local) or looks_srs(local)


def is_role(local: str, roles: frozenset[str]) -> bool:
    """Whether people and programs take a folded local part for whoever runs the domain, however it is punctuated.

    roles: without dots, hyphens and underscores.
    """
    return local in OPERATOR_NAMES or _PUNCTUATION.sub("", local) in roles


def check_local(local: str, on_operators_domain: bool, ground: Ground, now: datetime) -> None:
    """Whether an alias or handle may have this folded local part, apart from being taken (spec 1.3, 1.9, 2.7).

    on_operators_domain: a service or shared domain. Raises Malformed for the grammar, Conflict for the rest.
    """
    if not is_creatable(local):
        raise Malformed(f"{local!r}: a local part is a dot-atom of 1 to 64 ASCII characters without +")
    if is_technical(local) or (on_operators_domain and local in OPERATOR_NAMES):
        raise Conflict(f"{local} is reserved")
    ban = BanBook.of(ground.bans).name(local, now)
    if ban is not None:
        raise Conflict(f"the name {local} is banned (ban {ban.id})")


def auto_create_regex(text: str) -> str | None:
    """A pattern that RE2 understands, at most 100 characters; None for an empty one. Raises Malformed."""
    if not text:
        return None
    if len(text) > 100:
        raise Malformed("a pattern has at most 100 characters")
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        re2.compile(text, options)
    except re2.error as error:
        words = error.args[0] if error.args else ""
        words = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        raise Malformed(f"{text!r} is no RE2 pattern: {words}") from error
    return text


@dataclass(frozen=True, slots=True)
class Site:
    """Where an alias would live. owner: who alone may have it there, None: anybody; username: label or ''."""

    owner: AccountId | None
    username: str
    shared: bool


def site_of(domain: str, ground: Ground, service: ServiceNames, username_owner: AccountId | None) -> Site:
    """Where an alias at this folded domain lives.

    username_owner: whose the first label is, if that is a username.
    Raises Absent for domains that are not ours, Conflict for ours on which there are no aliases.
    """
    place = realm_of(ground, service).locate(domain)
    match place:
        case Shared():
            return Site(None, "", True)
        case Custom():
            return Site(_known(domain, ground).account, "", False)
        case Subdomain(label, _):
            if username_owner is None:
                raise Absent(f"{domain}: there is no username {label}")
            return Site(username_owner, label, False)
        case ServiceDomain():
            raise Conflict(f"{domain} is the service's own domain, which has no aliases")
        case Nested() | None:
            if any(known.name == domain for known in ground.domains):
                raise Conflict(f"the ownership of {domain} is not verified")
            raise Absent(f"{domain} is not a domain of this installation")
        case _:
            assert_never(place)


def _known(domain: str, ground: Ground) -> KnownDomain:
    return next(known for known in ground.domains if known.name == domain)
