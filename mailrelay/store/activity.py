"""What the owner of a mailbox did, with API keys and by codes that came back (haltman-api.md section 3.12)."""

from dataclasses import dataclass

from mailrelay.core.keyed import Event
from mailrelay.core.people import KeyHolder
from mailrelay.store.database import Database, compact

# Each half is read from its index, newest first, and no further than the page goes.
_PAGE = compact("""
    select type, at, route, intent, about from (
        (select body->>'operation' as type, at, route, null as intent,
                coalesce(body->'resource'->>'alias', '') as about, id
         from api_log
         where owner_email = %(mailbox)s and body->>'outcome' = 'success' and body->>'operation' = any(%(operations)s)
         order by at desc, id desc limit %(most)s)
        union all
        (select 'confirm_' || intent, confirmed_at, '', intent,
                case when intent in ('handle_subscribe', 'handle_unsubscribe') then alias_name
                     else alias_name || '@' || alias_domain end, id
         from confirmation
         where email = %(mailbox)s and status = 'confirmed' and intent = any(%(intents)s)
         order by confirmed_at desc, id desc limit %(most)s)
    ) done
    order by at desc, id desc limit %(limit)s offset %(offset)s
""")
OPERATIONS = (
    "alias_create",
    "alias_delete",
    "alias_pause",
    "alias_resume",
    "handle_create",
    "handle_delete",
    "handle_domain_disable",
    "handle_domain_enable",
)
# Where a code of an intent comes back.
ROUTES = {
    "subscribe": "/api/forward/confirm",
    "unsubscribe": "/api/forward/confirm",
    "handle_subscribe": "/api/handle/confirm",
    "handle_unsubscribe": "/api/handle/unsubscribe/confirm",
    "handle_domain_disable": "/api/handle/domain/disable/confirm",
    "handle_domain_enable": "/api/handle/domain/enable/confirm",
}


@dataclass(frozen=True, slots=True)
class Activity:
    """The api_log and confirmation tables. Raises Unavailable."""

    database: Database

    async def page(self, holder: KeyHolder, limit: int, offset: int) -> list[Event]:
        """Newest first."""
        values = {
            "mailbox": holder.email.folded,
            "operations": list(OPERATIONS),
            "intents": list(ROUTES),
            "most": limit + offset,
            "limit": limit,
            "offset": offset,
        }
        rows = await self.database.rows(_PAGE, values)
        return [
            Event(type, at, route if intent is None else ROUTES[intent], intent, about)
            for type, at, route, intent, about in rows
        ]
