"""Signed links: what a mail program or a person may do to an alias without logging in (spec section 8.2).

https://app.relay.example/u/deactivate/<alias id>?expires=<unix>&signature=<hex>
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from uuid import UUID

ONE_CLICK_SECONDS = 30 * 86400
BANNER_SECONDS = 365 * 86400
PAGE_SECONDS = 30 * 86400
FORM_SECONDS = 3600  # between looking at a page and pressing its button

_MAX_QUERY_OCTETS = 4096
_FORM_RESERVED = re.compile(rb"[^A-Za-z0-9_.~ -]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNIX = re.compile(r"[0-9]{1,12}", re.ASCII)


class Purpose(StrEnum):
    """What a signature is for; one made for a page does not act at once."""

    VIEW = "VIEW"  # the page that a banner leads to, and with it whoever the banner is quoted to
    NOTICE = "NOTICE"  # the page that a notification leads to, which nobody quotes
    POST_ACTION = "POST-ACTION"


class Action(StrEnum):
    """What can be done, by its name in the path. The id is the alias' where nothing else is said."""

    DEACTIVATE = "deactivate"
    DELETE = "delete"
    BLOCK_EMAIL = "block-email"  # parameter: email
    BLOCK_DOMAIN = "block-domain"  # parameter: domain
    ACTIVATE = "activate"  # a deactivated alias
    RESTORE = "restore"  # a deleted alias
    UNBLOCK = "unblock"  # parameters: type (`email` or `domain`) and value
    SEND = "send"  # a reply that was held; the id is its failed delivery's
    VERIFY = "verify"  # the id is a recipient's


class Invalid(Enum):
    """Why a link is answered 403."""

    FORGED = "forged"  # or damaged, or made for another purpose or with a forgotten key
    EXPIRED = "expired"  # genuine, but too old


@dataclass(frozen=True, slots=True)
class Links:
    """Makes the links of one message or page, of an alias or whatever else the action names by its id.

    base: scheme and host without a slash at the end; now: seconds since 1970.
    """

    base: str
    key: bytes
    now: int

    def one_click(
        self,
        action: Action,
        about: UUID,
        params: Mapping[str, str] = MappingProxyType({}),
        seconds: int = ONE_CLICK_SECONDS,
    ) -> str:
        """A link that acts when it gets a POST, for List-Unsubscribe (RFC 8058) and for the buttons of our pages."""
        return self._link(action, about, params, Purpose.POST_ACTION, self.now + seconds)

    def page(
        self,
        action: Action,
        about: UUID,
        params: Mapping[str, str] = MappingProxyType({}),
        seconds: int = PAGE_SECONDS,
    ) -> str:
        """A link to the page that asks before it acts, for notifications. seconds: how long it can be opened."""
        return self._link(action, about, params, Purpose.NOTICE, self.now + seconds)

    def banner(self, action: Action, alias: UUID, params: Mapping[str, str] = MappingProxyType({})) -> str:
        """A link to such a page for the banner of a copy."""
        return self._link(action, alias, params, Purpose.VIEW, self.now + BANNER_SECONDS)

    def _link(self, action: Action, about: UUID, params: Mapping[str, str], purpose: Purpose, expires: int) -> str:
        path = f"/u/{action}/{about}"
        return f"{self.base}{path}?{sign(path, params, purpose, expires, self.key)}"


def sign(path: str, params: Mapping[str, str], purpose: Purpose, expires: int, key: bytes) -> str:
    """The query for a path, signed: parameters by name, `expires` (seconds since 1970) among them, `signature` last."""
    query = _encoded({**params, "expires": str(expires)})
    return f"{query}&signature={_mac(path, query, purpose, key)}"


def verify(path: str, query: str, purpose: Purpose, keys: Sequence[bytes], now: int) -> Mapping[str, str] | Invalid:
    """The parameters of a link, without `expires` and `signature`, or why it does not count.

    path, query: as the client sent them, without the `?`; the order of the parameters does not matter. keys: the
    current one and those it replaced. now: seconds since 1970; a link is valid up to and with its last second.
    """
    params = _decoded(query)
    if params is None:
        return Invalid.FORGED
    signature, expires = params.pop("signature", ""), params.get("expires", "")
    canonical = _encoded(params)
    macs = [_mac(path, canonical, purpose, key) for key in keys]
    genuine = [hmac.compare_digest(mac.encode(), signature.encode()) for mac in macs]
    if not any(genuine) or not _UNIX.fullmatch(expires):
        return Invalid.FORGED
    if int(expires) < now:
        return Invalid.EXPIRED
    del params["expires"]
    return MappingProxyType(params)


def _mac(path: str, query: str, purpose: Purpose, key: bytes) -> str:
    text = f"url-v1\0{purpose}\0{path}?{query}".encode("utf-8", "surrogatepass")
    return hmac.digest(key, text, hashlib.sha256).hex()


def _encoded(params: Mapping[str, str]) -> str:
    """As a form sends it, by name."""
    return "&".join(f"{_quoted(name)}={_quoted(params[name])}" for name in sorted(params))


def _quoted(text: str) -> str:
    octets = _FORM_RESERVED.sub(lambda found: b"%%%02X" % found[0][0], text.encode("utf-8", "replace"))
    return octets.replace(b" ", b"+").decode("ascii")


def _decoded(query: str) -> dict[str, str] | None:
    """None for what our links never look like: too long, a name twice, octets that are no UTF-8."""
    if len(query) > _MAX_QUERY_OCTETS:
        return None
    params: dict[str, str] = {}
    try:
        for pair in query.split("&"):
            name, _, value = (_unquoted(part) for part in pair.partition("="))
            if name in params:
                return None
            params[name] = value
    except UnicodeError:
        return None
    return params


def _unquoted(text: str) -> str:
    octets = text.replace("+", " ").encode("utf-8")
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), octets).decode("utf-8")
