"""What administrators do with aliases and handles, put together."""

from mailrelay.api.haltman.admin_aliases import AdminAliasEndpoints
from mailrelay.api.haltman.admin_handles import AdminHandleEndpoints
from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.config import Config
from mailrelay.core.address import parse_address
from mailrelay.flows.administration import AdminAliases, AdminHandles, Office
from mailrelay.flows.obstacles import Bans
from mailrelay.store.admin_alias_list import AdminAliasList
from mailrelay.store.admin_aliases import AdminAliasStore
from mailrelay.store.admin_handles import AdminHandleStore
from mailrelay.store.database import Database
from mailrelay.wiring.haltman.managed import managed_domains


def admin_endpoints(config: Config, database: Database, bans: Bans) -> tuple[Endpoint, ...]:
    """Aliases and handles."""
    names = config.service
    office = Office(bans, managed_domains(config, database), config.haltman.admin_notices)
    tombstone = str(config.haltman.tombstone or f"deleted@{names.domain}").lower()
    aliases, handles = AdminAliasStore(database), AdminHandleStore(database)
    return (
        *AdminAliasEndpoints(
            AdminAliases(office, aliases, parse_address(tombstone)),
            AdminAliasList(database, tombstone),
            aliases,
            tombstone,
        ).endpoints(),
        *AdminHandleEndpoints(AdminHandles(office, handles), handles).endpoints(),
    )
