"""Input as PHP and Laravel read it, which clients of this API rely on (addy-api.md section 1.2)."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any
from urllib.parse import quote, unquote_plus

from mailrelay.core.errors import Malformed

# Whatever JSON can say. An array of a query or form is a mapping, as it may have any keys.
Value = Any
Pairs = tuple[tuple[tuple[str, ...], str], ...]

_MAX_PAIRS = 10_000
_MAX_DEPTH = 16
_MAX_HEAD = 4096  # octets before the content of a part
_MAX_BOUNDARY = 70  # RFC 2046 section 5.1.1
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_DISPOSITION = re.compile(r"content-disposition:\s*form-data\s*(;.*)", re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([A-Za-z]+)=(?:"([^"]*)"|([^\s;"]+))')
_KEPT = frozenset(("password", "password_confirmation", "current_password", "current", "current_password_2fa"))
_SPACE = (
    "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
)


def pairs(encoded: str) -> Pairs:
    """Keys, as paths, and values of a query or form, in order. Raises Malformed for too many or too deep ones.

    What follows the last closing bracket of a key is ignored: `filter[active]=` is `filter[active]`.
    """
    parts = [part for part in encoded.split("&") if part]
    if len(parts) > _MAX_PAIRS:
        raise Malformed(f"more than {_MAX_PAIRS} parameters")
    split = (part.partition("=") for part in parts)
    found = ((_path(_decoded(key)), _decoded(value)) for key, _, value in split)
    return tuple((path, value) for path, value in found if path[0])


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="replace")


def _path(key: str) -> tuple[str, ...]:
    name, bracket, rest = key.lstrip(" ").partition("[")
    if not bracket or "]" not in rest or not name:
        return (key.lstrip(" ").replace(".", "_").replace(" ", "_").replace("[", "_", 1),)
    path = [name.replace(".", "_").replace(" ", "_")]
    while "]" in rest:
        inner, _, rest = rest.partition("]")
        path.append(inner)
        if not rest.startswith("["):
            break
        if len(path) == _MAX_DEPTH:
            raise Malformed("a parameter is nested too deeply")
        rest = rest[1:]
    return tuple(path)


def nested(found: Iterable[tuple[tuple[str, ...], str]]) -> dict[str, Value]:
    """The mapping that PHP would make: the last of equal keys wins, `[]` counts on."""
    root: dict[str, Value] = {}
    for path, value in found:
        place = root
        for step in path[:-1]:
            key = step or str(len(place))
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[path[-1] or str(len(place))] = value
    return root


def form(content_type: str, body: bytes) -> dict[str, Value]:
    """Fields of a body by its type: JSON, `application/x-www-form-urlencoded`, or `multipart/form-data` without files.

    Of other types nothing is read. Raises Malformed.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not body.strip():
        return {}
    if not kind or kind.endswith(("/json", "+json")):
        return _json(body)
    if kind == "application/x-www-form-urlencoded":
        return nested(pairs(body.decode("latin-1")))
    if kind == "multipart/form-data":
        return nested(_parts(content_type, body))
    return {}


def _json(body: bytes) -> dict[str, Value]:
    try:
        document = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and numbers of 4300 digits are ValueErrors, too
        raise Malformed("the body is no JSON") from error
    return document if isinstance(document, dict) else {}


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _parts(content_type: str, body: bytes) -> list[tuple[tuple[str, ...], str]]:
    """RFC 7578 as clients send it: no transfer encodings, no parts within parts, which libraries for mail would read.

    Those take minutes for a megabyte that is made for it. Raises Malformed.
    """
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2]).encode("latin-1", "replace") if found else b""
    if not 1 <= len(boundary) <= _MAX_BOUNDARY:
        raise Malformed("the body has no boundary")
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, _MAX_PAIRS + 2)
    if len(pieces) > _MAX_PAIRS + 2:
        raise Malformed(f"more than {_MAX_PAIRS} parameters")
    inner = takewhile(lambda piece: not piece.startswith(b"--"), pieces[1:])
    return [field for piece in inner for field in _field(piece)]


def _field(piece: bytes) -> list[tuple[tuple[str, ...], str]]:
    """One part without its boundary, if it has a name and is no file."""
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank or len(head) > _MAX_HEAD:
        return []
    for line in head.decode("utf-8", "replace").split("\r\n"):
        disposition = _DISPOSITION.match(line)
        if disposition is not None:
            parameters = {one[1].lower(): one[2] or one[3] or "" for one in _PARAMETER.finditer(disposition[1])}
            if parameters.get("name") and "filename" not in parameters:
                return [(_path(parameters["name"]), content.decode("utf-8", "replace"))]
    return []


def merged(query: Mapping[str, Value], body: Mapping[str, Value]) -> dict[str, Value]:
    """One input: the body wins. Strings are trimmed, empty ones are null. Raises Malformed for what is too deep."""
    try:
        return {key: _trimmed(value, key) for key, value in {**query, **body}.items()}
    except RecursionError as error:
        raise Malformed("the body is nested too deeply") from error


def _trimmed(value: Value, key: str = "") -> Value:
    if isinstance(value, str):
        return (value if key in _KEPT else value.strip(_SPACE)) or None
    if isinstance(value, dict):
        return {name: _trimmed(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_trimmed(inner) for inner in value]
    return value


def query_string(found: Iterable[tuple[tuple[str, ...], str]]) -> str:
    """A query with these parameters, as PHP writes them."""
    return "&".join(f"{_key(path)}={quote(value, safe='')}" for path, value in found)


def _key(path: tuple[str, ...]) -> str:
    return quote(path[0], safe="") + "".join(f"%5B{quote(step, safe='')}%5D" for step in path[1:])


def carried(found: Pairs, without: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    """Parameters as links repeat them: trimmed, without empty ones and one that the link sets itself."""
    kept = {path: value.strip(_SPACE) for path, value in found}
    return [(path, value) for path, value in kept.items() if value and path != without]
