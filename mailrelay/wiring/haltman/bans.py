"""What administrators do with bans, put together."""

from mailrelay.api.haltman.admin_bans import AdminBanEndpoints
from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.flows.manage.ports import Clock
from mailrelay.store.admin_bans import BanLists
from mailrelay.store.database import Database
from mailrelay.store.manage_bans import Bans


def ban_endpoints(database: Database, clock: Clock) -> tuple[Endpoint, ...]:
    """The list and what changes it."""
    return AdminBanEndpoints(Bans(database), BanLists(database), clock).endpoints()
