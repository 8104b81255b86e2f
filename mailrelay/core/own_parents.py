"""Domains and usernames as their owners read them, with the recipient that mail to their aliases goes to."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mailrelay.core.own_recipients import OwnRecipient


@dataclass(frozen=True, slots=True)
class OwnParent:
    """What domains and usernames have in common. aliases: those that are not deleted.

    default_recipient None: the account's.
    """

    uuid: UUID
    account_uuid: UUID
    name: str
    description: str | None
    from_name: str | None
    active: bool
    catch_all: bool
    auto_create_regex: str | None
    aliases: int
    default_recipient: OwnRecipient | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OwnDomain(OwnParent):
    """A custom domain. verified_at: that it is its owner's."""

    verified_at: datetime | None
    mx_verified_at: datetime | None
    sending_verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class OwnUsername(OwnParent):
    """A username."""

    can_login: bool


@dataclass(frozen=True, slots=True)
class AliasDomains:
    """Where an account may make aliases. Inactive ones are not among them: their aliases would get no mail.

    usernames: the oldest first; shared: the installation's domains in their order, of which usernames give subdomains;
    custom: the account's own. default, default_format: what the account has chosen, or the installation's.
    """

    usernames: tuple[str, ...]
    custom: tuple[str, ...]
    shared: tuple[str, ...]
    direct: bool  # on shared domains themselves
    below: bool  # on their subdomains
    default: str
    default_format: str

    @property
    def all(self) -> tuple[str, ...]:
        """All of them, as the addy.io API lists them: shared, custom, and usernames' domains, each the last first."""
        usernames = [f"{name}.{domain}" for name in self.usernames for domain in self.shared] if self.below else []
        return tuple(reversed([*usernames, *self.custom, *(self.shared if self.direct else ())]))
