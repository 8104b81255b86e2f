"""The parts for explain: those of the milter and of delivery, less everything that writes."""

import secrets
from functools import partial

from mailrelay import log
from mailrelay.clients.reach import ContactDomains
from mailrelay.clients.resolver import Resolver
from mailrelay.clients.spf import check_spf
from mailrelay.config import Config
from mailrelay.core.explained import Explained
from mailrelay.core.screen import RcptRequest
from mailrelay.flows.authenticate import Authenticator
from mailrelay.flows.clearance import unasked
from mailrelay.flows.examine import Examination
from mailrelay.flows.explain import Explanation
from mailrelay.flows.recipients import Recipients
from mailrelay.flows.rehearse import Rehearsal, imagined_reverse
from mailrelay.flows.unsealing import Unsealing
from mailrelay.signing import DkimKeys
from mailrelay.store.background import BackgroundReader
from mailrelay.store.preferences import PreferencesReader
from mailrelay.wire import arrival, complaint, report
from mailrelay.wiring import copies
from mailrelay.wiring.examine import trusted
from mailrelay.wiring.runtime import Runtime, utc_now
from mailrelay.wiring.suffixes import organisational_domains
from mailrelay.wiring.technical import read_report


async def explain(config: Config, request: RcptRequest, content: bytes | None, helo: str) -> Explained:
    """What would become of a message. Raises BadConfig, Unavailable."""
    log.configure("warning", "text")
    runtime = Runtime(config, "explain", None)
    resolver = Resolver(config.dns.nameservers)
    await runtime.database.open()
    try:
        await runtime.memory.reload()
        return await _explanation(config, runtime, resolver).explain(request, content, helo)
    finally:
        await resolver.close()
        await runtime.database.close()


def _explanation(config: Config, runtime: Runtime, resolver: Resolver) -> Explanation:
    keys = DkimKeys(config.dkim)
    clearance = runtime.clearance(ContactDomains(resolver))
    examination = Examination(
        runtime.rules,
        trusted(config),
        Authenticator(resolver, check_spf, organisational_domains()).authenticate,
        Recipients(
            runtime.rules,
            runtime.read_facts,
            runtime.ruling,
            clearance,
            copies.leak_test(config, runtime),
            utc_now,
        ),
        PreferencesReader(runtime.database).read,
        runtime.count_rules,
        runtime.ledger,
        runtime.post,
        utc_now,
    )
    rehearsal = Rehearsal(
        runtime.rules,
        runtime.read_facts,
        copies.background_reader(runtime.database),
        BackgroundReader(runtime.database).newcomer,
        runtime.ruling,
        runtime.clearance(unasked),
        copies.correspondence(config, runtime, keys),
        runtime.ledger,
        copies.composer(config, runtime, keys, imagined_reverse),
        keys,
        Unsealing(runtime.openpgp.decrypt),
        read_report,
        arrival.read,
        partial(complaint.read, prefix=config.service.header_prefix),
        report.undelivered,
        report.returned,
        secrets.token_bytes,
        utc_now,
    )
    return Explanation(runtime.rules, runtime.read_facts, runtime.ledger, examination, rehearsal, utc_now)
