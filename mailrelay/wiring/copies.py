"""What makes copies: the parts that delivery and the release of held mail share."""

import secrets
from urllib.parse import urlsplit

from mailrelay.batch import Batcher
from mailrelay.config import Config
from mailrelay.core.background import Background, BackgroundInquiry
from mailrelay.core.context import Context, ContextInquiry
from mailrelay.flows.books import Books
from mailrelay.flows.clearance import unasked
from mailrelay.flows.correspondence import Correspondence
from mailrelay.flows.drafts import Composer
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.keeping import KeepMail
from mailrelay.flows.leaking import LeakTest
from mailrelay.flows.ports import ReadBackground
from mailrelay.flows.revision import MakeReverse, Reviser
from mailrelay.flows.sealing import Sealing
from mailrelay.flows.sending import Sending
from mailrelay.flows.sharing import Sharing
from mailrelay.flows.unsealing import Unsealing
from mailrelay.keyring import read_secret
from mailrelay.signing import DkimKeys
from mailrelay.store.background import BackgroundReader
from mailrelay.store.contacts import Contacts
from mailrelay.store.context import ContextReader
from mailrelay.store.database import Database
from mailrelay.store.locks import LockStore
from mailrelay.store.named import NamedReader
from mailrelay.store.newalias import AliasMaker
from mailrelay.wiring.runtime import Runtime, utc_now


def background_reader(database: Database) -> ReadBackground:
    """Backgrounds, several a round trip."""
    batcher: Batcher[BackgroundInquiry, Background] = Batcher(BackgroundReader(database).read, lanes=2)
    return batcher.ask


def correspondence(config: Config, runtime: Runtime, signing_keys: DkimKeys) -> Correspondence:
    """Prepares replies and sends."""
    link_host = urlsplit(config.api.url).hostname or ""
    return Correspondence(runtime.rules, NamedReader(runtime.database).read, signing_keys, link_host)


def leak_test(config: Config, runtime: Runtime) -> LeakTest:
    """Looks at replies and sends before they are accepted; nothing that it makes leaves, so it needs no keys."""
    return LeakTest(runtime.ruling, correspondence(config, runtime, DkimKeys(config.dkim)), utc_now)


def sending(
    runtime: Runtime, correspondence: Correspondence, composer: Composer, dispatcher: Dispatcher, keep: KeepMail
) -> Sending:
    """The story of replies and sends, with what makes them; composer: of forwards."""
    alias_maker = AliasMaker(runtime.database)
    return Sending(
        runtime.rules,
        Books(runtime.rules, runtime.ledger),
        runtime.clearance(unasked),
        alias_maker,
        alias_maker.unmake,
        keep,
        correspondence,
        dispatcher,
        runtime.ruling,
        Sharing(
            runtime.rules,
            background_reader(runtime.database),
            composer,
            dispatcher,
            composer.sealing.sort,
            runtime.post,
        ),
        Unsealing(runtime.openpgp.decrypt),
        runtime.post,
    )


def composer(
    config: Config, runtime: Runtime, signing_keys: DkimKeys, make_reverse: MakeReverse | None = None
) -> Composer:
    """Prepares copies. make_reverse: instead of the database's. Raises BadConfig for a missing key."""
    contexts: Batcher[ContextInquiry, Context] = Batcher(ContextReader(runtime.database).read, lanes=2)
    reviser = Reviser(
        runtime.rules,
        contexts.ask,
        make_reverse or Contacts(runtime.database).reverse,
        secrets.token_bytes,
        config.api.url,
        read_secret(config.secrets, "url.key") if config.api.url else (),
    )
    return Composer(runtime.rules, signing_keys, reviser, sealing(config, runtime))


def sealing(config: Config, runtime: Runtime) -> Sealing:
    """Encrypts copies, signed with the service's key. Raises BadConfig for a damaged one."""
    openpgp, locks = runtime.openpgp, LockStore(runtime.database)
    prefix = config.service.header_prefix
    return Sealing(locks.read, openpgp.look, openpgp.encrypt, locks.give_up, secrets.token_bytes, prefix)
