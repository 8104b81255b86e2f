"""Compiled rules of accounts, kept by whoever delivers until somebody changes them."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.batch import Batcher
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.rules import stored
from mailrelay.core.rules.model import NO_RULES, Book, Broken, StoredRule
from mailrelay.flows.ports import Post

# What takes memory, in octets, as measured.
_BOOK, _RULE, _CONDITION, _VALUE, _INSTRUCTION = 200, 500, 1000, 100, 100


class ReadRules(Protocol):
    """The active rules of accounts in the order of evaluation; accounts without any may be missing."""

    def __call__(self, accounts: Iterable[AccountId], /) -> Awaitable[Mapping[AccountId, Sequence[StoredRule]]]: ...


class Rulebooks:
    """A cache that forgets what was least recently used. While changes are not announced (`trusted` False), it asks.

    room_octets: about how much memory it takes at most, though the latest book stays whatever its size. post: tells
    owners of rules that do not work; None: somebody else does.
    """

    def __init__(self, read: ReadRules, room_octets: int, post: Post | None = None) -> None:
        self._read = read
        self.post = post
        self._room = room_octets
        self._kept: OrderedDict[AccountId, Book] = OrderedDict()
        self._weight = 0
        self._reading: set[AccountId] = set()  # what is under way and may be kept
        self._batcher: Batcher[AccountId, Book] = Batcher(self._load)  # one lane, as there is one `_reading`
        self.trusted = False

    def __len__(self) -> int:
        return len(self._kept)

    async def book(self, account_id: AccountId) -> Book:
        """The rules of an account as they are now. Raises Unavailable if that cannot be known."""
        kept = self._known(account_id)
        return await self._batcher.ask(account_id) if kept is None else kept

    def forget_account(self, account_id: AccountId) -> None:
        """An account or its rules changed."""
        self._reading.discard(account_id)
        self._drop(account_id)

    def clear(self) -> None:
        """Changes may have been missed."""
        self._reading.clear()
        self._kept.clear()
        self._weight = 0

    def _known(self, account_id: AccountId) -> Book | None:
        kept = self._kept.get(account_id) if self.trusted else None
        if kept is not None:
            self._kept.move_to_end(account_id)
        return kept

    async def _load(self, accounts: Sequence[AccountId]) -> list[Book]:
        """Books for accounts, some of which the call before may have read already."""
        books = {account: kept for account in accounts if (kept := self._known(account)) is not None}
        missing = [account for account in dict.fromkeys(accounts) if account not in books]
        if missing:
            self._reading = set(missing)
            found = await self._read(missing)
            # Hundreds of patterns take their time to compile.
            compiled = await asyncio.to_thread(_compiled, found) if found else {}
            for account in missing:
                books[account] = compiled.get(account, NO_RULES)
                await self._report(account, books[account])
                if self.trusted and account in self._reading:
                    self._keep(account, books[account])
        return [books[account] for account in accounts]

    async def _report(self, account_id: AccountId, book: Book) -> None:
        for broken in book.broken:
            metrics.BROKEN_RULES.inc()
            log.logger().warning("rule.broken", rule=broken.id, account=account_id, problem=broken.reason)
            if self.post is not None:
                with suppress(Unavailable):  # rules are loaded again, and mail does not wait for it
                    await self.post(_notice(account_id, broken))

    def _keep(self, account_id: AccountId, book: Book) -> None:
        self._drop(account_id)
        self._kept[account_id] = book
        self._weight += _weight(book)
        while self._weight > self._room and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _drop(self, account_id: AccountId) -> None:
        book = self._kept.pop(account_id, None)
        if book is not None:
            self._weight -= _weight(book)


def _compiled(found: Mapping[AccountId, Sequence[StoredRule]]) -> dict[AccountId, Book]:
    return {account: stored.book(rows) for account, rows in found.items()}


def _notice(account_id: AccountId, broken: Broken) -> Notice:
    data = {"rule": broken.name, "problem": broken.reason}
    return Notice(Code.RUL, account_id, about=f"rule {broken.id}", data=data)


def _weight(book: Book) -> int:
    conditions = [condition for rule in book.rules for condition in rule.conditions]
    return (
        _BOOK
        + _RULE * len(book.rules)
        + _CONDITION * len(conditions)
        + _VALUE * sum(len(condition.values) for condition in conditions)
        + _INSTRUCTION * sum(rule.instructions for rule in book.rules)
    )
