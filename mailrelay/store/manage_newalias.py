"""Aliases that their owners make through the HTTP APIs: one statement for the facts, one for all that is stored."""

from dataclasses import dataclass, replace
from typing import Any, LiteralString

from psycopg import IntegrityError
from psycopg.errors import NotNullViolation

from mailrelay.core.address import parents
from mailrelay.core.errors import NoAccount
from mailrelay.core.facts import AliasId
from mailrelay.core.newaliases import AliasRequest, Ground, NewOwnAlias, Prospect, Refusal, format_of
from mailrelay.core.own_aliases import Belongs, OwnAlias
from mailrelay.core.records import UsernameId
from mailrelay.store.database import Database, compact, constraint
from mailrelay.store.offered import usable
from mailrelay.store.own_aliases import OwnAliases

_DOMAIN_BANNED: LiteralString = """
    exists (
        select from ban b where b.type = 'domain' and b.value = any(%(parents)s) and b.revoked_at is null
          and b.scope <> 'sender' and (b.expires_at is null or b.expires_at > now()))
"""

# A shared domain, a verified one of the account's own, or one below a username of theirs. Whoever has a handle has its
# name on all shared domains.
_SURVEY = compact(f"""
    select acc.uuid, acc.is_admin, acc.default_alias_format, acc.alias_separator, acc.new_aliases_per_hour,
           d.uuid, d.shared, u.id, u.uuid,
           array(
               select r.uuid from recipient r
               where r.account_id = acc.id and r.uuid = any(%(recipients)s::uuid[]) and r.verified_at is not null
                 and not r.pending),
           exists (select from alias a where a.local_part = %(local)s and a.domain = %(domain)s)
           or coalesce(d.shared, false) and exists (
               select from shared_local_part s where s.local_part = %(local)s and s.holder = 'handle'),
           exists (
               select from ban b where b.type = 'name' and b.value = %(local)s and b.revoked_at is null
                 and (b.expires_at is null or b.expires_at > now())),
           (select coalesce(sum(w.amount), 0) from rate_window w
            where w.account_id = acc.id and w.kind = 'new_alias' and w.subject = ''
              and w.window_start > now() - interval '1 hour')::bigint
    from account acc
    left join domain d on d.name = %(domain)s and d.active
        and ({usable("d")} or d.account_id = acc.id and d.verified_at is not null) and not {_DOMAIN_BANNED}
    left join username u on u.name = %(label)s and u.account_id = acc.id and u.active
        and exists (select from domain s where s.name = %(above)s and {usable("s")}) and not {_DOMAIN_BANNED}
    where acc.id = %(account)s
""")

# First the alias, then the count, in the order in which mail makes aliases, or the two would wait for each other.
# Beyond the limit the count is null, which its column refuses; so all of it is taken back.
_MAKE = compact(f"""
    with made as (
        insert into alias (uuid, account_id, local_part, domain, username_id, extension, description)
        select %(uuid)s::uuid, %(account)s::bigint, %(local)s::text, %(domain)s::text, %(username)s::bigint,
               %(extension)s::text, %(description)s::text
        where not exists (
            select from ban b where b.type = 'name' and b.value = %(local)s and b.revoked_at is null
              and (b.expires_at is null or b.expires_at > now()))
          and not {_DOMAIN_BANNED}
        returning id, created_at, updated_at
    ), attached as (
        insert into alias_recipient (alias_id, recipient_id, account_id, created_at)
        select made.id, r.id, %(account)s, now() + c.n * interval '1 microsecond'
        from made, unnest(%(recipients)s::uuid[]) with ordinality as c(uuid, n)
        left join recipient r on r.uuid = c.uuid and r.account_id = %(account)s and r.verified_at is not null
            and not r.pending
    ), noted as (
        insert into audit (actor, account_id, action, object_table, object_id)
        select %(actor)s, %(account)s, 'alias.create', 'alias', made.id from made
    ), earlier as (
        select coalesce(sum(amount), 0) as amount from rate_window
        where account_id = %(account)s and kind = 'new_alias' and subject = ''
          and window_start > now() - interval '1 hour' and window_start < date_trunc('minute', now())
    ), counted as (
        insert into rate_window as w (account_id, kind, subject, window_start, amount)
        select %(account)s, 'new_alias', '', date_trunc('minute', now()),
               case when %(allowed)s::bigint = 0 or earlier.amount < %(allowed)s then 1 end
        from made, earlier
        on conflict on constraint rate_window_pkey do update set amount = case
            when %(allowed)s = 0 or w.amount + (select amount from earlier) < %(allowed)s then w.amount + 1 end
    )
    select id, created_at, updated_at from made
""")

_REFUSALS = {
    "alias_address_unique": Refusal.TAKEN,
    "alias_uuid_unique": Refusal.TAKEN,
    "alias_local_part_reserved": Refusal.TAKEN,
    "alias_username_fk": Refusal.DOMAIN,
    "alias_domain_fk": Refusal.DOMAIN,
    "alias_domain_owned": Refusal.DOMAIN,
    "alias_recipient_recipient_fk": Refusal.RECIPIENT,
}
_REFUSED_NULLS = {"rate_window": Refusal.LIMIT, "alias_recipient": Refusal.RECIPIENT}


@dataclass(frozen=True, slots=True)
class NewAliases:
    """direct: all may have aliases on shared domains; below: on their usernames' subdomains. Admins always may."""

    database: Database
    direct: bool = True
    below: bool = True

    async def survey(self, asked: AliasRequest) -> Prospect:
        """What is known of a wish. Raises NoAccount, and Unavailable."""
        label, _, above = asked.domain.partition(".")
        values = {
            "account": asked.account,
            "domain": asked.domain,
            "label": label,
            "above": above,
            "parents": list(parents(asked.domain)),
            "local": asked.local,
            "recipients": list(asked.recipients),
        }
        row = await self.database.row(_SURVEY, values)
        if row is None:
            raise NoAccount(f"there is no account {asked.account}")
        uuid, admin, format, separator, allowed, domain, shared, username, username_uuid, recipients, *rest = row
        ground = None
        if domain is not None:
            if not shared or self.direct or admin:
                ground = Ground(asked.domain, None if shared else Belongs("domain", domain), None)
        elif username is not None and (self.below or admin):
            ground = Ground(asked.domain, Belongs("username", username_uuid), UsernameId(username))
        taken, banned, made = rest
        return Prospect(uuid, format_of(format), separator, ground, frozenset(recipients), taken, banned, allowed, made)

    async def make(self, new: NewOwnAlias, actor: str) -> OwnAlias | Refusal:
        """Store it, its recipients, who made it and that it counts: all of that or nothing. Raises Unavailable."""
        values = {
            "uuid": new.uuid,
            "account": new.account,
            "local": new.local,
            "domain": new.ground.domain,
            "parents": list(parents(new.ground.domain)),
            "username": new.ground.username,
            "extension": new.extension,
            "description": new.description,
            "recipients": list(new.recipients),
            "allowed": new.allowed,
            "actor": actor,
        }
        try:
            row = await self.database.row(_MAKE, values)
        except IntegrityError as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            return refusal
        if row is None:
            return Refusal.TAKEN
        alias = _as_made(new, *row)
        if not new.recipients:
            return alias
        stored = await OwnAliases(self.database).one(new.account, new.uuid)
        return replace(alias, recipients=stored.recipients)


def _refusal(error: IntegrityError) -> Refusal | None:
    if isinstance(error, NotNullViolation):
        return _REFUSED_NULLS.get(error.diag.table_name or "")
    return _REFUSALS.get(constraint(error))


def _as_made(new: NewOwnAlias, number: int, created_at: Any, updated_at: Any) -> OwnAlias:
    return OwnAlias(
        id=AliasId(number),
        uuid=new.uuid,
        account_uuid=new.account_uuid,
        local_part=new.local,
        domain=new.ground.domain,
        extension=new.extension,
        belongs=new.ground.belongs,
        state="active",
        pinned=False,
        description=new.description,
        from_name=None,
        attached_recipients_only=False,
        emails_forwarded=0,
        emails_blocked=0,
        emails_replied=0,
        emails_sent=0,
        last_forwarded=None,
        last_blocked=None,
        last_replied=None,
        last_sent=None,
        created_at=created_at,
        updated_at=updated_at,
        deleted_at=None,
        recipients=(),
    )
