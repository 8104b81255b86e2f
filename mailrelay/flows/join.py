"""Joining a Postfix and leaving it again: what would change, and carrying that out."""

import difflib
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core import joincheck, joining, releasing
from mailrelay.core.errors import Conflict
from mailrelay.core.joincheck import Problem
from mailrelay.core.joining import Additions, Facts, Joining
from mailrelay.core.releasing import Files, Memory


class Postfix(Protocol):
    """One configuration folder and the tools that understand it."""

    @property
    def directory(self) -> str: ...

    @property
    def queue_directory(self) -> str:
        """Where its processes work."""
        ...

    def read(self) -> Files: ...

    def defaults(self, names: tuple[str, ...]) -> dict[str, str]: ...

    def facts(self, files: Files, domains: tuple[str, ...]) -> Facts:
        """What Postfix makes of these files, which need not be those in the folder."""
        ...

    def edited(self, files: Files, additions: Additions) -> tuple[Files, tuple[str, ...]]:
        """The files as postconf writes them with the additions, and what it then warns of that is new."""
        ...

    def replace(self, expected: Files, new: Files, *, master_first: bool) -> None:
        """Put new files in place. Raises Conflict if those in the folder are not as expected."""
        ...

    def check(self) -> str:
        """What `postfix check` objects to, "" if nothing."""
        ...


class Memories(Protocol):
    """Keeps one Memory, about one configuration folder."""

    def load(self) -> Memory | None: ...

    def save(self, memory: Memory) -> None: ...

    def forget(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """What adopt or release would do; with problems, nothing."""

    directory: str
    before: Files
    after: Files
    memory: Memory | None  # to be kept from then on; None: none
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        return self.before != self.after

    @property
    def diff(self) -> str:
        """Unified, main.cf first; "" if nothing changes."""
        return _diff(f"{self.directory}/main.cf", self.before.main, self.after.main) + _diff(
            f"{self.directory}/master.cf", self.before.master, self.after.master
        )


def adoption(wanted: Joining, postfix: Postfix, memories: Memories) -> Change:
    """What joining would change. It begins from the configuration without us, so that it also brings an earlier
    adoption up to date, and changes nothing if all is in place."""
    now, memory = postfix.read(), memories.load()
    wanted = wanted.beside(postfix.queue_directory)
    units = releasing.merged(memory, joining.units(wanted))
    base = releasing.released(now, memory, units, postfix.defaults(joining.LISTS))
    facts = postfix.facts(base, wanted.domains)
    remarks = joincheck.remarks(wanted, facts)
    problems = joincheck.problems(wanted, facts)
    if problems:
        return Change(postfix.directory, now, now, memory, problems, remarks)
    after, warnings = postfix.edited(base, joining.additions(wanted, facts))
    if warnings:
        problems = tuple(
            Problem("postconf", text, "Postfix does not understand our addition", _REPORT) for text in warnings
        )
        return Change(postfix.directory, now, now, memory, problems, remarks)
    if releasing.same(now, after):
        after = now  # the layout is the admin's
    if after != now or memory is None or memory.original != base:
        memory = releasing.remembered(postfix.directory, now, base, after, units)
    return Change(postfix.directory, now, after, memory, (), remarks)


def domain_problems(wanted: Joining, postfix: Postfix, memories: Memories) -> tuple[Problem, ...]:
    """What an adoption of today would have against the domains alone, which may be newer than the adoption."""
    now, memory = postfix.read(), memories.load()
    wanted = wanted.beside(postfix.queue_directory)
    units = releasing.merged(memory, joining.units(wanted))
    base = releasing.released(now, memory, units, postfix.defaults(joining.LISTS))
    return joincheck.domain_problems(wanted, postfix.facts(base, wanted.domains))


def release(wanted: Joining | None, postfix: Postfix, memories: Memories) -> Change:
    """What leaving would change. wanted: the configuration of today, which helps where the memory is lost."""
    now, memory = postfix.read(), memories.load()
    units = releasing.merged(memory, joining.units(wanted.beside(postfix.queue_directory)) if wanted else {})
    after = releasing.released(now, memory, units, postfix.defaults(joining.LISTS))
    remarks: tuple[str, ...] = ()
    if memory is None and now != after:
        remarks = (
            "what the files were before the adoption is not known any more: only our own elements are taken out",
        )
    return Change(postfix.directory, now, after, None, (), remarks)


def carry_out(change: Change, postfix: Postfix, memories: Memories) -> None:
    """Do it. A crash at any point leaves what adopt and release recover from.

    Raises Conflict if the files changed since the change was computed, or if Postfix refuses the result,
    which is then taken back.
    """
    previous = memories.load()
    if change.memory is not None and change.memory != previous:
        memories.save(change.memory)
    # Services exist before something refers to them, and longer.
    joins = change.memory is not None
    postfix.replace(change.before, change.after, master_first=joins)
    objection = postfix.check() if joins and change.changes else ""
    if objection:
        postfix.replace(change.after, change.before, master_first=False)
        if previous is None:
            memories.forget()
        else:
            memories.save(previous)
        raise Conflict(f"nothing was changed, because `postfix check` says: {objection}")
    if change.memory is None:
        memories.forget()


_REPORT = "please report this with the version of Postfix"


def _diff(name: str, before: bytes, after: bytes) -> str:
    old, new = (content.decode("utf-8", "replace").splitlines(keepends=True) for content in (before, after))
    lines = difflib.unified_diff(old, new, name, f"{name} (new)")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
