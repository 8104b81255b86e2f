"""Forgotten passwords: asked for by anybody, answered by mail only (haltman-api.md section 3.16)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mailrelay.core.address import Address, BadAddress, parse_address
from mailrelay.core.codes import Intent, Wanted
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.jobs import RECOVERY
from mailrelay.core.notices import Code, Notice
from mailrelay.core.signin import Visitor
from mailrelay.core.users import Act, Changed, Deed, alerts
from mailrelay.flows.codes import Codes, TooManyTries
from mailrelay.flows.passwords import Passwords
from mailrelay.flows.users import Tell, silence


class Store(Protocol):
    """As store/recovery.py. Both raise Unavailable."""

    async def whose(self, email: str) -> AccountId | None: ...
    async def reset(self, macs: Sequence[bytes], password_hash: str, act: Act, tell: Tell) -> Changed | None: ...


class Queue(Protocol):
    """As store/jobs.py. Raises Unavailable."""

    async def put(self, kind: str, payload: Mapping[str, object], dedupe_key: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Recovery:
    """told: administrators hear of new passwords by mail."""

    store: Store
    queue: Queue
    codes: Codes
    passwords: Passwords
    told: bool

    async def ask(self, email: Address, visitor: Visitor) -> None:
        """Have a code mailed if that is somebody's address. Takes as long as if it is nobody's. Raises Unavailable."""
        data = {"email": email.folded, "ip": visitor.ip, "user_agent": visitor.user_agent}
        digest = hashlib.sha256(email.folded.encode("utf-8", "replace")).hexdigest()[:32]
        await self.queue.put(RECOVERY, {"data": data}, f"{RECOVERY}:{digest}")

    async def reset(self, code: str, password: str, origin: str, act: Act) -> Changed | TooManyTries | None:
        """Set a new password; None: there is no such code. Raises Malformed for no password, and Unavailable."""
        guess = await self.codes.guess(code, "reset", origin)
        if isinstance(guess, TooManyTries):
            return guess
        if await self.codes.look(guess) is None:
            return None
        password_hash = await self.passwords.hash(password)
        tell = partial(alerts, Deed.PASSWORD, act=act) if self.told else silence
        return await self.store.reset(guess.macs, password_hash, act, tell)


@dataclass(frozen=True, slots=True)
class CodeMailing:
    """Handler of the job. Repeated, it may mail another code, which takes the place of the first."""

    store: Store
    codes: Codes

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Raises Malformed and Unavailable."""
        data = payload.get("data")
        if not isinstance(data, Mapping):
            raise Malformed("the job names nobody")
        email, ip, user_agent = (str(data.get(name, "")) for name in ("email", "ip", "user_agent"))
        try:
            address = parse_address(email)
        except BadAddress as error:
            raise Malformed("the job's address is none") from error
        account = await self.store.whose(address.folded)
        if account is not None:
            wanted = Wanted(Intent.PASSWORD_RESET, address, account=account, ip=ip, user_agent=user_agent)
            await self.codes.ask(wanted, Notice(Code.PWC, account))
