"""What a request brings along: query, body and cookies. Foreign input raises nothing but Malformed."""

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, unquote_to_bytes

from mailrelay.api.haltman.call import Value
from mailrelay.core.errors import Malformed

_MAX_PAIRS = 1000
_SPACE = " \t"
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def pairs(text: bytes) -> dict[str, Value]:
    """Members of a query or form; of one that stands several times a list."""
    found: dict[str, Value] = {}
    try:
        parsed = parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PAIRS, errors="replace")
    except ValueError:
        return {}
    for name, value in parsed:
        before = found.get(name)
        if name not in found:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found


def members(content_type: str, content: bytes) -> Mapping[str, Value]:
    """Of a JSON object or a form; of other bodies none. Raises Malformed."""
    kind = content_type.partition(";")[0].strip().lower()
    if not content.strip():
        return {}
    if kind == "application/x-www-form-urlencoded":
        return pairs(content)
    if kind != "application/json" and not kind.endswith("+json"):
        return {}
    try:
        document = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and numbers of 4300 digits are ValueErrors, too
        raise Malformed("the body is no JSON") from error
    if not isinstance(document, dict | list):
        raise Malformed("the body is no JSON object")
    return document if isinstance(document, dict) else {}


def cookies(headers: Iterable[str]) -> dict[str, str]:
    """By name; of equal names the first, as browsers send the most specific one first. Undecodable ones are ignored.

    Around names only what RFC 6265 section 5.4 puts there is taken away: to browsers, names that begin with other space
    have no __Host- before them, so that neighbouring sites may set them.
    """
    found: dict[str, str] = {}
    for one in "; ".join(headers).split(";"):
        name, equals, value = one.strip(_SPACE).partition("=")
        value = value.strip(_SPACE).removeprefix('"').removesuffix('"')
        if not equals or not name or name in found or _ESCAPE.search(value):
            continue
        try:
            found[name] = unquote_to_bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            continue
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
