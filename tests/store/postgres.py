"""A private PostgreSQL cluster for tests: unix socket only, in a folder of its own, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

# Nothing of it must survive a crash of the machine; speed matters.
_SETTINGS = """
listen_addresses = ''
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 100
jit = off
autovacuum = off
"""


def binaries() -> Path:
    """The folder with initdb and pg_ctl: of pg_config, or the newest that Debian's packages installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    pg_config = shutil.which("pg_config")
    if pg_config is None:
        raise RuntimeError("PostgreSQL is not installed: neither pg_config nor /usr/lib/postgresql/*/bin was found")
    return Path(subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that can be started and stopped, and hands out databases."""

    root: Path  # holds data/, log and the socket
    owner: str  # system user that the server runs as
    bin: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _operators: list[psycopg.Connection[tuple[object, ...]]] = field(default_factory=list)

    def dsn(self, database: str, user: str = "postgres") -> str:
        """Connection string of a database of this cluster."""
        return f"host={self.root} dbname={database} user={user}"

    def init(self) -> None:
        """Creates the files of the cluster."""
        data = self.root / "data"
        self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (data / "postgresql.conf").open("a") as conf:
            conf.write(f"{_SETTINGS}unix_socket_directories = '{self.root}'\n")

    def start(self) -> None:
        """Returns when connections are taken."""
        self._run("pg_ctl", "-D", str(self.root / "data"), "-l", str(self.root / "log"), "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """mode: smart, fast, or immediate, which is a crash."""
        for conn in self._operators:
            conn.close()
        self._run("pg_ctl", "-D", str(self.root / "data"), "-m", mode, "-w", "stop")

    def create(self, template: str = "template1") -> str:
        """Connection string of a new database, a copy of template, to which nobody may be connected."""
        name = f"test_{next(self._numbers)}"
        # Copied as files, as PostgreSQL 14 does anyway: to write them to the log as well costs more than a checkpoint.
        how = sql.SQL("strategy file_copy" if self._operator().info.server_version >= 150000 else "")
        statement = sql.SQL("create database {} template {} {}")
        self._operator().execute(statement.format(sql.Identifier(name), sql.Identifier(template), how))
        return self.dsn(name)

    def drop(self, dsn: str) -> None:
        """Removes a database, and whoever is still connected to it."""
        self._operator().execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database_of(dsn))))

    def _operator(self) -> psycopg.Connection[tuple[object, ...]]:
        """One connection for all databases: to connect takes a third of the time that it takes to make and drop one."""
        if not self._operators or self._operators[-1].closed:
            self._operators.append(psycopg.connect(self.dsn("postgres"), autocommit=True))
        return self._operators[-1]

    def _run(self, program: str, *arguments: str) -> None:
        """As the owner, who may not be able to enter our working directory. pg_ctl's server must not hold our pipes."""
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
        switch = {"user": self.owner, "group": pwd.getpwnam(self.owner).pw_gid, "extra_groups": []}
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(
                [self.bin / program, *arguments],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                **(switch if os.getuid() == 0 else {}),  # type: ignore[call-overload]
            )
            if result.returncode != 0:
                output.seek(0)
                raise RuntimeError(f"{program} failed: {output.read().decode(errors='replace')}")


def database_of(dsn: str) -> str:
    """The database's name in a connection string."""
    return str(conninfo_to_dict(dsn)["dbname"])


def _owner() -> str:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _roomy_memory() -> Path | None:
    """A file system in memory with room for a cluster, where a new database takes 20 ms instead of 500; or None."""
    memory = Path("/dev/shm")
    room = shutil.disk_usage(memory).free if memory.is_dir() and os.access(memory, os.W_OK) else 0
    return memory if room > 2 * 1024**3 else None


@contextmanager
def private_cluster() -> Iterator[Cluster]:
    """A running cluster; stopped and removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="mr-pg-", dir=_roomy_memory()))
    try:
        owner = _owner()
        shutil.chown(root, owner)
        cluster = Cluster(root, owner, binaries())
        cluster.init()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop("immediate")
    finally:
        shutil.rmtree(root, ignore_errors=True)
