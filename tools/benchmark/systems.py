"""The systems that are compared: each a private Postfix of its own, and all with the same sink."""

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.benchmark.population import CLASSIC, DOMAIN, RULES
from tools.benchmark.traffic import mortal
from tools.sandbox import ports
from tools.sandbox.postfix import Instance, sandbox_settings
from tools.sandbox.postgres import Cluster
from tools.sandbox.process import Trouble, run, wait_until

PLAIN, TWO_PASSES, CLASSIC_SET_UP, PRODUCT, FULL = "plain", "two-passes", "classic", "mailrelay", "all-checks"
RULED = "rules"  # FULL again, with mail for accounts that have rules
WATCHED = "mail-log"  # FULL with the mail log read, hence every message spooled until it has arrived
TITLES = {
    PLAIN: "plain Postfix relay",
    TWO_PASSES: "two Postfix passes, nothing between",
    CLASSIC_SET_UP: "classic: pgsql maps + SRS daemon",
    PRODUCT: "mailrelay",
    FULL: "mailrelay, all checks",
    RULED: f"mailrelay, all checks, {RULES} rules",
    WATCHED: "mailrelay, all checks, mail log",
}


@dataclass(frozen=True, slots=True)
class System:
    """port: of its public smtpd. helpers: pids of what works for it beside Postfix, by name."""

    key: str
    port: int
    postfix: Instance
    helpers: Callable[[], Mapping[str, int]]

    @property
    def title(self) -> str:
        return TITLES[self.key]

    def roots(self) -> dict[str, int]:
        """The pid of each part."""
        master = self.postfix.pid
        if master is None:
            raise Trouble(f"Postfix of `{self.title}` does not run; see {self.postfix.maillog}")
        return {"postfix": master, **self.helpers()}


def settings(sink_port: int) -> dict[str, str]:
    """What all systems have in common: stock values but for the sandbox's, which make loopback an internet."""
    # Queue ids that are never used twice, so that the log tells messages apart.
    return {**sandbox_settings(sink_port), "enable_long_queue_ids": "yes"}


def plain(folder: Path, sink_port: int) -> System:
    """One pass through the queue: the floor."""
    return _started(PLAIN, folder, sink_port, {"relay_domains": DOMAIN})


def two_passes(folder: Path, sink_port: int) -> System:
    """A content filter that does nothing: out of the queue, and in again on a second listener."""
    (back,) = ports.pick(1)
    system = _created(
        TWO_PASSES, folder, sink_port, {"relay_domains": DOMAIN, "content_filter": f"smtp:[127.0.0.1]:{back}"}
    )
    options = (
        *("content_filter=", "mynetworks=127.0.0.0/8", "smtpd_recipient_restrictions=permit_mynetworks,reject"),
        "receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters",
    )
    name = f"127.0.0.1:{back}"
    system.postfix.postconf("-Me", f"{name}/inet={name} inet n - n - - smtpd" + "".join(f" -o {o}" for o in options))
    system.postfix.start()
    return system


_PGSQL = """\
hosts = unix:{folder}
user = {user}
dbname = {database}
query = select goto from alias where address = '%s'
"""


def classic(folder: Path, sink_port: int, cluster: Cluster, srs: "SrsDaemon") -> System:
    """What a mail admin builds by hand: virtual aliases in PostgreSQL, return paths by an SRS daemon."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "aliases.cf"
    user = re.search(r"user=(\S+)", cluster.dsn(CLASSIC))
    assert user is not None  # a cluster always names it
    table.write_text(_PGSQL.format(folder=cluster.folder, user=user[1], database=CLASSIC))
    added = {"virtual_alias_domains": DOMAIN, "virtual_alias_maps": f"proxy:pgsql:{table}", **srs.settings}
    postgres, pid = cluster.pid, srs.pid
    assert postgres is not None  # it was filled a moment ago
    return _started(CLASSIC_SET_UP, folder, sink_port, added, lambda: {"postgresql": postgres, "srs": pid})


def _created(
    key: str,
    folder: Path,
    sink_port: int,
    added: Mapping[str, str],
    helpers: Callable[[], Mapping[str, int]] = dict,
) -> System:
    (port,) = ports.pick(1)
    postfix = Instance(folder)
    postfix.create(port, {**settings(sink_port), **added})
    return System(key, port, postfix, helpers)


def _started(
    key: str, folder: Path, sink_port: int, added: Mapping[str, str], helpers: Callable[[], Mapping[str, int]] = dict
) -> System:
    system = _created(key, folder, sink_port, added, helpers)
    system.postfix.start()
    return system


_SRS_2 = """\
srs-domain = "srs.relay.example"
domains = {{ "relay.example" }}
secrets-file = "{secret}"
socketmap = "inet:127.0.0.1:{port}"
unprivileged-user = ""
chroot-dir = ""
"""


class SrsDaemon:
    """postsrsd on ports of its own and with a secret of its own; never the host's."""

    def __init__(self, folder: Path) -> None:
        secret = folder / "srs.secret"
        secret.write_text("only for measurements\n")
        secret.chmod(0o644)  # the daemon is nobody, and this is no secret
        first, second = ports.pick(2)
        if _srs_version() >= 2:
            file = folder / "postsrsd.conf"
            file.write_text(_SRS_2.format(secret=secret, port=first))
            argv, tables = ["postsrsd", "-C", str(file)], [f"socketmap:inet:127.0.0.1:{first}:{m}" for m in _MAPS]
        else:
            argv = ["postsrsd", "-4", "-s", str(secret), "-d", "srs.relay.example", "-f", str(first), "-r", str(second)]
            tables = [f"tcp:127.0.0.1:{port}" for port in (first, second)]
        # As the package's own instructions have it.
        self.settings = {
            "sender_canonical_maps": tables[0],
            "sender_canonical_classes": "envelope_sender",
            "recipient_canonical_maps": tables[1],
            "recipient_canonical_classes": "envelope_recipient,header_recipient",
        }
        with (folder / "srs.log").open("wb") as output:
            self._process = subprocess.Popen(mortal(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        wait_until(lambda: ports.answers(first), f"postsrsd to listen (see {folder / 'srs.log'})")

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


_MAPS = ("forward", "reverse")


def _srs_version() -> int:
    """1 speaks Postfix' TCP table protocol, 2 speaks socketmap."""
    said = run(["postsrsd", "-v"])
    found = re.search(r"(\d+)\.\d", said)
    return int(found[1]) if found else 1
