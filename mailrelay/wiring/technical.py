"""What answers mail to addresses that are nobody's alias: the parts of it that only the LMTP role has."""

import secrets
from functools import partial

from mailrelay.config import Config
from mailrelay.core.bounce import Bounce
from mailrelay.core.sealed import vault
from mailrelay.flows.books import Books
from mailrelay.flows.complaints import Complaints
from mailrelay.flows.drafts import Composer
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.ports import ReadBackground
from mailrelay.flows.returned import ReturnPaths
from mailrelay.flows.secondtry import SecondTry
from mailrelay.flows.srsbounce import SrsBounces
from mailrelay.flows.technical import TechnicalMail
from mailrelay.flows.unsubscribe import UnsubscribeMail
from mailrelay.keyring import read_secret
from mailrelay.signing import DkimKeys
from mailrelay.store import directory, loopguard
from mailrelay.store.bounces import BounceStore
from mailrelay.store.complaints import ComplaintStore
from mailrelay.store.database import Database
from mailrelay.store.oneclick import OneClickStore
from mailrelay.store.receivers import ReceiverStore
from mailrelay.wire import arrival, complaint, report
from mailrelay.wiring.runtime import Runtime
from mailrelay.wiring.spool import spool


def technical(
    config: Config,
    runtime: Runtime,
    archive: Database,
    read_background: ReadBackground,
    composer: Composer,
    dispatcher: Dispatcher,
    keys: DkimKeys,
) -> TechnicalMail:
    """archive: connections for whole messages. Raises BadConfig."""
    books = Books(runtime.rules, runtime.ledger)
    srs_bounces = SrsBounces(
        runtime.rules,
        runtime.ledger,
        runtime.read_facts,
        read_report,
        report.undelivered,
        partial(loopguard.take_report, runtime.database),
        keys,
        dispatcher,
        secrets.token_bytes,
    )
    second_try = SecondTry(
        runtime.rules,
        runtime.read_facts,
        read_background,
        ReceiverStore(runtime.database).note,
        report.returned,
        keys,
        composer,
        dispatcher,
        composer.sealing.sort,
    )
    files = spool(config)
    return_paths = ReturnPaths(
        runtime.rules,
        books,
        arrival.read,
        partial(complaint.read, prefix=config.service.header_prefix),
        BounceStore(archive, vault(read_secret(config.secrets, "storage.key")), secrets.token_bytes).record,
        files.take,
        files.drop,
        second_try,
        Complaints(runtime.rules, runtime.ledger, ComplaintStore(runtime.database)),
        runtime.post,
    )
    links = OneClickStore(runtime.database)
    unsubscribe = UnsubscribeMail(books, links.alias_id, runtime.read_sending, links.act)
    return TechnicalMail(
        runtime.rules,
        books,
        composer,
        dispatcher,
        return_paths,
        srs_bounces,
        unsubscribe,
        partial(directory.find_recipient, runtime.database),
        runtime.post,
    )


def read_report(content: bytes) -> Bounce | None:
    """What a delivery report says about the one copy that its return path names."""
    status = report.delivery_status(content)
    if status is None:
        return None
    entries = sorted(status.recipients, key=lambda entry: entry.action != "failed")
    if not entries:
        return Bounce(failed=False, status="", text="")
    return Bounce(entries[0].action == "failed", entries[0].status, entries[0].diagnostic_code)
