"""What a rule is made of once it is read, what it is asked about, and what comes of it (spec sections 5.1 to 5.5)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NewType
from uuid import UUID

RuleId = NewType("RuleId", int)

# Mail that rules apply to: forwarded, replied, sent (spec section 5.2).
Flow = Literal["F", "R", "S"]
ALL_FLOWS: frozenset[Flow] = frozenset(("F", "R", "S"))
FORWARDS: frozenset[Flow] = frozenset(("F",))
BannerLocation = Literal["top", "bottom", "off"]

MAX_FORWARD_TO = 10


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A row of the table `rule`. conditions, actions: the JSON values, whatever they may be.

    name, conditions, actions and operator are as some release stored them.
    """

    id: RuleId
    name: str
    conditions: object
    actions: object
    operator: str
    forwards: bool
    replies: bool
    sends: bool


@dataclass(frozen=True, slots=True)
class Tested:
    """What conditions are asked about (spec section 5.3). Case as it comes.

    sender: F the contact's address, else the recipient's real one; subject: decoded and unfolded, '' if missing;
    alias: the address without extension; alias_description: '' if there is none.
    """

    sender: str
    subject: str
    alias: str
    alias_description: str


@dataclass(frozen=True, slots=True)
class Effects:
    """What the rules that match do together.

    matched: all of them, in their order, to be counted. block, quarantine: name of the first rule that says so; with
    one of these set, block above all, the rest does not matter. subject: may hold `{{subject}}`. None: no rule says.
    forward_to: recipients by uuid, distinct, at most 10; whether they are verified is for others to know.
    """

    matched: tuple[RuleId, ...] = ()
    block: str | None = None
    quarantine: str | None = None
    subject: str | None = None
    display_from: str | None = None
    no_encryption: bool = False
    banner: BannerLocation | None = None
    remove_attachments: bool = False
    forward_to: tuple[UUID, ...] = ()


NO_EFFECTS = Effects()

# What an action does: the effects so far and the name of its rule -> the effects after it.
Act = Callable[[Effects, str], Effects]


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be tested. head: its first 4096 characters, in which is searched; octets: the head as UTF-8."""

    whole: str
    head: str
    octets: bytes


# By the type of the condition.
Texts = Mapping[str, Text]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, ready to be asked. type, match, values: as stored, for words about it."""

    type: str
    match: str
    values: tuple[str, ...]
    holds: Callable[[Texts], bool] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Action:
    """One action, ready to be done. flows: where it means something."""

    type: str
    flows: frozenset[Flow]
    act: Act = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, compiled. every: all conditions have to hold (AND), else one (OR).

    instructions: size of its compiled patterns, for what they may cost. faults: what of it cannot be understood,
    conditions that never hold and actions that do nothing; to be reported.
    """

    id: RuleId
    name: str
    flows: frozenset[Flow]
    every: bool
    conditions: tuple[Condition, ...]
    actions: tuple[Action, ...]
    instructions: int = 0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """A stored rule that cannot be understood, hence never matches: it is skipped, and whoever loads it reports why."""

    id: RuleId
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Book:
    """The active rules of one account in the order of evaluation (position, created_at, id).

    broken: what to report: rules that are skipped, and rules that are only partly understood.
    """

    rules: tuple[Rule, ...] = ()
    broken: tuple[Broken, ...] = ()


NO_RULES = Book()
