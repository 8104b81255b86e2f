"""Notifications: which there are, who gets them and how many, and how one is written down (spec section 8.4)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId, RecipientId

# Longer values come from outside, such as user agents; nobody reads more of them in a notice.
MAX_TEXT_CHARACTERS = 2000

# What PostgreSQL's JSON cannot hold.
_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}", re.ASCII)
_MAX_VALUES = 40
_DIGEST_DIGITS = 32

Value = str | int | bool
To = Literal["recipient", "default", "address"]


class Code(StrEnum):
    """What a notification is about. At most 8 characters: failed deliveries have it as their type."""

    VU = "VU"  # verify the account's address
    VR = "VR"  # verify a recipient
    UR = "UR"  # user name reminder
    RP = "RP"  # password reset
    FLA = "FLA"  # wrong second factor
    TES = "TES"  # an API token expires
    DRU = "DRU"  # the default recipient changed
    NRV = "NRV"  # a recipient was verified
    AIF = "AIF"  # an import of aliases finished
    FDN = "FDN"  # failed or quarantined delivery
    FDN_DIGEST = "FDND"  # those that were too many to tell one by one
    IR_DIGEST = "IRD"  # mail that was turned away
    SRSA = "SRSA"  # a reply or send was not authenticated
    DRSA = "DRSA"  # a reply or send is not permitted
    RSL = "RSL"  # limit of replies and sends
    GKE = "GKE"  # encryption key unusable or about to expire
    NOT_ENCRYPTED = "STB"  # a stub in place of a message that could not be encrypted
    NBL = "NBL"  # near the bandwidth limit
    ADUN = "ADUN"  # alias deactivated by one click
    ADLN = "ADLN"  # alias deleted by one click
    DMI = "DMI"  # a domain's MX points elsewhere
    DUS = "DUS"  # a domain may no longer send
    CNF = "CNF"  # confirmation code for a forward or handle
    ABC = "ABC"  # complaint about spam
    LEAK = "LEAK"  # the own address stood in an outgoing mail
    CYC = "CYC"  # loop, or a mailbox that is an alias
    RUL = "RUL"  # a stored rule is broken
    OPS = "OPS"  # something for the operator
    DNR = "DNR"  # somebody proposes a domain
    DNE = "DNE"  # what came of a domain that somebody proposed
    DND = "DND"  # domains whose records are wrong, once a day
    NRP = "NRP"  # the no-reply address was written to
    AKD = "AKD"  # an API key was destroyed
    MFY = "MFY"  # an administrator made an alias or handle for somebody
    PWC = "PWC"  # code for a new password of a dashboard user
    ADW = "ADW"  # welcome to a new administrator
    ADC = "ADC"  # somebody who is or was an administrator was changed


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` within `window`, which begins with the first.

    per: names the value that it is counted for; '': the mailbox that the notices go to.
    """

    amount: int
    window: timedelta
    per: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """How notices of one code go out.

    to: `recipient` falls back to the account's default; `address` is the value of that name, or the recipient, verified
    or not. limit None: none of ours. encrypted: by 6.1 where the recipient wants it.
    """

    to: To = "default"
    limit: Limit | None = None
    encrypted: bool = True


_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

KINDS: Mapping[Code, Kind] = MappingProxyType(
    {
        Code.VU: Kind("address", Limit(3, _HOUR), encrypted=False),
        Code.VR: Kind("address", Limit(3, _HOUR), encrypted=False),
        Code.UR: Kind("recipient", Limit(1, timedelta(minutes=10))),
        Code.RP: Kind("default", Limit(1, timedelta(minutes=1))),
        Code.FLA: Kind("default", Limit(1, _HOUR)),
        Code.TES: Kind("default", Limit(1, 14 * _DAY, "token")),
        Code.DRU: Kind("recipient"),  # the one that was the default before
        Code.NRV: Kind("default"),
        Code.AIF: Kind("default"),
        Code.FDN: Kind("recipient", Limit(10, _HOUR)),
        Code.FDN_DIGEST: Kind("recipient"),  # its job is there once
        Code.IR_DIGEST: Kind("default", Limit(1, 20 * _HOUR)),  # daily, but the clock may be put forward
        Code.SRSA: Kind("recipient", Limit(4, _DAY)),
        Code.DRSA: Kind("recipient", Limit(4, _DAY)),
        Code.RSL: Kind("recipient", Limit(1, _DAY)),
        Code.GKE: Kind("recipient", Limit(1, _DAY), encrypted=False),
        Code.NOT_ENCRYPTED: Kind("recipient", Limit(1, 7 * _DAY), encrypted=False),  # for each message
        Code.NBL: Kind("default", Limit(1, _DAY)),
        Code.ADUN: Kind("default", Limit(1, _HOUR, "alias")),
        Code.ADLN: Kind("default", Limit(1, _HOUR, "alias")),
        Code.DMI: Kind("default", Limit(1, _DAY, "domain")),
        Code.DUS: Kind("default", Limit(1, _DAY, "domain")),
        Code.CNF: Kind("address", encrypted=False),
        Code.ABC: Kind("recipient", Limit(1, 7 * _DAY)),
        Code.LEAK: Kind("recipient", Limit(1, 30 * _DAY, "alias")),
        Code.CYC: Kind("default", Limit(1, _DAY)),
        Code.RUL: Kind("default", Limit(1, _DAY, "rule")),
        Code.OPS: Kind("address", encrypted=False),
        Code.DNR: Kind("address", Limit(20, _HOUR), encrypted=False),  # anybody can propose any number
        Code.DNE: Kind("address", Limit(20, _HOUR), encrypted=False),  # also of those that pass: one wildcard does
        Code.DND: Kind("address", Limit(1, 23 * _HOUR), encrypted=False),  # daily; it is posted every hour
        Code.NRP: Kind("recipient", Limit(1, 30 * _DAY)),
        Code.AKD: Kind("address", encrypted=False),  # the mailbox that the key was for
        Code.MFY: Kind("address", encrypted=False),  # the mailbox that mail goes to from now on
        Code.PWC: Kind("address", encrypted=False),
        Code.ADW: Kind("address", encrypted=False),
        Code.ADC: Kind("address", encrypted=False),  # the old address and the new one
    }
)

# They go to mailboxes that are not verified, too, and carry what only the person behind one may know.
UNVERIFIED = frozenset({Code.VU, Code.VR, Code.CNF, Code.PWC})
# A bounce of one of these is recorded, and nobody is told (spec sections 8.4 and 7.6).
SILENT_BOUNCES = UNVERIFIED | {Code.FDN, Code.FDN_DIGEST}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that somebody should be told.

    account_id None: nobody's, as a confirmation code for a new forward. recipient_id None: the account's default
    recipient. about: what limits are counted for; '': what the code's limit says. data: by names that the catalogue
    knows; texts may come from strangers.
    """

    code: Code
    account_id: AccountId | None
    recipient_id: RecipientId | None = None
    about: str = ""
    data: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def counted_for(self) -> str:
        """What limits are counted for, '' for the mailbox that it goes to."""
        limit = KINDS[self.code].limit
        return self.about or (str(self.data.get(limit.per, "")) if limit is not None and limit.per else "")

    @property
    def dedupe_key(self) -> str:
        """Two notices with the same key, one of which still waits, are one.

        Where there may be one within a window anyway, those that follow it need not differ in what they say.
        """
        limit, counted = KINDS[self.code].limit, self.counted_for
        once = limit is not None and limit.amount == 1 and counted != ""
        told = [self.account_id, self.recipient_id, counted] if once else self.to_json()
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode("ascii")).hexdigest()
        return f"notice:{self.code}:{digest[:_DIGEST_DIGITS]}"

    def to_json(self) -> dict[str, object]:
        """As a job's payload has it; texts cut where they are too long, without what a database cannot hold."""
        return {
            "code": self.code.value,
            "account_id": self.account_id,
            "recipient_id": self.recipient_id,
            "about": _storable(self.about),
            "data": {name: _storable(value) for name, value in self.data.items()},
        }


def from_json(payload: Mapping[str, object]) -> Notice:
    """The notice of a job's payload. Raises Malformed."""
    data = payload.get("data", {})
    about = payload.get("about", "")
    if not isinstance(data, Mapping) or len(data) > _MAX_VALUES or not isinstance(about, str):
        raise Malformed("the notice has no proper data")
    try:
        code = Code(str(payload.get("code")))
    except ValueError as error:
        raise Malformed("the notice has an unknown code") from error
    account_id, recipient_id = (_number(payload.get(name), name) for name in ("account_id", "recipient_id"))
    if account_id is None and KINDS[code].to != "address":
        raise Malformed(f"{code} needs an account")
    return Notice(
        code,
        None if account_id is None else AccountId(account_id),
        None if recipient_id is None else RecipientId(recipient_id),
        about[:MAX_TEXT_CHARACTERS],
        MappingProxyType({str(name): _value(str(name), value) for name, value in data.items()}),
    )


def _storable(value: Value) -> Value:
    return _UNSTORABLE.sub("\ufffd", value[:MAX_TEXT_CHARACTERS]) if isinstance(value, str) else value


def _number(value: object, name: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise Malformed(f"{name} of the notice is no number")


def _value(name: str, value: object) -> Value:
    if not _NAME.fullmatch(name) or not isinstance(value, str | int):
        raise Malformed("a value of the notice is neither text nor number")
    return value[:MAX_TEXT_CHARACTERS] if isinstance(value, str) else value
