"""How mail to a recipient is encrypted: what excludes what, what a key is refused with, and when its owner is told."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from mailrelay.core.certificate import Certificate, Unusable
from mailrelay.core.errors import Conflict
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.notices import Code, Notice, Value

# Reads what somebody gave as a key, at a time.
Gate = Callable[[bytes, datetime], Certificate | Unusable]

# Days before the end at which its owner is told (spec section 6.5).
WARNINGS_DAYS = (30, 7, 1)

_NEEDED = "You need to add a public key to this recipient before you can enable"


class NoKey(Conflict):
    """There is no key to encrypt to. The texts of these three are those of addy-api.md section 1.9."""


class InlineChosen(Conflict):
    """The subject cannot be hidden in inline mode."""


class SubjectHidden(Conflict):
    """Inline mode cannot hide the subject, which is wanted."""


class OtherKey(Conflict):
    """What was found is the key of another person, or a new one, which only its owner may put there."""


class Switch(StrEnum):
    """What an owner switches. The values are columns of the recipient table."""

    ENCRYPT = "should_encrypt"
    INLINE = "inline_encryption"
    HIDE_SUBJECT = "protected_headers"


Form = Literal["on", "off", "inline", "hide-subject"]


@dataclass(frozen=True, slots=True)
class Encryption:
    """How one recipient has it now."""

    has_key: bool
    should_encrypt: bool = False
    inline_encryption: bool = False
    protected_headers: bool = False


def switched(found: Encryption, switch: Switch, on: bool) -> Encryption:
    """With one thing switched, the others as they are. Raises NoKey, SubjectHidden and InlineChosen."""
    match switch:
        case Switch.ENCRYPT:
            if on and not found.has_key:
                raise NoKey(f"{_NEEDED} encryption")
            return replace(found, should_encrypt=on)
        case Switch.INLINE:
            if on and not found.has_key:
                raise NoKey(f"{_NEEDED} inline encryption")
            if on and found.protected_headers:
                raise SubjectHidden(
                    "You need to disable protected headers (hide subject) before you can enable inline encryption"
                )
            return replace(found, inline_encryption=on)
        case Switch.HIDE_SUBJECT:
            if on and not found.has_key:
                raise NoKey(f"{_NEEDED} protected headers (hide subject)")
            if on and found.inline_encryption:
                raise InlineChosen(
                    "You need to disable inline encryption before you can enable protected headers (hide subject)"
                )
            return replace(found, protected_headers=on)


def formed(found: Encryption, form: Form) -> Encryption:
    """All of it at once: `on` is PGP/MIME with the subject outside. `off` keeps the form. Raises NoKey."""
    if form == "off":
        return replace(found, should_encrypt=False)
    if not found.has_key:
        raise NoKey(f"{_NEEDED} encryption")
    return Encryption(True, True, inline_encryption=form == "inline", protected_headers=form == "hide-subject")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A recipient's key as it is stored. expires_at: since or until when it cannot be used, None: never."""

    recipient_id: RecipientId
    account_id: AccountId
    address: str
    should_encrypt: bool
    fingerprint: str
    octets: bytes
    expires_at: datetime | None
    checked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look at a stored key gave. notice None: there is nothing to tell."""

    expires_at: datetime | None
    notice: Notice | None


def checked(key: StoredKey, found: Certificate | Unusable, now: datetime) -> Checked:
    """What follows of a look at a stored key: each warning once, when its day has come, and once that it is over.

    A key that went bad for another reason than its age has ended now.
    """
    if isinstance(found, Certificate) and found.fingerprint == key.fingerprint:
        days = _warning(found.expires, key.checked_at, now)
        return Checked(found.expires, None if days is None else _notice(key, found.expires, days=days))
    reason = found if isinstance(found, Unusable) else Unusable.BROKEN
    over_since = min(key.expires_at or now, now)
    known = key.checked_at is not None and over_since <= key.checked_at
    told = over_since if reason is Unusable.EXPIRED else None
    return Checked(over_since, None if known else _notice(key, told, problem=f"key_{reason.value}"))


def _warning(expires: datetime | None, since: datetime | None, now: datetime) -> int | None:
    """Days of the latest warning that fell due after `since`; None: none did."""
    if expires is None:
        return None
    moments = {days: expires - timedelta(days=days) for days in WARNINGS_DAYS}
    return min((days for days, at in moments.items() if at <= now and (since is None or since < at)), default=None)


def _notice(key: StoredKey, expires: datetime | None, **more: Value) -> Notice | None:
    if not key.should_encrypt:
        return None  # nothing hangs on it
    data: dict[str, Value] = {"recipient": key.address, "fingerprint": key.fingerprint, **more}
    if expires is not None:
        data["expires"] = expires.isoformat()
    return Notice(Code.GKE, key.account_id, key.recipient_id, data=data)


def names_mailbox(certificate: Certificate, address: str) -> bool:
    """True if a user id of the key is of this address. People use keys of other addresses, and may."""
    wanted = address.lower()
    return any(_address_in(text).lower() == wanted for text in certificate.user_ids)


def _address_in(user_id: str) -> str:
    """`Name <address>`, or an address alone."""
    before, bracket, after = user_id.rpartition("<")
    return after.partition(">")[0] if bracket else before or user_id.strip()
