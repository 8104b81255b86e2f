"""The story of a confirmation code: drawn, mailed to whom it concerns, typed in, and how often somebody may guess."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from mailrelay.core import codes
from mailrelay.core.codes import ALARMED_SECONDS, ALARMED_TRIES, TERMS, TRIES, Asked, Family, Pending, Terms, Wanted
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.inquiry import client_network
from mailrelay.core.notices import Notice, Value
from mailrelay.core.requests import Limit, Window
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal, unseal
from mailrelay.flows.manage.ports import Clock

# With a million codes and some thousand alive, even two in a row that are taken are rare.
_DRAWS = 20


class Store(Protocol):
    """As store/confirmations.py. All raise Unavailable."""

    async def ask(
        self, wanted: Wanted, macs: Sequence[bytes], notice: Notice, terms: Terms, now: datetime
    ) -> Asked | None: ...
    async def look(self, macs: Sequence[bytes], now: datetime) -> Pending | None: ...
    async def count_try(self, limits: Sequence[Limit], subjects: Sequence[str]) -> tuple[Window, ...]: ...
    async def forgive_try(self, limits: Sequence[Limit], subjects: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Guess:
    """A try with a code that may be made. macs: as the code is stored if it is one of ours."""

    macs: tuple[bytes, ...]
    kind: Literal["code", "reset"]
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TooManyTries:
    """whose: the client's own tries, those of its network, or of everybody."""

    window: Window
    whose: Literal["ip", "network", "all"]


@dataclass(frozen=True, slots=True)
class Codes:
    """keys: of code.key, the first makes, all verify. draw: an evenly distributed code. random: octets.

    pause: for so many seconds.
    """

    store: Store
    keys: Sequence[bytes]
    vault: Vault
    draw: Callable[[], str]
    random: Callable[[int], bytes]
    pause: Callable[[float], Awaitable[object]]
    clock: Clock
    terms: Mapping[Family, Terms] = field(default_factory=lambda: TERMS)

    async def ask(self, wanted: Wanted, notice: Notice) -> Asked:
        """Mail a code, unless it is too soon. Raises Unavailable.

        notice: what the mail says besides the code. Its `link`, if any, is what the code will be appended to; `action`
        and `about` are there unless it says something better.
        """
        terms, now = self.terms[wanted.intent.family], self.clock()
        for _ in range(_DRAWS):
            code = self.draw()
            macs = self.macs(code, wanted.intent.family)
            asked = await self.store.ask(wanted, macs, self._letter(wanted, notice, code, terms, now), terms, now)
            if asked is not None:
                return asked
        raise Unavailable("too many confirmation codes are alive")

    def without_cooldown(self) -> "Codes":
        """For those whose request was found not to come too soon already, in a way that tells nothing of a mailbox."""
        return replace(
            self, terms={family: replace(terms, cooldown=timedelta(0)) for family, terms in self.terms.items()}
        )

    def macs(self, code: str, family: Family) -> tuple[bytes, ...]:
        """How a code is stored, with each key."""
        return tuple(codes.mac(key, family, code) for key in self.keys)

    async def guess(self, code: str, family: Family, client: str) -> Guess | TooManyTries:
        """Whether a client may try a code now. It counts until `was_right` says otherwise. Raises Unavailable.

        client: an address, or what else the client is told apart by.
        """
        kind: Literal["code", "reset"] = "reset" if family == "reset" else "code"
        limits, subjects = TRIES[kind], (client, client_network(client) or client)
        *near, everybody = await self.store.count_try(limits, subjects)
        if everybody.limit != limits[-1]:  # it was not counted
            near.append(everybody)
        whose: tuple[Literal["ip", "network"], ...] = ("ip", "network")
        for window, name in zip(near, whose, strict=True):
            if window.is_over:
                return TooManyTries(window, name)
        if everybody.is_over:
            if kind == "reset":
                return TooManyTries(everybody, "all")
            if any(window.hits > ALARMED_TRIES for window in near):
                return TooManyTries(max(near, key=lambda window: window.hits), "all")
            await self.pause(ALARMED_SECONDS)
        return Guess(self.macs(code, family), kind, subjects)

    async def was_right(self, guess: Guess) -> None:
        """There is such a code, whatever came of it. Raises Unavailable."""
        await self.store.forgive_try(TRIES[guess.kind], guess.subjects)

    async def look(self, guess: Guess) -> Pending | None:
        """What a code is for, without using it. Raises Unavailable."""
        found = await self.store.look(guess.macs, self.clock())
        if found is not None:
            await self.was_right(guess)
        return found

    def _letter(self, wanted: Wanted, notice: Notice, code: str, terms: Terms, now: datetime) -> Notice:
        mailbox = wanted.email.folded
        sealed = seal(self.vault, self.random(NONCE_OCTETS), codes.place(mailbox), code.encode("ascii"))
        expires_at = (now + terms.ttl).isoformat(timespec="seconds")
        said: dict[str, Value] = {
            "address": mailbox,
            "sealed": base64.b64encode(sealed).decode("ascii"),
            "minutes": terms.minutes,
            "expires": expires_at,
            "ip": wanted.ip,
            "tag": wanted.tag,
        }
        return replace(notice, data={"action": wanted.intent.value, "about": wanted.about, **notice.data, **said})


def revealed(notice: Notice, vault: Vault) -> Notice:
    """A notice with its code in clear, and the link that has it. Raises Malformed."""
    sealed, mailbox, link = (str(notice.data.get(name, "")) for name in ("sealed", "address", "link"))
    if not sealed:
        return notice
    try:
        code = unseal(vault, codes.place(mailbox), base64.b64decode(sealed, validate=True)).decode("ascii")
    except binascii.Error as error:
        raise Malformed("the sealed code is no base64") from error
    data = {name: value for name, value in notice.data.items() if name != "sealed"}
    return replace(notice, data={**data, "code": code, "link": link + code if link else ""})
