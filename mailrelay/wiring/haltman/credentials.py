"""API keys of the Haltman API put together."""

from mailrelay.api.haltman.adminkeys import AdminKeyEndpoints
from mailrelay.api.haltman.credentials import CONFIRM, CredentialEndpoints
from mailrelay.api.haltman.endpoint import ROOT, Endpoint
from mailrelay.api.haltman.tries import by_code
from mailrelay.config import Config
from mailrelay.flows.credentials import Credentials
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.obstacles import Bans
from mailrelay.store.admin_apikeys import AdminApiKeys
from mailrelay.store.apikeys import ApiKeys
from mailrelay.store.database import Database
from mailrelay.store.keyrequests import KeyRequests
from mailrelay.wiring.haltman.codes import codes
from mailrelay.wiring.haltman.managed import managed_domains


def key_endpoints(config: Config, database: Database, bans: Bans, clock: Clock) -> tuple[Endpoint, ...]:
    """For owners of mailboxes, and for administrators. Raises BadConfig."""
    url = config.api.url
    confirming = codes(config, database, clock)
    credentials = Credentials(
        confirming,
        KeyRequests(database),
        ApiKeys(database),
        bans,
        managed_domains(config, database),
        clock,
        f"{url}{ROOT}/{CONFIRM}?token=" if url else "",
    )
    own = CredentialEndpoints(credentials, by_code(confirming, "credentials"), config.notices.name).endpoints()
    return (*own, *AdminKeyEndpoints(AdminApiKeys(database)).endpoints())
