"""The stores behind the management commands, on a real database: races, reservations, and what refers to what."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.rows import TupleRow

from mailrelay.core.address import Address, parse_address
from mailrelay.core.banrecords import NewBan
from mailrelay.core.errors import Absent, Conflict, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.naming import ServiceNames
from mailrelay.core.records import (
    AliasChange,
    DomainChange,
    ImplicitFor,
    Named,
    NewAccount,
    NewAlias,
    NewDomain,
    NewHandle,
    UsernameChange,
)
from mailrelay.flows.manage import aliases, bans, blocks, tokens
from mailrelay.flows.manage.aliases import AliasWish
from mailrelay.flows.manage.ports import Bureau
from mailrelay.store.database import Database
from mailrelay.store.manage_accounts import Accounts
from mailrelay.store.manage_aliases import Aliases
from mailrelay.store.manage_bans import Bans
from mailrelay.store.manage_blocks import Blocks
from mailrelay.store.manage_domains import Domains
from mailrelay.store.manage_ground import Grounds
from mailrelay.store.manage_handles import Handles
from mailrelay.store.manage_recipients import Recipients
from mailrelay.store.manage_tokens import Tokens
from mailrelay.store.manage_usernames import Usernames
from tests.store import world
from tests.store.crowd import database
from tests.store.world import JOHN, OTHER, Connection

__all__ = ["database"]  # a fixture

SERVICE = ServiceNames("relay.example", "bounces.relay.example", "srs.relay.example", "mx.relay.example")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ACTOR = "cli:admin"
ME = parse_address("me@elsewhere.example")
YOU = parse_address("you@elsewhere.example")
JOHNS = parse_address("johndoe@inbox.example")
ACTOR = "cli:tester"
SHOP = parse_address("shop@alias.example")


class Counting(Database):
    """A database that counts the statements which are sent to it as a whole."""

    statements = 0

    async def rows(self, query: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[TupleRow]:
        self.statements += 1
        return await super().rows(query, values)


@pytest.fixture
def bureau(database: Database) -> Bureau:
    return Bureau(SERVICE, Grounds(database), lambda: NOW)


async def race(count: int, attempt: Callable[[int], Awaitable[object]]) -> list[Exception]:
    """Runs attempts at once; gives the errors of those that lost. Exactly one must have won."""
    results = await asyncio.gather(*(attempt(number) for number in range(count)), return_exceptions=True)
    errors = [result for result in results if isinstance(result, Exception)]
    assert len(errors) == count - 1, results
    return errors


def _new(address: Address, owner: Named | ImplicitFor | AccountId, *recipients: Address) -> NewAlias:
    return NewAlias(address.local, address.domain, owner, recipients)


# --- aliases ---------------------------------------------------------------------------------------------------------


async def test_of_many_who_want_an_address_exactly_one_gets_it(database: Database) -> None:
    store = Aliases(database)
    mailboxes = [parse_address(f"m{number}@elsewhere.example") for number in range(8)]
    errors = await race(
        8, lambda number: store.add(_new(SHOP, ImplicitFor(mailboxes[number]), mailboxes[number]), ACTOR)
    )
    winner = await store.show(SHOP)
    for error in errors:
        assert isinstance(error, Conflict)
        assert f"active alias {winner.id} of account {winner.account}" in str(error)


async def test_an_alias_and_a_handle_of_one_name_race_and_one_wins(database: Database, conn: Connection) -> None:
    async def attempt(number: int) -> object:
        if number % 2:
            return await Handles(database).add(NewHandle("shop", AccountId(JOHN), None), ACTOR)
        return await Aliases(database).add(_new(SHOP, AccountId(OTHER)), ACTOR)

    for error in await race(8, attempt):
        assert isinstance(error, Conflict)
    held = await world.value(conn, "select (select count(*) from alias) + (select count(*) from handle)")
    assert held == 1


async def test_who_loses_leaves_no_account_behind(database: Database, conn: Connection) -> None:
    await Aliases(database).add(_new(SHOP, ImplicitFor(ME), ME), ACTOR)
    with pytest.raises(Conflict):
        await Aliases(database).add(_new(SHOP, ImplicitFor(YOU), YOU), ACTOR)
    assert await world.value(conn, "select count(*) from account where implicit_mailbox = %s", str(YOU)) == 0


async def test_aliases_of_one_new_mailbox_share_its_account(database: Database, conn: Connection) -> None:
    store = Aliases(database)
    made = await asyncio.gather(
        *(store.add(_new(Address(f"a{number}", "alias.example"), ImplicitFor(ME), ME), ACTOR) for number in range(8))
    )
    assert {alias.account for alias in made} == {str(ME)}
    found = await world.value(
        conn,
        "select (count(*), bool_and(verified_at is not null), bool_and(not can_reply_send))::text from recipient"
        " where address_folded = %s",
        str(ME),
    )
    assert found == "(1,t,t)"
    # A plain forward, spec section 1.1: nothing is added to mail, nothing is kept.
    settings = "select (forward_mode, banner_location, store_failed_deliveries, default_recipient_id is not null)::text"
    assert await world.value(conn, f"{settings} from account where implicit_mailbox = %s", str(ME)) == "(auto,off,f,t)"


async def test_recipients_keep_the_order_in_which_they_were_named(database: Database) -> None:
    mailboxes = [parse_address(f"m{number}@elsewhere.example") for number in (3, 1, 2)]
    alias = await Aliases(database).add(_new(SHOP, ImplicitFor(mailboxes[0]), *mailboxes, mailboxes[1]), ACTOR)
    assert alias.recipients == tuple(map(str, mailboxes))


async def test_mailboxes_are_one_whatever_their_case(database: Database, conn: Connection) -> None:
    upper = parse_address("ME@elsewhere.example")
    alias = await Aliases(database).add(_new(SHOP, ImplicitFor(upper), upper, ME), ACTOR)
    assert (alias.account, alias.recipients) == ("me@elsewhere.example", ("ME@elsewhere.example",))
    await Aliases(database).add(_new(Address("b", "alias.example"), ImplicitFor(ME), ME), ACTOR)
    assert await world.value(conn, "select count(*) from account") == 3


async def test_a_named_account_must_have_the_mailbox_verified(database: Database, conn: Connection) -> None:
    with pytest.raises(Absent, match="no recipient"):
        await Aliases(database).add(_new(SHOP, Named("johndoe"), ME), ACTOR)
    await Recipients(database).add(Named("johndoe"), ME, verified=False, actor=ACTOR)
    with pytest.raises(Conflict, match="not verified"):
        await Aliases(database).add(_new(SHOP, Named("johndoe"), ME), ACTOR)
    await Recipients(database).verify(None, ME, ACTOR)
    assert (await Aliases(database).add(_new(SHOP, Named("johndoe"), ME), ACTOR)).recipients == (str(ME),)
    with pytest.raises(Absent, match="no account"):
        await Aliases(database).add(_new(Address("x", "alias.example"), Named("nobody")), ACTOR)


async def test_an_alias_of_a_custom_domain_goes_to_its_owner(bureau: Bureau, database: Database) -> None:
    store = Aliases(database)
    made = await aliases.add(bureau, store, AliasWish(parse_address("Shop@own.example"), (JOHNS,)), ACTOR)
    assert (made.address, made.account) == ("shop@own.example", "johndoe")
    made = await aliases.add(bureau, store, AliasWish(parse_address("x@johndoe.second.example"), ()), ACTOR)
    assert (made.address, made.account, made.recipients) == ("x@johndoe.second.example", "johndoe", ())
    wish = AliasWish(parse_address("y@own.example"), (), Named("other"))
    with pytest.raises(Conflict, match="another account"):
        await aliases.add(bureau, store, wish, ACTOR)
    wish = AliasWish(parse_address("y@johndoe.alias.example"), (), Named("other"))
    with pytest.raises(Conflict, match="another account"):
        await aliases.add(bureau, store, wish, ACTOR)


async def test_what_an_alias_is_checked_against_costs_two_queries(dsn: str, conn: Connection) -> None:
    database = Counting(dsn, 1, 20.0, "test")
    await database.open()
    try:
        mailboxes = tuple(parse_address(f"m{number}@a{number}.example") for number in range(10))
        wish = AliasWish(SHOP, mailboxes)
        await aliases.add(Bureau(SERVICE, Grounds(database), lambda: NOW), Aliases(database), wish, ACTOR)
        assert database.statements <= 2
    finally:
        await database.close()


async def test_an_alias_has_at_most_ten_recipients(bureau: Bureau, database: Database) -> None:
    mailboxes = tuple(parse_address(f"m{number}@elsewhere.example") for number in range(11))
    with pytest.raises(Malformed):
        await aliases.add(bureau, Aliases(database), AliasWish(SHOP, mailboxes), ACTOR)


async def test_bans_stop_names_and_destinations(bureau: Bureau, database: Database) -> None:
    await bans.ban(Bans(database), lambda: NOW, "name", "shop", actor=ACTOR)
    await bans.ban(Bans(database), lambda: NOW, "domain", "elsewhere.example", "destination", actor=ACTOR)
    with pytest.raises(Conflict, match="the name shop is banned"):
        await aliases.add(bureau, Aliases(database), AliasWish(SHOP, (JOHNS,)), ACTOR)
    with pytest.raises(Conflict, match=r"me@elsewhere\.example is banned"):
        await aliases.add(bureau, Aliases(database), AliasWish(Address("x", "alias.example"), (ME,)), ACTOR)


async def test_a_deleted_address_stays_with_its_owner(database: Database) -> None:
    store = Aliases(database)
    await store.add(_new(SHOP, ImplicitFor(ME), ME), ACTOR)
    deleted = await store.delete(SHOP, ACTOR)
    assert deleted.state == "deleted"
    assert deleted.deleted_at is not None
    assert (await store.delete(SHOP, ACTOR)).deleted_at == deleted.deleted_at  # again changes nothing
    with pytest.raises(Conflict, match=f"deleted alias {deleted.id} of account {ME}"):
        await store.add(_new(SHOP, ImplicitFor(YOU), YOU), ACTOR)
    with pytest.raises(Conflict, match="restore it first"):
        await store.set_active(SHOP, True, ACTOR)
    restored = await store.restore(SHOP, ACTOR)
    assert (restored.state, restored.deleted_at, restored.recipients) == ("active", None, (str(ME),))


async def test_a_forgotten_address_keeps_nothing_but_its_reservation(database: Database, conn: Connection) -> None:
    store = Aliases(database)
    made = await store.add(NewAlias("shop", "alias.example", AccountId(JOHN), (JOHNS,), description="private"), ACTOR)
    await conn.execute("update alias set emails_forwarded = 3, last_forwarded = now(), from_name = 'x', pinned = true")
    await world.insert(conn, "contact", account_id=JOHN, alias_id=made.id, address="c@shop.example")
    await world.insert(conn, "message_id", account_id=JOHN, alias_id=made.id, our_id="<a>", original_id="<b>")
    await Blocks(database).add(Named("johndoe"), "email", "c@shop.example", SHOP, ACTOR)
    left = await store.forget(SHOP, ACTOR)
    assert left is not None
    assert (left.state, left.account, left.recipients, left.description, left.emails_forwarded) == (
        "forgotten", None, (), None, 0,
    )  # fmt: skip
    for table in ("contact", "message_id", "blocked_sender", "alias_recipient"):
        assert await world.value(conn, f"select count(*) from {table}") == 0
    for attempt in (store.restore, store.delete, store.forget):
        with pytest.raises(Absent, match="forgotten"):
            await attempt(SHOP, ACTOR)
    with pytest.raises(Conflict, match="forgotten"):
        await store.add(_new(SHOP, Named("johndoe")), ACTOR)


async def test_on_a_custom_domain_forgetting_leaves_nothing(database: Database, conn: Connection) -> None:
    address = parse_address("shop@own.example")
    await Aliases(database).add(_new(address, Named("johndoe"), JOHNS), ACTOR)
    assert await Aliases(database).forget(address, ACTOR) is None
    assert await world.value(conn, "select count(*) from alias") == 0


async def test_a_change_leaves_what_it_does_not_name(database: Database, bureau: Bureau) -> None:
    store = Aliases(database)
    await store.add(NewAlias("shop", "alias.example", ImplicitFor(ME), (ME,), description="text"), ACTOR)
    changed = await store.change(SHOP, AliasChange(forward_mode="transparent", block_behaviour="reject"), ACTOR)
    assert (changed.forward_mode, changed.block_behaviour, changed.description) == ("transparent", "reject", "text")
    changed = await store.change(SHOP, AliasChange(forward_mode=None, description=None), ACTOR)
    assert (changed.forward_mode, changed.block_behaviour, changed.description) == (None, "reject", None)
    # The operator vouches for a mailbox of a plain forward, as when it was made.
    changed = await aliases.change(bureau, store, SHOP, AliasChange(recipients=(YOU, ME)), ACTOR)
    assert changed.recipients == (str(YOU), str(ME))
    with pytest.raises(Conflict, match="served here"):
        await aliases.change(bureau, store, SHOP, AliasChange(recipients=(parse_address("a@own.example"),)), ACTOR)


async def test_a_list_is_searched_and_walked(database: Database) -> None:
    store = Aliases(database)
    for number in range(5):
        local = f"list{number}"
        await store.add(NewAlias(local, "alias.example", Named("johndoe"), (), description=f"No. {number}"), ACTOR)
    await store.add(_new(SHOP, Named("other")), ACTOR)
    await store.delete(Address("list4", "alias.example"), ACTOR)
    assert [alias.address for alias in await store.page(search="NO. 3")] == ["list3@alias.example"]
    mine = await store.page(Named("johndoe"))
    assert [alias.address[:5] for alias in mine] == ["list0", "list1", "list2", "list3"]
    assert len(await store.page(Named("johndoe"), deleted=True)) == 5
    assert [alias.id for alias in await store.page(after=mine[1].id, limit=2)] == [mine[2].id, mine[3].id]


# --- accounts, usernames, recipients ---------------------------------------------------------------------------------


def _account(name: str, username: str | None = None) -> NewAccount:
    return NewAccount(name, username, ME, True, False, None)


async def test_of_many_who_want_an_account_name_one_gets_it(database: Database, conn: Connection) -> None:
    for error in await race(8, lambda _: Accounts(database).add(_account("new", "new"))):
        assert isinstance(error, Conflict)
    found, holdings = await Accounts(database).show(Named("new"))
    assert (found.username, found.default_recipient) == ("new", str(ME))
    assert (holdings.recipients, holdings.usernames, holdings.aliases) == (1, 1, 0)


async def test_a_username_is_never_given_away_again(database: Database) -> None:
    store = Usernames(database)
    for name in ("first", "second"):
        await store.add(Named("johndoe"), name, ACTOR)
    await Aliases(database).add(NewAlias("x", "second.alias.example", Named("johndoe"), (), username="second"), ACTOR)
    await store.remove("second", ACTOR)
    with pytest.raises(Conflict, match="never given away again"):
        await store.add(Named("other"), "second", ACTOR)
    with pytest.raises(Conflict, match="never given away again"):
        await Accounts(database).add(_account("second", "second"))
    with pytest.raises(Absent):
        await Aliases(database).show(parse_address("x@second.alias.example"))


async def test_a_first_username_becomes_the_default_and_stays(database: Database) -> None:
    assert (await Usernames(database).add(Named("other"), "others", ACTOR)).is_default
    assert not (await Usernames(database).add(Named("other"), "more", ACTOR)).is_default
    with pytest.raises(Conflict, match="default username"):
        await Usernames(database).remove("others", ACTOR)


async def test_a_username_does_not_take_over_a_domain(database: Database) -> None:
    await Domains(database).add(NewDomain("special.alias.example", None, True, False), ACTOR)
    with pytest.raises(Conflict, match="below a shared one"):
        await Usernames(database).add(Named("johndoe"), "special", ACTOR)


async def test_parents_change_by_field(database: Database) -> None:
    changed = await Usernames(database).change(
        "johndoe", UsernameChange(catch_all=False, auto_create_regex="^a"), ACTOR
    )
    assert (changed.catch_all, changed.auto_create_regex, changed.active) == (False, "^a", True)
    changed = await Usernames(database).change("johndoe", UsernameChange(active=False, default_recipient=JOHNS), ACTOR)
    assert (changed.catch_all, changed.active, changed.default_recipient) == (False, False, "johndoe@Inbox.example")
    own = await Domains(database).change("own.example", DomainChange(catch_all=True, default_recipient=JOHNS), ACTOR)
    assert (own.catch_all, own.default_recipient) == (True, "johndoe@Inbox.example")
    with pytest.raises(Conflict, match="is shared"):
        await Domains(database).change("alias.example", DomainChange(catch_all=True), ACTOR)
    with pytest.raises(Conflict, match="no default recipient"):
        await Domains(database).change("alias.example", DomainChange(default_recipient=JOHNS), ACTOR)


async def test_a_default_recipient_stays_until_another_takes_its_place(database: Database) -> None:
    store = Recipients(database)
    with pytest.raises(Conflict, match="default recipient"):
        await store.remove(Named("johndoe"), JOHNS, ACTOR)
    await store.add(Named("johndoe"), ME, verified=False, actor=ACTOR)
    with pytest.raises(Conflict, match="not verified"):
        await store.make_default(Named("johndoe"), ME, ACTOR)
    await store.verify(Named("johndoe"), ME, ACTOR)
    assert (await store.make_default(None, ME, ACTOR)).is_default
    await store.remove(Named("johndoe"), JOHNS, ACTOR)
    assert [(found.address, found.is_default) for found in await store.page("johndoe")] == [(str(ME), True)]


async def test_a_mailbox_of_several_accounts_needs_the_accounts_name(database: Database) -> None:
    for name in ("johndoe", "other"):
        await Recipients(database).add(Named(name), ME, verified=False, actor=ACTOR)
    with pytest.raises(Conflict, match="johndoe and other"):
        await Recipients(database).verify(None, ME, ACTOR)
    with pytest.raises(Conflict, match="already"):
        await Recipients(database).add(
            Named("other"), parse_address("ME@elsewhere.example"), verified=True, actor=ACTOR
        )


async def test_a_suspended_account_is_signed_out(database: Database, conn: Connection) -> None:
    await conn.execute(
        "insert into session (account_id, family, refresh_hash, refresh_expires_at)"
        " values (1, gen_random_uuid(), sha256('x'), now() + interval '1 day')"
    )
    suspended = await Accounts(database).set_suspended(Named("johndoe"), True, "abuse")
    assert (suspended.state, suspended.state_reason) == ("suspended", "abuse")
    assert await world.value(conn, "select status from session") == "revoked"
    again = await Accounts(database).set_suspended(Named("johndoe"), False, None)
    assert (again.state, again.state_reason) == ("active", None)


# --- domains ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "account", "words"),
    [
        ("own.example", "other", "belongs to account johndoe"),
        ("own.example", "johndoe", "belongs to account johndoe"),
        ("sub.own.example", "other", "own.example belongs to account johndoe"),
        ("alias.example", "other", "alias.example is shared"),
        ("sub.alias.example", "other", "alias.example is shared"),
        ("sub.own.example", None, "own.example belongs to account johndoe"),
        ("johndoe.alias.example", None, "username johndoe has the domain"),
    ],
)
async def test_domains_do_not_overlap_those_of_others(
    name: str, account: str | None, words: str, database: Database
) -> None:
    owner = None if account is None else Named(account)
    with pytest.raises(Conflict, match=words):
        await Domains(database).add(NewDomain(name, owner, True, False), ACTOR)


async def test_an_owner_may_add_what_is_below_the_own_domain(database: Database) -> None:
    made = await Domains(database).add(NewDomain("sub.own.example", Named("johndoe"), False, True), ACTOR)
    assert (made.account, made.verified_at, made.catch_all) == ("johndoe", None, True)
    with pytest.raises(Conflict, match=r"sub\.own\.example belongs"):
        await Domains(database).add(NewDomain("example.sub.own.example", Named("other"), False, True), ACTOR)


async def test_of_many_who_want_a_domain_or_one_below_it_one_gets_it(database: Database) -> None:
    names = ["new.example", "a.new.example"]
    owners = ["johndoe", "other"]

    async def attempt(number: int) -> object:
        return await Domains(database).add(NewDomain(names[number % 2], Named(owners[number % 2]), False, False), ACTOR)

    for error in await race(8, attempt):
        assert isinstance(error, Conflict)


async def test_the_home_of_a_verified_recipient_cannot_come_here(database: Database) -> None:
    store = Domains(database)
    with pytest.raises(Conflict, match="is a verified recipient"):
        await store.add(NewDomain("inbox.example", None, True, False), ACTOR)
    made = await store.add(NewDomain("inbox.example", Named("other"), False, False), ACTOR)
    assert made.verified_at is None  # claimed, but nobody gets its mail
    with pytest.raises(Conflict, match="is a verified recipient"):
        await store.verify("inbox.example", False, ACTOR)
    await Recipients(database).add(Named("other"), parse_address("a@sub.big.example"), verified=True, actor=ACTOR)
    with pytest.raises(Conflict, match=r"a@sub\.big\.example"):
        await store.add(NewDomain("big.example", None, True, False), ACTOR)
    await store.add(NewDomain("big.example", Named("johndoe"), True, False), ACTOR)  # its subdomains are not ours


async def test_a_domain_with_aliases_goes_only_on_purpose(database: Database) -> None:
    address = parse_address("shop@own.example")
    await Aliases(database).add(_new(address, Named("johndoe")), ACTOR)
    await Aliases(database).add(_new(SHOP, Named("johndoe")), ACTOR)
    for name in ("own.example", "alias.example"):
        with pytest.raises(Conflict, match="has 1 aliases"):
            await Domains(database).remove(name, with_aliases=False, actor=ACTOR)
        gone, count = await Domains(database).remove(name, with_aliases=True, actor=ACTOR)
        assert (gone.name, count) == (name, 1)
    with pytest.raises(Absent):
        await Aliases(database).show(address)
    # Nobody else gets the addresses of everybody's domain when it comes back.
    assert (await Aliases(database).show(SHOP)).state == "deleted"
    await Domains(database).add(NewDomain("alias.example", None, True, False), ACTOR)
    with pytest.raises(Conflict, match="deleted alias"):
        await Aliases(database).add(_new(SHOP, Named("other")), ACTOR)


async def test_whoever_brings_a_custom_domain_back_has_all_its_names(database: Database) -> None:
    domains, address = Domains(database), parse_address("shop@own.example")
    await Aliases(database).add(_new(address, Named("johndoe")), ACTOR)
    await domains.remove("own.example", with_aliases=True, actor=ACTOR)
    await domains.add(NewDomain("own.example", Named("other"), True, False), ACTOR)
    assert (await Aliases(database).add(_new(address, Named("other")), ACTOR)).account == "other"


async def test_an_alias_comes_back_only_where_its_domain_is_its_owners(database: Database, conn: Connection) -> None:
    store, domains = Aliases(database), Domains(database)
    await store.add(_new(SHOP, Named("johndoe")), ACTOR)
    await domains.remove("alias.example", with_aliases=True, actor=ACTOR)
    with pytest.raises(Conflict, match=r"shop@alias\.example has no domain here any more"):
        await store.restore(SHOP, ACTOR)
    await domains.add(NewDomain("alias.example", Named("other"), True, False), ACTOR)
    with pytest.raises(Conflict, match=r"alias\.example belongs to another account"):
        await store.restore(SHOP, ACTOR)
    assert (await store.show(SHOP)).state == "deleted"
    await domains.remove("alias.example", with_aliases=True, actor=ACTOR)
    await domains.add(NewDomain("alias.example", Named("johndoe"), True, False), ACTOR)
    assert (await store.restore(SHOP, ACTOR)).state == "active"
    assert await world.value(conn, "select a.domain_id = d.id from alias a join domain d on d.name = a.domain") is True


async def test_an_alias_without_a_domain_does_not_take_a_name_that_a_handle_has_everywhere(
    database: Database, conn: Connection
) -> None:
    await world.alias(conn, "shop@old.example", state="deleted", deleted_at=NOW)
    await Handles(database).add(NewHandle("shop", Named("other"), None), ACTOR)
    await Domains(database).add(NewDomain("old.example", None, True, False), ACTOR)
    with pytest.raises(Conflict, match="shop is a handle"):
        await Aliases(database).restore(parse_address("shop@old.example"), ACTOR)


async def test_an_alias_below_a_username_that_is_gone_does_not_come_back(database: Database, conn: Connection) -> None:
    address = parse_address("shop@jd.alias.example")
    await Usernames(database).add(Named("johndoe"), "keep", ACTOR)
    await Usernames(database).add(Named("johndoe"), "jd", ACTOR)
    await Aliases(database).add(NewAlias(address.local, address.domain, Named("johndoe"), (), username="jd"), ACTOR)
    await Aliases(database).delete(address, ACTOR)
    assert (await Aliases(database).restore(address, ACTOR)).state == "active"
    await Usernames(database).remove("jd", ACTOR)
    with pytest.raises(Absent, match="there is no alias"):
        await Aliases(database).restore(address, ACTOR)


# --- handles ---------------------------------------------------------------------------------------------------------


async def test_a_released_handle_routes_nothing_and_is_never_free(database: Database, conn: Connection) -> None:
    store = Handles(database)
    made = await store.add(NewHandle("jd", ImplicitFor(ME), ME), ACTOR)
    assert (made.account, made.recipient) == (str(ME), str(ME))
    account = await world.value(conn, "select account_id from handle")
    await world.alias(conn, "jd@alias.example", account, handle_id=made.id)
    released = await store.release("jd", ACTOR)
    assert (released.state, released.account, released.recipient) == ("released", None, None)
    address = parse_address("jd@alias.example")
    assert (await Aliases(database).show(address)).state == "deleted"
    with pytest.raises(Conflict, match="released for good"):
        await Aliases(database).restore(address, ACTOR)
    with pytest.raises(Conflict, match="a released handle holds it"):
        await store.add(NewHandle("jd", Named("johndoe"), None), ACTOR)
    with pytest.raises(Absent):
        await store.release("jd", ACTOR)


async def test_an_alias_in_any_state_keeps_its_name_from_handles(database: Database) -> None:
    await Aliases(database).add(_new(SHOP, Named("johndoe")), ACTOR)
    await Aliases(database).forget(SHOP, ACTOR)
    with pytest.raises(Conflict, match=r"alias shop@alias\.example holds it"):
        await Handles(database).add(NewHandle("shop", Named("johndoe"), None), ACTOR)


async def test_a_handle_is_switched_per_shared_domain(database: Database) -> None:
    store = Handles(database)
    await store.add(NewHandle("jd", Named("johndoe"), JOHNS), ACTOR)
    for _ in range(2):
        assert (await store.switch("jd", "second.example", on=False, actor=ACTOR)).off == ("second.example",)
    assert (await store.switch("jd", "second.example", on=True, actor=ACTOR)).off == ()
    with pytest.raises(Absent, match="no shared domain"):
        await store.switch("jd", "own.example", on=False, actor=ACTOR)


async def test_a_rule_of_a_handle_outlives_its_domain_and_holds_again(database: Database, conn: Connection) -> None:
    store, domains = Handles(database), Domains(database)
    await domains.add(NewDomain("third.example", None, True, False), ACTOR)
    await store.add(NewHandle("jd", Named("johndoe"), JOHNS), ACTOR)
    await store.switch("jd", "third.example", on=False, actor=ACTOR)
    await domains.remove("third.example", with_aliases=False, actor=ACTOR)
    await domains.add(NewDomain("third.example", None, True, False), ACTOR)
    (listed,) = await store.page()
    assert listed.off == ("third.example",)
    await domains.remove("third.example", with_aliases=False, actor=ACTOR)
    assert (await store.switch("jd", "third.example", on=True, actor=ACTOR)).off == ()


async def test_who_changed_a_handle_is_known_and_changing_nothing_is_no_change(
    database: Database, conn: Connection
) -> None:
    store = Handles(database)
    await store.add(NewHandle("jd", Named("johndoe"), JOHNS), ACTOR)
    for on in (True, False, False, True, True):
        await store.switch("jd", "second.example", on=on, actor=ACTOR)
    await store.release("jd", ACTOR)
    query = "select actor, action from audit where object_table = 'handle' order by id"
    assert await (await conn.execute(query)).fetchall() == [
        (ACTOR, "handle.create"),
        (ACTOR, "handle.domain_off"),
        (ACTOR, "handle.domain_on"),
        (ACTOR, "handle.release"),
    ]


# --- bans, block lists, tokens ---------------------------------------------------------------------------------------


async def test_of_many_equal_bans_one_is_made(database: Database) -> None:
    for error in await race(8, lambda _: bans.ban(Bans(database), lambda: NOW, "ip", "::ffff:192.0.2.5", actor=ACTOR)):
        assert isinstance(error, Conflict)
        assert "banned already as ban" in str(error)
    (only,) = await Bans(database).page()
    assert (only.value, only.active) == ("192.0.2.5", True)


async def test_an_expired_ban_makes_room_for_a_new_one(database: Database, conn: Connection) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    await Bans(database).add(NewBan("name", "shop", "both", None, past), ACTOR)
    assert await Bans(database).page() == []
    made = await Bans(database).add(NewBan("name", "shop", "both", None, None), ACTOR)
    assert [(ban.id, ban.active, ban.revoked_reason) for ban in await Bans(database).page(every=True)] == [
        (made.id - 1, False, "expired"),
        (made.id, True, None),
    ]


async def test_a_ban_is_revoked_by_id_or_by_any_spelling_of_its_value(database: Database) -> None:
    store = Bans(database)
    first = await bans.ban(store, lambda: NOW, "ip", "192.0.2.0/24", actor=ACTOR)
    await bans.ban(store, lambda: NOW, "domain", "bad.example", actor=ACTOR)
    await bans.ban(store, lambda: NOW, "name", "bad.example", actor=ACTOR)
    assert (await bans.revoke(store, "::ffff:192.0.2.9/120", "x", ACTOR)).id == first.id
    with pytest.raises(Conflict, match="several times"):
        await bans.revoke(store, "Bad.Example", None, ACTOR)
    revoked = await bans.revoke(store, str(first.id + 1), "done", ACTOR)
    assert (revoked.type, revoked.revoked_reason, revoked.active) == ("domain", "done", False)
    assert (await bans.revoke(store, "bad.example", None, ACTOR)).type == "name"
    with pytest.raises(Absent):
        await bans.revoke(store, "bad.example", None, ACTOR)


async def test_a_block_list_has_each_entry_once(database: Database) -> None:
    await Aliases(database).add(_new(SHOP, Named("johndoe")), ACTOR)
    store = Blocks(database)
    john = Named("johndoe")
    await blocks.block(store, john, "domain", "Spam.example.", None, ACTOR)
    narrow = await blocks.block(store, john, "domain", "spam.example", SHOP, ACTOR)
    assert narrow.alias == str(SHOP)
    with pytest.raises(Conflict):
        await blocks.block(store, john, "domain", "spam.example", None, ACTOR)
    with pytest.raises(Absent, match="no alias"):
        await blocks.block(store, Named("other"), "domain", "spam.example", SHOP, ACTOR)
    with pytest.raises(Conflict, match="several times"):
        await store.remove(john, "spam.example", ACTOR)
    with pytest.raises(Absent):
        await store.remove(Named("other"), str(narrow.id), ACTOR)
    await store.remove(john, str(narrow.id), ACTOR)
    assert [entry.alias for entry in await store.page("johndoe")] == [None]


async def test_a_token_is_stored_as_its_hash_only(database: Database, conn: Connection) -> None:
    issued = await tokens.add(Tokens(database), lambda: NOW, ACTOR, Named("johndoe"), "phone", 3)
    assert issued.record.expires_at == NOW + timedelta(days=3)
    stored = await world.value(conn, "select token::text from token")
    assert issued.token not in stored
    assert await world.value(conn, "select hash = sha256(%s::bytea) from token", issued.token.encode())
    revoked = await Tokens(database).revoke("addy", str(issued.record.uuid).upper(), "lost", ACTOR)
    assert revoked.revoked_at is not None
    assert await Tokens(database).page("addy") == []
    with pytest.raises(Absent):
        await Tokens(database).revoke("addy", str(issued.record.id), None, ACTOR)
    with pytest.raises(Malformed):
        await tokens.add(Tokens(database), lambda: NOW, ACTOR, Named("johndoe"), "x" * 51, None)


async def test_an_api_key_finds_the_account_of_its_mailbox(
    bureau: Bureau, database: Database, conn: Connection
) -> None:
    store = Tokens(database)

    async def holder(mailbox: Address, owner: Named | None = None) -> str:
        return (await tokens.add_api_key(bureau, store, ACTOR, mailbox, owner, "", 30, False)).record.account

    assert await holder(JOHNS) == "johndoe"  # the only account whose default it is
    assert await holder(ME) == str(ME)  # nobody has it
    await Recipients(database).add(Named("johndoe"), ME, verified=True, actor=ACTOR)
    assert await holder(ME) == str(ME)  # its own account goes first
    for name in ("johndoe", "other"):
        await Recipients(database).add(Named(name), YOU, verified=True, actor=ACTOR)
    assert await holder(YOU) == str(YOU)  # one of several mailboxes of somebody's: who owns the account is not known
    await conn.execute("delete from account where implicit_mailbox = %s", (str(YOU),))
    await conn.execute(
        """update account acc set default_recipient_id = r.id from recipient r
           where r.account_id = acc.id and r.address_folded = %s""",
        (str(YOU),),
    )
    with pytest.raises(Conflict, match="several accounts"):
        await holder(YOU)
    assert await holder(YOU, Named("other")) == "other"
    with pytest.raises(Absent):
        await holder(parse_address("x@elsewhere.example"), Named("other"))
