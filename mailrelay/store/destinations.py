"""Mailboxes as destinations: the account that what goes to one belongs to."""

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.records import ImplicitFor
from mailrelay.store.manage import Connection, folded, implicit_account

_RECIPIENT = """
    select r.id from recipient r join account acc on acc.id = r.account_id and acc.state = 'active'
    where r.account_id = %(account)s and r.address_folded = %(mailbox)s and r.verified_at is not null and not r.pending
"""
_OF_IMPLICIT = "select id from recipient where account_id = %(account)s and address_folded = %(mailbox)s"


async def home(conn: Connection, mailbox: Address, account: AccountId | None = None) -> tuple[AccountId, RecipientId]:
    """Whose a new alias or handle is that goes to a verified mailbox, and the recipient there.

    account: that one, if the mailbox is a verified recipient of it; else the mailbox' own, which is made if need be.
    Raises Conflict while that is being deleted.
    """
    values: dict[str, object] = {"mailbox": folded(mailbox)}
    if account is not None:
        row = await (await conn.execute(_RECIPIENT, {**values, "account": account})).fetchone()
        if row is not None:
            return account, RecipientId(row[0])
    own = await implicit_account(conn, ImplicitFor(mailbox), ())
    row = await (await conn.execute(_OF_IMPLICIT, {**values, "account": own})).fetchone()
    if row is None:
        raise Absent(f"{mailbox} is no recipient of its own account")
    return own, RecipientId(row[0])
