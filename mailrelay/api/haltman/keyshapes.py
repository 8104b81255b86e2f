"""API keys as answers show them: to their owners, and to administrators."""

from typing import Literal

from typing_extensions import TypedDict

from mailrelay.api.haltman.replies import iso, iso_or_none
from mailrelay.api.haltman.shapes import ZeroOrOne
from mailrelay.core.apikeys import ApiKey, Status, shown_ip


class KeyItem(TypedDict):
    """As its owner sees it (section 3.13)."""

    id: int
    owner_email: str
    status: Status
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    automatic_renew: ZeroOrOne
    active: bool


class AdminKeyItem(KeyItem):
    """As administrators see it (section 3.22). created_ip: IPv4 within IPv6."""

    revoked_reason: str | None
    created_ip: str | None
    user_agent: str | None


class NewKey(TypedDict):
    ok: Literal[True]
    created: Literal[True]
    token: str
    token_type: Literal["api_key"]
    item: AdminKeyItem


def key_item(key: ApiKey) -> KeyItem:
    return {
        "id": key.id,
        "owner_email": key.owner_email,
        "status": key.status,
        "created_at": iso(key.created_at),
        "expires_at": iso_or_none(key.expires_at),
        "revoked_at": iso_or_none(key.revoked_at),
        "last_used_at": iso_or_none(key.last_used_at),
        "automatic_renew": 1 if key.automatic_renew else 0,
        "active": key.active,
    }


def admin_item(key: ApiKey) -> AdminKeyItem:
    return {
        **key_item(key),
        "revoked_reason": key.revoked_reason,
        "created_ip": shown_ip(key.created_ip),
        "user_agent": key.user_agent,
    }
