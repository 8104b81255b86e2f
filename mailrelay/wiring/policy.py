"""The policy role: policy delegation and socketmap."""

import asyncio
from collections.abc import Mapping

from mailrelay.config import Config
from mailrelay.core.address import with_quotes
from mailrelay.core.destinations import unknown
from mailrelay.core.realm import Realm
from mailrelay.core.screen import RcptRequest
from mailrelay.endpoint import Endpoint
from mailrelay.flows.admit import DUNNO, Admission
from mailrelay.flows.senders import logins_for
from mailrelay.servers.listen import listen
from mailrelay.servers.policy import PolicySession
from mailrelay.servers.socketmap import SocketmapSession
from mailrelay.store.credentials import Credentials
from mailrelay.wire import socketmap
from mailrelay.wire.policy import PolicyRequest
from mailrelay.wiring.runtime import Runtime, utc_now

TRANSPORT = "mailrelay"  # the service in master.cf that talks LMTP to us
# virtual_mailbox_maps only need some value. Where a host uses that list as smtpd_sender_login_maps, too, it says who
# may send with the address: our system user, who cannot log in.
_EXISTS = "mailrelay"


class PolicyRole:
    """Answers Postfix' questions at RCPT."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        assert runtime.memory.cache is not None
        self._config = config
        self._runtime = runtime
        self._admission = Admission(
            runtime.rules,
            runtime.memory.cache,
            runtime.read_facts,
            runtime.read_sending,
            runtime.ledger,
            utc_now,
            unknown if runtime.hosts is None else runtime.hosts.known,
        )
        self._credentials = Credentials(runtime.database)
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        transport = transport_to(self._config.lmtp.listen)

        def maps() -> SocketmapSession:
            return SocketmapSession(
                lambda lookup: answer_map(lookup, self._runtime.rules.around.realm, transport), self._sender_login
            )

        self._servers.append(await listen(lambda: PolicySession(self._now, self._later), self._config.policy.listen))
        self._servers.append(await listen(maps, self._config.policy.socketmap))

    def _now(self, request: PolicyRequest) -> str | None:
        return self._admission.at_once(_rcpt_request(request)) if request.protocol_state == "RCPT" else DUNNO

    async def _later(self, request: PolicyRequest) -> str:
        return await self._admission.by_database(_rcpt_request(request))

    async def _sender_login(self, lookup: socketmap.Lookup) -> socketmap.Reply:
        """The map for smtpd_sender_login_maps: never cached, as submitted mail is rare and a login may be revoked."""
        logins = await logins_for(lookup.key, self._credentials.senders)
        return socketmap.Ok(",".join(logins)) if logins else socketmap.NotFound()

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        await self._admission.drain()

    def reload(self, config: Config) -> None:
        """All that can change is in the runtime's rules."""

    def health(self) -> Mapping[str, str]:
        return {}


def _rcpt_request(request: PolicyRequest) -> RcptRequest:
    return RcptRequest(
        sender=request.sender,
        rcpt=with_quotes(request.recipient),
        client=request.client_address,
        instance=request.instance,
        authenticated=bool(request.sasl_username),
    )


def transport_to(lmtp: Endpoint) -> str:
    """What Postfix' transport map says for our domains."""
    return f"{TRANSPORT}:{lmtp.postfix}"


def answer_map(lookup: socketmap.Lookup, realm: Realm, transport: str) -> socketmap.Reply | None:
    """The maps that Postfix asks: which domains are ours, that all their addresses may exist, and where they go.

    None for `sender_login`: who may send with an address is in the database.
    """
    if lookup.map == "sender_login":
        return None
    # Postfix looks a transport up by address, domain and `.parent`; only whole domains are ours.
    domain = lookup.key.rpartition("@")[2]
    ours = bool(domain) and not domain.startswith(".") and realm.locate_text(domain) is not None
    match lookup.map:
        case "domain":
            return socketmap.Ok(domain) if ours and "@" not in lookup.key else socketmap.NotFound()
        case "recipient":
            return socketmap.Ok(_EXISTS) if ours and "@" in lookup.key else socketmap.NotFound()
        case "transport":
            return socketmap.Ok(transport) if ours else socketmap.NotFound()
        case _:
            return socketmap.Perm(f"no map {lookup.map}; there are domain, recipient, transport and sender_login")
