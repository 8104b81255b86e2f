"""What an owner may choose, by the names of spec Appendix C: which values there are, and what a text means."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mailrelay.core.errors import Malformed

Value = bool | int | str | None

_YES, _NO = frozenset({"yes", "true", "on", "1"}), frozenset({"no", "false", "off", "0"})


def _switch(text: str) -> Value:
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    raise Malformed("is yes or no")


def _one_of(*choices: str) -> Callable[[str], Value]:
    def chosen(text: str) -> Value:
        if text in choices:
            return text
        raise Malformed(f"is one of {', '.join(choices)}")

    return chosen


def _number(least: int, most: int) -> Callable[[str], Value]:
    def counted(text: str) -> Value:
        if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
            return int(text)
        raise Malformed(f"is a number from {least} to {most}")

    return counted


def _or_default(read: Callable[[str], Value]) -> Callable[[str], Value]:
    """Nothing at all: the installation's."""
    return lambda text: read(text) if text else None


def _line(characters: int) -> Callable[[str], Value]:
    def written(text: str) -> Value:
        if len(text) <= characters and text.isprintable():
            return text or None
        raise Malformed(f"is one line of at most {characters} characters")

    return written


_LIMIT = _or_default(_number(0, 2_000_000_000))

# The names are columns of the account table.
_SETTINGS: Mapping[str, Callable[[str], Value]] = MappingProxyType(
    {
        "from_name": _line(50),
        "email_subject": _line(255),
        "forward_mode": _or_default(_one_of("rewrite", "transparent", "auto")),
        "block_behaviour": _one_of("discard", "reject", "defer"),
        "banner_location": _one_of("top", "bottom", "off"),
        "banner_link_login": _switch,
        "spam_warning_behaviour": _one_of("banner", "subject", "off"),
        "dmarc_reject_action": _one_of("reject", "quarantine"),
        "display_from_format": _number(0, 7),
        "use_reply_to": _switch,
        "list_unsubscribe_behaviour": _number(0, 5),
        "reverse_address_style": _one_of("plain", "opaque"),
        "compat_headers": _switch,
        "store_failed_deliveries": _switch,
        "failed_delivery_notification_preference": _number(0, 3),
        "encryption_failure": _one_of("hold", "stub", "plain"),
        "never_plaintext": _switch,
        "reply_scrub": _one_of("quoted", "all", "off"),
        "leak_policy": _one_of("warn", "block", "off"),
        "relay_auto_replies": _switch,
        "notify_co_recipients": _switch,
        "accept_foreign_dsn": _switch,
        "auto_disable_bouncing_alias": _switch,
        "save_alias_last_used": _switch,
        "messages_per_hour": _LIMIT,
        "new_aliases_per_hour": _LIMIT,
        "bandwidth_octets_per_month": _or_default(_number(0, 10**15)),
    }
)
NAMES = tuple(_SETTINGS)


def parse(assignments: Mapping[str, str]) -> dict[str, Value]:
    """Values by name, None where the installation's default is wanted. Raises Malformed that names every mistake."""
    found: dict[str, Value] = {}
    problems = []
    for name, text in assignments.items():
        read = _SETTINGS.get(name)
        if read is None:
            problems.append(f"{name} is no setting; there are {', '.join(NAMES)}")
            continue
        try:
            found[name] = read(text)
        except Malformed as error:
            problems.append(f"{name} {error}")
    if problems:
        raise Malformed("; ".join(problems))
    return found
