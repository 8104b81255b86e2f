"""The LMTP role: delivery of forwarded mail."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from functools import partial

from mailrelay import log
from mailrelay.clients.submit import Submitter
from mailrelay.config import Config
from mailrelay.core.bounce import Bounce
from mailrelay.core.errors import Unavailable
from mailrelay.flows.books import Books
from mailrelay.flows.deliver import Delivery
from mailrelay.flows.drafts import Composer
from mailrelay.flows.forward import Forwarding
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.ports import ReadBackground
from mailrelay.flows.secondtry import SecondTry
from mailrelay.flows.srsbounce import SrsBounces
from mailrelay.flows.technical import TechnicalMail
from mailrelay.servers.lmtp import LmtpServer
from mailrelay.signing import DkimKeys
from mailrelay.store import loopguard
from mailrelay.store.newalias import AliasMaker
from mailrelay.store.receivers import ReceiverStore
from mailrelay.wire import report
from mailrelay.wiring import copies
from mailrelay.wiring.held import archive, held_store
from mailrelay.wiring.runtime import Runtime, utc_now

# Postfix keeps a connection for reuse; it has its own time-outs for commands.
_IDLE_SECONDS = 300.0
# With the 20 seconds that the server takes at most, less than TimeoutStopSec of the unit.
_LAST_RECORD_SECONDS = 5.0
_PAUSE_SECONDS = 0.5


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
        self._dispatcher = Dispatcher(runtime.ledger, self._submitter.submit, lambda: secrets.randbits(64))
        runtime.on_restored.append(self._dispatcher.catch_up)
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
        )
        return Delivery(
            runtime.rules,
            books,
            runtime.read_facts,
            alias_maker,
            self._technical(runtime, books, read_background, composer),
            copies.sending(runtime, correspondence, self._dispatcher, keep),
            forwarding,
            utc_now,
            config.lmtp.timeout_seconds,
        )

    def _technical(
        self, runtime: Runtime, books: Books, read_background: ReadBackground, composer: Composer
    ) -> TechnicalMail:
        srs_bounces = SrsBounces(
            runtime.rules,
            runtime.ledger,
            runtime.read_facts,
            read_report,
            report.undelivered,
            partial(loopguard.take_report, runtime.database),
            self._dkim,
            self._dispatcher,
            secrets.token_bytes,
        )
        second_try = SecondTry(
            runtime.rules,
            runtime.read_facts,
            read_background,
            ReceiverStore(runtime.database).note,
            report.returned,
            self._dkim,
            composer,
            self._dispatcher,
        )
        return TechnicalMail(runtime.rules, books, composer, self._dispatcher, read_report, srs_bounces, second_try)

    async def start(self) -> None:
        await self._archive.open()
        await self._server.start(self._endpoint)

    async def stop(self) -> None:
        await self._server.stop()
        await self._catch_up()
        self._submitter.close()
        await self._archive.close()

    async def _catch_up(self) -> None:
        """What only this process knows would go out again after a restart: worth waiting for the database."""
        patience = time.monotonic() + _LAST_RECORD_SECONDS
        while True:
            try:
                await self._dispatcher.catch_up()
                return
            except Unavailable as error:
                if time.monotonic() > patience:
                    log.logger().warning("lmtp.unrecorded", problem=str(error))
                    return
            await asyncio.sleep(_PAUSE_SECONDS)

    def reload(self, config: Config) -> None:
        """Read the signing keys again."""
        self._dkim.forget()
        self._server.message_octets = config.limits.message_octets

    def health(self) -> Mapping[str, str]:
        return {"re-injection": self._submitter.trouble or "ok"}


def read_report(content: bytes) -> Bounce | None:
    """What a delivery report says about the one copy that its return path names."""
    status = report.delivery_status(content)
    if status is None:
        return None
    entries = sorted(status.recipients, key=lambda entry: entry.action != "failed")
    if not entries:
        return Bounce(failed=False, status="", text="")
    return Bounce(entries[0].action == "failed", entries[0].status, entries[0].diagnostic_code)
