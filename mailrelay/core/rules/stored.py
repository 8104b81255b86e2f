"""From the stored form of rules to rules, and what is wrong with one before it is stored (addy-api 2.5 and 3.8)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from mailrelay.core.rules.model import Book, Broken, Rule, StoredRule

# Which template says it, addy-api section 1.10; `regex`: section 3.9.
Kind = Literal["required", "string", "array", "in", "distinct", "max", "regex"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a rule from being stored.

    path: such as `conditions.0.values.1`; reason: a sentence for people; position: in a regex, characters before the
    offending ones; limit: of kind `max`.
    """

    path: str
    kind: Kind
    reason: str
    position: int | None = None
    limit: int | None = None


def read(row: StoredRule) -> Rule | Broken:
    """A stored rule, compiled. Never raises."""
    raise NotImplementedError


def book(rows: Iterable[StoredRule]) -> Book:
    """The rules of an account. rows: the active ones, by position, created_at, id."""
    raise NotImplementedError


def problems(conditions: object, actions: object, own_recipients: Collection[UUID]) -> tuple[Problem, ...]:
    """What keeps these from being stored, in the order of addy-api section 3.8 E53; empty: nothing.

    conditions, actions: JSON values as a client sends them. own_recipients: the account's verified ones.
    """
    raise NotImplementedError


def normal(conditions: object, actions: object) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The form to store: only the known keys, matches spelled out, values unchanged. Only for what has no problems."""
    raise NotImplementedError
