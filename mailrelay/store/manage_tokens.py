"""Bearer tokens and API keys, of which only the SHA-256 is stored, and app passwords, of which only argon2id's hash."""

from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.ledger import storable
from mailrelay.core.records import (
    ImplicitFor,
    Named,
    NewAppPassword,
    NewToken,
    Owned,
    Owner,
    TokenId,
    TokenKind,
    TokenRecord,
)
from mailrelay.store.database import Database
from mailrelay.store.manage import (
    OWNER_NAME,
    Connection,
    account_id,
    folded,
    note,
    owning_account,
    record,
    records,
    verified_recipients,
)

_SELECT: LiteralString = f"""
    select t.id, t.uuid, {OWNER_NAME} as account, t.kind, t.name, t.display, t.owner_email, t.expires_at,
           t.last_used_at, t.created_at, t.revoked_at
    from token t join account acc on acc.id = t.account_id
"""
_ONE: LiteralString = f"{_SELECT} where t.id = %(id)s"
_LIST: LiteralString = f"""
    {_SELECT}
    where t.kind = %(kind)s and (
        %(owner)s::text is null or {OWNER_NAME} = %(owner)s or t.owner_email = %(owner)s
        or t.kind = 'app_password' and exists (
            select from recipient r where r.account_id = t.account_id and r.address_folded = %(owner)s))
      and (%(all)s or t.revoked_at is null)
    order by t.id
"""
_ADD = """
    insert into token (account_id, kind, name, hash, display, owner_email, automatic_renew, expires_at, created_ip,
                       user_agent)
    values (%(account)s, %(kind)s, %(name)s, %(hash)s, %(display)s, %(owner_email)s, %(renew)s, %(expires_at)s,
            %(ip)s::inet, %(user_agent)s)
    returning id
"""
# Of an account that has the mailbox beside others somebody else may be the owner, who would own what the key makes.
_HOLDERS = """
    select acc.id, acc.implicit_mailbox is not distinct from %(mailbox)s as implicit
    from recipient r join account acc on acc.id = r.account_id and acc.default_recipient_id = r.id
    where r.address_folded = %(mailbox)s and r.verified_at is not null and not r.pending and acc.state = 'active'
    order by implicit desc, acc.id limit 3
"""
_IS_DEFAULT = """
    select from account acc join recipient r on r.id = acc.default_recipient_id
    where acc.id = %(id)s and r.address_folded = %(mailbox)s
"""
_ADD_ARGON2 = """
    insert into token (account_id, kind, name, password_hash, display, expires_at)
    values (%(account)s, 'app_password', %(name)s, %(hash)s, %(display)s, %(expires_at)s)
    returning id
"""
_REPLIERS = """
    select acc.id, r.can_reply_send
    from recipient r join account acc on acc.id = r.account_id
    where r.address_folded = %(mailbox)s and r.verified_at is not null and not r.pending and acc.state <> 'deleting'
"""
_LOGINS = """
    select address_folded from recipient
    where account_id = %(account)s and verified_at is not null and not pending
    order by created_at, id
"""
_REVOKE: LiteralString = """
    update token set revoked_at = now(), revoked_reason = %(reason)s
    where kind = %(kind)s and revoked_at is null and
"""
_REVOKE_NAMED: LiteralString = f"{_REVOKE} (id::text = %(ref)s or uuid::text = %(ref)s) returning id, account_id"
_REVOKE_OWNED: LiteralString = f"{_REVOKE} uuid = %(uuid)s and account_id = %(account)s returning id, account_id"
_REVOKE_ONE: LiteralString = f"{_REVOKE} id = %(id)s returning id, account_id"


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token table. actor, wherever it is asked for: who does it, for the audit."""

    database: Database

    async def add(self, owner: Owner, new: NewToken, actor: str) -> TokenRecord:
        """The new token of an account, which is made if it is an implicit one. Raises Absent and Conflict."""
        async with self.database.connection() as conn, conn.transaction():
            return await add_token(conn, await owning_account(conn, owner), new, actor)

    async def add_for_mailbox(
        self, mailbox: Address, owner: Named | AccountId | None, new: NewToken, actor: str
    ) -> TokenRecord:
        """A token that acts for a mailbox, of an account that has it verified.

        owner: None for the mailbox' implicit account, else the only one that has it; without either the implicit one
        is made. Raises Absent, and Conflict for a mailbox that is not verified, not the account's default, or that of
        several.
        """
        async with self.database.connection() as conn, conn.transaction():
            if owner is not None:
                account = await account_id(conn, owner)
                await verified_recipients(conn, account, (mailbox,))
                if (
                    await (await conn.execute(_IS_DEFAULT, {"id": account, "mailbox": folded(mailbox)})).fetchone()
                    is None
                ):
                    raise Conflict(f"{mailbox} is not the default recipient of that account, for which keys of it act")
                return await add_token(conn, account, new, actor)
            found = await holders(conn, mailbox)
            if len(found) > 1:
                raise Conflict(f"{mailbox} is a recipient of several accounts; name one of them")
            account = found[0] if found else await owning_account(conn, ImplicitFor(mailbox))
            return await add_token(conn, account, new, actor)

    async def add_app_password(
        self, owner: Named | Address, account: Named | None, new: NewAppPassword, actor: str
    ) -> tuple[TokenRecord, tuple[str, ...]]:
        """A new app password of an account, and the names to log in with: its verified recipients.

        owner: the account, or a verified recipient of it; account: which, if several have that mailbox. Of those that
        have it, the only one that lets it reply is meant. Raises Absent, and Conflict where it is not clear who is
        meant, or there is no verified recipient to log in as.
        """
        async with self.database.connection() as conn, conn.transaction():
            number = await _account_of(conn, owner, account)
            logins = await (await conn.execute(_LOGINS, {"account": number})).fetchall()
            if not logins:
                raise Conflict("that account has no verified recipient, whose address would be the login")
            values = {
                "account": number,
                "name": new.name,
                "hash": new.password_hash,
                "display": new.display,
                "expires_at": new.expires_at,
            }
            row = await (await conn.execute(_ADD_ARGON2, values)).fetchone()
            assert row is not None  # returning gives one row or an exception
            await note(conn, actor, number, "token.add", "token", row[0], {"kind": "app_password"})
            return await _one(conn, row[0]), tuple(login for (login,) in logins)

    async def page(self, kind: TokenKind, owner: str | None = None, revoked: bool = False) -> list[TokenRecord]:
        """Tokens of a kind; of one account, API key mailbox or app password login if it is named.

        revoked: those as well.
        """
        return await records(self.database, TokenRecord, _LIST, {"kind": kind, "owner": owner, "all": revoked})

    async def revoke(
        self, kind: TokenKind, which: str | Owned | TokenId, reason: str | None, actor: str
    ) -> TokenRecord:
        """End a token. which: its id or UUID as text, or one of an account.

        Raises Absent for one that is not there or revoked already.
        """
        values: dict[str, object] = {"kind": kind, "reason": reason}
        match which:
            case Owned():
                query, called = _REVOKE_OWNED, str(which.uuid)
                values |= {"uuid": which.uuid, "account": which.account}
            case str():
                query, called = _REVOKE_NAMED, which
                values["ref"] = which.lower()
            case _:
                query, called = _REVOKE_ONE, str(which)
                values["id"] = which
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(query, values)).fetchone()
            if row is None:
                raise Absent(f"there is no token {called} in force")
            await note(conn, actor, AccountId(row[1]), "token.revoke", "token", row[0], {"kind": kind})
            return await _one(conn, row[0])


async def holders(conn: Connection, mailbox: Address) -> tuple[AccountId, ...]:
    """Accounts that an API key of a mailbox may act for: its implicit one alone, else all whose default it is."""
    rows = await (await conn.execute(_HOLDERS, {"mailbox": folded(mailbox)})).fetchall()
    chosen = rows[:1] if rows and rows[0][1] else rows
    return tuple(AccountId(number) for number, _ in chosen)


async def _account_of(conn: Connection, owner: Named | Address, account: Named | None) -> AccountId:
    if isinstance(owner, Named):
        return await account_id(conn, owner)
    if account is not None:
        number = await account_id(conn, account)
        await verified_recipients(conn, number, (owner,))
        return number
    rows = await (await conn.execute(_REPLIERS, {"mailbox": folded(owner)})).fetchall()
    if not rows:
        raise Absent(f"{owner} is no verified recipient of any account")
    meant = [number for number, may_reply in rows if may_reply] or [number for number, _ in rows]
    if len(meant) > 1:
        raise Conflict(f"{owner} is a recipient of several accounts; name one of them")
    return AccountId(meant[0])


async def add_token(conn: Connection, account: AccountId, new: NewToken, actor: str) -> TokenRecord:
    """The new token of an account, in a transaction of the caller's."""
    values = {
        "account": account,
        "kind": new.kind,
        "name": new.name,
        "hash": new.hash,
        "display": new.display,
        "owner_email": new.owner_email,
        "renew": new.automatic_renew,
        "expires_at": new.expires_at,
        "ip": new.created_ip or None,
        "user_agent": None if new.user_agent is None else storable(new.user_agent, 255),
    }
    row = await (await conn.execute(_ADD, values)).fetchone()
    assert row is not None  # returning gives one row or an exception
    await note(conn, actor, account, "token.add", "token", row[0], {"kind": new.kind})
    return await _one(conn, row[0])


async def _one(conn: Connection, token: int) -> TokenRecord:
    found = await record(conn, TokenRecord, _ONE, {"id": token})
    if found is None:
        raise Absent(f"there is no token {token}")
    return found
