"""Answers about API keys for owners of mailboxes (haltman-api.md section 3.13)."""

from collections.abc import Sequence
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from mailrelay.api.haltman.keyshapes import KeyItem, key_item
from mailrelay.api.haltman.replies import iso, iso_or_none
from mailrelay.core.apikeys import ApiKey
from mailrelay.core.codes import TERMS, Asked
from mailrelay.flows.credentials import Drawn

Action = Literal["create", "list", "destroy_all"]


class MailedCode(TypedDict):
    """What became of the mail. All but `sent` and `reason` is of the code that waits, if one does."""

    sent: bool
    reason: NotRequired[Literal["cooldown", "rate_limited"]]
    ttl_minutes: int
    status: Literal["PENDING"]
    expires_at: str | None
    last_sent_at: str | None
    next_allowed_send_at: str
    send_count: int
    remaining_attempts: int


class Requested(TypedDict):
    ok: Literal[True]
    action: str
    email: str
    days: NotRequired[int]
    automatic_renew: NotRequired[bool]
    confirmation: MailedCode


class ConfirmVia(TypedDict):
    method: Literal["POST"]
    path: str


class Preview(TypedDict):
    ok: Literal[True]
    pending: Literal[True]
    mutation_required: Literal[True]
    action: Action
    email: str
    days: int
    automatic_renew: bool
    confirm_via: ConfirmVia


class Made(TypedDict):
    """`token` is shown this once."""

    ok: Literal[True]
    action: Literal["api_credentials_confirm"]
    confirmed: Literal[True]
    email: str
    token: str
    token_type: Literal["api_key"]
    expires_in_days: int
    automatic_renew: bool


class Shown(TypedDict):
    ok: Literal[True]
    action: Literal["api_credentials_list_confirm"]
    confirmed: Literal[True]
    email: str
    items: list[KeyItem]


class AllDestroyed(TypedDict):
    ok: Literal[True]
    action: Literal["api_credentials_destroy_all_confirm"]
    confirmed: Literal[True]
    email: str
    destroyed: Literal[True]
    deleted_count: int


class Renewed(TypedDict):
    ok: Literal[True]
    action: Literal["api_credentials_renew"]
    renewed: Literal[True]
    days_added: int
    item: KeyItem


class Updated(TypedDict):
    ok: Literal[True]
    action: Literal["api_credentials_automatic_renew"]
    updated: Literal[True]
    automatic_renew: bool
    item: KeyItem


class KeyDestroyed(TypedDict):
    ok: Literal[True]
    action: Literal["api_credentials_destroy"]
    destroyed: Literal[True]
    notification_sent: bool


def mailed(asked: Asked) -> MailedCode:
    shape: MailedCode = {
        "sent": asked.sent,
        "ttl_minutes": TERMS["credentials"].minutes,
        "status": "PENDING",
        "expires_at": iso_or_none(asked.expires_at),
        "last_sent_at": iso_or_none(asked.last_sent_at),
        "next_allowed_send_at": iso(asked.next_allowed_at),
        "send_count": asked.send_count,
        "remaining_attempts": asked.remaining or 0,
    }
    if asked.reason is not None:
        shape["reason"] = asked.reason
    return shape


def made(email: str, drawn: Drawn) -> Made:
    return {
        "ok": True,
        "action": "api_credentials_confirm",
        "confirmed": True,
        "email": email,
        "token": drawn.secret,
        "token_type": "api_key",
        "expires_in_days": drawn.days,
        "automatic_renew": drawn.automatic_renew,
    }


def shown(email: str, keys: Sequence[ApiKey]) -> Shown:
    return {
        "ok": True,
        "action": "api_credentials_list_confirm",
        "confirmed": True,
        "email": email,
        "items": [key_item(key) for key in keys],
    }


def all_destroyed(email: str, count: int) -> AllDestroyed:
    return {
        "ok": True,
        "action": "api_credentials_destroy_all_confirm",
        "confirmed": True,
        "email": email,
        "destroyed": True,
        "deleted_count": count,
    }
