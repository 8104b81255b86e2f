"""A private PostgreSQL: one cluster in one folder, reached through a unix socket by whoever may enter it."""

import os
import re
import shutil
import signal
from pathlib import Path

from tools.sandbox.process import Trouble, run, start_time, wait_until, working_folder

_SETTINGS = """
# The sandbox's own settings.
listen_addresses = ''
unix_socket_permissions = 0777
max_connections = 100
log_min_duration_statement = 1000
"""
# Nothing is lost when a process is killed; only the machine's own crash could hurt, and a sandbox may forget that.
_HASTY = "fsync = off\nfull_page_writes = off\n"
_COLUMN, _ROW = "\x1f", "\x1e"  # ASCII's own separators, as values hold every other character


def binaries() -> Path:
    """The folder with initdb and pg_ctl, of the newest PostgreSQL on this machine."""
    versions = sorted(
        (path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()),
        key=lambda path: float(path.parent.name),
    )
    if versions:
        return versions[-1]
    found = shutil.which("initdb")
    if found is None:
        raise Trouble("PostgreSQL's server is missing: install the package postgresql")
    return Path(found).parent


class Cluster:
    """folder: gets `data`, `log` and the socket. hasty: do not wait for the disk (not for measurements)."""

    def __init__(self, folder: Path, hasty: bool = False) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self._hasty = hasty
        self._user = "postgres" if os.geteuid() == 0 else None  # the server refuses to be root

    def dsn(self, database: str) -> str:
        user = self._user or os.environ.get("USER", "postgres")
        return f"host={self.folder} user={user} dbname={database}"

    @property
    def pid(self) -> int | None:
        """The postmaster, None if it does not run."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if start_time(pid) is not None and working_folder(pid) == self.data.resolve() else None

    def create(self) -> None:
        """Make the cluster if it is not there."""
        if (self.data / "PG_VERSION").exists():
            return
        self.folder.mkdir(mode=0o755, exist_ok=True)
        self.folder.chmod(0o755)
        if self._user:
            shutil.chown(self.folder, self._user, self._user)
        # An attempt that was interrupted leaves a folder without a version, which initdb would refuse.
        half = self.folder / "data.new"
        if half.exists():
            shutil.rmtree(half)
        self._run("initdb", "-D", str(half), "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        with (half / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS + f"unix_socket_directories = '{self.folder}'\n")
            settings.write(_HASTY if self._hasty else "")
        half.rename(self.data)

    def start(self, seconds: float = 60.0) -> None:
        """Run the server and return when it answers."""
        if self.pid is None:
            # The children of a killed server need a moment to notice, and it cannot start before.
            wait_until(self._try_start, f"PostgreSQL to start (see {self.log})", seconds, pause=0.2)
        wait_until(self._ready, f"PostgreSQL to answer (see {self.log})", seconds)

    def stop(self) -> None:
        """End the server at once, sessions included; returns when it is gone."""
        if self.pid is not None:
            self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w", "-t", "60")

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out; returns when it is gone."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: start_time(pid) is None, "the killed PostgreSQL to be gone")

    def create_database(self, name: str) -> bool:
        """True if it was not there."""
        if [name] in self.rows("select datname from pg_database"):
            return False
        self._run("createdb", "-h", str(self.folder), name)
        return True

    def query(self, sql: str, database: str = "postgres", *options: str) -> str:
        """What psql prints for a statement: a line per row, columns separated by `|`."""
        where = ("-h", str(self.folder), "-d", database)
        return self._run("psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", *options, *where, "-c", sql)

    def rows(self, sql: str, database: str = "postgres") -> list[list[str]]:
        """Rows of a statement, each value as psql writes it: `t` for true, nothing for null."""
        text = self.query(sql, database, "-F", _COLUMN, "-R", _ROW).removesuffix("\n")
        return [row.split(_COLUMN) for row in text.split(_ROW)] if text else []

    def _try_start(self) -> bool:
        before = self.log.stat().st_size if self.log.exists() else 0
        try:
            self._run("pg_ctl", "start", "-D", str(self.data), "-l", str(self.log), "-w", "-t", "60")
        except Trouble as error:
            said = self.log.read_bytes()[before:].decode(errors="replace") if self.log.exists() else ""
            if re.search(r"still in use|lock file|starting up", said):
                return False
            raise Trouble(f"{error}\n{said[-2000:]}") from error
        return True

    def _ready(self) -> bool:
        try:
            return self.query("select 1").strip() == "1"
        except Trouble:
            return False

    def _run(self, program: str, *arguments: str) -> str:
        return run([str(binaries() / program), *arguments], user=self._user)
