"""Conditions and actions as people write and read them on a command line, and their stored form."""

import json
import re
import shlex
from collections.abc import Sequence

from mailrelay.core.errors import Malformed
from mailrelay.core.rules.matching import MATCHES

# Accepted like the stored names.
_MATCHES = frozenset((*MATCHES, "is"))
_LONGEST_MATCH = max(len(name.split()) for name in _MATCHES)


def condition(text: str) -> dict[str, object]:
    """`sender ends-with @shop.example` in the stored form; what the words mean is not looked at. Raises Malformed.

    text: type, match and values as words of a shell, where quotes keep a value together; a backslash is itself, as
    patterns are full of them. Hyphens may stand for the spaces of a match, and for the underscore of a type.
    """
    kind, *rest = _words(text) or [""]
    for length in range(_LONGEST_MATCH, 0, -1):
        match = " ".join(rest[:length]).replace("-", " ")
        if match in _MATCHES:
            return {"type": kind.replace("-", "_"), "match": match, "values": rest[length:]}
    raise Malformed(f"{text!r}: no condition such as 'subject contains invoice'; matches: {', '.join(MATCHES)}")


def action(text: str) -> dict[str, object]:
    """`display-from Shop` or `block` in the stored form; whether there is such a type is not looked at.

    text: type, then the value as it is; what needs no value gets True. `off` means False for the encryption.
    """
    name, _, rest = text.strip().partition(" ")
    kind, value = _camel(name), rest.strip()
    if kind == "encryption" and value == "off":
        return {"type": kind, "value": False}
    return {"type": kind, "value": value or True}


def conditions_in_words(conditions: object, operator: str) -> str:
    """All conditions of a stored rule in a line; what cannot be understood is shown as it is stored."""
    return f" {operator.lower()} ".join(_condition_in_words(one) for one in _list(conditions))


def actions_in_words(actions: object) -> str:
    """All actions of a stored rule in a line."""
    return ", ".join(_action_in_words(one) for one in _list(actions))


def _condition_in_words(stored: object) -> str:
    match stored:
        case {"type": str(kind), "match": str(match), "values": list(values)} if all(
            isinstance(value, str) for value in values
        ):
            return " ".join((kind.replace("_", "-"), match.replace(" ", "-"), *map(_quoted, values)))
    return _as_stored(stored)


def _action_in_words(stored: object) -> str:
    match stored:
        case {"type": "encryption"}:
            return "encryption off"
        case {"type": str(kind), "value": str(value)} if value.lower() != "true":
            return f"{_kebab(kind)} {value}"
        case {"type": str(kind), "value": bool() | str()}:
            return _kebab(kind)
    return _as_stored(stored)


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.escape = lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise Malformed(f"{text!r}: a quotation mark has no partner") from error


def _quoted(value: str) -> str:
    mark = "'" if '"' in value else '"'
    return f"{mark}{value}{mark}"


def _camel(name: str) -> str:
    first, *others = name.split("-")
    return first + "".join(other.capitalize() for other in others)


def _kebab(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"-{letter[0].lower()}", name)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _as_stored(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
