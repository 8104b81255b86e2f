"""Where messages wait until their copies have arrived; one place for all processes of a host."""

import secrets

from mailrelay.clients.spool import Spool as Files
from mailrelay.config import Config
from mailrelay.core.held import storable
from mailrelay.core.ledger import OutboundId
from mailrelay.core.sealed import vault
from mailrelay.flows.handover import Spool, unspooled
from mailrelay.flows.letter import Letter
from mailrelay.keyring import read_secret


def spool(config: Config) -> Files:
    """Raises BadConfig without storage.key."""
    return Files(config.state / "spool", vault(read_secret(config.secrets, "storage.key")), secrets.token_bytes)


def keep(config: Config) -> Spool:
    """Keeps messages where the mail log tells when they are not needed any more. Raises BadConfig."""
    if not config.worker.mail_log:
        return unspooled
    files, prefix = spool(config), config.service.header_prefix
    name = f"{prefix}ingress".lower().encode("ascii")

    async def spooled(outbound_id: OutboundId, letter: Letter, /) -> None:
        evidence = letter.message.first(name) or b""
        await files.keep(outbound_id, storable(letter.message, prefix), evidence)

    return spooled
