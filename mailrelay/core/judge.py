"""May this address receive this message now? The rows 15 to 30 of spec section 2.2, for RCPT time and for delivery."""

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import re2

from mailrelay.core.address import is_creatable
from mailrelay.core.bans import BanId
from mailrelay.core.facts import (
    Account,
    Alias,
    BlockBehaviour,
    BlockedSenderId,
    Facts,
    Parent,
    Reason,
    Target,
)
from mailrelay.core.failing import probe_due

NOT_READY_FOR = timedelta(hours=72)
FAILING_FOR = timedelta(days=5)
QUOTA_SOON = timedelta(days=4)
MAX_COPIES = 10
# Custom domains owe these two to RFC 2142 even when catch-all is off (spec section 1.9).
ROLE_NAMES = frozenset({"postmaster", "abuse"})


@dataclass(frozen=True, slots=True)
class DefaultLimits:
    """The installation's limits, for accounts that have none of their own (spec section 2.6). 0: no limit."""

    messages_per_hour: int = 200
    new_aliases_per_hour: int = 100
    new_aliases_per_hour_and_network: int = 30
    bandwidth_octets_per_month: int = 104_857_600


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a recipient.

    base: folded local part before the first `+`; custom_domain: the domain is an account's own;
    reverse: the extension names a contact, so that a deactivated alias and the hourly limits do not matter yet.
    """

    base: str
    custom_domain: bool
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """Yes. alias None: it is to be created under `parent`, with the recipients of `attach`; by_owner: he sends."""

    account: Account
    alias: Alias | None
    parent: Parent | None
    targets: tuple[Target, ...]
    by_regex: bool = False
    attach: tuple[Target, ...] = ()
    by_owner: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Take it and send nothing: the owner switched the address off and wants senders not to notice."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Deny:
    """No. reply: key of the reply; at delivery a permanent reply becomes a silent, recorded end."""

    reply: str
    reason: Reason
    blocked_by: BlockedSenderId | None = None
    ban_id: BanId | None = None


Verdict = Deliver | Drop | Deny

_GONE = Deny("UNKNOWN", Reason.ALIAS_DELETED)
_UNKNOWN = Deny("UNKNOWN", Reason.UNKNOWN)


def judge(question: Question, facts: Facts, limits: DefaultLimits, now: datetime) -> Verdict:
    """The first rule that applies, in the order of spec section 2.2, rows 15 to 30."""
    account, alias, parent = facts.account, facts.alias, facts.parent
    if alias is not None and alias.state in ("deleted", "forgotten"):
        return _GONE
    if account is None:
        return _UNKNOWN
    if parent is not None and parent.off:
        return Deny("UNKNOWN", Reason.HANDLE_OFF)
    if alias is not None and not question.reverse and (reason := _switched_off(alias, parent, now)):
        return _by_behaviour(block_behaviour(alias, parent, account), reason)
    targets = choose_targets(facts, now)
    denied = (
        _account_closed(account)
        or _nobody_to_receive(facts, targets, account, now)
        or (None if question.reverse else _over_limit(facts, account, limits, now))
        or (None if question.reverse else _blocked(facts))
    )
    if denied is not None:
        return denied
    if alias is not None:
        return Deliver(account, alias, parent, targets)
    return _create(question, facts, account, limits, targets)


def choose_targets(facts: Facts, now: datetime | None = None) -> tuple[Target, ...]:
    """Who receives a copy (spec 3.1 step 10): verified ones, failing ones only if nobody else is left, at most 10.

    now: a failing one that is to be tried again receives as well (spec section 7.5); None: nothing is tried. Whoever
    makes the copies has to take such a try, as one message in 24 hours is enough.
    """
    seen: set[str] = set()
    unique = []
    for target in _candidates(facts):
        if target.verified and target.address.folded not in seen:
            seen.add(target.address.folded)
            unique.append(target)
    working = [target for target in unique if target.failing_since is None or _is_tried(target, now)]
    return tuple((working or unique)[:MAX_COPIES])


def _is_tried(target: Target, now: datetime | None) -> bool:
    return now is not None and probe_due(target.failing_since, target.probed_at, now)


def _candidates(facts: Facts) -> tuple[Target, ...]:
    for group in (facts.attached if facts.alias is not None else facts.keyed, (facts.parent_default,)):
        present = tuple(target for target in group if target is not None)
        if any(target.verified for target in present):
            return present
    return (facts.account_default,) if facts.account_default is not None else ()


def _switched_off(alias: Alias, parent: Parent | None, now: datetime) -> Reason | None:
    if alias.state == "inactive":
        return Reason.ALIAS_INACTIVE
    if parent is not None and not parent.active:
        return Reason.PARENT_INACTIVE
    if alias.expires_at is not None and now >= alias.expires_at:
        return Reason.ALIAS_EXPIRED
    if alias.max_forwards is not None and alias.emails_forwarded >= alias.max_forwards:
        return Reason.ALIAS_EXPIRED
    return None


def block_behaviour(alias: Alias | None, parent: Parent | None, account: Account) -> BlockBehaviour:
    if alias is not None and alias.block_behaviour is not None:
        return alias.block_behaviour
    if parent is not None and parent.block_behaviour is not None:
        return parent.block_behaviour
    return account.block_behaviour


def _by_behaviour(behaviour: BlockBehaviour, reason: Reason) -> Verdict:
    match behaviour:
        case "discard":
            return Drop(reason)
        case "reject":
            return Deny("UNKNOWN", reason)
        case "defer":
            return Deny("BUSY", reason)


def _account_closed(account: Account) -> Deny | None:
    if account.state == "suspended":
        return Deny("SUSPENDED", Reason.SUSPENDED)
    if account.state == "deleting":
        return Deny("UNKNOWN", Reason.ACCOUNT_DELETING)
    return None


def _nobody_to_receive(facts: Facts, targets: tuple[Target, ...], account: Account, now: datetime) -> Deny | None:
    if not targets:
        group = (*facts.attached, *facts.keyed, facts.parent_default, facts.account_default)
        begun = max((target.unverified_since for target in group if target is not None), default=account.created_at)
        return Deny("NOTREADY" if now - begun < NOT_READY_FOR else "NEVERREADY", Reason.NOT_READY)
    failing = [
        target.failing_since for target in targets if target.failing_since is not None and not _is_tried(target, now)
    ]
    if len(failing) == len(targets):
        return Deny("NOTREADY" if now - max(failing) < FAILING_FOR else "NEVERREADY", Reason.FAILING)
    return None


def _over_limit(facts: Facts, account: Account, limits: DefaultLimits, now: datetime) -> Deny | None:
    usage = facts.usage
    octets = _own(account.bandwidth_octets_per_month, limits.bandwidth_octets_per_month)
    # One sender gets at most half of what the owner has, so that it cannot exhaust an account.
    if octets and (usage.octets >= octets or usage.octets_by_sender * 2 >= octets):
        soon = next_month(now) - now <= QUOTA_SOON
        return Deny("QUOTA_LATER" if soon else "QUOTA", Reason.QUOTA)
    messages = _own(account.messages_per_hour, limits.messages_per_hour)
    if messages and (usage.messages >= messages or usage.messages_by_sender * 2 >= messages):
        return Deny("RATE", Reason.RATE)
    return None


def next_month(now: datetime) -> datetime:
    """00:00 on day 1 of the month after `now`, in its time zone: when bandwidth resets."""
    days = calendar.monthrange(now.year, now.month)[1]
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first + timedelta(days=days)


def _own(value: int | None, default: int) -> int:
    return default if value is None else value


def _blocked(facts: Facts) -> Deny | None:
    if facts.blocked_by is None:
        return None
    return Deny("UNKNOWN", Reason.BLOCKED_SENDER, facts.blocked_by)


def _create(
    question: Question, facts: Facts, account: Account, limits: DefaultLimits, targets: tuple[Target, ...]
) -> Verdict:
    """Rows 24 to 30: no alias row yet."""
    parent = facts.parent
    if parent is None:
        return _UNKNOWN
    if not parent.active:
        return _by_behaviour(block_behaviour(None, parent, account), Reason.PARENT_INACTIVE)
    owed = question.custom_domain and question.base in ROLE_NAMES
    by_regex = not parent.catch_all and matches(parent.auto_create_regex, question.base)
    # Owners may create any alias below their parents by sending from it; who writes shows at the end of the message.
    if not (parent.catch_all or by_regex or owed or question.reverse):
        return _UNKNOWN
    if not is_creatable(question.base):
        return Deny("UNKNOWN", Reason.NAME_NOT_CREATABLE)
    allowed = _own(account.new_aliases_per_hour, limits.new_aliases_per_hour)
    by_network = limits.new_aliases_per_hour_and_network
    if (allowed and facts.usage.new_aliases >= allowed) or (
        by_network and facts.usage.new_aliases_by_network >= by_network
    ):
        return Deny("NEWALIAS", Reason.NEW_ALIAS_LIMIT)
    # Whom the keys name is attached; who receives instead of nobody is not (spec 12.1 row 7).
    attach = tuple(target for target in facts.keyed if target.verified)[:MAX_COPIES]
    return Deliver(account, None, parent, targets, by_regex, attach)


def matches(pattern: str | None, base: str) -> bool:
    """True if an auto-create expression matches: RE2, without case, anywhere in the name (spec section 1.8)."""
    compiled = _compiled(pattern) if pattern else None
    return compiled is not None and compiled.search(base) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> "re2._Regexp | None":
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None  # saved before a stricter release: matches nothing, harms nothing
