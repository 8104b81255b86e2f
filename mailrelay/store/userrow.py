"""Users as rows: accounts with a name, in the words of the Haltman API."""

from collections.abc import Sequence
from typing import Any, LiteralString

from mailrelay.core.facts import AccountId
from mailrelay.core.people import User
from mailrelay.store.manage import Connection

# Where codes go and what somebody may sign in with: an address of its own, or that of the default recipient.
EMAIL: LiteralString = "coalesce(acc.email, r.address_folded, '')"
VERIFIED: LiteralString = """
    coalesce(acc.email_verified_at,
             case when coalesce(acc.email, r.address_folded) = r.address_folded and not r.pending
                  then r.verified_at end)
"""
USER_COLUMNS = 9
# `acc` is the account's row, `r` that of its default recipient.
USER: LiteralString = f"""
    acc.id, acc.name, {EMAIL}, {VERIFIED}, acc.state = 'active', acc.is_admin, acc.created_at, acc.updated_at,
    acc.last_login_at
"""
FROM: LiteralString = "account acc left join recipient r on r.id = acc.default_recipient_id"
IS_USER: LiteralString = "acc.name is not null and acc.state <> 'deleting'"

_ONE: LiteralString = f"select {USER} from {FROM} where acc.id = %(id)s and {IS_USER}"


def user_of(columns: Sequence[Any]) -> User:
    """From the columns of USER."""
    number, *rest = columns
    return User(AccountId(number), *rest)


async def read_user(conn: Connection, account: AccountId) -> User | None:
    """One user; None: there is none of this number, or it is being deleted."""
    row = await (await conn.execute(_ONE, {"id": account})).fetchone()
    return None if row is None else user_of(row)
