"""The api role: HTTP."""

from collections.abc import Mapping

from starlette.routing import Route

from mailrelay.api import app, server
from mailrelay.api.pages import Pages
from mailrelay.clients.resolver import Resolver
from mailrelay.config import Config
from mailrelay.flows.oneclick import OneClick
from mailrelay.flows.passwords import Passwords
from mailrelay.flows.releasejob import ReleaseLater
from mailrelay.health import Health
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.jobs import JobStore
from mailrelay.store.oneclick import OneClickStore
from mailrelay.wiring import addy, domaincheck, haltman
from mailrelay.wiring.runtime import utc_now
from mailrelay.wiring.suffixes import is_public_suffix

_DNS_SECONDS = 4.0  # people wait for it


class ApiRole:
    """Serves the web application. all_health: of the whole process, for /healthz. Raises BadConfig."""

    def __init__(self, config: Config, all_health: Health) -> None:
        database = config.database
        self._database = Database(database.dsn, database.connections, database.timeout_seconds, "api")
        # Without a memory: who has just published a record, and asks whether it is there, wants to be believed.
        self._resolver = Resolver(config.dns.nameservers, _DNS_SECONDS, entries=0)
        self._asked = domaincheck.resolvers(config)
        passwords = Passwords()
        both = app.Both(
            addy.application(config, self._database, self._resolver, passwords=passwords),
            haltman.application(config, self._database, self._resolver, asked=self._asked, passwords=passwords),
        )
        self._server = server.serve(app.build(all_health, self._pages(config), both), config.api.listen)

    def _pages(self, config: Config) -> list[Route]:
        """Of signed links; without an address there are none."""
        if not config.api.url:
            return []
        release = ReleaseLater(JobStore(self._database).put)
        story = OneClick(OneClickStore(self._database), release)
        keys = read_secret(config.secrets, "url.key")
        return Pages(story, keys, is_public_suffix, utc_now, config.notices.name).routes()

    async def start(self) -> None:
        await self._database.open()
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()
        for resolver in (self._resolver, *self._asked):
            await resolver.close()
        await self._database.close()

    def reload(self, config: Config) -> None:
        """Nothing of it can change while it runs."""

    def health(self) -> Mapping[str, str]:
        return {}
