"""Sample notices of every kind, as those post them who know of something."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from mailrelay.core.address import parse_address
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.noticefailure import Setback
from mailrelay.core.noticeroute import Going, Mailbox
from mailrelay.core.notices import Code, Notice, Value

BASE = "https://app.relay.example"
ALIAS_UUID = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")
FAILED_UUID = UUID("60c9e585-e7f5-41c4-9016-9014c15454bc")
AT = "2026-01-06T09:00:02+00:00"
_ALIAS: dict[str, Value] = {"alias": "shop@alias.example", "alias_uuid": str(ALIAS_UUID)}
_CLICK: dict[str, Value] = {**_ALIAS, "at": AT, "ip": "192.0.2.77", "user_agent": "Mozilla/5.0"}
_SENT: dict[str, Value] = {"alias": "shop@alias.example", "contact": "help@shop.example"}

DATA: Mapping[Code, dict[str, Value]] = {
    Code.NRP: {"address": "noreply@relay.example", "operator": "postmaster@relay.example"},
    Code.OPS: {"address": "admin@inbox.example", "text": "A reply was reported as spam."},
    Code.DNR: {"address": "admin@inbox.example", "domain": "new.example", "type": "EMAIL"},
    Code.DNE: {"address": "admin@inbox.example", "text": "EXPIRED: new.example (EMAIL, request 1)."},
    Code.DND: {"address": "admin@inbox.example", "text": "2 checks of domains fail."},
    Code.VU: {"address": "me@inbox.example", "link": f"{BASE}/verify/1"},
    Code.VR: {},
    Code.UR: {"names": "john, johnny"},
    Code.RP: {"link": f"{BASE}/reset/1", "at": AT, "ip": "192.0.2.77", "minutes": 30},
    Code.FLA: {"at": AT, "ip": "192.0.2.77", "user_agent": "Mozilla/5.0"},
    Code.TES: {"token": "my phone", "expires": AT},
    Code.DRU: {"old": "me@inbox.example", "new": "you@inbox.example", "at": AT, "ip": "192.0.2.77"},
    Code.NRV: {"recipient": "you@inbox.example", "at": AT, "ip": "192.0.2.77"},
    Code.AIF: {"imported": 12, "skipped": 3},
    Code.FDN: {"failed_id": 1},
    Code.FDN_DIGEST: {"since": AT},
    Code.IR_DIGEST: {"since": AT, "count": 5},
    Code.SRSA: {**_SENT, "dkim": "none", "spf": "pass", "dmarc": "fail", "failed_uuid": str(FAILED_UUID), "at": AT},
    Code.DRSA: {**_SENT, "reason": "sending_off", "at": AT},
    Code.RSL: _SENT,
    Code.GKE: {"recipient": "me@inbox.example", "fingerprint": "AB" * 20, "expires": AT, "days": 7, "problem": ""},
    Code.NOT_ENCRYPTED: {
        "alias": "shop@alias.example",
        "domain": "shop.example",
        "at": AT,
        "problem": "key_expired",
        "kept": True,
    },
    Code.NBL: {"percent": 92},
    Code.ADUN: _CLICK,
    Code.ADLN: _CLICK,
    Code.DMI: {"domain": "own.example", "found": "mx.elsewhere.example"},
    Code.DUS: {"domain": "own.example", "reason": "the DKIM record is missing"},
    Code.CNF: {
        "address": "new@inbox.example",
        "code": "123456",
        "action": "handle_subscribe",
        "about": "john",
        "tag": "handle:create",
        "minutes": 10,
        "ip": "192.0.2.77",
        "link": f"{BASE}/confirm?token=123456",
    },
    Code.ABC: {**_ALIAS, "sender": "news@shop.example", "count": 1, "blocked": False},
    Code.LEAK: {"alias": "shop@alias.example", "places": "signature", "held_uuid": str(FAILED_UUID)},
    Code.CYC: {"alias": "shop@alias.example", "reason": "loop"},
    Code.AKD: {"address": "me@inbox.example", "at": AT, "ip": "192.0.2.77"},
    Code.MFY: {
        "address": "me@inbox.example",
        "about": "shop@alias.example",
        "tag": "alias",
        "link": f"{BASE}/api/forward/unsubscribe?alias=shop@alias.example",
    },
    Code.PWC: {"address": "root@inbox.example", "code": "123456", "minutes": 15, "ip": "192.0.2.77"},
    Code.ADW: {"address": "new@inbox.example", "username": "new", "actor": "root@inbox.example", "at": AT},
    Code.ADC: {
        "address": "new@inbox.example",
        "action": "admin_user_updated",
        "target": "new@inbox.example",
        "actor": "root@inbox.example",
        "fields": "email, password",
        "at": AT,
        "ip": "192.0.2.77",
        "user_agent": "Mozilla/5.0",
    },
    Code.RUL: {"rule": "Newsletters", "problem": "an unknown condition"},
}

MAILBOX = Mailbox(RecipientId(1), UUID(int=7), "me@inbox.example", verified=True, failing=False, never_plaintext=False)
GOING = Going(parse_address("me@inbox.example"), MAILBOX)
SETBACK = Setback(
    "news@shop.example",
    "real@inbox.example",
    "Your order 77",
    "v=1;q=4XyZ12AbCd;spf=pass:mailfrom:shop.example;dkim=pass:shop.example:a:,fail:x.example::;dmarc=fail:none:n::x;act=tag",
    "F",
    "hard",
    "5.1.1",
    "smtp; 550 5.1.1 no such user",
    "mail.inbox.example",
    False,
    True,
    False,
    datetime(2026, 1, 6, 9, 0, 2, tzinfo=UTC),
    datetime(2026, 1, 6, 9, 1, 0, tzinfo=UTC),
    ALIAS_UUID,
    "shop@alias.example",
)


def notice(code: Code, /, **more: Value) -> Notice:
    """A notice of a kind, some of its data replaced."""
    return Notice(code, AccountId(1), data={**DATA[code], **more})
