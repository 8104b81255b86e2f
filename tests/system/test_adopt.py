"""adopt and release with the real postconf, on copies of Debian's stock configuration and on uglier ones."""

import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mailrelay.cli.joined import How, domain_remarks, run_adopt, run_release
from mailrelay.clients.joinmemory import MemoryFile
from mailrelay.clients.postconf import PostfixFolder
from mailrelay.core import maincf
from mailrelay.core.errors import BadConfig, Conflict
from mailrelay.core.joining import Joining
from mailrelay.flows import join

STOCK = Path("/usr/share/postfix")
MAIN = (STOCK / "main.cf.debian").read_bytes()
MASTER = (STOCK / "master.cf.dist").read_bytes()
LIST = "smtpd_recipient_restrictions"
CHECK = ["check_policy_service", "inet:127.0.0.1:10031"]
WANTED = Joining(
    "127.0.0.1:10031",
    "127.0.0.1:10032",
    "127.0.0.1:10024",
    "127.0.0.1:10025",
    26_214_400,
    ("alias.example",),
    milter="127.0.0.1:10033",
)
MOVED = Joining(
    "[::1]:20031",
    "[::1]:20032",
    "[::1]:20024",
    "[::1]:20025",
    26_214_400,
    ("alias.example",),
    milter="[::1]:20033",
)


class Host:
    """A configuration folder and a place for the memory.

    never_ran: the queue directory does not exist yet, so that adopt leaves `postfix check` out, which takes seconds.
    """

    def __init__(self, base: Path, main: bytes = MAIN, master: bytes = MASTER, *, never_ran: bool = True) -> None:
        self.folder = base / "etc" / "postfix"
        self.folder.mkdir(parents=True)
        self.state = base / "state"
        self.main = self.folder / "main.cf"
        self.master = self.folder / "master.cf"
        queue = f"queue_directory = {base}/spool\n" if never_ran else ""
        self.main.write_bytes(queue.encode() + main)
        self.master.write_bytes(master)
        self.before = self.bytes

    @property
    def bytes(self) -> tuple[bytes, bytes]:
        return self.main.read_bytes(), self.master.read_bytes()

    def adopt(self, wanted: Joining = WANTED, *, yes: bool = True, dry_run: bool = False, as_json: bool = False) -> int:
        return run_adopt(wanted, How(self.state, self.folder, dry_run=dry_run, yes=yes, as_json=as_json))

    def release(self, wanted: Joining | None = None) -> int:
        return run_release(wanted, How(self.state, self.folder, yes=True))

    def postconf(self, *arguments: str) -> str:
        self._settle()
        done = subprocess.run(["postconf", "-c", str(self.folder), *arguments], capture_output=True, check=True)
        return done.stdout.decode("utf-8", "replace").rstrip("\n")

    def elements(self, name: str) -> list[str]:
        return maincf.texts(self.postconf("-h", name))

    def warnings(self) -> list[str]:
        self._settle()
        done = subprocess.run(["postconf", "-c", str(self.folder)], capture_output=True, check=True)
        return done.stderr.decode("utf-8", "replace").splitlines()

    def _settle(self) -> None:
        """postconf takes its time over a main.cf that was written in this second."""
        os.utime(self.main, (0, 0))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


UGLY = {
    "several lines": (
        b"smtpd_recipient_restrictions =\n    permit_mynetworks,\n    reject_unauth_destination,\n    permit\n"
    ),
    "comments between": (
        b"smtpd_recipient_restrictions = permit_mynetworks,\n# first us\n\n   # and then\n\treject_unauth_destination\n"
        b"# the rest\n\t, permit\n# end\ntransport_maps =\n# one\n\tenviron:a\n# two\n\n\tenviron:b\n"
    ),
    "tabs": b"transport_maps\t=\tenviron:a\t\tenviron:b\t\nvirtual_mailbox_maps\t=\n\t\tenviron:c\n",
    "defined twice": b"transport_maps = environ:a\nbiff = yes\ntransport_maps =\n environ:b,\n environ:c\n",
    "no newline at the end": b"mydestination = localhost,\n  localhost.localdomain",
    "no newline behind a value of ours": b"virtual_mailbox_maps = environ:c\ntransport_maps = environ:a,\n  environ:b",
    "nothing behind the equals sign": b"transport_maps =\nsmtpd_recipient_restrictions=\nvirtual_mailbox_maps  =  \n",
    "references": (
        b"mine = permit_mynetworks, reject_unauth_destination\n"
        b"smtpd_recipient_restrictions = ${mine}, reject_rbl_client x\n"
        b"indexed = texthash:${config_directory}/\n"
        b"transport_maps = ${indexed}transport ${mine?{environ:x}:{environ:y}}\n"
    ),
    "braces": (
        b"smtpd_recipient_restrictions = check_policy_service { inet:127.0.0.1:1, timeout=1s },\n"
        b" reject_unauth_destination\n"
    ),
    "milters": (b"smtpd_milters = inet:127.0.0.1:8891,\n  { unix:opendkim/sock, protocol=2 }\nnon_smtpd_milters =\n"),
    "milters of both kinds": b"smtpd_milters = inet:127.0.0.1:8891\nnon_smtpd_milters = $smtpd_milters\n",
    "octets that are no UTF-8": b"# gr\xfc\xdfe\nsmtpd_banner = \xfc\nvirtual_mailbox_domains = own.example\n",
    "explicit default": b"virtual_mailbox_domains = $virtual_mailbox_maps\n",
    "blank lines at the end": b"transport_maps = environ:a\n\n\n",
}


@pytest.mark.parametrize("ending", [b"\n", b""])
@pytest.mark.parametrize("name", ["stock", *UGLY])
def test_release_leaves_no_difference(name: str, ending: bytes, tmp_path: Path) -> None:
    host = Host(tmp_path, MAIN + UGLY.get(name, b""), MASTER.rstrip(b"\n") + ending)
    complaints = host.warnings()
    plain = {parameter: host.elements(parameter) for parameter in ("virtual_mailbox_domains", "transport_maps", LIST)}

    assert host.adopt() == 0
    table = "socketmap:inet:127.0.0.1:10032"
    assert host.elements("virtual_mailbox_domains") == [*plain["virtual_mailbox_domains"], f"{table}:domain"]
    assert host.elements("transport_maps") == [*plain["transport_maps"], f"{table}:transport"]
    assert [text for text in host.elements(LIST) if text not in CHECK] == [t for t in plain[LIST] if t not in CHECK]
    assert set(CHECK) <= set(host.elements(LIST))
    assert [line for line in host.warnings() if "unused" in line or "undefined" in line] == [
        line for line in complaints if "unused" in line or "undefined" in line
    ]
    joined = host.bytes

    assert host.adopt() == 0
    assert host.bytes == joined
    assert host.release() == 0
    assert host.bytes == host.before
    assert list(host.state.iterdir()) == []


@pytest.mark.parametrize("name", ["stock", *UGLY])
def test_edits_in_between_stay(name: str, tmp_path: Path) -> None:
    host = Host(tmp_path, MAIN + UGLY.get(name, b""))
    main, master = host.before
    host.adopt()
    host.main.write_bytes(
        b"# new head\n" + host.main.read_bytes().replace(b"biff = no", b"biff = yes") + b"# new tail\n"
    )
    host.master.write_bytes(host.master.read_bytes() + b"own unix - - n - - pipe\n")
    assert host.release() == 0
    ended = main if main.endswith(b"\n") else main + b"\n"
    assert host.bytes == (
        b"# new head\n" + ended.replace(b"biff = no", b"biff = yes") + b"# new tail\n",
        master + b"own unix - - n - - pipe\n",
    )


def test_a_list_that_was_edited_loses_only_our_element(tmp_path: Path) -> None:
    host = Host(tmp_path, MAIN + UGLY["comments between"])
    host.adopt()
    host.postconf("-e", f"{LIST} = reject_unlisted_sender, {host.postconf('-h', LIST)}")
    assert host.release() == 0
    assert host.elements(LIST) == ["reject_unlisted_sender", "permit_mynetworks", "reject_unauth_destination", "permit"]
    assert b"transport_maps =\n# one\n\tenviron:a\n# two\n\n\tenviron:b\n" in host.main.read_bytes()


def test_a_stock_postfix_is_clean_again_without_the_memory(host: Host) -> None:
    host.adopt()
    shutil.rmtree(host.state)
    assert host.release(WANTED) == 0
    assert host.bytes == host.before


def test_new_addresses_replace_the_old_ones(tmp_path: Path) -> None:
    host = Host(tmp_path, MAIN + UGLY["several lines"])
    host.adopt()
    assert host.adopt(MOVED) == 0
    assert host.elements("transport_maps") == ["socketmap:inet:[::1]:20032:transport"]
    assert "inet:[::1]:20031" in host.elements(LIST)
    assert "inet:127.0.0.1:10031" not in host.elements(LIST)
    assert "127.0.0.1:10025" not in host.postconf("-M")
    assert host.postconf("-P", "[::1]:20025/inet/cleanup_service_name").endswith("= mailrelay-cleanup")
    assert host.release() == 0
    assert host.bytes == host.before


def test_the_milters_socket_is_named_as_processes_in_their_chroot_see_it(host: Host, tmp_path: Path) -> None:
    wanted = replace(WANTED, milter=f"unix:{tmp_path}/spool/mailrelay/milter")
    assert host.adopt(wanted) == 0
    expected = "{ unix:mailrelay/milter, protocol=6, default_action=tempfail }"
    assert [host.postconf("-h", name) for name in ("smtpd_milters", "non_smtpd_milters")] == [expected, expected]
    assert host.release() == 0
    assert host.bytes == host.before


def test_a_milters_socket_elsewhere_is_refused(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.adopt(replace(WANTED, milter="unix:/run/mailrelay/milter")) == 1
    assert "milter.listen = unix:/run/mailrelay/milter" in capsys.readouterr().err
    assert host.bytes == host.before


def test_a_postfix_that_ran_is_checked_by_its_own_tools(tmp_path: Path) -> None:
    host = Host(tmp_path, never_ran=False)
    queue = tmp_path / "spool"
    queue.mkdir()
    host.main.write_bytes(MAIN + f"queue_directory = {queue}\n".encode())
    before = host.bytes
    assert host.adopt() == 0
    assert (queue / "pid").is_dir()  # made by `postfix check`
    assert host.release() == 0
    assert host.bytes == before


def test_what_postfix_check_refuses_is_taken_back(tmp_path: Path) -> None:
    host = Host(tmp_path, never_ran=False)
    (tmp_path / "spool").mkdir()
    host.main.write_bytes(MAIN + f"queue_directory = {tmp_path}/spool\ndaemon_directory = /nowhere\n".encode())
    before = host.bytes
    with pytest.raises(Conflict, match="nothing was changed"):
        host.adopt()
    assert host.bytes == before
    assert list(host.state.iterdir()) == []


def test_the_diff_on_stdout_is_what_happens(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.adopt(dry_run=True) == 0
    shown = capsys.readouterr().out
    assert host.bytes == host.before
    assert not host.state.exists()
    copy = host.folder.parent.parent / "copy"
    shutil.copytree(host.folder, copy)
    patch = shown.replace(str(host.folder), str(copy))
    subprocess.run(["patch", "-p0", "-d", "/"], input=patch, text=True, check=True, capture_output=True)
    assert host.adopt() == 0
    assert ((copy / "main.cf").read_bytes(), (copy / "master.cf").read_bytes()) == host.bytes
    assert capsys.readouterr().out == shown


def test_nothing_happens_without_consent(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.adopt(yes=False) == 1
    assert host.bytes == host.before
    assert "--yes" in capsys.readouterr().err


def test_programs_get_one_json_document(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.adopt(as_json=True) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["changes"], answer["applied"], answer["problems"]) == (True, True, [])
    assert "+transport_maps = socketmap:inet:127.0.0.1:10032:transport" in answer["diff"]


def test_owner_mode_and_links_stay(host: Host, tmp_path: Path) -> None:
    kept = tmp_path / "kept.cf"
    host.main.rename(kept)
    host.main.symlink_to(kept)
    os.chown(kept, 65534, 65534)
    kept.chmod(0o640)
    assert host.adopt() == 0
    assert host.main.is_symlink()
    assert b"socketmap" in kept.read_bytes()
    status = kept.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65534, 0o640)
    assert host.release() == 0
    assert host.bytes == host.before
    assert sorted(path.name for path in host.folder.iterdir()) == ["main.cf", "master.cf"]


def test_the_memory_is_for_root_and_for_one_instance(tmp_path: Path) -> None:
    first, second = Host(tmp_path / "1"), Host(tmp_path / "2")
    second.state = first.state
    assert first.adopt() == second.adopt() == 0
    memories = list(first.state.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in memories] == [0o600, 0o600]
    assert first.release() == 0
    assert b"socketmap" in second.main.read_bytes()
    assert second.release() == 0
    assert second.bytes == second.before


def test_a_change_by_somebody_else_in_the_meantime_is_noticed(host: Host) -> None:
    postfix, memories = PostfixFolder(host.folder), MemoryFile(host.state, str(host.folder))
    change = join.adoption(WANTED, postfix, memories)
    host.main.write_bytes(host.before[0] + b"soft_bounce = yes\n")
    with pytest.raises(Conflict, match="changed by somebody else"):
        join.carry_out(change, postfix, memories)
    assert host.bytes == (host.before[0] + b"soft_bounce = yes\n", host.before[1])
    assert host.release() == 0
    assert host.bytes == (host.before[0] + b"soft_bounce = yes\n", host.before[1])


def test_a_damaged_memory_is_named(host: Host) -> None:
    host.adopt()
    (memory,) = host.state.iterdir()
    memory.write_text('{"version": 1}')
    with pytest.raises(BadConfig, match="no record of an adoption"):
        host.release()


def test_a_memory_that_somebody_else_could_have_written_is_not_trusted(host: Host, tmp_path: Path) -> None:
    host.adopt()
    (memory,) = host.state.iterdir()
    os.chown(memory, 65534, -1)
    with pytest.raises(BadConfig, match="others can write"):
        host.release()
    os.chown(memory, 0, -1)
    memory.rename(tmp_path / "elsewhere")
    memory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadConfig, match="cannot be read"):
        host.release()


def test_a_memory_about_another_folder_is_not_used(host: Host) -> None:
    host.adopt()
    (memory,) = host.state.iterdir()
    memory.write_text(memory.read_text().replace(str(host.folder), "/etc/postfix"))
    with pytest.raises(BadConfig, match="is about /etc/postfix"):
        host.release()


def test_a_folder_without_postfix_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"main\.cf: cannot be read"):
        PostfixFolder(tmp_path).read()


REFUSED = {
    "smtpd_relay_restrictions = permit_mynetworks, permit\n": "smtpd_relay_restrictions = permit_mynetworks, permit:",
    "mynetworks = 127.0.0.0/8, 0.0.0.0/0\n": "mynetworks = 127.0.0.0/8, 0.0.0.0/0:",
    "mynetworks = ${config_directory}/networks\n": "[::]/0 trusts strangers",
    "mynetworks = cidr:${config_directory}/all\n": "trusts every address",
    "mydestination = $mydomain, localhost\nmydomain = alias.example\n": "mydestination = alias.example, localhost:",
    "relay_domains = texthash:${config_directory}/domains\n": "relay_domains = texthash:",
    "virtual_alias_maps = texthash:${config_directory}/domains\n": "virtual_alias_domains = texthash:",
    "transport_maps = regexp:${config_directory}/transport\n": "sends every address of alias.example to smtp:[192",
    "inet_protocols = ipv6\n": "inet_protocols = ipv6:",
    f"{LIST} = $mine\nmine = reject_unauth_destination, permit\n": f"{LIST} = $mine:",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_is_dangerous_is_refused(setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(tmp_path, MAIN + setting.encode())
    (host.folder / "networks").write_text("# ours\n192.0.2.0/24\n[::]/0\n")
    (host.folder / "all").write_text("0.0.0.0/0 ok\n")
    (host.folder / "domains").write_text("alias.example anything\n")
    (host.folder / "transport").write_text("/@alias\\.example$/ smtp:[192.0.2.1]\n")
    assert host.adopt() == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert f"refused: {setting.split()[0]}" in streams.err or "refused: virtual_alias_domains" in streams.err
    assert REFUSED[setting] in streams.err
    assert host.bytes == host.before


def test_a_domain_that_comes_after_the_adoption_is_checked_with_every_instance(tmp_path: Path) -> None:
    hosts = [
        Host(tmp_path / name, MAIN + line) for name, line in (("a-b%c", b"relay_domains = x.example\n"), ("2", b""))
    ]
    for host in hosts:
        host.state = tmp_path / "state"
        assert host.adopt() == 0
    (remark,) = domain_remarks(replace(WANTED, domains=("x.example",)), hosts[0].state)
    assert remark.startswith(f"{hosts[0].folder}: relay_domains = x.example: ")
    assert domain_remarks(replace(WANTED, domains=("y.example",)), hosts[0].state) == []
    assert domain_remarks(WANTED, tmp_path / "nothing") == []
    hosts[0].main.unlink()
    (remark,) = domain_remarks(replace(WANTED, domains=("y.example",)), hosts[0].state)
    assert remark.startswith(f"{hosts[0].main}: cannot be read: ")


def test_every_reason_is_given_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(
        tmp_path,
        MAIN + b"mynetworks = 0.0.0.0/0\nsmtpd_relay_restrictions =\nrelay_domains = alias.example\n",
        MASTER
        + b"mailrelay unix - n n - - pipe\n  flags=R user=nobody argv=/bin/true\n"
        + b"127.0.0.1:10025 inet n - n - - smtpd\n",
    )
    assert host.adopt() == 1
    refusals = [line.split(" = ")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("refused: ")]
    assert refusals == [
        "refused: smtpd_relay_restrictions",
        "refused: mynetworks",
        "refused: master.cf: mailrelay/unix",
        "refused: master.cf: 127.0.0.1:10025/inet",
        "refused: relay_domains",
    ]


def test_a_table_that_cannot_be_asked_is_no_reason(tmp_path: Path) -> None:
    host = Host(tmp_path, MAIN + b"transport_maps = hash:/nowhere/at/all\n")
    assert host.adopt() == 0
