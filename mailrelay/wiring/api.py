"""The api role: HTTP."""

from collections.abc import Mapping

from mailrelay.api import app, server
from mailrelay.config import Config
from mailrelay.health import Health


class ApiRole:
    """Serves the web application. all_health: of the whole process, for /healthz."""

    def __init__(self, config: Config, all_health: Health) -> None:
        self._server = server.serve(app.build(all_health), config.api.listen)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def reload(self, config: Config) -> None:
        """Nothing of it can change while it runs."""

    def health(self) -> Mapping[str, str]:
        return {}
