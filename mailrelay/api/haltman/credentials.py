"""API keys for owners of mailboxes: asked for by mail, confirmed by code, renewed, destroyed (haltman-api.md 3.13)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from starlette.responses import Response

from mailrelay.api.haltman import credentialpages, names
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import SWITCH, Check, Field, Wrong, boolean, text, whole
from mailrelay.api.haltman.credentialshapes import (
    Action,
    AllDestroyed,
    KeyDestroyed,
    Made,
    Preview,
    Renewed,
    Requested,
    Shown,
    Updated,
    all_destroyed,
    made,
    mailed,
    shown,
)
from mailrelay.api.haltman.endpoint import ROOT, Endpoint, Handler, Rule, by_origin
from mailrelay.api.haltman.keyshapes import key_item
from mailrelay.api.haltman.people import visitor_of
from mailrelay.api.haltman.problems import Problem, banned, invalid
from mailrelay.api.haltman.replies import answer
from mailrelay.api.haltman.tries import TOKEN, posted_code, too_many_tries, typed_code
from mailrelay.core.address import Address
from mailrelay.core.apikeys import MAX_DAYS, MAX_RENEWAL_DAYS, ApiKey
from mailrelay.core.codes import Asked, Intent, Pending, Wanted
from mailrelay.core.signin import Visitor
from mailrelay.core.suspects import BanHit
from mailrelay.flows.codes import TooManyTries
from mailrelay.flows.credentials import Destroyed, Done, Drawn, Listed, Objection

_PATH = "credentials"
CONFIRM = f"{_PATH}/confirm"
_CONFIRMING = "credentials_confirm"
_ACTIONS: dict[Intent, Action] = {
    Intent.API_KEY_CREATE: "create",
    Intent.API_KEY_LIST: "list",
    Intent.API_KEY_DESTROY_ALL: "destroy_all",
}
# As limits name them; answers put `api_` before it.
_WHERE: dict[Intent, str] = {
    Intent.API_KEY_CREATE: "credentials_create",
    Intent.API_KEY_LIST: "credentials_list_request",
    Intent.API_KEY_DESTROY_ALL: "credentials_destroy_all_request",
}
_DAYS, _RENEWAL = whole(1, MAX_DAYS), whole(1, MAX_RENEWAL_DAYS)
_EMAIL, _API_KEY = (Field(name, text(1, 254), required=True) for name in ("email", "api_key"))
_NO_CODE = ((400, "invalid_token"), (400, "invalid_or_expired"))
_NO_MAILBOX = (400, "managed_domain_not_allowed")
_NO_KEY = (401, "invalid_or_expired_api_key")


class Credentials(Protocol):
    """As flows/credentials.py. All raise Unavailable."""

    async def ask(self, wanted: Wanted) -> Asked | Objection: ...
    async def look(self, code: str, origin: str) -> Pending | TooManyTries | None: ...
    async def confirm(self, code: str, origin: str, visitor: Visitor) -> Done | Objection | TooManyTries | None: ...
    async def renew(self, secret: str, days: int) -> ApiKey | Objection | None: ...
    async def set_renewal(self, secret: str, on: bool) -> ApiKey | Objection | None: ...
    async def destroy(self, secret: str, client: str) -> bool | BanHit: ...


@dataclass(frozen=True, slots=True)
class CredentialEndpoints:
    """tried: the code of a request, for limits; product: how pages call the installation."""

    credentials: Credentials
    tried: Callable[[Call], str]
    product: str

    def endpoints(self) -> tuple[Endpoint, ...]:
        days, renewal = Field("days", _DAYS, required=True), Field("automatic_renew", SWITCH)
        renewing = Field("days", _RENEWAL, required=True)
        switching = Field("automatic_renew", SWITCH, required=True)
        trying = (
            Rule("cred_confirm_ip", 60, 600, by_origin, _CONFIRMING, "too_many_requests_ip"),
            Rule("cred_confirm_token", 5, 600, self.tried, _CONFIRMING, "too_many_requests_token"),
        )
        undone = (*_NO_CODE, _NO_MAILBOX, (404, "no_api_keys"))
        look = Endpoint("GET", CONFIRM, self.preview, "3.13 What a code does", Preview, query=(TOKEN,),
                        rules=trying, errors=_NO_CODE, safe=True)  # fmt: skip
        done = Made | Shown | AllDestroyed
        return (
            _by_mail("create", Intent.API_KEY_CREATE, self.create, "3.13 Ask for a key", days, renewal),
            _by_mail("list/request", Intent.API_KEY_LIST, self.ask_list, "3.13 Ask which keys there are"),
            _by_mail("destroy-all/request", Intent.API_KEY_DESTROY_ALL, self.ask_end, "3.13 Ask to end all keys"),
            look,
            Endpoint("POST", CONFIRM, self.confirm, "3.13 Do it", done, body=(TOKEN,), rules=trying, errors=undone),
            _by_key("renew", self.renew, "3.13 Let a key live longer", Renewed, renewing),
            _by_key("automatic-renew", self.set_renewal, "3.13 Whether a key renews itself", Updated, switching),
            _by_key("destroy", self.destroy, "3.13 End a key", KeyDestroyed),
        )

    async def create(self, call: Call) -> Response:
        email = _email(call)
        days = _days(call, _DAYS, MAX_DAYS)
        name = "automatic_renew" if call.member("automatic_renew") is not None else "automaticRenew"
        renew = _switch(call, name) if call.member(name) is not None else False
        wanted = Wanted(Intent.API_KEY_CREATE, email, days=days, automatic_renew=renew)
        return await self._ask(call, wanted, {"days": days, "automatic_renew": renew})

    async def ask_list(self, call: Call) -> Response:
        return await self._ask(call, Wanted(Intent.API_KEY_LIST, _email(call), days=1))

    async def ask_end(self, call: Call) -> Response:
        return await self._ask(call, Wanted(Intent.API_KEY_DESTROY_ALL, _email(call), days=1))

    async def _ask(self, call: Call, wanted: Wanted, said: dict[str, Any] | None = None) -> Response:
        asked = await self.credentials.ask(replace(wanted, ip=call.client, user_agent=call.user_agent))
        if not isinstance(asked, Asked):
            raise _objection(asked)
        head = {"ok": True, "action": f"api_{_WHERE[wanted.intent]}", "email": wanted.email.folded}
        return answer({**head, **(said or {}), "confirmation": mailed(asked)})

    async def preview(self, call: Call) -> Response:
        code = typed_code(call.query)
        found = await self.credentials.look(code, call.origin)
        if not isinstance(found, Pending):
            raise _no_code(found, call)
        if call.accepts_html:
            return credentialpages.preview(found, code, f"{ROOT}/{CONFIRM}", self.product)
        shape: Preview = {
            "ok": True,
            "pending": True,
            "mutation_required": True,
            "action": _ACTIONS[found.intent],
            "email": found.email.folded,
            "days": found.days or 1,
            "automatic_renew": found.automatic_renew,
            "confirm_via": {"method": "POST", "path": f"{ROOT}/{CONFIRM}"},
        }
        return answer(shape)

    async def confirm(self, call: Call) -> Response:
        code = posted_code(call.body)
        found = await self.credentials.confirm(code, call.origin, visitor_of(call))
        if found is None or isinstance(found, TooManyTries):
            raise _no_code(found, call)
        if not isinstance(found, Done):
            raise _objection(found)
        email = found.email.folded
        match found.what:
            case Drawn() if call.accepts_html:
                return credentialpages.told(found.what, email, self.product)
            case Drawn():
                return answer(made(email, found.what))
            case Listed(keys):
                return answer(shown(email, keys))
            case Destroyed(0):
                action = "api_credentials_destroy_all_confirm"
                raise Problem(404, "no_api_keys", ok=False, action=action, email=email)
            case Destroyed(count):
                return answer(all_destroyed(email, count))

    async def renew(self, call: Call) -> Response:
        secret = _api_key(call)
        days = _days(call, _RENEWAL, MAX_RENEWAL_DAYS)
        key = _usable(await self.credentials.renew(secret, days))
        shape: Renewed = {
            "ok": True,
            "action": "api_credentials_renew",
            "renewed": True,
            "days_added": days,
            "item": key_item(key),
        }
        return answer(shape)

    async def set_renewal(self, call: Call) -> Response:
        secret = _api_key(call)
        key = _usable(await self.credentials.set_renewal(secret, _switch(call, "automatic_renew")))
        shape: Updated = {
            "ok": True,
            "action": "api_credentials_automatic_renew",
            "updated": True,
            "automatic_renew": key.automatic_renew,
            "item": key_item(key),
        }
        return answer(shape)

    async def destroy(self, call: Call) -> Response:
        destroyed = await self.credentials.destroy(_api_key(call), call.client)
        if isinstance(destroyed, BanHit):
            raise banned(destroyed)
        if not destroyed:
            raise Problem(*_NO_KEY)
        # The notice waits in the database since the key is gone.
        shape: KeyDestroyed = {
            "ok": True,
            "action": "api_credentials_destroy",
            "destroyed": True,
            "notification_sent": True,
        }
        return answer(shape)


def _by_sent_key(call: Call) -> str:
    key = _key_sent(call)
    return "" if key is None else hashlib.sha256(key.encode()).hexdigest()


def _by_mail(path: str, intent: Intent, handler: Handler, summary: str, *more: Field) -> Endpoint:
    """Something that a code is mailed for."""
    where = _WHERE[intent]

    def by_email(call: Call) -> str:
        email = names.trimmed(call.member("email"))
        return f"{where}|{email}" if email else ""

    rules = (
        Rule("cred_create_ip", 10, 3600, by_origin, where, "too_many_requests_ip"),
        Rule("cred_create_email", 3, 3600, by_email, where, "too_many_requests_email"),
    )
    full = f"{_PATH}/{path}"
    return Endpoint("POST", full, handler, summary, Requested, rules=rules, body=(_EMAIL, *more), errors=(_NO_MAILBOX,))


def _by_key(path: str, handler: Handler, summary: str, shape: Any, *more: Field) -> Endpoint:
    """Something that is done with the key itself."""
    name = path.replace("-", "_")
    rule = Rule(f"cred_{name}_key", 120, 60, _by_sent_key, f"credentials_{name}", "too_many_requests_key")
    errors = (_NO_KEY, _NO_MAILBOX) if more else (_NO_KEY,)
    full = f"{_PATH}/{path}"
    return Endpoint("POST", full, handler, summary, shape, rules=(rule,), body=(_API_KEY, *more), errors=errors)


def _email(call: Call) -> Address:
    mailbox = names.mailbox(call.member("email"))
    if mailbox is None:
        raise invalid("email")
    return mailbox


def _days(call: Call, check: Check, most: int) -> int:
    try:
        return int(check.read(call.member("days")))
    except Wrong as wrong:
        raise invalid("days", hint=f"days must be an integer from 1 to {most}") from wrong


def _switch(call: Call, name: str) -> bool:
    found = boolean(call.member(name))
    if found is None:
        raise invalid("automatic_renew", hint="automatic_renew must be true or false")
    return found


def _key_sent(call: Call) -> str | None:
    sent = call.member("api_key")
    return names.api_key(call.member("key") if sent is None else sent)


def _api_key(call: Call) -> str:
    key = _key_sent(call)
    if key is None:
        raise invalid("api_key")
    return key


def _no_code(found: TooManyTries | None, call: Call) -> Problem:
    """For those who guess."""
    if found is None:
        return Problem(400, "invalid_or_expired")
    return too_many_tries(found, _CONFIRMING, call.now)


def _usable(found: ApiKey | Objection | None) -> ApiKey:
    if found is None:
        raise Problem(*_NO_KEY)
    if not isinstance(found, ApiKey):
        raise _objection(found)
    return found


def _objection(found: Objection) -> Problem:
    if isinstance(found, BanHit):
        return banned(found)
    return Problem(400, "managed_domain_not_allowed", field="email", domain=found.domain)
