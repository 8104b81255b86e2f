"""From the stored form of rules to rules, and what is wrong with one before it is stored (addy-api 2.5 and 3.8)."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from mailrelay.core.rules.actions import ACTIONS, RESERVED
from mailrelay.core.rules.conditions import CONDITIONS
from mailrelay.core.rules.kinds import Kind, Wrong, any_value, unstorable
from mailrelay.core.rules.matching import EXACT, MATCHES, REGEX, spelled_out, test
from mailrelay.core.rules.model import Action, Book, Broken, Condition, Flow, Rule, StoredRule, Texts
from mailrelay.core.rules.pattern import MAX_PATTERN_CHARACTERS, BadPattern, compiled

MAX_CONDITIONS = 5
MAX_ACTIONS = 5
MAX_VALUES = 50
# No text that is compared is longer: it stood on one line, RFC 5322 section 2.1.1.
MAX_VALUE_CHARACTERS = 998

# Of all patterns of an account. A search costs at most 4096 characters times this, some 5 ns each: 0.4 s for an owner
# who tries, while 50 rules with 5 ordinary patterns each have 10,000.
MAX_INSTRUCTIONS = 20_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a rule from being stored.

    path: such as `conditions.0.values.1`; reason: for people, without the value; limit: of kind `max`; position: in a
    pattern, how many characters stand before what is refused, None: it is all of it.
    """

    path: str
    kind: Kind
    reason: str
    position: int | None = None
    limit: int | None = None


class _UnreadableError(Exception):
    """Why something cannot be understood; does not leave this module."""


def book(rows: Iterable[StoredRule]) -> Book:
    """The rules of an account. rows: the active ones, by position, created_at, id."""
    rules: list[Rule] = []
    broken: list[Broken] = []
    instructions = 0
    for row in rows:
        rule = read(row)
        if isinstance(rule, Broken):
            broken.append(rule)
        elif instructions + rule.instructions > MAX_INSTRUCTIONS:
            broken.append(Broken(rule.id, rule.name, "the patterns of this and the rules before it are too large"))
        else:
            instructions += rule.instructions
            rules.append(rule)
            if rule.faults:
                broken.append(Broken(rule.id, rule.name, "; ".join(rule.faults)))
    return Book(tuple(rules), tuple(broken))


def read(row: StoredRule) -> Rule | Broken:
    """A stored rule, compiled. Broken if it cannot match whatever comes: a condition that cannot be understood never
    holds.
    """
    if row.operator not in ("AND", "OR"):
        return Broken(row.id, row.name, f"unknown operator {row.operator!r}")
    if not isinstance(row.conditions, list) or not isinstance(row.actions, list):
        return Broken(row.id, row.name, "its conditions or actions are no list")
    every = row.operator == "AND"
    faults: list[str] = []
    conditions: list[Condition] = []
    instructions = 0
    for index, stored in enumerate(row.conditions):
        try:
            condition, size = _condition(stored)
        except _UnreadableError as error:
            faults.append(f"condition {index + 1}: {error}")
            if every:
                break
            continue
        conditions.append(condition)
        instructions += size
    if not conditions or (every and faults):
        return Broken(row.id, row.name, faults[0] if faults else "it has no conditions")
    actions: list[Action] = []
    for index, stored in enumerate(row.actions):
        try:
            actions += _action(stored)
        except _UnreadableError as error:
            faults.append(f"action {index + 1}: {error}")
    return Rule(row.id, row.name, _flows(row), every, tuple(conditions), tuple(actions), instructions, tuple(faults))


def _flows(row: StoredRule) -> frozenset[Flow]:
    flags: tuple[tuple[Flow, bool], ...] = (("F", row.forwards), ("R", row.replies), ("S", row.sends))
    return frozenset(flow for flow, is_set in flags if is_set)


def _condition(stored: object) -> tuple[Condition, int]:
    """One condition, with the size of its patterns."""
    fields = stored if isinstance(stored, dict) else {}
    name, match, values = fields.get("type"), spelled_out(fields.get("match")), fields.get("values")
    kind = CONDITIONS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _UnreadableError(f"unknown type {name!r}")
    if not isinstance(match, str) or match not in MATCHES:
        raise _UnreadableError(f"unknown match {match!r}")
    # Other programs that write this form have null for an empty text.
    texts = tuple("" if value is None else value for value in values) if isinstance(values, list) else ()
    if not texts or not all(isinstance(value, str) for value in texts):
        raise _UnreadableError("its values are no list of texts")
    try:
        holds, size = test(match, [kind.value(value) for value in texts], ignores_case=kind.ignores_case)
    except BadPattern as error:
        raise _UnreadableError(f"bad pattern: {error}") from error
    about = kind.name

    def passes(of: Texts) -> bool:
        return holds(of[about])

    return Condition(about, match, texts, passes), size


def _action(stored: object) -> list[Action]:
    """One action; none for what means nothing."""
    fields = stored if isinstance(stored, dict) else {}
    name = fields.get("type")
    if isinstance(name, str) and name in RESERVED:
        return []
    kind = ACTIONS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _UnreadableError(f"unknown type {name!r}")
    act = kind.act(fields.get("value"))
    return [] if act is None else [Action(kind.name, kind.flows, act)]


def problems(conditions: object, actions: object, own_recipients: Collection[UUID]) -> tuple[Problem, ...]:
    """What keeps these from being stored, in the order of addy-api section 3.8 E53; empty: nothing.

    conditions, actions: JSON values as a client sends them. own_recipients: the account's verified ones.
    """
    return (
        *_list_problems("conditions", conditions, MAX_CONDITIONS),
        *_condition_problems(_mappings(conditions)),
        *_list_problems("actions", actions, MAX_ACTIONS),
        *_action_problems(_mappings(actions), own_recipients),
    )


def normal(conditions: object, actions: object) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The form to store: only the known keys, matches spelled out, values unchanged. Only for what has no problems."""
    return (
        [
            {"type": one["type"], "match": spelled_out(one.get("match")), "values": one["values"]}
            for one in _mappings(conditions)
        ],
        [{"type": one["type"], "value": one["value"]} for one in _mappings(actions)],
    )


def _list_problems(path: str, value: object, most: int) -> Iterator[Problem]:
    if value is None or value in ("", []):
        yield Problem(path, "required", f"there are no {path.rpartition('.')[2]}")
    elif not isinstance(value, list):
        yield Problem(path, "array", "this is no list")
    elif len(value) > most:
        yield Problem(path, "max", f"there are more than {most} of them", limit=most)


def _mappings(value: object) -> Sequence[Mapping[str, object]]:
    """The members of a list; one without fields for each that is no object."""
    return [one if isinstance(one, dict) else {} for one in value] if isinstance(value, list) else []


def _condition_problems(conditions: Sequence[Mapping[str, object]]) -> Iterator[Problem]:
    for at, one in enumerate(conditions):
        yield from _choice_problems(f"conditions.{at}.type", one.get("type"), CONDITIONS)
    matches = [spelled_out(one.get("match")) for one in conditions]
    for at, match in enumerate(matches):
        yield from _choice_problems(f"conditions.{at}.match", match, MATCHES)
    for at, one in enumerate(conditions):
        yield from _list_problems(f"conditions.{at}.values", one.get("values"), MAX_VALUES)
    patterns = _Patterns()
    for at, one in enumerate(conditions[:MAX_CONDITIONS]):
        values, match = one.get("values"), matches[at]
        if isinstance(values, list) and len(values) <= MAX_VALUES:
            text = match if isinstance(match, str) else ""
            yield from _value_problems(f"conditions.{at}.values", values, text, patterns)


def _choice_problems(path: str, value: object, known: Collection[str]) -> Iterator[Problem]:
    if value is None or value == "":
        yield Problem(path, "required", "this is missing")
    elif not isinstance(value, str) or value not in known:
        yield Problem(path, "in", f"this is none of: {', '.join(known)}")


def _value_problems(path: str, values: Sequence[object], match: str, patterns: "_Patterns") -> Iterator[Problem]:
    times = Counter(value for value in values if isinstance(value, str))
    for at, value in enumerate(values):
        wrong = _value_wrong(value, match, patterns)
        if wrong is not None:
            yield Problem(f"{path}.{at}", wrong.kind, wrong.reason, wrong.position, wrong.limit)
        if isinstance(value, str) and times[value] > 1:
            yield Problem(f"{path}.{at}", "distinct", "this stands there twice")


def _value_wrong(value: object, match: str, patterns: "_Patterns") -> Wrong | None:
    if value is None or (value == "" and match not in EXACT):
        return Wrong("required", "a value is missing")
    if not isinstance(value, str) or unstorable(value):
        return Wrong("string", "the value is no text")
    most = MAX_PATTERN_CHARACTERS if match in REGEX else MAX_VALUE_CHARACTERS
    if len(value) > most:
        return Wrong("max", f"the value has more than {most} characters", most)
    return patterns.wrong(value) if match in REGEX else None


class _Patterns:
    """The patterns of one rule, which together are not larger than those of an account may be.

    Those behind what is too large are not compiled any more: 250 of them would take seconds.
    """

    def __init__(self) -> None:
        self._instructions = 0

    def wrong(self, pattern: str) -> Wrong | None:
        if self._instructions <= MAX_INSTRUCTIONS:
            try:
                self._instructions += compiled(pattern, ignores_case=False).programsize
            except BadPattern as error:
                if error.too_large:
                    self._instructions = MAX_INSTRUCTIONS + 1
                return Wrong("regex", str(error), position=error.position)
        if self._instructions > MAX_INSTRUCTIONS:
            return Wrong("regex", "the patterns up to this one are too large")
        return None


def _action_problems(actions: Sequence[Mapping[str, object]], own_recipients: Collection[UUID]) -> Iterator[Problem]:
    times = Counter(name for one in actions if isinstance(name := one.get("type"), str))
    for at, one in enumerate(actions):
        name = one.get("type")
        yield from _choice_problems(f"actions.{at}.type", name, ACTIONS)
        if isinstance(name, str) and name in ACTIONS and times[name] > 1 and not ACTIONS[name].repeats:
            yield Problem(f"actions.{at}.type", "distinct", "this stands there twice")
    chosen: set[object] = set()  # of types that may repeat, with other values
    for at, one in enumerate(actions):
        name, value = one.get("type"), one.get("value")
        kind = ACTIONS.get(name) if isinstance(name, str) else None
        wrong = any_value(value) if kind is None else kind.wrong(value, own_recipients)
        if wrong is None and kind is not None and kind.repeats:
            key = (kind.name, value.lower() if isinstance(value, str) else value)
            wrong = Wrong("in", "another action has the same value") if key in chosen else None
            chosen.add(key)
        if wrong is not None:
            yield Problem(f"actions.{at}.value", wrong.kind, wrong.reason, wrong.position, wrong.limit)
