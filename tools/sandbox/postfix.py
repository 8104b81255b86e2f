"""A private Postfix: its own configuration, queue and data, made from the distribution's stock files.

Several can run side by side, and beside the host's own: none of them reads /etc/postfix/main.cf.
"""

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from tools.sandbox.process import Trouble, run, start_time, wait_until, working_folder

STOCK_MAIN = Path("/usr/share/postfix/main.cf.debian")
STOCK_MASTER = Path("/usr/share/postfix/master.cf.dist")
_QUEUES = ("incoming", "active", "deferred", "maildrop", "hold")
# As the distribution's postfix-files has them: name, owner, group, mode.
_QUEUE_FOLDERS = (
    *((name, "postfix", "root", 0o700) for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush")),
    *((name, "postfix", "root", 0o700) for name in ("hold", "incoming", "private", "saved", "trace")),
    ("maildrop", "postfix", "postdrop", 0o730),
    ("public", "postfix", "postdrop", 0o710),
    ("pid", "root", "root", 0o755),
    ("etc", "root", "root", 0o755),
)
# A service that runs in the queue directory as its root sees no other /etc than this.
_CHROOT_FILES = ("services", "hosts", "localtime", "nsswitch.conf", "host.conf", "resolv.conf")


class Instance:
    """folder: gets `etc` (main.cf, master.cf), `queue`, `data` and `maillog`; other users must be able to enter it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc = folder / "etc"
        self.queue = folder / "queue"
        self.maillog = folder / "maillog"

    def create(self, smtp_port: int, settings: Mapping[str, str]) -> None:
        """Write the configuration of an ordinary internet host, its smtpd on 127.0.0.1:smtp_port; settings win.

        Does nothing when the instance is there already.
        """
        if (self.etc / "main.cf").exists():
            return
        if not STOCK_MAIN.exists() or not STOCK_MASTER.exists():
            raise Trouble("Postfix is missing: install the package postfix")
        self._make_folders()
        master = _master_with_port(STOCK_MASTER.read_text(), smtp_port)
        (self.etc / "master.cf").write_text(master)
        main = _main_with(STOCK_MAIN.read_text(), self._settings(settings))
        temporary = self.etc / "main.cf.new"
        temporary.write_text(main)
        temporary.rename(self.etc / "main.cf")

    def _settings(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {
            "queue_directory": str(self.queue),
            "data_directory": str(self.folder / "data"),
            "maillog_file": str(self.maillog),
            "maillog_file_prefixes": str(self.folder),
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "all",  # XCLIENT knows only addresses of these
            "alias_maps": "",
            "alias_database": "",
            "smtpd_relay_restrictions": "permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
            **settings,
        }

    def _make_folders(self) -> None:
        for folder in (self.folder, self.etc, self.queue):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        for name, owner, group, mode in _QUEUE_FOLDERS:
            folder = self.queue / name
            folder.mkdir(exist_ok=True)
            shutil.chown(folder, owner, group)
            folder.chmod(mode)
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        shutil.chown(data, "postfix", "root")
        data.chmod(0o700)
        self.maillog.touch()  # who reads it may start before Postfix does
        for file in _CHROOT_FILES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(Path("/etc") / file, self.queue / "etc" / file)

    @property
    def pid(self) -> int | None:
        """The master process, None if it does not run."""
        try:
            pid = int((self.queue / "pid" / "master.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if start_time(pid) is not None and working_folder(pid) == self.queue.resolve() else None

    def postconf(self, *arguments: str) -> str:
        return run(["postconf", "-c", str(self.etc), *arguments])

    def get(self, name: str) -> str:
        """One setting's value, expanded."""
        return self.postconf("-hx", name).strip()

    def start(self) -> None:
        """Run it; returns when its smtpd can be reached."""
        if self.pid is None:
            self._command("start")
        wait_until(lambda: self.pid is not None, f"Postfix to start (see {self.maillog})")

    def reload(self) -> None:
        """Read the configuration again."""
        self._command("reload")

    def stop(self) -> None:
        """End it; returns when the master is gone. What is under way ends with it and stays in the queue."""
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: self.pid is None, "Postfix to stop")

    def flush(self) -> None:
        """Try everything that is deferred, now."""
        run(["postqueue", "-c", str(self.etc), "-f"])

    def queued(self) -> int:
        """Messages in the queue, wherever they are in it.

        A message is always in one of the folders, but may move while we count: only two counts make sure of zero.
        """
        return sum(1 for name in _QUEUES for path in (self.queue / name).rglob("*") if path.is_file())

    def empty(self) -> bool:
        """True if there is nothing in the queue, having looked twice."""
        return self.queued() == 0 and self.queued() == 0

    def log_text(self) -> str:
        return self.maillog.read_text(errors="replace") if self.maillog.exists() else ""

    def _command(self, verb: str) -> None:
        if verb == "start":
            # Postfix' own word for `skip the checks of files that all instances share`: those are the host's.
            (self.queue / "quick-start").touch()
        try:
            run(["postfix", "-c", str(self.etc), verb])
        except Trouble as error:
            raise Trouble(f"{error}\n{self.log_text()[-2000:]}") from error


def _main_with(stock: str, settings: Mapping[str, str]) -> str:
    """The stock main.cf with these settings at its end, and not twice."""
    kept: list[str] = []
    dropping = False
    for line in stock.splitlines(keepends=True):
        name = line.partition("=")[0].strip()
        if not line.startswith((" ", "\t", "#")):  # those go on with what was before them, or say nothing
            dropping = name in settings
        if not dropping or line.startswith("#"):
            kept.append(line)
    return "".join(kept) + "".join(f"{name} = {value}\n" for name, value in settings.items())


def _master_with_port(stock: str, port: int) -> str:
    """The stock master.cf with its public smtpd on 127.0.0.1:port instead of 25."""
    text, count = re.subn(r"(?m)^smtp(\s+inet\s)", rf"127.0.0.1:{port}\1", stock)
    if count != 1:
        raise Trouble(f"{STOCK_MASTER} has {count} lines `smtp inet`; expected one")
    return text


def sandbox_settings(outside_port: int) -> dict[str, str]:
    """Settings for an internet whose every host is on loopback and whose tests are in a hurry."""
    return {
        "myhostname": "mx.relay.example",
        "mydestination": "localhost, localhost.localdomain",
        "mynetworks": "127.0.0.2/32",  # so that 127.0.0.1 and the neighbours are strangers
        "relayhost": f"[127.0.0.1]:{outside_port}",
        "smtp_dns_support_level": "disabled",
        "smtpd_peername_lookup": "no",
        "smtpd_authorized_xclient_hosts": "127.0.0.0/8",  # tests come from any address they like
        "smtpd_client_connection_count_limit": "0",
        "smtpd_error_sleep_time": "0",
        "smtpd_soft_error_limit": "1000",
        "smtpd_hard_error_limit": "1000",
        "queue_run_delay": "1s",
        "minimal_backoff_time": "1s",
        "maximal_backoff_time": "4s",
        "transport_retry_time": "1s",
        "message_size_limit": "52428800",
        "mailbox_size_limit": "0",
    }
