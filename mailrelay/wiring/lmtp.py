"""The LMTP role: delivery of forwarded mail."""

import secrets
import time
from collections.abc import Mapping

from mailrelay import log
from mailrelay.clients.submit import Submitter
from mailrelay.config import Config
from mailrelay.flows.books import Books
from mailrelay.flows.deliver import Delivery
from mailrelay.flows.forward import Forwarding
from mailrelay.flows.handover import Dispatcher
from mailrelay.servers.lmtp import LmtpServer
from mailrelay.signing import DkimKeys
from mailrelay.store.failing import FailingStore
from mailrelay.store.newalias import AliasMaker
from mailrelay.wiring import copies
from mailrelay.wiring.held import archive, held_store
from mailrelay.wiring.runtime import Runtime, utc_now
from mailrelay.wiring.spool import keep
from mailrelay.wiring.technical import technical

# Postfix keeps a connection for reuse; it has its own time-outs for commands.
_IDLE_SECONDS = 300.0
# For what is under way and for its records, of which the server takes 15; less than TimeoutStopSec of the unit.
_LAST_SECONDS = 23.0


class LmtpRole:
    """Takes mail from Postfix' queue and hands copies back. Raises BadConfig for a damaged DKIM key."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._endpoint = config.lmtp.listen
        self._dkim = DkimKeys(config.dkim)
        self._dkim(config.service.domain)  # a damaged key shows now rather than with the first mail
        self._submitter = Submitter(
            config.submit.address,
            config.service.hostname,
            config.submit.connections,
            config.submit.timeout_seconds,
        )
        self._dispatcher = Dispatcher(
            runtime.ledger, self._submitter.submit, lambda: secrets.randbits(64), keep(config), runtime.banned_hosts
        )
        runtime.on_restored.append(self._dispatcher.catch_up)
        runtime.rulebooks.post = runtime.post
        self._archive = archive(config)
        self._server = LmtpServer(
            self._delivery(config, runtime),
            hostname=config.service.hostname,
            message_octets=config.limits.message_octets,
            sessions=config.lmtp.sessions,
            timeout_seconds=_IDLE_SECONDS,
        )

    def _delivery(self, config: Config, runtime: Runtime) -> Delivery:
        books, alias_maker = Books(runtime.rules, runtime.ledger), AliasMaker(runtime.database)
        read_background = copies.background_reader(runtime.database)
        composer = copies.composer(config, runtime, self._dkim)
        correspondence = copies.correspondence(config, runtime, self._dkim)
        keep = held_store(config, self._archive).hold
        forwarding = Forwarding(
            runtime.rules,
            books,
            read_background,
            keep,
            composer,
            self._dispatcher,
            runtime.ruling,
            alias_maker.unmake,
            correspondence.answers_contact,
            FailingStore(runtime.database),
            composer.sealing.sort,
            runtime.post,
        )
        return Delivery(
            runtime.rules,
            books,
            runtime.read_facts,
            alias_maker,
            technical(config, runtime, self._archive, read_background, composer, self._dispatcher, self._dkim),
            copies.sending(runtime, correspondence, composer, self._dispatcher, keep),
            forwarding,
            utc_now,
            config.lmtp.timeout_seconds,
        )

    async def start(self) -> None:
        await self._archive.open()
        await self._server.start(self._endpoint)

    async def stop(self) -> None:
        end = time.monotonic() + _LAST_SECONDS
        await self._server.stop()
        left = await self._dispatcher.finish(end - time.monotonic())
        if left:
            log.logger().warning("lmtp.unrecorded", copies=left)
        self._submitter.close()
        await self._archive.close()

    def reload(self, config: Config) -> None:
        """Read the signing keys again."""
        self._dkim.forget()
        self._server.message_octets = config.limits.message_octets

    def health(self) -> Mapping[str, str]:
        return {"re-injection": self._submitter.trouble or "ok"}
