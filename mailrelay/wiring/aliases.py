"""What the addy.io API does with aliases, put together."""

import secrets

from mailrelay import words
from mailrelay.api.addy.aliases_bulk import AliasBulkEndpoints
from mailrelay.api.addy.aliases_change import AliasChangeEndpoints
from mailrelay.api.addy.aliases_make import AliasMakeEndpoint
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.config import Config
from mailrelay.core.coining import Coiner
from mailrelay.flows.manage.newalias import AliasMaker
from mailrelay.flows.obstacles import Bans
from mailrelay.store.database import Database
from mailrelay.store.manage_alias_sets import AliasSets
from mailrelay.store.manage_aliases import Aliases
from mailrelay.store.manage_newalias import NewAliases
from mailrelay.store.own_aliases import OwnAliases


def alias_changes(config: Config, database: Database, bans: Bans) -> tuple[Endpoint, ...]:
    """What makes aliases and changes them. Raises BadConfig."""
    coiner = Coiner(words.load(config.addy.words), secrets.randbelow)
    store = NewAliases(database, direct=config.addy.shared_domains, below=config.addy.username_domains)
    maker = AliasMaker(store, coiner, config.limits.new_aliases_per_hour)
    sets = AliasSets(database)
    return (
        *AliasMakeEndpoint(maker, bans, config.addy.custom_on_shared_domains).endpoints(),
        *AliasChangeEndpoints(Aliases(database), sets, OwnAliases(database)).endpoints(),
        *AliasBulkEndpoints(sets).endpoints(),
    )
