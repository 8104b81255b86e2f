"""The public forward flow put together, and the pages behind links in mails to the public."""

from collections.abc import Sequence
from functools import partial

from mailrelay.api.haltman.confirmpage import ConfirmPage
from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.api.haltman.forward import Forward, confirm_rules, sent_alias
from mailrelay.api.haltman.removepage import RemovePage
from mailrelay.api.haltman.sent import sent_name
from mailrelay.config import Config
from mailrelay.core.codes import ALIAS_INTENTS, HANDLE_INTENTS
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.obstacles import Bans
from mailrelay.flows.subscriptions import Subscriptions
from mailrelay.reserved import local_parts
from mailrelay.store.database import Database
from mailrelay.store.owner_requests import OwnerRequests
from mailrelay.store.subscriptions import SubscriptionStore
from mailrelay.wiring.haltman.codes import codes
from mailrelay.wiring.haltman.managed import managed_domains


def forward(config: Config, database: Database, bans: Bans, clock: Clock) -> Forward:
    """Raises BadConfig."""
    story = Subscriptions(
        codes(config, database, clock),
        SubscriptionStore(database),
        OwnerRequests(database),
        bans,
        managed_domains(config, database),
        local_parts(),
        clock,
    )
    return Forward(story, config.haltman.default_domain, config.haltman.confirm_page)


def pages(config: Config, database: Database, clock: Clock, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Behind links in mails. endpoints: of the API; they do what the pages promise. Raises BadConfig."""
    known = {(one.method, one.path): one for one in endpoints}
    product = config.notices.name
    paths = {"forward/confirm": ALIAS_INTENTS, "handle/confirm": HANDLE_INTENTS}
    doers = {one: known["POST", path].handler for path, intents in paths.items() for one in intents}
    drawn = codes(config, database, clock)
    return (
        *ConfirmPage(drawn, doers, product, confirm_rules(drawn)).endpoints(),
        *RemovePage(
            "alias", lambda sent: str(sent_alias(sent)), known["GET", "forward/unsubscribe"], product
        ).endpoints(),
        *RemovePage(
            "handle", partial(sent_name, field="handle"), known["GET", "handle/unsubscribe"], product
        ).endpoints(),
    )
