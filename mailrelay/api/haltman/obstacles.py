"""What stands against a new alias or handle, as an answer (haltman-api.md section 2.9)."""

from typing import Any, assert_never

from mailrelay.api.haltman.problems import Problem, banned
from mailrelay.core.keyed import Refused
from mailrelay.core.suspects import BanHit
from mailrelay.flows.keyed import Obstacle
from mailrelay.flows.obstacles import AtManaged


def obstacle(found: Obstacle, **members: Any) -> Problem:
    """members: said besides where the name is taken."""
    match found:
        case BanHit():
            return banned(found)
        case AtManaged():
            return Problem(400, "managed_domain_not_allowed", field="email", domain=found.domain)
        case Refused.DOMAIN:
            return Problem(400, "invalid_domain", field="alias_domain")
        case Refused():
            return Problem(409, "alias_taken", ok=False, **members)
        case _:
            assert_never(found)
