"""A Postfix of the tests' own with our milter before its queue, beside the sandbox whose database and DNS it uses.

What passes goes to the sandbox's outside world as it would go to the LMTP role, ingress header and all.
"""

import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml

from mailrelay.core import ingress
from mailrelay.core.header import Message, split
from mailrelay.core.joining import Joining
from tests.system.private_postfix import join, private_postfix
from tools.sandbox import ports, show
from tools.sandbox.postfix import Instance, sandbox_settings
from tools.sandbox.process import wait_until
from tools.sandbox.sandbox import Sandbox, _product
from tools.sandbox.sender import Dispatch, Mailer

SERVICE = "mx.relay.example"


@dataclass(slots=True)
class MilterHost:
    """started: the milter's parent process; sock: where it listens; status: port of its status page."""

    sandbox: Sandbox
    postfix: Instance
    smtp_port: int
    config: Path
    sock: Path
    status: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def mailer(self) -> Mailer:
        return Mailer(("127.0.0.1", self.smtp_port), self.sandbox.places.keys)

    # --- the milter ------------------------------------------------------------------------------------------------

    def start(self, roles: str = "milter") -> None:
        """Run it; returns when Postfix can find it."""
        log = self.sandbox.places.log / "milter.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*_product(), "serve", roles],
                env={**os.environ, "MAILRELAY_CONFIG": str(self.config)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_until(lambda: self.health() == 200 or self._dead(), "the milter to be healthy")
        assert not self._dead(), log.read_text()[-3000:]
        assert self.sock.is_socket()

    def _dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def health(self) -> int:
        """Status of /healthz, 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.status}/healthz", timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def metrics(self) -> str:
        """The text of /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status}/metrics", timeout=10) as response:
            text: bytes = response.read()
        return text.decode()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(30)
        self.process = None
        return status

    def workers(self) -> list[int]:
        """The pids of the processes below it."""
        assert self.process is not None
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def configure(self, **sections: dict[str, Any]) -> None:
        """Change sections of the settings."""
        document = yaml.safe_load(self.config.read_text())
        for name, values in sections.items():
            document[name] = {**document.get(name, {}), **values}
        self.config.write_text(yaml.safe_dump(document))

    # --- mail ------------------------------------------------------------------------------------------------------

    def send(self, sender: str, *rcpts: str, content: bytes | None = None, **options: Any) -> Dispatch:
        return self.mailer.send(sender, rcpts, content, **options)

    def said(self, sender: str, *rcpts: str, content: bytes | None = None, **options: Any) -> str:
        """The answer at the end of the message: `250`, or code, enhanced code and text."""
        reply = self.send(sender, *rcpts, content=content, **options).data
        assert reply is not None
        return "250" if reply.accepted else f"{reply.code} {reply.text}"

    def passed(self, mark: bytes) -> Message:
        """The message with these bytes somewhere, as it left the queue."""
        found: list[bytes] = []

        def there() -> bool:
            files = self.sandbox.places.outside.glob("[0-9]*.eml")
            found[:] = [message.content for message in map(show.read, files) if mark in message.content]
            return bool(found)

        wait_until(there, f"{mark!r} to arrive")
        return split(found[0])

    def told(self, message: Message) -> ingress.Ingress:
        """What the ingress header says; fails if it cannot be believed."""
        key = bytes.fromhex((self.sandbox.places.secrets / "ingress.key").read_text().split()[0])
        now = int(Path(self.sandbox.places.outside).stat().st_mtime)
        found = ingress.read(message, (key,), now, SERVICE)
        assert isinstance(found, ingress.Ingress), found
        return found

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.sandbox.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def refusals(self, rcpt: str) -> list[str]:
        """Reasons in the ledger."""
        rows = self.sql("select reason from ledger where rcpt = %s and outcome = 'refused' order by id", rcpt)
        return [row[0] for row in rows]


@contextmanager
def milter_host(sandbox: Sandbox) -> Iterator[MilterHost]:
    """A host that runs."""
    status, unused = ports.pick(2)
    outside = sandbox.memory.ports["outside"]
    domains = {"virtual_mailbox_domains": "alias.example", "virtual_transport": f"smtp:[127.0.0.1]:{outside}"}
    more = {"hopcount_limit": "1000", "mydestination": "", "default_transport": f"smtp:[127.0.0.1]:{outside}"}
    with private_postfix({**sandbox_settings(outside), **domains, **more}) as (postfix, port):
        sock = postfix.queue / "mailrelay" / "milter"
        config = postfix.folder / "mailrelay.yaml"
        document = yaml.safe_load(sandbox.places.config.read_text())
        document["milter"] = {"listen": f"unix:{sock}", "status": f"127.0.0.1:{status}", "processes": 2}
        document["dns"] = {"nameservers": [f"127.0.0.1:{sandbox.memory.ports['dns']}"]}
        config.write_text(yaml.safe_dump(document))
        address = sandbox.address
        join(
            postfix,
            Joining(
                address("policy"),
                address("socketmap"),
                address("lmtp"),
                f"127.0.0.1:{unused}",
                26_214_400,
                milter=f"unix:{sock}",
            ),
        )
        # Only the milters are looked at: what passes goes outside instead of to the LMTP role.
        postfix.postconf("-e", f"transport_maps = inline:{{ alias.example=smtp:[127.0.0.1]:{outside} }}")
        host = MilterHost(sandbox, postfix, port, config, sock, status)
        try:
            host.start()
            postfix.start()
            yield host
        finally:
            if host.process is not None:
                with suppress(ProcessLookupError):
                    host.stop()
