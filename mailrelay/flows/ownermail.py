"""Codes for whoever has an alias or handle, asked for by anybody (haltman-api.md sections 3.2, 3.6 and 3.9).

The worker mails them: what was promised is written down, and the answer takes as long for those that there are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from mailrelay.core.address import Address
from mailrelay.core.codes import Intent, Wanted
from mailrelay.core.notices import Code, Notice
from mailrelay.core.owner_request import OwnerRequest, from_json
from mailrelay.flows.codes import Codes


class Requests(Protocol):
    """As store/owner_requests.py: False if there was the same one less than a cooldown ago. Raises Unavailable."""

    async def put(self, request: OwnerRequest, cooldown: timedelta) -> bool: ...


class Aliases(Protocol):
    """As store/subscriptions.py: where an active alias leads, if that is its owner's. Raises Unavailable."""

    async def owner(self, address: Address) -> Address | None: ...


class Handles(Protocol):
    """As store/public_handles.py: the same of a handle."""

    async def owner(self, local: str) -> Address | None: ...


@dataclass(frozen=True, slots=True)
class OwnerMailing:
    """Handler of the job. Repeated, it may mail another code, which takes the place of the first."""

    aliases: Aliases
    handles: Handles
    codes: Codes

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Raises Malformed and Unavailable."""
        request = from_json(payload)
        mailbox = await self._owner(request)
        if mailbox is None:
            return
        about = (request.intent, mailbox, request.name, request.domain)
        wanted = Wanted(*about, ip=request.ip, user_agent=request.user_agent)
        # Whether it came too soon was found out already, in a way that tells nothing of the mailbox.
        notice = Notice(Code.CNF, None, data={"link": request.link})
        await self.codes.without_cooldown().ask(wanted, notice)

    async def _owner(self, request: OwnerRequest) -> Address | None:
        if request.intent is Intent.UNSUBSCRIBE:
            return await self.aliases.owner(Address(request.name, request.domain))
        return await self.handles.owner(request.name)
