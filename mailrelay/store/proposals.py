"""Proposals of domains: asked for by anybody, looked at by whoever comes first, and settled once.

Whoever looks at one has taken it by putting off its next check; nothing is locked while DNS is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

from psycopg.types.json import Jsonb

from mailrelay.core.domaincheck import Purpose
from mailrelay.core.errors import Busy
from mailrelay.core.naming import ServiceNames
from mailrelay.core.notices import Code, Notice
from mailrelay.core.onboarding import Request, RequestType, Seen, Status, hindrance, news, proposed
from mailrelay.core.parents import DomainClash
from mailrelay.core.records import NewDomain
from mailrelay.core.suspects import of_domain
from mailrelay.store import manage_domains, rechecks
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database
from mailrelay.store.manage import Connection, note, record, records

COLUMNS: LiteralString = """
    id, target, type, status, created_at, updated_at, activated_at, last_checked_at, next_check_at, last_result,
    fail_reason, expires_at
"""
_APPROVED = """
    select case %(type)s when 'UI' then ui_verified_at else mx_verified_at end from domain
    where name = %(target)s and shared
"""
_NEW: LiteralString = f"""
    insert into dns_request (target, type, next_check_at, expires_at)
    values (%(target)s, %(type)s, %(now)s, %(expires)s)
    on conflict on constraint dns_request_target_unique do nothing returning {COLUMNS}
"""
_OLD: LiteralString = f"select {COLUMNS} from dns_request where target = %(target)s and type = %(type)s for update"
_PROLONG: LiteralString = f"""
    update dns_request set expires_at = %(expires)s where id = %(id)s returning {COLUMNS}
"""
_AGAIN: LiteralString = f"""
    update dns_request set status = 'PENDING', expires_at = %(expires)s, next_check_at = %(now)s, activated_at = null,
                           last_checked_at = null, last_result = null, fail_reason = null
    where id = %(id)s returning {COLUMNS}
"""
_SATISFIED: LiteralString = f"""
    update dns_request set status = 'ACTIVE', activated_at = coalesce(activated_at, %(since)s), next_check_at = null,
                           fail_reason = null
    where id = %(id)s and status <> 'ACTIVE' returning {COLUMNS}
"""
_OF_TARGET: LiteralString = f"select {COLUMNS} from dns_request where target = %(target)s"
_TAKE = """
    update dns_request set next_check_at = %(until)s
    where id = %(id)s and status = 'PENDING' and coalesce(next_check_at <= %(now)s, true) returning true
"""
_DUE: LiteralString = f"""
    update dns_request set next_check_at = %(until)s
    where id = any (array(
        select id from dns_request
        where status = 'PENDING' and next_check_at <= %(now)s and expires_at > %(now)s
        order by next_check_at limit %(limit)s for update skip locked))
    returning {COLUMNS}
"""
_OVER: LiteralString = f"""
    update dns_request set status = 'EXPIRED', next_check_at = null,
                           fail_reason = coalesce(fail_reason, 'The records did not become right in time.')
    where id = any (array(
        select id from dns_request where status = 'PENDING' and expires_at <= %(now)s
        order by expires_at limit %(limit)s for update skip locked))
    returning {COLUMNS}
"""
_HOLD: LiteralString = f"""
    select {COLUMNS} from dns_request
    where id = %(id)s and target = %(target)s and type = %(type)s and status = 'PENDING' for update
"""
_SEEN: LiteralString = f"""
    update dns_request set last_checked_at = %(now)s, next_check_at = %(next)s, fail_reason = %(reason)s,
                           last_result = coalesce(%(result)s::jsonb, last_result)
    where id = %(id)s returning {COLUMNS}
"""
_SETTLED: LiteralString = f"""
    update dns_request set status = %(status)s, last_checked_at = %(now)s, next_check_at = null,
                           fail_reason = %(reason)s, last_result = %(result)s,
                           activated_at = case when %(status)s = 'ACTIVE' then %(now)s::timestamptz end
    where id = %(id)s returning {COLUMNS}
"""
_BANNED = """
    select from ban where type = 'domain' and value = any (%(names)s) and scope <> 'sender' and revoked_at is null
        and (expires_at is null or expires_at > now())
"""
_HERE = "select id, shared, active from domain where name = %(name)s for no key update"
_APPROVE = """
    update domain set mx_verified_at = case when %(mail)s then coalesce(mx_verified_at, now()) else mx_verified_at end,
                      ui_verified_at = case when %(web)s then coalesce(ui_verified_at, now()) else ui_verified_at end
    where id = %(id)s
"""
_PURPOSES: dict[RequestType, tuple[Purpose, ...]] = {"EMAIL": rechecks.MAIL, "UI": ("UI",)}


@dataclass(frozen=True, slots=True)
class Proposals:
    """Raises Unavailable. operators: mailboxes of those who hear of them; switched_on: domains that are new here."""

    database: Database
    service: ServiceNames
    operators: Sequence[str] = ()
    switched_on: bool = False

    async def ask(self, target: str, kind: RequestType, now: datetime, life: timedelta, actor: str) -> Request:
        """The request of that domain and type, made or begun again if need be. What is approved stays as it is."""
        values = {"target": target, "type": kind, "now": now, "expires": now + life}
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(_APPROVED, values)).fetchone()
            since = row[0] if row is not None else None
            made = await record(conn, Request, _NEW, values)
            found = made or await record(conn, Request, _OLD, values)
            if found is None:
                raise Busy("an administrator took the request away between the two")
            values["id"] = found.id
            if since is not None:
                return await record(conn, Request, _SATISFIED, {**values, "since": since}) or found
            if made is None and found.status == "PENDING" and found.expires_at > now:
                return await record(conn, Request, _PROLONG, values) or found
            await note(conn, actor, None, "dns_request.ask", "dns_request", found.id, {"target": target, "type": kind})
            said = proposed(target, kind)
            await announce(conn, *(Notice(Code.DNR, None, data={"address": one, **said}) for one in self.operators))
            return made or await record(conn, Request, _AGAIN, values) or found

    async def of_target(self, target: str) -> list[Request]:
        """All requests of a domain."""
        return await records(self.database, Request, _OF_TARGET, {"target": target})

    async def take(self, request: int, now: datetime, until: datetime) -> bool:
        """Whether it is ours to look at; nobody else does until then."""
        values = {"id": request, "now": now, "until": until}
        return await self.database.row(_TAKE, values) is not None

    async def due(self, now: datetime, until: datetime, limit: int) -> list[Request]:
        """Requests to be looked at, which nobody else gets until then."""
        return await records(self.database, Request, _DUE, {"now": now, "until": until, "limit": limit})

    async def expire(self, now: datetime, limit: int) -> int:
        """End those whose time is over. Gives how many there were."""
        async with self.database.connection() as conn, conn.transaction():
            cursor = await conn.execute(_OVER, {"now": now, "limit": limit})
            over = [Request(*row) for row in await cursor.fetchall()]
            for request in over:
                await self._end(conn, request, "EXPIRED", request.fail_reason or "", "worker")
        return len(over)

    async def settle(self, request: Request, seen: Seen, actor: str) -> Request:
        """What a look makes of a request. If it waits no longer, nothing."""
        async with self.database.connection() as conn, conn.transaction():
            held = await record(
                conn, Request, _HOLD, {"id": request.id, "target": request.target, "type": request.type}
            )
            if held is None:
                return request
            values = {"id": held.id, "now": seen.at, "next": seen.next_check, "reason": seen.reason or None}
            values["result"] = None if seen.right is None else Jsonb(seen.result)
            if not seen.right:
                return await record(conn, Request, _SEEN, values) or held
            status: Status = "ACTIVE"
            active = False
            try:
                async with conn.transaction():
                    active = await self._approve(conn, held, actor)
            except DomainClash as error:
                status, values["reason"] = "FAILED", str(error)
            await self._end(conn, held, status, str(values["reason"] or ""), actor, active=active)
            return await record(conn, Request, _SETTLED, {**values, "status": status}) or held

    async def _approve(self, conn: Connection, request: Request, actor: str) -> bool:
        """The domain may do that from now on; whether it is switched on. Raises DomainClash."""
        mail, web = request.type == "EMAIL", request.type == "UI"
        if words := hindrance(request.target, self.service):
            raise DomainClash("local", words)
        names = [one.value for one in of_domain(request.target)]
        if await (await conn.execute(_BANNED, {"names": names})).fetchone() is not None:
            raise DomainClash("banned", f"the operator has banned {request.target}")
        await manage_domains.lock(conn)  # both requests of a domain may pass at once
        row = await (await conn.execute(_HERE, {"name": request.target})).fetchone()
        if row is None:
            # A domain that is switched on gets mail, for which a CNAME of its web interface is no word.
            active = self.switched_on and mail
            new = NewDomain(request.target, None, True, False, mail, keys_later=True, with_ui=web, active=active)
            with manage_domains.taken(request.target):
                number = await manage_domains.bring(conn, new, actor)
        else:
            number, shared, active = row
            if not shared:
                raise DomainClash("taken", f"{request.target} belongs to an account")
            await conn.execute(_APPROVE, {"id": number, "mail": mail, "web": web})
        await rechecks.begin(conn, number, *_PURPOSES[request.type])
        await rechecks.forgive(conn, number, *_PURPOSES[request.type])
        detail = {"for": request.type.lower(), "change": "granted", "request": request.id}
        await note(conn, actor, None, "domain.check", "domain", number, detail)
        return bool(active)

    async def _end(
        self, conn: Connection, request: Request, status: Status, reason: str, actor: str, *, active: bool = False
    ) -> None:
        """For the audit and for the operators."""
        detail = {"target": request.target, "type": request.type, "status": status}
        await note(conn, actor, None, "dns_request.end", "dns_request", request.id, detail)
        await rechecks.post(conn, self.operators, news(request, status, reason, active), Code.DNE)
