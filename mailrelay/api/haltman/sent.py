"""Members that several endpoints read in the same way. All raise Problem."""

import re
from collections.abc import Mapping
from typing import Final

from mailrelay.api.haltman.call import Value
from mailrelay.api.haltman.checks import Field
from mailrelay.api.haltman.names import local_part, mail_domain, mailbox
from mailrelay.api.haltman.pages import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET, Page
from mailrelay.api.haltman.problems import invalid
from mailrelay.core.address import MAX_ADDRESS_OCTETS, Address, is_creatable
from mailrelay.core.naming import is_technical

OWNER_PAGE: Final = (Field("limit"), Field("offset"))
_WHOLE: Final = re.compile(r"[0-9]{1,1000}")
_PLUS: Final = "what follows a + belongs to the sender; leave it out"


def sent_name(value: Value, field: str) -> str:
    """A local part that an alias or handle of ours may have."""
    name = local_part(value)
    if name is None:
        raise invalid(field)
    check_local(name, field)
    return name


def check_local(name: str, field: str) -> None:
    """Whether a local part means nothing else here."""
    if not is_creatable(name):
        raise invalid(field, hint=_PLUS)
    if is_technical(name):
        raise invalid(field, hint="addresses of this form have another use")


def sent_domain(value: Value, field: str) -> str:
    domain = mail_domain(value)
    if domain is None:
        raise invalid(field)
    return domain


def sent_mailbox(value: Value, field: str) -> Address:
    address = mailbox(value)
    if address is None:
        raise invalid(field)
    return address


def joined(local: str, domain: str, field: str) -> Address:
    """Both together, if that is not too long."""
    if len(local) + 1 + len(domain) > MAX_ADDRESS_OCTETS:
        raise invalid(field, hint=f"the whole address has at most {MAX_ADDRESS_OCTETS} characters")
    return Address(local, domain)


def owner_page(query: Mapping[str, Value]) -> Page:
    """Too much is cut here, unlike in the lists of administrators (section 2.11). Raises Problem."""
    limit = _whole(query, "limit", DEFAULT_LIMIT)
    if limit == 0:
        raise invalid("limit")
    return Page(min(limit, MAX_LIMIT), _whole(query, "offset", 0))


def _whole(query: Mapping[str, Value], name: str, default: int) -> int:
    if name not in query:
        return default
    sent = query[name]
    text = sent.strip() if isinstance(sent, str) else ""
    if _WHOLE.fullmatch(text) is None:
        raise invalid(name)
    return min(int(text), MAX_OFFSET)
