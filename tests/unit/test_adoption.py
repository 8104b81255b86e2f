"""Adopting and releasing a configuration, with edits and accidents in between."""

from dataclasses import replace

import pytest

from mailrelay.core import joining, maincf, releasing
from mailrelay.core.errors import Conflict
from mailrelay.core.joining import Additions, Facts, Joining
from mailrelay.core.releasing import Files, Memory
from mailrelay.flows import join
from tests.unit.test_joining import DEFAULTS, STOCK, WANTED


class Host:
    """A Postfix folder in memory, with as much of postconf as the tests need."""

    directory = "/etc/postfix"
    queue_directory = "/var/spool/postfix"

    def __init__(self, files: Files) -> None:
        self.files = files
        self.objection = ""
        self.fails_after = 99  # files replaced before the power goes

    def read(self) -> Files:
        return self.files

    def defaults(self, names: tuple[str, ...]) -> dict[str, str]:
        return DEFAULTS

    def facts(self, files: Files, domains: tuple[str, ...]) -> Facts:
        said = {name: " ".join(found) for name, found in maincf.main_meaning(files.main).items()}
        expanded = {**STOCK.expanded, **{name: value for name, value in said.items() if name in STOCK.expanded}}
        return replace(STOCK, raw={name: said.get(name, DEFAULTS[name]) for name in joining.LISTS}, expanded=expanded)

    def edited(self, files: Files, additions: Additions) -> tuple[Files, tuple[str, ...]]:
        main = maincf.ended(files.main)
        for name, value in additions.values.items():
            line = f"{name} = {value}\n".encode()
            places = [entry for entry in maincf.parameters(main) if entry.key == name]
            for entry in reversed(places):
                main = main[: entry.start] + line + maincf.drop(main, entry)[entry.start :]
            main += b"" if places else line
        master = maincf.ended(files.master) + "".join(f"{line}\n" for line in additions.services.values()).encode()
        return Files(main, master), ()

    def replace(self, expected: Files, new: Files, *, master_first: bool) -> None:
        assert self.files == expected
        for name in ("master", "main") if master_first else ("main", "master"):
            if self.fails_after == 0:
                raise PowerCut
            self.fails_after -= 1
            self.files = replace(self.files, **{name: getattr(new, name)})

    def check(self) -> str:
        return self.objection


class PowerCut(Exception):
    """The host stops."""


class Notes:
    """A memory file in memory."""

    def __init__(self) -> None:
        self.memory: Memory | None = None

    def load(self) -> Memory | None:
        return self.memory

    def save(self, memory: Memory) -> None:
        self.memory = memory

    def forget(self) -> None:
        self.memory = None


PLAIN = Files(b"# mine\nbiff = no\ntransport_maps =\n  hash:/t\n# tail", b"smtp inet n - y - - smtpd")


def adopt(host: Host, notes: Notes, wanted: Joining = WANTED) -> join.Change:
    change = join.adoption(wanted, host, notes)
    join.carry_out(change, host, notes)
    return change


def release(host: Host, notes: Notes, wanted: Joining | None = None) -> join.Change:
    change = join.release(wanted, host, notes)
    join.carry_out(change, host, notes)
    return change


def test_release_brings_back_every_byte() -> None:
    host, notes = Host(PLAIN), Notes()
    assert adopt(host, notes).changes
    assert b"mailrelay" in host.files.master
    release(host, notes)
    assert host.files == PLAIN
    assert notes.memory is None


MILTER = replace(WANTED, milter="unix:/var/spool/postfix/mailrelay/milter")


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"smtpd_milters =\n",
        b"smtpd_milters = inet:127.0.0.1:8891,\n  { unix:a, protocol=2 }\nnon_smtpd_milters=$smtpd_milters\n",
    ],
)
def test_release_takes_the_milter_out_wherever_it_was_moved(lines: bytes) -> None:
    before = Files(lines + PLAIN.main, PLAIN.master)
    host, notes = Host(before), Notes()
    adopt(host, notes, MILTER)
    assert host.files.main.count(b"unix:mailrelay/milter") == (1 if b"$smtpd" in lines else 2)
    assert not adopt(host, notes, MILTER).changes
    host.files = replace(host.files, main=host.files.main + b"mail_owner = postfix\n")
    release(host, notes)
    assert host.files == Files(maincf.ended(before.main) + b"mail_owner = postfix\n", before.master)


def test_an_older_adoption_gets_the_milter_as_well() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes, WANTED)
    assert notes.memory is not None
    older = {name: units for name, units in notes.memory.units.items() if "milters" not in name}
    notes.memory = replace(notes.memory, units=older)
    assert adopt(host, notes, MILTER).changes
    assert b"unix:mailrelay/milter" in host.files.main
    release(host, notes)
    assert host.files == PLAIN


def test_adopting_again_changes_nothing_and_remembers_the_same() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    files, memory = host.files, notes.memory
    assert not adopt(host, notes).changes
    assert (host.files, notes.memory) == (files, memory)


def test_another_layout_of_what_we_added_is_left_alone() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    host.files = replace(host.files, main=host.files.main.replace(b"hash:/t, ", b"hash:/t,\n    "))
    assert not adopt(host, notes).changes


def test_new_addresses_replace_the_old_ones() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    moved = replace(WANTED, policy="127.0.0.1:20031", socketmap="127.0.0.1:20032", submit="127.0.0.1:20025")
    assert adopt(host, notes, moved).changes
    assert b"10031" not in host.files.main
    assert b"10032" not in host.files.main
    assert b"10025" not in host.files.master
    assert host.files.main.count(b"20031") == 1
    release(host, notes)
    assert host.files == PLAIN


def test_the_edits_of_the_admin_stay() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    main = (
        host.files.main.replace(b"biff = no", b"biff = yes").replace(b"10031\n", b"10031, permit\n")
        + b"soft_bounce = yes\n"
    )
    host.files = Files(main, host.files.master.replace(b"smtp inet n - y", b"smtp inet n - n") + b"# note\n")
    release(host, notes)
    assert host.files.main == (
        b"# mine\nbiff = yes\ntransport_maps =\n  hash:/t\n# tail\n"
        b"smtpd_recipient_restrictions = permit\nsoft_bounce = yes\n"
    )
    assert host.files.master == b"smtp inet n - n - - smtpd\n# note\n"


def test_adopting_after_edits_keeps_them_for_the_release() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    host.files = replace(host.files, main=host.files.main + b"soft_bounce = yes\n")
    adopt(host, notes, replace(WANTED, policy="127.0.0.1:20031"))
    release(host, notes)
    assert host.files == replace(PLAIN, main=PLAIN.main + b"\nsoft_bounce = yes\n")


def test_a_service_of_ours_that_was_edited_still_goes() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    master = host.files.master.replace(b"smtpd_timeout=300s", b"smtpd_timeout=10s").replace(b"/mailrelay", b"/other")
    host.files = replace(host.files, master=master)
    release(host, notes)
    assert host.files == PLAIN


def test_without_memory_our_own_elements_still_go() -> None:
    host, notes = Host(replace(PLAIN, main=PLAIN.main + b"\n", master=PLAIN.master + b"\n")), Notes()
    before = host.files
    adopt(host, notes)
    notes.forget()
    change = release(host, notes, WANTED)
    assert releasing.same(host.files, before)
    assert host.files.master == before.master
    assert change.remarks != ()


def test_adopting_without_memory_remembers_what_a_release_needs() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    notes.forget()
    assert not adopt(host, notes).changes
    release(host, notes)
    assert b"10031" not in host.files.main
    assert b"mailrelay" not in host.files.master


@pytest.mark.parametrize(
    "line",
    [
        b"mailrelay unix - n n - - pipe user=x argv=/opt/mailrelay\n",
        b"mailrelay unix - - n - - lmtp -o syslog_name=postfix/mailrelay2\n",
        b"10026 inet n - n - - smtpd -o syslog_name=postfix/mailrelay\n",
        b"other unix - - n - - lmtp -o syslog_name=postfix/mailrelay\n",
    ],
)
def test_services_that_only_look_like_ours_stay(line: bytes) -> None:
    host = Host(replace(PLAIN, master=line))
    assert not release(host, Notes(), WANTED).changes


@pytest.mark.parametrize("replaced", [0, 1])
@pytest.mark.parametrize("again", [False, True])
def test_a_crash_on_the_way_in_can_be_released_or_adopted(replaced: int, again: bool) -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    host.fails_after = replaced
    moved = replace(WANTED, policy="127.0.0.1:20031", submit="127.0.0.1:20025")
    with pytest.raises(PowerCut):
        adopt(host, notes, moved)
    host.fails_after = 99
    if again:
        adopt(host, notes, moved)
        assert b"127.0.0.1:20025" in host.files.master
        assert b"10031" not in host.files.main
    release(host, notes)
    assert host.files == PLAIN


@pytest.mark.parametrize("replaced", [0, 1])
def test_a_crash_on_the_way_out_can_be_repeated(replaced: int) -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    host.fails_after = replaced
    with pytest.raises(PowerCut):
        release(host, notes)
    host.fails_after = 99
    release(host, notes)
    assert host.files == PLAIN


def test_what_postfix_objects_to_is_taken_back() -> None:
    host, notes = Host(PLAIN), Notes()
    host.objection = "fatal: bad"
    with pytest.raises(Conflict, match="fatal: bad"):
        adopt(host, notes)
    assert host.files == PLAIN
    assert notes.memory is None


def test_a_refusal_changes_nothing_and_shows_no_diff() -> None:
    host, notes = Host(replace(PLAIN, main=b"mynetworks = 0.0.0.0/0\n")), Notes()
    change = join.adoption(WANTED, host, notes)
    assert [problem.parameter for problem in change.problems] == ["mynetworks"]
    assert (change.changes, change.diff, notes.memory) == (False, "", None)


def test_a_domain_that_comes_later_is_checked_by_itself() -> None:
    host, notes = Host(PLAIN), Notes()
    adopt(host, notes)
    host.files = replace(host.files, main=host.files.main + b"relay_domains = new.example\nmynetworks = 0.0.0.0/0\n")
    for domain, expected in (("new.example", ["relay_domains"]), ("other.example", [])):
        wanted = replace(WANTED, domains=(domain,))
        assert [problem.parameter for problem in join.domain_problems(wanted, host, notes)] == expected


def test_the_diff_shows_both_files() -> None:
    diff = join.adoption(WANTED, Host(PLAIN), Notes()).diff
    assert "--- /etc/postfix/main.cf\n+++ /etc/postfix/main.cf (new)\n" in diff
    assert "+transport_maps = hash:/t, socketmap:inet:127.0.0.1:10032:transport\n" in diff
    assert "\\ No newline at end of file\n" in diff
    assert "+++ /etc/postfix/master.cf (new)\n" in diff


def test_meaning_counts_and_layout_does_not() -> None:
    assert releasing.same(Files(b"a = 1, 2\n", b"x unix - -\n"), Files(b"# c\na =\n  1\n  2", b"x  unix -\n -"))
    assert not releasing.same(Files(b"a = 1\n", b""), Files(b"a = 2\n", b""))
