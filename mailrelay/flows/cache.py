"""Facts about accepted aliases, kept by the policy role until somebody changes them."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from mailrelay.core.facts import Account, AccountId, Facts
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import DefaultLimits

_Key = tuple[str, str]  # local part, domain


@dataclass(slots=True)
class _Entry:
    facts: Facts
    account_id: AccountId
    sender: str  # matters only if the account has a block list
    until: float


@dataclass(slots=True)
class _Owner:
    keys: set[_Key] = field(default_factory=set)
    answers_left: int = 0


class FactsCache:
    """A least-recently-used cache whose entries age.

    Old entries stay for the time when the database is away. While changes are not announced (`trusted` False),
    nothing is fresh. Hourly limits hold in spite of the cache: an account's entries serve a quarter of its limit, then
    current facts are read.
    """

    def __init__(self, entries: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._limit = entries
        self._seconds = seconds
        self._monotonic = monotonic
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._owners: dict[AccountId, _Owner] = {}
        self.trusted = False
        self.epoch = 0  # grows with every change that is announced

    def __len__(self) -> int:
        return len(self._entries)

    def fresh(self, inquiry: Inquiry) -> Facts | None:
        """Facts that are as good as the database's, or None."""
        entry = self._find(inquiry) if self.trusted else None
        return entry.facts if entry is not None and self._monotonic() < entry.until else None

    def stale(self, inquiry: Inquiry) -> Facts | None:
        """Facts of any age."""
        entry = self._find(inquiry)
        return entry.facts if entry is not None else None

    def _find(self, inquiry: Inquiry) -> _Entry | None:
        entry = self._entries.get((inquiry.base, inquiry.domain))
        if entry is None or (entry.facts.has_block_list and entry.sender != inquiry.sender):
            return None
        self._entries.move_to_end((inquiry.base, inquiry.domain))
        return entry

    def keep(self, inquiry: Inquiry, facts: Facts, limits: DefaultLimits, epoch: int) -> None:
        """Remember facts that were asked for in `epoch`; if something changed since then, they are not kept."""
        account = facts.account
        allowance = 0 if account is None else _allowance(account, facts, limits)
        if account is None or not self._limit or epoch != self.epoch:
            return
        key = (inquiry.base, inquiry.domain)
        self._drop(key)
        # Without an allowance they only serve while the database is away.
        until = self._monotonic() + self._seconds if allowance > 0 else 0.0
        self._entries[key] = _Entry(facts, account.id, inquiry.sender, until)
        owner = self._owners.setdefault(account.id, _Owner())
        owner.keys.add(key)
        owner.answers_left = owner.answers_left or max(0, allowance)
        if len(self._entries) > self._limit:
            self._drop(next(iter(self._entries)))

    def count_answer(self, facts: Facts) -> None:
        """An answer was given from `facts`; at the allowance's end the account's entries are old."""
        owner = self._owners.get(facts.account.id) if facts.account is not None else None
        if owner is None:
            return
        owner.answers_left -= 1
        if owner.answers_left <= 0:
            owner.answers_left = 0
            for key in owner.keys:
                self._entries[key].until = 0.0

    def forget_address(self, local: str, domain: str) -> None:
        """An alias changed."""
        self.epoch += 1
        self._drop((local, domain))

    def forget_account(self, account_id: AccountId) -> None:
        """An account, its recipients or its block list changed."""
        self.epoch += 1
        owner = self._owners.get(account_id)
        for key in tuple(owner.keys) if owner is not None else ():
            self._drop(key)

    def clear(self) -> None:
        """A parent changed, or changes may have been missed."""
        self.epoch += 1
        self._entries.clear()
        self._owners.clear()

    def _drop(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        owner = self._owners[entry.account_id]
        owner.keys.discard(key)
        if not owner.keys:
            del self._owners[entry.account_id]


def _allowance(account: Account, facts: Facts, limits: DefaultLimits) -> int:
    """How many answers facts may serve: a quarter of the hourly limit, less what is used."""
    own = account.messages_per_hour
    limit = limits.messages_per_hour if own is None else own
    return limit // 4 - facts.usage.messages if limit else 1 << 62
