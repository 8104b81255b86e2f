"""What the authentication checks found out about a message: results of iprev, SPF, DKIM, DMARC and ARC as data.

The words are those of RFC 8601. A temporary DNS error counts as no result for mail to forward (spec section 11.1).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Result = Literal["none", "neutral", "pass", "fail", "softfail", "policy", "temperror", "permerror"]
Policy = Literal["none", "quarantine", "reject"]

RESULTS: frozenset[Result] = frozenset(
    ("none", "neutral", "pass", "fail", "softfail", "policy", "temperror", "permerror")
)

_AHEAD_SECONDS = 24 * 3600  # spec section 3.2: a signature has to outlive queues


@dataclass(frozen=True, slots=True)
class Iprev:
    """Does the client's address lead to a name that leads back? Informational (RFC 8601 section 2.7.3)."""

    result: Result = "none"
    name: str = ""  # that was confirmed


@dataclass(frozen=True, slots=True)
class Spf:
    """SPF of one identity (RFC 7208)."""

    result: Result = "none"
    domain: str = ""  # that was asked, folded; "" if there was none to ask
    identity: Literal["mailfrom", "helo"] = "mailfrom"  # helo: of a null sender


@dataclass(frozen=True, slots=True)
class Dkim:
    """One DKIM-Signature field, from the top."""

    result: Result
    domain: str = ""  # d=, folded; "" if it cannot be read
    selector: str = ""
    algorithm: str = ""  # rsa-sha256, ed25519-sha256, … as written
    b: str = ""  # first 8 characters of the signature, to tell several apart (RFC 6008)
    reason: str = ""  # our words, ASCII, never the sender's; "" when there is nothing to say
    has_length: bool = False  # l= is there: text may be appended
    expires: int | None = None  # x=, seconds since 1970
    aligned: bool = False  # d= and the From domain have the same organisational domain (relaxed), whatever the result


@dataclass(frozen=True, slots=True)
class Dmarc:
    """The verdict on the From domain (RFC 7489, RFC 9091)."""

    result: Result = "none"  # none, pass, fail, temperror, permerror
    domain: str = ""  # the From domain, folded; "" if there is no single one
    has_record: bool = False
    published: Policy = "none"  # as the record says for this domain: p=, sp= or np=
    policy: Policy = "none"  # to be applied: one step weaker than published where pct=0
    dkim_aligned: bool = False  # a signature that passed is aligned
    spf_aligned: bool = False  # SPF passed and is aligned


@dataclass(frozen=True, slots=True)
class Sealer:
    """One ARC set of a chain."""

    instance: int
    domain: str  # d= of its ARC-Seal, folded
    dmarc: str = ""  # the dmarc result in its ARC-Authentication-Results, lower case; "" if it tells none
    author: str = ""  # the header.from of that result, folded; "" if it tells none


@dataclass(frozen=True, slots=True)
class Arc:
    """The ARC chain as received (RFC 8617 section 5.2)."""

    result: Result = "none"  # none, pass, fail, temperror (then do not seal)
    oldest_pass: int | None = None  # 0: every message signature verifies; None unless result is pass
    sealers: tuple[Sealer, ...] = ()  # newest first; empty unless result is pass
    highest: int = 0  # the highest instance present, valid or not; a new set gets the next
    ended: bool = False  # the newest set says cv=fail: nothing may be added
    reason: str = ""  # our words, why it is no pass


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that one round of checks found."""

    iprev: Iprev = Iprev()
    spf: Spf = Spf()
    dkim: tuple[Dkim, ...] = ()
    dmarc: Dmarc = Dmarc()
    arc: Arc = Arc()

    def survives(self, now: int) -> bool:
        """Test 3 of spec section 3.2: an untouched copy passes DMARC at the receiver, or nobody asks for it.

        now: seconds since 1970.
        """
        return self.dkim_aligned(now) or self.nothing_published

    def dkim_aligned(self, now: int) -> bool:
        """True if a signature passed that is aligned (relaxed), without l=, and valid for 24 hours from now.

        now: seconds since 1970.
        """
        return any(
            one.result == "pass"
            and one.aligned
            and not one.has_length
            and (one.expires is None or one.expires >= now + _AHEAD_SECONDS)
            for one in self.dkim
        )

    @property
    def nothing_published(self) -> bool:
        """True if the From domain publishes no DMARC policy or p=none, and SPF or DKIM passed."""
        if self.dmarc.result in ("temperror", "permerror") or self.dmarc.published != "none":
            return False
        return self.spf.result == "pass" or any(one.result == "pass" for one in self.dkim)

    @property
    def author_authenticated(self) -> bool:
        """True if the From domain is proved: DMARC passed, or without a record an aligned signature did.

        SPF alone without a record is not enough (spec section 4.2 b).
        """
        dmarc = self.dmarc
        return dmarc.result == "pass" or (dmarc.result == "none" and not dmarc.has_record and dmarc.dkim_aligned)

    @property
    def temporary(self) -> bool:
        """True if the From domain is not proved, but only because DNS did not answer (451 for R and S)."""
        if self.author_authenticated or self.dmarc.has_record:
            return self.dmarc.result == "temperror"
        return self.dmarc.result == "temperror" or any(one.aligned and one.result == "temperror" for one in self.dkim)

    def arc_override(self, trusted_sealers: Collection[str]) -> bool:
        """True if a trusted chain tells that DMARC passed before somebody changed the message (spec section 11.3).

        Every sealer from the newest to one whose results say dmarc=pass for the same From domain is trusted.
        trusted_sealers: d= domains, folded.
        """
        if self.arc.result != "pass":
            return False
        for sealer in self.arc.sealers:
            if sealer.domain not in trusted_sealers:
                return False
            if sealer.dmarc == "pass":
                return sealer.author in ("", self.dmarc.domain)
        return False
