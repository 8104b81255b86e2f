"""Aliases that mail brings into being (spec section 1.8)."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.errors import CheckViolation, ForeignKeyViolation

from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AliasId, ParentKind
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import Deliver
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database, constraint

# `on conflict do nothing`: a row of any state stays what it is; the caller reads it back.
_MAKE = """
    with made as (
        insert into alias (account_id, local_part, domain, username_id, handle_id, extension, description)
        values (%(account)s, %(local)s, %(domain)s, %(username)s, %(handle)s, %(extension)s, %(description)s)
        on conflict on constraint alias_address_unique do nothing
        returning id, account_id
    ), attached as (
        insert into alias_recipient (alias_id, recipient_id, account_id, created_at)
        select made.id, r.id, made.account_id, now() + r.n * interval '1 microsecond'
        from made, unnest(%(recipients)s::bigint[]) with ordinality as r(id, n)
    )
    insert into rate_window (account_id, kind, subject, window_start, amount)
    select made.account_id, 'new_alias', s.subject, date_trunc('minute', now()), 1
    from made, unnest(%(subjects)s::text[]) as s(subject)
    on conflict on constraint rate_window_pkey do update set amount = rate_window.amount + 1
"""

# Mail that came in the meantime has made it somebody's. A name on a shared domain stays taken.
_UNMAKE = """
    delete from alias
    where id = %(alias)s and created_at > now() - interval '1 hour' and reserved_as is distinct from 'alias'
      and emails_forwarded + emails_blocked + emails_replied + emails_sent = 0
"""

_DESCRIPTIONS = {
    ParentKind.HANDLE: "Created by mail to the handle",
    ParentKind.CATCH_ALL: "Created by the installation's catch-all",
}


@dataclass(frozen=True, slots=True)
class AliasMaker:
    """Creates aliases. Doing it twice, or from two processes at once, makes one."""

    database: Database

    async def __call__(self, inquiry: Inquiry, verdict: Deliver, extension: str | None) -> None:
        """Raises Unavailable, also when the parent changed hands in this moment: the next try sees how it is now."""
        parent = verdict.parent
        assert parent is not None
        values = {
            "account": verdict.account.id,
            "local": inquiry.base,
            "domain": inquiry.domain,
            "username": parent.id if parent.kind is ParentKind.USERNAME else None,
            "handle": parent.id if parent.kind is ParentKind.HANDLE else None,
            "extension": storable(extension, 254) if extension else None,
            "description": _description(verdict),
            "recipients": [target.id for target in verdict.attach],
            "subjects": _subjects(inquiry),
        }
        try:
            await self.database.rows(_MAKE, values)
        except (ForeignKeyViolation, CheckViolation) as error:
            raise Unavailable(f"alias cannot be made: {constraint(error)}") from error

    async def unmake(self, alias_id: AliasId) -> None:
        """Take an alias away that was just made (spec section 1.8), unless it was used since. Raises Unavailable."""
        await self.database.rows(_UNMAKE, {"alias": alias_id})


def _description(verdict: Deliver) -> str:
    assert verdict.parent is not None
    if verdict.by_owner:
        return "Created by its owner's first message"
    by = "the auto-create expression" if verdict.by_regex else "catch-all"
    return _DESCRIPTIONS.get(verdict.parent.kind, f"Created by {by} on first mail")


def _subjects(inquiry: Inquiry) -> Sequence[str]:
    return ["", inquiry.network] if inquiry.network else [""]
