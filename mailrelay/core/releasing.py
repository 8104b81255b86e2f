"""How a joined Postfix configuration looks without our additions, and what has to be remembered for that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core import maincf
from mailrelay.core.joining import LISTS, is_ours
from mailrelay.core.maincf import Unit


@dataclass(frozen=True, slots=True)
class Files:
    """The two files that say how Postfix runs."""

    main: bytes
    master: bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """What an adoption leaves for the release.

    directory: the Postfix configuration it is about. original: the files without us, byte for byte.
    versions: the files that become `original` again when they are found unchanged; the last one is the newest.
    units: every element that was ever added, by parameter.
    """

    directory: str
    original: Files
    versions: tuple[Files, ...]
    units: Mapping[str, tuple[Unit, ...]]


def remembered(
    directory: str, before: Files, original: Files, after: Files, units: Mapping[str, Sequence[Unit]]
) -> Memory:
    """The memory to write before `before` is replaced by `after`: good at any moment of the replacing."""
    return Memory(directory, original, (before, after), {name: tuple(units[name]) for name in units})


def merged(memory: Memory | None, units: Mapping[str, Unit]) -> dict[str, tuple[Unit, ...]]:
    """The elements to look for: those remembered and those that the configuration of today would add."""
    known = memory.units if memory else {}
    return {
        name: tuple(dict.fromkeys((*known.get(name, ()), *([units[name]] if name in units else [])))) for name in LISTS
    }


def released(
    now: Files, memory: Memory | None, units: Mapping[str, Sequence[Unit]], defaults: Mapping[str, str]
) -> Files:
    """The files without our additions.

    Files that nobody touched since the adoption become what they were; in others only our own elements and services
    go, and the rest keeps its bytes. defaults: what Postfix takes for LISTS where main.cf says nothing.
    """
    return Files(_main(now.main, memory, units, defaults), _master(now.master, memory))


def same(one: Files, other: Files) -> bool:
    """Whether Postfix would notice no difference."""
    return (maincf.main_meaning(one.main), maincf.master_meaning(one.master)) == (
        maincf.main_meaning(other.main),
        maincf.master_meaning(other.master),
    )


def _main(now: bytes, memory: Memory | None, units: Mapping[str, Sequence[Unit]], defaults: Mapping[str, str]) -> bytes:
    original = memory.original.main if memory else None
    if memory and original is not None:
        if any(now == version.main for version in memory.versions):
            return original
        now = maincf.undo(now, memory.versions[-1].main, original)
    for name in LISTS:
        less = maincf.without(now, name, units.get(name, ()))
        if less == now:
            continue
        if original is not None and name in {entry.key for entry in maincf.parameters(original)}:
            now = maincf.relaid(less, name, original)
        else:
            now = _without_idle(less, name, defaults[name])
    return original if original is not None and now == maincf.ended(original) else now


def _without_idle(content: bytes, name: str, default: str) -> bytes:
    """main.cf without a parameter that was only there for our element."""
    for entry in reversed(maincf.parameters(content)):
        if entry.key == name and [word.text for word in maincf.entry_words(content, entry)] == maincf.texts(default):
            content = maincf.drop(content, entry)
    return content


def _master(now: bytes, memory: Memory | None) -> bytes:
    added: set[str] = set()
    original = memory.original.master if memory else None
    if memory and original is not None:
        if any(now == version.master for version in memory.versions):
            return original
        now = maincf.undo(now, memory.versions[-1].master, original)
        had = {entry.key for entry in maincf.services(original)}
        added = {entry.key for entry in maincf.services(memory.versions[-1].master)} - had
    for entry in reversed(maincf.services(now)):
        if entry.key in added or is_ours(entry.key, now[entry.start : entry.end]):
            now = maincf.drop(now, entry)
    return original if original is not None and now == maincf.ended(original) else now
