"""What real clients make of answers: which way they go, and the members that they take on it (haltman-api.md 8).

Each reader gets the parsed body of one call and says in words where the client goes from there. It fails, by KeyError
or AssertionError, where the client would stumble.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

Reader = Callable[[Any], str]

_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
# Codes for which the interface has a sentence of its own.
KNOWN = {
    *("invalid_params", "invalid_domain", "alias_taken", "alias_not_found", "alias_inactive", "alias_owner_changed"),
    *("handle_not_found", "invalid_or_expired", "invalid_token", "unsupported_intent", "rate_limited"),
    *("server_misconfigured", "unsupported_media_type", "temporarily_unavailable", "confirmation_payload_missing"),
    *("invalid_goto_on_alias", "internal_error"),
}
# Texts that it shows or sorts by, where they are there.
_SHOWN = ("error", "field", "reason", "hint", "domain", "type", "value", "address", "alias", "intent", "where")


def understood(client: str, reply: httpx2.Response) -> str:
    """Where a client goes after this answer. Raises what it stumbles over."""
    asked = f"{reply.request.method} {reply.request.url.path}"
    body = reply.json()
    if not reply.is_success:
        return _problem(reply, asked, body)
    for pattern, reader in {**(ADDON if client == "addon" else {}), **READERS}.items():
        if re.fullmatch(pattern, asked):
            return reader(body)
    raise KeyError(asked)


def _problem(reply: httpx2.Response, asked: str, body: Any) -> str:
    code = body["error"]
    assert isinstance(code, str) and all(isinstance(body.get(name, ""), str) for name in _SHOWN)
    if "/auth/" in asked or "/admin/" in asked:
        if reply.status_code == 403 and code in ("csrf_required", "invalid_csrf_token"):
            return "csrf retry"
        if reply.status_code == 401 and code == "invalid_or_expired_session":
            return "sign-in form"
        return str(code)
    assert code == "banned" or code in KNOWN or not re.search("/(forward|handle)/", asked)
    if code == "banned":
        ban = body["ban"]
        return f"banned {ban['ban_type']} {ban['ban_value']} {ban['reason'] or 'null'}"
    return str(code)


def _domains(body: Any) -> str:
    assert isinstance(body, list) and all(_DOMAIN.fullmatch(one) for one in body)
    return "domains"


def _numbers(body: Any) -> str:
    assert all(type(body[name]) is int for name in ("domains", "aliases", "forwarded"))
    return "numbers"


def _asked(body: Any) -> str:
    """After aliases and handles were asked for: `accepted` alone ends the story without a dialog."""
    assert body.get("ok") is not False
    if body.get("accepted") is True and "confirmation" not in body:
        return "silent end"
    if body.get("action") == "subscribe":
        assert body["alias_candidate"] and body["to"]
    mailed = body.get("confirmation", {})
    assert mailed.get("ttl_minutes", 10) > 0
    return "code dialog, sent" if mailed.get("sent", True) else "code dialog, not sent"


def _removal(body: Any) -> str:
    assert body["alias"] and body["ttl_minutes"] > 0
    return "removal dialog, sent" if body["sent"] else f"removal dialog, {body['reason']}"


def _confirmed(body: Any) -> str:
    assert body["ok"] is True and body["confirmed"] is True and body["address"]
    assert body["intent"] in ("subscribe", "unsubscribe")
    created = {True: " created", False: " not created"}.get(body.get("created"), "")
    return f"confirmed {body['intent']}{created}"


def _handle_done(body: Any) -> str:
    assert body["ok"] is True and (body.get("created") is True or body.get("updated") is True)
    return " ".join(filter(None, ("done", body["handle"], body.get("domain", ""))))


def _key_asked(body: Any) -> str:
    assert body["ok"] is True and body["action"]
    mailed = body["confirmation"]
    assert mailed["next_allowed_send_at"] and mailed["expires_at"]
    assert type(mailed["send_count"]) is int and type(mailed["remaining_attempts"]) is int
    return "code dialog, sent" if mailed["sent"] else f"code dialog, {mailed['reason']}"


def _key_asked_in_addon(body: Any) -> str:
    return f"minutes {body['confirmation']['ttl_minutes']}"


def _key_confirmed(body: Any) -> str:
    assert body["ok"] is True
    if "token" in body:
        assert re.fullmatch("[a-z0-9]{64}", body["token"]) and type(body["automatic_renew"]) is bool
        return f"key for {body['expires_in_days']} days"
    return f"{len(body['items'])} keys" if "items" in body else f"{body['deleted_count']} deleted"


def _preview(body: Any) -> str:
    assert body["pending"] is True and body["confirm_via"]["method"] == "POST"
    return f"preview {body['action']}"


def _item(body: Any) -> str:
    """Of writes whose answer shows the row."""
    assert body.get("ok", True) is True and type(body["item"]["id"]) is int
    return "item"


def _key_destroyed(body: Any) -> str:
    assert body["ok"] is True
    return "destroyed, told" if body["notification_sent"] else "destroyed"


def _dns_asked(body: Any) -> str:
    assert body["id"] and body["target"] and body["type"] in ("UI", "EMAIL") and body["expires_at"]
    return {"PENDING": "pending", "ACTIVE": "done"}[body["status"]]


def _dns_status(body: Any) -> str:
    """Polls on at `next_check_at` while anything is pending, and lists what is missing."""
    entries = [body[part] for part in ("ui", "email") if body[part] is not None]
    records = [one for entry in entries for one in entry["missing"]]
    assert all({"key", "type", "name", "expected", "found", "ok"} <= one.keys() for one in records)
    missing = " ".join(one["key"] for one in records if not one["ok"])
    if body["summary"]["overall_status"] != "PENDING":
        return str(body["summary"]["overall_status"]).lower()
    assert body["summary"]["next_check_at_min"]
    return f"poll, missing {missing}" if missing else "poll"


def _signed_in(body: Any) -> str:
    assert body["session"]["access_expires_at"] and type(body["user"]["is_admin"]) is bool and body["user"]["email"]
    return f"dashboard of {body['user']['username']}"


def _csrf(body: Any) -> str:
    assert body["csrf_token"]
    return "csrf"


def _refreshed(body: Any) -> str:
    assert body["session"]["access_expires_at"]
    return "refreshed"


def _signed_out(body: Any) -> str:
    assert body["ok"] is True
    return "signed out"


def _forgotten(body: Any) -> str:
    return f"minutes {body['recovery']['ttl_minutes']}"


def _reauthenticate(body: Any) -> str:
    assert body["ok"] is True and body["reauth_required"] is True
    return "sign-in form"


def _me(body: Any) -> str:
    return f"me {body['admin']['username']}"


def _page(body: Any) -> str:
    page = body["pagination"]
    assert all(type(page[name]) is int for name in ("total", "limit", "offset"))
    return f"{len(body['items'])} of {page['total']}"


def _user(body: Any) -> str:
    _item(body)
    return f"sessions {body['sessions_revoked']}" if "sessions_revoked" in body else "item"


def _token(body: Any) -> str:
    _item(body)
    assert re.fullmatch("[0-9a-f]{64}", body["token"])
    return "token"


def _ban(body: Any) -> str:
    assert "created" not in body or body["message"]
    return _item(body)


def _checked(_: Any) -> str:
    return "2xx"


def _own_aliases(body: Any) -> str:
    assert all(one["address"] and one["goto"] for one in body["items"])
    return f"total {body['pagination']['total']}"


def _own_made(body: Any) -> str:
    return f"made {body.get('alias') or body['address']}"


def _own_deleted(body: Any) -> str:
    assert body.get("ok") is not False
    return "deleted"


def _stats(body: Any) -> str:
    assert type(body["totals"]) is int and all(one["domain"] for one in body["by_domain"])
    return "stats"


def _activity(body: Any) -> str:
    assert all(one["type"] and one["occurred_at"] for one in body["items"])
    return "activity"


_THING = "(aliases|bans|domains|handles|api-tokens|users|dns-requests)"
READERS: Mapping[str, Reader] = {
    "GET /api/domains": _domains,
    "GET /api/stats": _numbers,
    "GET /api/forward/subscribe": _asked,
    "GET /api/forward/unsubscribe": _removal,
    "(GET|POST) /api/forward/confirm": _confirmed,
    "GET /api/handle/(subscribe|unsubscribe|domain/disable|domain/enable)": _asked,
    "(GET|POST) /api/handle/(.*/)?confirm": _handle_done,
    "POST /api/credentials/(create|list/request|destroy-all/request)": _key_asked,
    "POST /api/credentials/confirm": _key_confirmed,
    "GET /api/credentials/confirm": _preview,
    "POST /api/credentials/(renew|automatic-renew)": _item,
    "POST /api/credentials/destroy": _key_destroyed,
    "POST /api/request/(ui|email)": _dns_asked,
    "GET /api/checkdns/.+": _dns_status,
    "POST /api/auth/sign-in|GET /api/auth/session": _signed_in,
    "GET /api/auth/csrf": _csrf,
    "POST /api/auth/refresh": _refreshed,
    "POST /api/auth/sign-out(-all)?": _signed_out,
    "POST /api/auth/forgot-password": _forgotten,
    "POST /api/auth/reset-password|PATCH /api/admin/users/me/password": _reauthenticate,
    "GET /api/admin/me": _me,
    "POST /api/admin/domains/(all/recheckdns|recheckdns/all|[0-9]+/recheckdns)": _checked,
    f"GET /api/admin/{_THING}": _page,
    "(POST|PATCH|DELETE) /api/admin/users(/[0-9]+)?": _user,
    "POST /api/admin/api-tokens": _token,
    "(POST|PATCH|DELETE) /api/admin/bans(/[0-9]+)?": _ban,
    f"(GET|POST|PATCH|DELETE) /api/admin/{_THING}(/[0-9]+)?": _item,
    "GET /api/alias/list": _own_aliases,
    "POST /api/alias/create": _own_made,
    "POST /api/alias/delete": _own_deleted,
    "GET /api/alias/stats": _stats,
    "GET /api/activity": _activity,
}
# The add-on takes less of the same answer.
ADDON: Mapping[str, Reader] = {"POST /api/credentials/create": _key_asked_in_addon}
