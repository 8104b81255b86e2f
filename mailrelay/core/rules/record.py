"""Rules as their owners manage them: rows of the database as values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from mailrelay.core.errors import Conflict
from mailrelay.core.rules.model import RuleId

Operator = Literal["AND", "OR"]

# Every message to an account is asked about by all its rules.
MAX_RULES = 100
MAX_NAME_CHARACTERS = 50


class TooManyRules(Conflict):
    """The account has as many rules as it may have."""


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A rule as its owner has it, and how often it applied. conditions, actions: the stored form (addy-api 2.5)."""

    id: RuleId
    uuid: UUID
    position: int
    name: str
    active: bool
    forwards: bool
    replies: bool
    sends: bool
    operator: str
    conditions: object
    actions: object
    applied: int
    last_applied: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RuleRecord(OwnRule):
    """A rule as operators see it.

    faults: what of it cannot be understood; nobody is asked by such a condition, and such an action does nothing.
    """

    account: str
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewRule:
    """conditions, actions: checked, in the form to store."""

    name: str
    conditions: list[dict[str, object]]
    actions: list[dict[str, object]]
    operator: Operator
    forwards: bool
    replies: bool
    sends: bool
    active: bool = True
    position: int = 0
