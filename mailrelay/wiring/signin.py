"""The sign-in of apps put together."""

import secrets

from mailrelay.config import Config
from mailrelay.core.sealed import Vault, vault
from mailrelay.flows.passwords import Passwords
from mailrelay.flows.signin import SignIn
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.gate import Gate
from mailrelay.store.jobs import JobStore
from mailrelay.store.signin import SignInStore
from mailrelay.wiring.runtime import utc_now


def storage_keys(config: Config) -> Vault:
    """What seals second factors. Raises BadConfig without storage.key."""
    return vault(read_secret(config.secrets, "storage.key"))


def sign_in(config: Config, database: Database, passwords: Passwords) -> SignIn:
    """Raises BadConfig without storage.key."""
    return SignIn(
        SignInStore(database),
        passwords,
        Gate(database).count,
        storage_keys(config),
        secrets.token_bytes,
        JobStore(database).post,
        utc_now,
    )
