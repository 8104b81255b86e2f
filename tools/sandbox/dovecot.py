"""A private Dovecot that only answers log-ins for Postfix: its own folder, no mailboxes, no port."""

import shutil
import subprocess
from pathlib import Path

from tools.sandbox.places import CHECKOUT
from tools.sandbox.postfix import Instance as Postfix
from tools.sandbox.postgres import Cluster
from tools.sandbox.process import PidFile, Trouble, run, spawn, wait_until

_SNIPPETS = CHECKOUT / "conf" / "dovecot"
_DRIVER = Path("/usr/lib/dovecot/modules/auth/libdriver_pgsql.so")

_OLD = """
protocols =
"""
_NEW = """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols {{
}}
"""
_SETTINGS = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
instance_name = mailrelay-sandbox
ssl = no
auth_verbose = yes
# Who tries wrong passwords need not wait: here that is the tests.
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
!include {folder}/{snippet}
"""


class Instance:
    """folder: gets everything; other users must be able to enter it. Uses the product's own snippets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._settings = folder / "dovecot.conf"
        self._log = folder / "log"
        self._pid = PidFile(folder / "pid")

    def create(self, postfix: Postfix, cluster: Cluster, database: str) -> None:
        """Configure it for this Postfix and database, whose sql/dovecot.sql has been run. Raises Trouble."""
        if shutil.which("dovecot") is None or not _DRIVER.exists():
            raise Trouble("Dovecot is missing: install the packages dovecot-core and dovecot-pgsql")
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        is_old = run(["dovecot", "--version"]).startswith("2.3.")
        names = ("mailrelay-auth.conf.ext", "mailrelay-sql.conf.ext") if is_old else ("mailrelay-2.4.conf",)
        places = {
            "/etc/dovecot": str(self.folder),
            "/var/spool/postfix": str(postfix.queue),
            "/run/postgresql": str(cluster.folder),
            "dbname=mailrelay": f"dbname={database}",
            "dbname = mailrelay": f"dbname = {database}",
        }
        for name in names:
            text = (_SNIPPETS / name).read_text()
            for usual, here in places.items():
                text = text.replace(usual, here)
            (self.folder / name).write_text(text)
        settings = (_OLD if is_old else _NEW) + _SETTINGS
        self._settings.write_text(settings.format(folder=self.folder, snippet=names[0]))

    @property
    def log_text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self, postfix: Postfix) -> None:
        """Run it; returns when Postfix can ask it."""
        self._pid.write(spawn(["dovecot", "-F", "-c", str(self._settings)], self._log))
        socket = postfix.queue / "private" / "auth"
        try:
            wait_until(socket.is_socket, "Dovecot to listen", 20)
        except Trouble as error:
            raise Trouble(f"{error}\n{self.log_text}") from error

    def accepts(self, service: str, login: str, password: str) -> bool:
        """Whether one may log in to a service, such as `smtp` or `imap`."""
        command = ["doveadm", "-c", str(self._settings), "auth", "test", "-x", f"service={service}", login, password]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "auth succeeded" not in done.stdout and "auth failed" not in done.stdout:
            raise Trouble(f"doveadm says neither yes nor no:\n{done.stdout}{done.stderr}")
        return done.returncode == 0

    def stop(self) -> None:
        """End it; returns when it is gone. Its children go with it."""
        self._pid.stop()
