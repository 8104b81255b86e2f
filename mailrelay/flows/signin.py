"""Signing in from an app: a password, a code where there is a second factor, and a bearer token for it."""

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailrelay import log
from mailrelay.core import totp
from mailrelay.core.errors import Conflict, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.records import NewToken, TokenRecord
from mailrelay.core.requests import Limit, Window
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal, unseal
from mailrelay.core.signin import (
    PLACE,
    TICKET_LIVES,
    Admission,
    Device,
    Outcome,
    Person,
    Refused,
    SecondFactor,
    SignedIn,
    Ticket,
    TooMany,
    Visitor,
    expiry,
    password_mark,
    read_ticket,
)
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.manage.tokens import addy_token, bearer_token
from mailrelay.flows.passwords import Passwords
from mailrelay.flows.ports import Post

# Besides the limit for each client, against guessing from many places at once. Networks from which the owner signed in
# before are let through, and tokens go on working, so that nobody is locked out by others. Names that nobody has are
# counted as well, so that the answer tells nothing.
PASSWORDS = Limit("sign-in", 60, 3600)
CODES = Limit("sign-in-code", 20, 3600)

Count = Callable[[str, Sequence[Limit]], Awaitable[tuple[Window, ...]]]


class SignInStore(Protocol):
    """As store/signin.py. All raise Unavailable."""

    async def by_name(self, username: str, network: str) -> Person | None: ...
    async def by_account(self, account: AccountId, network: str) -> Person | None: ...
    async def admit(self, admission: Admission, new: NewToken) -> TokenRecord | Refused: ...


@dataclass(frozen=True, slots=True)
class SignIn:
    """count: one more try for a subject. vault: seals tickets and second factors. random: unpredictable octets."""

    store: SignInStore
    passwords: Passwords
    count: Count
    vault: Vault
    random: Callable[[int], bytes]
    post: Post
    clock: Clock

    async def password(self, username: str, password: str, device: Device, visitor: Visitor) -> Outcome:
        """What a name, in any case, and a password lead to. Raises Unavailable."""
        name = username.lower()
        (tries,) = await self.count(name, (PASSWORDS,))
        person = await self.store.by_name(name, visitor.network)
        if tries.is_over and not (person is not None and person.familiar):
            return TooMany(tries)
        right = None if person is None else person.password_hash
        if not await self.passwords.match(right, password) or person is None or right is None:
            return Refused.CREDENTIALS
        if not person.verified:
            return Refused.UNVERIFIED
        if person.totp_secret is not None:
            return SecondFactor(self._ticket(person.account, right))
        if person.has_security_key:
            return Refused.SECURITY_KEY
        return await self._admit(Admission(person.account, right), device, visitor)

    async def code(self, ticket: str, typed: str, device: Device, visitor: Visitor) -> Outcome:
        """What a ticket of a right password and a code lead to. The owner hears of a wrong code. Raises Unavailable."""
        try:
            sealed = base64.b64decode(ticket, b"-_", validate=True)
            known = read_ticket(unseal(self.vault, PLACE, sealed))
        except (Malformed, binascii.Error, ValueError):
            return Refused.TICKET
        if known.expires_at <= self.clock():
            return Refused.TICKET_EXPIRED
        person = await self.store.by_account(known.account, visitor.network)
        right = None if person is None else person.password_hash
        if person is None or right is None or person.totp_secret is None or known.password != password_mark(right):
            return Refused.TICKET
        (tries,) = await self.count(str(person.account), (CODES,))
        if tries.is_over and not person.familiar:
            return TooMany(tries)
        step = self._step(person, person.totp_secret, typed)
        # The same ticket can be spelled in several ways, but not sealed.
        used = hashlib.sha256(sealed).digest()[:16]
        done: Outcome = Refused.CODE
        if step is not None:
            done = await self._admit(Admission(person.account, right, used, step), device, visitor)
        if done is Refused.CODE:
            await self._tell(person.account, visitor)
        return done

    def _ticket(self, account: AccountId, password_hash: str) -> str:
        ticket = Ticket(account, self.clock() + TICKET_LIVES, password_mark(password_hash))
        sealed = seal(self.vault, self.random(NONCE_OCTETS), PLACE, ticket.octets())
        return base64.urlsafe_b64encode(sealed).decode("ascii")

    def _step(self, person: Person, sealed: bytes, typed: str) -> int | None:
        try:
            secret = unseal(self.vault, totp.place(person.uuid), sealed)
        except Malformed as error:
            log.logger().error("sign_in.no_secret", account=person.account, problem=str(error))
            raise Conflict(
                "the second factor of this account cannot be read: the operator has to set it anew"
            ) from error
        return totp.matching_step(secret, typed, self.clock().timestamp(), person.totp_last_step)

    async def _admit(self, admission: Admission, device: Device, visitor: Visitor) -> SignedIn | Refused:
        token = addy_token()
        new = bearer_token(token, device.name, expiry(self.clock(), device.unit), visitor.ip, visitor.user_agent)
        made = await self.store.admit(admission, new)
        return made if isinstance(made, Refused) else SignedIn(token, made)

    async def _tell(self, account: AccountId, visitor: Visitor) -> None:
        at = self.clock().isoformat(timespec="seconds")
        data = {"at": at, "ip": visitor.ip, "user_agent": visitor.user_agent}
        await self.post(Notice(Code.FLA, account, data=data))
