"""Users as administrators list them: the newest first, and how many there are."""

from collections.abc import Mapping
from typing import Any, LiteralString

from mailrelay.core.ledger import storable
from mailrelay.core.people import User
from mailrelay.core.users import UserFilter
from mailrelay.store.database import Database
from mailrelay.store.listing import BLOCK, contains, found, page, read, search
from mailrelay.store.userrow import EMAIL, VERIFIED

_COLUMNS: LiteralString = f"""
    acc.id, acc.name as username, {EMAIL} as email, {VERIFIED} as email_verified_at, acc.state = 'active' as is_active,
    acc.is_admin, acc.created_at, acc.updated_at, acc.last_login_at
"""
_JOINED: LiteralString = """
    join account acc on acc.id = t.id left join recipient r on r.id = acc.default_recipient_id
"""
_IS_USER: LiteralString = "t.name is not null and t.state <> 'deleting'"
_IS_ACTIVE: Mapping[bool, LiteralString] = {True: "t.state = 'active'", False: "t.state <> 'active'"}
_IS_ADMIN: Mapping[bool, LiteralString] = {True: "t.is_admin", False: "not t.is_admin"}
_ROWS: Mapping[bool | None, LiteralString] = {None: "rows", True: "active", False: "rows - active"}
_PART: Mapping[bool | None, LiteralString] = {None: "", True: " and part = 1", False: " and part = 0"}
# Of one user at a time, for the page.
_EMAIL: LiteralString = """
    coalesce(t.email, (select m.address_folded from recipient m where m.id = t.default_recipient_id), '')
"""


async def users(database: Database, wanted: UserFilter, limit: int, offset: int) -> tuple[list[User], int]:
    """Those users, the newest first, and how many there are. Raises Unavailable."""
    values: dict[str, Any] = {"limit": limit, "offset": offset}
    where: list[LiteralString] = [_IS_USER]
    if wanted.is_active is not None:
        where.append(_IS_ACTIVE[wanted.is_active])
    if wanted.is_admin is not None:
        where.append(_IS_ADMIN[wanted.is_admin])
    if not wanted.email:
        rows, part = _ROWS[wanted.is_active], _PART[wanted.is_admin]
        tally: LiteralString = f"select block, {rows} as rows from list_tally where list = 'account'{part}"
        return await read(database, User, page("account", _COLUMNS, _JOINED, " and ".join(where), tally), values)
    email = storable(wanted.email)
    own = contains("t.email", "email", email, values)
    default = contains("m.address_folded", "email", email, values)
    which: LiteralString = " and ".join(where)
    counted: LiteralString = f"""
        {found("account", f"{which} and {own}")} union all
        select t.id / {BLOCK}, count(*) from recipient m join account t on t.id = m.account_id
        where t.default_recipient_id = m.id and t.email is null and {default} and {which} group by 1
    """
    shown = contains(_EMAIL, "email", email, values)
    statement = page("account", _COLUMNS, _JOINED, f"{which} and {shown}", counted)
    return await search(database, User, statement, values)
