"""Users of the dashboard as administrators make and change them (haltman-api.md section 3.23)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from mailrelay.core.address import Address
from mailrelay.core.notices import Code, Notice
from mailrelay.core.people import User
from mailrelay.core.signin import Visitor

Field = Literal["email", "username"]


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be. He counts as known by his mailbox: administrators vouch for it."""

    username: str
    email: Address
    password_hash: str = field(repr=False)
    is_active: bool
    is_admin: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to change of a user; None: nothing. password_hash: of the new password."""

    username: str | None = None
    email: Address | None = None
    password_hash: str | None = field(default=None, repr=False)
    is_active: bool | None = None
    is_admin: bool | None = None

    def changes(self, user: User) -> dict[str, Any]:
        """What is not so already, by the names of the API."""
        wanted: Mapping[str, Any] = {
            "username": self.username,
            "email": None if self.email is None else str(self.email),
            "is_active": self.is_active,
            "is_admin": self.is_admin,
        }
        found = {name: value for name, value in wanted.items() if value is not None and value != getattr(user, name)}
        return found if self.password_hash is None else {**found, "password": self.password_hash}


@dataclass(frozen=True, slots=True)
class UserFilter:
    """None: either; email: a part of it, lower case, '' for any."""

    is_active: bool | None = None
    is_admin: bool | None = None
    email: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """Another user has it."""

    field: Field
    value: str


class Refusal(StrEnum):
    """Why a user stays as he is."""

    GONE = "there is no such user"
    NOTHING = "nothing changes"
    LAST_DISABLED = "nobody would be left to administer"
    LAST_DEMOTED = "nobody would be left to be an administrator"
    PASSWORD = "the password is another one by now"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Changed:
    """A user after a change, or before he was deleted. sessions: how many that ended."""

    user: User
    sessions: int


class Deed(StrEnum):
    """What mails tell of users who are or were administrators."""

    UPDATED = "admin_user_updated"
    DELETED = "admin_user_deleted"
    PASSWORD = "admin_password_changed"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something, when and from where. actor: for the audit; name: his mailbox, or how he is called."""

    actor: str
    name: str
    visitor: Visitor
    at: datetime

    @property
    def stamp(self) -> str:
        return self.at.isoformat(timespec="seconds")


def welcome(user: User, act: Act) -> tuple[Notice, ...]:
    """Mail to somebody who has just become an administrator."""
    if not user.email or not user.is_admin:
        return ()
    data = {"address": user.email, "username": user.username, "actor": act.name, "at": act.stamp}
    return (Notice(Code.ADW, None, data=data),)


def alerts(deed: Deed, before: User, after: User, fields: tuple[str, ...], act: Act) -> tuple[Notice, ...]:
    """Mail to the old and the new address of somebody who is or was an administrator."""
    if not (before.is_admin or after.is_admin):
        return ()
    data = {
        "action": deed.value,
        "target": after.email or after.username,
        "actor": act.name,
        "fields": ", ".join(fields),
        "at": act.stamp,
        "ip": act.visitor.ip,
        "user_agent": act.visitor.user_agent,
    }
    addresses = dict.fromkeys(address for address in (before.email, after.email) if address)
    return tuple(Notice(Code.ADC, None, data={"address": address, **data}) for address in addresses)
