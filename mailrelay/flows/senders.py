"""Who may use an address as sender when submitting mail: Postfix asks before it takes MAIL FROM of a login."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from mailrelay import metrics
from mailrelay.core.address import Address, Reverse, classify, parse_address, split_extension, with_quotes
from mailrelay.core.errors import Malformed, Unavailable

_DEADLINE_SECONDS = 3.0  # Postfix would wait 100 s


class ReadSenders(Protocol):
    """As store.credentials.Credentials.senders. Raises Unavailable."""

    async def __call__(self, base: str, whole: Address) -> Sequence[str]: ...


async def logins_for(key: str, read: ReadSenders) -> tuple[str, ...]:
    """Logins that may send with an address; empty for one that is nobody's, or no address.

    key: as Postfix looks it up, without quotes. An alias with a tag is as good as without; a reverse address is the
    contact's, and no sender. Raises Unavailable, after 3 seconds at the latest.
    """
    try:
        whole = parse_address(with_quotes(key))
    except Malformed:
        return ()  # Postfix also looks for bare names and `@domain`
    base, extension = split_extension(whole.local)
    if extension and isinstance(classify(extension), Reverse):
        base = ""
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            logins = await read(base, whole)
    except (Unavailable, TimeoutError) as error:
        metrics.DATABASE_ERRORS.inc()
        raise Unavailable(str(error) or "time-out") from error
    # Postfix separates logins by commas and white space: a mailbox with such a name must not speak for others.
    return tuple(login for login in logins if "," not in login and login.isprintable() and " " not in login)
