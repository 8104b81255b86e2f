"""Members of requests that administrators change things with, and what stands against an alias or handle."""

from collections.abc import Mapping
from typing import Any, assert_never

from mailrelay.api.haltman import names
from mailrelay.api.haltman.checks import matching
from mailrelay.api.haltman.problems import Problem, banned, invalid
from mailrelay.core.address import MAX_ADDRESS_OCTETS, Address, is_creatable
from mailrelay.core.admin_changes import Refusal
from mailrelay.core.naming import is_technical
from mailrelay.core.suspects import BanHit
from mailrelay.flows.administration import Objection
from mailrelay.flows.obstacles import AtManaged

_NAME = "a name that can be given to somebody: letters, digits and single dots between them, and no +"


def _full(value: str) -> str | None:
    mailbox = names.mailbox(value)
    return None if mailbox is None else str(mailbox)


def _local_part(value: str) -> str | None:
    """One that can be made; what follows a + belongs to the sender."""
    local = names.local_part(value)
    return local if local is not None and is_creatable(local) and not is_technical(local) else None


def _alias(value: str) -> str | None:
    mailbox = names.mailbox(value)
    return None if mailbox is None or _local_part(mailbox.local) is None else str(mailbox)


MAILBOX = matching(_full, "a mailbox, such as you@example.org", 1, MAX_ADDRESS_OCTETS)
ALIAS = matching(_alias, "an address that can be made, such as shop@example.org", 1, MAX_ADDRESS_OCTETS)
HANDLE = matching(_local_part, _NAME, 1, names.MAX_LOCAL)


def address(value: str) -> Address:
    """Of a value that was checked."""
    local, _, domain = value.partition("@")
    return Address(local, domain)


def optional_address(values: Mapping[str, Any], name: str) -> Address | None:
    return address(values[name]) if name in values else None


def objection(found: Objection, destination: str, taken: Problem, missing: Problem) -> Problem:
    """destination: the member for that; taken: where the name is; missing: where there is nothing to change."""
    match found:
        case BanHit():
            return banned(found)
        case AtManaged():
            reason = "destination_cannot_use_managed_domain"
            return invalid(destination, reason, ok=False, managed_domain_match=found.managed)
        case Refusal.DESTINATION_IS_ALIAS:
            return invalid(destination, "destination_cannot_be_an_existing_alias", ok=False)
        case Refusal.NO_DESTINATION:
            return invalid(destination, hint="a mailbox that its mail goes to from now on")
        case Refusal.BOUND:
            return invalid(destination, hint="a verified mailbox of whoever has the domain, username or handle")
        case Refusal.DOMAIN:
            return Problem(400, "invalid_domain", field="address")
        case Refusal.NOWHERE:
            return Problem(500, "invalid_current_state")
        case Refusal.TAKEN:
            return taken
        case Refusal.CHANGED:
            return Problem(taken.status, taken.error, ok=taken.ok)
        case Refusal.ABSENT:
            return missing
        case _:
            assert_never(found)
