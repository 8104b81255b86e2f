"""Users and sessions as answers show them (haltman-api.md section 3.16)."""

from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Check, matching
from mailrelay.api.haltman.names import username
from mailrelay.api.haltman.problems import Problem, rate_limited
from mailrelay.api.haltman.replies import iso, iso_or_none
from mailrelay.api.haltman.shapes import ZeroOrOne
from mailrelay.core.entrance import TooManyFailures
from mailrelay.core.inquiry import client_network
from mailrelay.core.people import Session, User
from mailrelay.core.signin import Visitor


class UserItem(TypedDict):
    id: int
    username: str
    email: str
    email_verified_at: str | None
    is_active: ZeroOrOne
    is_admin: bool
    created_at: str
    updated_at: str
    last_login_at: str | None


class SessionShown(TypedDict):
    session_family_id: str
    access_expires_at: str
    refresh_expires_at: str


def user_item(user: User) -> UserItem:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "email_verified_at": iso_or_none(user.email_verified_at),
        "is_active": 1 if user.is_active else 0,
        "is_admin": user.is_admin,
        "created_at": iso(user.created_at),
        "updated_at": iso(user.updated_at),
        "last_login_at": iso_or_none(user.last_login_at),
    }


def session_shown(session: Session) -> SessionShown:
    return {
        "session_family_id": str(session.family),
        "access_expires_at": iso(session.access_expires_at),
        "refresh_expires_at": iso(session.refresh_expires_at),
    }


def visitor_of(call: Call) -> Visitor:
    """Who asks."""
    return Visitor(call.client, client_network(call.client), call.user_agent)


def too_many_failures(refusal: TooManyFailures, call: Call) -> Problem:
    return rate_limited(refusal.limit.where, refusal.limit.reason, refusal.ends_at, call.now)


USERNAME: Check = matching(
    username, "letters, digits, dots, underscores and hyphens, a letter or digit at both ends", 3, 64
)
