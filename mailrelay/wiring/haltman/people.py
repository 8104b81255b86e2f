"""The dashboard's sign-in, sessions and users put together."""

import secrets
from datetime import timedelta

from mailrelay.api.haltman.auth import AuthEndpoints
from mailrelay.api.haltman.cookies import Cookies
from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.api.haltman.recovery import RecoveryEndpoints
from mailrelay.api.haltman.tries import by_code
from mailrelay.api.haltman.users import UserEndpoints
from mailrelay.config import Config
from mailrelay.core.accesstoken import Terms, keyring
from mailrelay.flows.attempts import Attempts
from mailrelay.flows.entrance import Entrance
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.passwords import Passwords
from mailrelay.flows.recovery import CodeMailing, Recovery
from mailrelay.flows.sessions import Sessions
from mailrelay.flows.users import UserDesk
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.entrance import EntranceStore
from mailrelay.store.failures import Failures
from mailrelay.store.jobs import JobStore
from mailrelay.store.recovery import RecoveryStore
from mailrelay.store.sessions import SessionStore
from mailrelay.store.users import UserStore
from mailrelay.wiring.haltman.codes import codes
from mailrelay.wiring.haltman.managed import managed_domains
from mailrelay.wiring.signin import storage_keys

_TERMS = Terms("mail-forwarding-api", "mail-forwarding-web", timedelta(minutes=10))


def sessions(config: Config, database: Database) -> Sessions:
    """Who is signed in. Raises BadConfig without session.key."""
    ring = keyring(read_secret(config.secrets, "session.key"))
    lives = timedelta(days=config.haltman.session_days)
    return Sessions(SessionStore(database), ring, _TERMS, lives, secrets.token_bytes)


def people_endpoints(
    config: Config, database: Database, known: Sessions, passwords: Passwords, clock: Clock
) -> tuple[Endpoint, ...]:
    """Sign-in, sessions, forgotten passwords and users. Raises BadConfig without the secrets."""
    cookies = Cookies(config.haltman.same_site)
    attempts = Attempts(Failures(database), config.haltman.rates)
    queue, told = JobStore(database), config.haltman.admin_notices
    entrance = Entrance(
        EntranceStore(database),
        known,
        passwords,
        attempts,
        storage_keys(config),
        queue.post,
        config.haltman.session_families,
    )
    drawn = codes(config, database, clock)
    recovery = Recovery(RecoveryStore(database), queue, drawn, passwords, told)
    managed = managed_domains(config, database)
    return (
        *AuthEndpoints(entrance, known, cookies).endpoints(),
        *RecoveryEndpoints(recovery, cookies, by_code(drawn, "reset")).endpoints(),
        *UserEndpoints(UserDesk(UserStore(database), passwords, attempts, managed, told), cookies).endpoints(),
    )


def code_mailing(config: Config, database: Database, clock: Clock) -> CodeMailing:
    """The worker's part of forgotten passwords. Raises BadConfig without the secrets."""
    return CodeMailing(RecoveryStore(database), codes(config, database, clock))
