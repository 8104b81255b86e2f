"""What writes to users: the catalogue, the links, and the way out."""

from mailrelay.config import Config
from mailrelay.core.links import Links
from mailrelay.core.sealed import vault
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.notices import Notices, Office
from mailrelay.keyring import read_secret
from mailrelay.notices import Printer, load, printer
from mailrelay.signing import DkimKeys
from mailrelay.store.jobs import JobStore
from mailrelay.store.notices import NoticeStore
from mailrelay.wiring import copies
from mailrelay.wiring.runtime import Runtime, utc_now


def notices(config: Config, runtime: Runtime, queue: JobStore, dispatcher: Dispatcher, keys: DkimKeys) -> Notices:
    """queue: of the worker that will run them. Raises BadConfig, also for a catalogue with mistakes."""
    catalogue = load(config.notices.language, config.notices.folder)
    opener = vault(read_secret(config.secrets, "storage.key"))
    books = NoticeStore(runtime.database, opener, queue.worker)
    office, sealing = _office(config, printer(catalogue)), copies.sealing(config, runtime)
    return Notices(runtime.rules, books, queue.finish, office, keys, dispatcher, sealing, opener, utc_now)


def _office(config: Config, print_it: Printer) -> Office:
    if not config.api.url:
        return Office(config.notices.name, print_it)
    [key, *_] = read_secret(config.secrets, "url.key")
    links = lambda now: Links(config.api.url, key, now)  # noqa: E731
    return Office(config.notices.name, print_it, links, sites=config.haltman.origins)
