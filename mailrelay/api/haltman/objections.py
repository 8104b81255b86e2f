"""Why an alias is not made or not removed, as answers of the public flow (haltman-api.md sections 3.3 and 3.5)."""

from datetime import datetime
from typing import Any, Literal, assert_never

from mailrelay.api.haltman.problems import Problem, banned, invalid
from mailrelay.api.haltman.tries import too_many_tries
from mailrelay.core.address import Address
from mailrelay.core.codes import Pending
from mailrelay.core.subscriptions import Refused, Subscribed, Unsubscribed
from mailrelay.core.suspects import BanHit
from mailrelay.flows.codes import TooManyTries
from mailrelay.flows.obstacles import AtManaged
from mailrelay.flows.subscriptions import Misplaced, Objection, Outcome

_OFFERED = "GET /api/domains lists the domains on which addresses can be made"


def subscribe_problem(objection: Objection, address: Address, goto: Address, field: str) -> Problem:
    """field: which named the domain."""
    match objection:
        case BanHit():
            return banned(objection)
        case Refused.DOMAIN:
            return Problem(400, "invalid_domain", field=field, hint=_OFFERED)
        case Refused.DESTINATION_IS_ALIAS | AtManaged():
            return _bad_destination(objection, goto)
    return Problem(409, "alias_taken", ok=False, address=str(address))


def confirm_problem(outcome: Outcome, pending: Pending | None, now: datetime) -> Problem:
    """pending: what the code is for, if there is such a code."""
    if isinstance(outcome, TooManyTries):
        return too_many_tries(outcome, "confirm", now)
    if pending is None:
        return Problem(400, "invalid_or_expired", ok=False)
    match outcome:
        case Subscribed() | Unsubscribed():
            raise AssertionError("that is no problem")
        case Misplaced():
            return Problem(400, "unsupported_intent", ok=False, intent=outcome.intent.value)
        case BanHit():
            return banned(outcome, ok=False, type=outcome.type, value=outcome.value)
        case AtManaged():
            return _bad_destination(outcome, pending.email)
        case Refused():
            return _refused(outcome, pending)
        case _:
            assert_never(outcome)


def _refused(refused: Refused, pending: Pending) -> Problem:
    address = f"{pending.name}@{pending.domain}"
    match refused:
        case Refused.DOMAIN:
            return Problem(400, "invalid_domain", ok=False, domain=pending.domain)
        case Refused.DESTINATION_IS_ALIAS:
            return _bad_destination(refused, pending.email)
        case Refused.INACTIVE:
            return Problem(400, "alias_inactive", ok=False, alias=address)
        case Refused.ABSENT:
            return Problem(404, "alias_not_found", ok=False, address=address)
        case Refused.OWNER_CHANGED | Refused.NOWHERE:
            return Problem(409, "alias_owner_changed", ok=False, address=address)
        case Refused.TAKEN:
            return Problem(409, "alias_taken", ok=False, address=address)
        case Refused.INCOMPLETE:
            return Problem(500, "confirmation_payload_missing", ok=False)
        case Refused.NO_CODE:
            return Problem(400, "invalid_or_expired", ok=False)
        case _:
            assert_never(refused)


def _bad_destination(objection: Literal[Refused.DESTINATION_IS_ALIAS] | AtManaged, goto: Address) -> Problem:
    if isinstance(objection, AtManaged):
        said: dict[str, Any] = {"to": str(goto), "managed_domain_match": objection.managed}
        return invalid("to", "destination_cannot_use_managed_domain", ok=False, **said)
    return invalid("to", "destination_cannot_be_an_existing_alias", ok=False, to=str(goto))
