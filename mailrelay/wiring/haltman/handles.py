"""Handles, and what can be done with API keys."""

from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.api.haltman.handles import HandleEndpoints
from mailrelay.api.haltman.key_aliases import KeyAliasEndpoints
from mailrelay.api.haltman.key_handles import KeyHandleEndpoints
from mailrelay.api.haltman.tries import by_code
from mailrelay.config import Config
from mailrelay.flows.keyed import KeyMaker
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.obstacles import Bans
from mailrelay.flows.publichandles import PublicHandles
from mailrelay.reserved import local_parts
from mailrelay.store.activity import Activity
from mailrelay.store.database import Database
from mailrelay.store.key_aliases import KeyAliases
from mailrelay.store.key_handles import KeyHandles
from mailrelay.store.owner_requests import OwnerRequests
from mailrelay.store.public_handles import PublicHandles as Store
from mailrelay.wiring.haltman.codes import codes
from mailrelay.wiring.haltman.managed import managed_domains


def handle_endpoints(config: Config, database: Database, bans: Bans, clock: Clock) -> tuple[Endpoint, ...]:
    """What everybody may ask for by mail. Raises BadConfig."""
    drawn = codes(config, database, clock)
    handles = PublicHandles(
        Store(database),
        OwnerRequests(database),
        drawn,
        bans,
        managed_domains(config, database),
        local_parts(),
        clock,
    )
    return HandleEndpoints(handles, config.haltman.confirm_page, by_code(drawn, "forward")).endpoints()


def key_endpoints(config: Config, database: Database, bans: Bans) -> tuple[Endpoint, ...]:
    """What holders of API keys do at once."""
    handles, aliases = KeyHandles(database), KeyAliases(database)
    maker = KeyMaker(bans, managed_domains(config, database), handles, aliases, local_parts())
    return (
        *KeyHandleEndpoints(maker, handles).endpoints(),
        *KeyAliasEndpoints(maker, aliases, Activity(database)).endpoints(),
    )
