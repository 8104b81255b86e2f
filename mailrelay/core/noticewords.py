"""What a notification is about, put together for its text: values, links, lists (spec section 8.4)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from mailrelay.core.links import Action, Links
from mailrelay.core.noticefailure import Setback, item, shown_time, values
from mailrelay.core.noticeletter import Paper
from mailrelay.core.noticeroute import Going
from mailrelay.core.notices import Code, Notice, Value
from mailrelay.core.noticetext import STUB, Told
from mailrelay.core.oneclick import NARROW

_HOST = re.compile(r"https?://(\[[^\]/]*\]|[^/:]+)")

LISTED = 20
VERIFY_SECONDS = 3600

_TIMES = frozenset({"at", "expires", "since", "until"})
_LINKED = {Code.VU: "verify", Code.RP: "reset", Code.CNF: "confirm", Code.MFY: "removal"}


@dataclass(frozen=True, slots=True)
class Material:
    """What was looked up for a notice. setback: the failed delivery; latest: of those that a list is about.

    count: how many a list is about.
    """

    setback: Setback | None = None
    latest: Sequence[Setback] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Signs:
    """Where notices may lead. links: None if nothing of ours can be reached; list_url: of failed deliveries, or ''.

    sites: other web sites on which people use this installation, scheme://host[:port].
    """

    links: Links | None
    list_url: str = ""
    sites: Sequence[str] = ()


def since(notice: Notice) -> datetime | None:
    """When that began which a list is about."""
    return _time(str(notice.data.get("since", "")))


def tell(notice: Notice, going: Going, material: Material, signs: Signs, paper: Paper) -> Told | None:
    """All that the text needs; None: what the notice was about is gone."""
    common = {"product": paper.product, "service": paper.domain, "mailbox": str(going.address)}
    shown = {"list": signs.list_url} if signs.list_url else {}
    if going.stub:
        return Told(STUB, common, shown)
    said = {name: _shown(name, value) for name, value in notice.data.items()} | common
    said |= {"minutes": said.get("minutes") or str(VERIFY_SECONDS // 60)}
    items: tuple[tuple[str, str], ...] = ()
    match notice.code:
        case Code.FDN:
            if material.setback is None:
                return None
            said |= values(material.setback, paper.sender)
        case Code.FDN_DIGEST | Code.IR_DIGEST:
            if not material.count:
                return None
            said["count"] = str(material.count)
            items = tuple(item(one) for one in material.latest)
        case Code.SRSA:
            said["kept"] = "yes" if said.get("failed_uuid") else ""
        case Code.LEAK:
            said["kept"] = "yes" if said.get("held_uuid") or said.get("refused") else ""
    links = _links(notice, going, material, said, signs)
    if notice.code in (Code.CNF, Code.MFY, Code.PWC):
        site = _HOST.match(links.get(_LINKED.get(notice.code, ""), ""))
        said["host"] = site[1] if site is not None else paper.domain
    return Told(notice.code, said, shown | links, items)


def _shown(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    at = _time(str(value)) if name in _TIMES else None
    return str(value) if at is None else shown_time(at)


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _links(notice: Notice, going: Going, material: Material, said: Mapping[str, str], signs: Signs) -> dict[str, str]:
    """By the names that the catalogue's buttons have."""
    links = signs.links
    if links is None:
        return {}
    alias = _uuid(said.get("alias_uuid", ""))
    match notice.code:
        case Code.VU | Code.RP | Code.CNF | Code.MFY:
            # Others make these; they lead nowhere but to us.
            link = str(notice.data.get("link", ""))
            ours = any(link.startswith(f"{base}/") for base in (links.base, *signs.sites))
            return {_LINKED[notice.code]: link} if ours else {}
        case Code.VR if going.mailbox is not None:
            return {"verify": links.page(Action.VERIFY, going.mailbox.uuid, seconds=VERIFY_SECONDS)}
        case Code.FDN if material.setback is not None and material.setback.email_type == "F":
            alias = material.setback.alias_uuid
            return {"deactivate": links.page(Action.DEACTIVATE, alias)} if alias is not None else {}
        case Code.ADUN if alias is not None:
            return {"activate": links.page(Action.ACTIVATE, alias)}
        case Code.ADLN if alias is not None:
            return {"restore": links.page(Action.RESTORE, alias)}
        case Code.ABC if alias is not None and not said.get("reply"):
            return _against(said, alias, links)
        case Code.SRSA | Code.LEAK:
            held = _uuid(said.get("failed_uuid" if notice.code is Code.SRSA else "held_uuid", ""))
            return {"send": links.page(Action.SEND, held)} if held is not None else {}
    return {}


def _against(said: Mapping[str, str], alias: UUID, links: Links) -> dict[str, str]:
    """What can be done about a sender whose mail was taken for spam."""
    found = {"deactivate": links.page(Action.DEACTIVATE, alias)}
    sender = said.get("sender", "")
    if said.get("blocked") and sender:
        found["unblock"] = links.page(Action.UNBLOCK, alias, {"type": "email", "value": sender, NARROW: "1"})
    elif "@" in sender:
        found["block_email"] = links.page(Action.BLOCK_EMAIL, alias, {"email": sender})
    return found


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
