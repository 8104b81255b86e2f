"""Account, sign-in and tokens put together."""

import secrets

from mailrelay.api.addy.account import AccountEndpoints, Manner
from mailrelay.api.addy.auth import AuthEndpoints
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.tokens import TokenEndpoints
from mailrelay.config import Config
from mailrelay.core.sealed import Vault, vault
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.owner import OwnerDesk
from mailrelay.flows.passwords import Passwords
from mailrelay.flows.signin import SignIn
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.gate import Gate
from mailrelay.store.jobs import JobStore
from mailrelay.store.manage_accounts import Accounts
from mailrelay.store.manage_tokens import Tokens
from mailrelay.store.own_account import OwnAccounts
from mailrelay.store.signin import SignInStore


def storage_keys(config: Config) -> Vault:
    """What seals second factors. Raises BadConfig without storage.key."""
    return vault(read_secret(config.secrets, "storage.key"))


def account_endpoints(config: Config, database: Database, clock: Clock, passwords: Passwords) -> tuple[Endpoint, ...]:
    """Account, sign-in and tokens of the addy.io API. Raises BadConfig without storage.key."""
    octets, direct = config.limits.bandwidth_octets_per_month, config.addy.shared_domains
    own = OwnAccounts(database, octets, config.service.domain, direct)
    manner = Manner(config.addy.version, config.addy.account_details_as_list, config.limits.usernames_per_account)
    people, tokens = SignInStore(database), Tokens(database)
    owners = OwnerDesk(people, passwords, Accounts(database), tokens, clock)
    count, post = Gate(database).count, JobStore(database).post
    sign_in = SignIn(people, passwords, count, storage_keys(config), secrets.token_bytes, post, clock)
    return (
        *AccountEndpoints(own, manner).endpoints(),
        *AuthEndpoints(sign_in, owners, tokens).endpoints(),
        *TokenEndpoints(own, owners, tokens).endpoints(),
    )
