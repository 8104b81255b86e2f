"""The sandbox as the system tests use it: mail in, mail out, trouble, and the books afterwards."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import make_msgid
from pathlib import Path
from typing import Any

import psycopg

from tests.system.commands import Commands
from tools.sandbox import ports, show, zone
from tools.sandbox.process import Trouble, run, wait_until
from tools.sandbox.sandbox import ROLES, CliResult, Sandbox
from tools.sandbox.sender import Dispatch
from tools.sandbox.show import Arrived

_SETTLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to send, and the Message-ID by which it is found again."""

    content: bytes
    message_id: bytes


class World:
    """The sandbox as tests use it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.dispatches: list[Dispatch] = []
        self._known: dict[Path, Arrived] = {}
        self._commands = Commands(sandbox.places.config)

    def close(self) -> None:
        self._commands.close()

    # --- mail in, mail out -----------------------------------------------------------------------------------------

    def send(self, sender: str, *recipients: str, content: bytes | None = None, **options: Any) -> Dispatch:
        """One transaction with the public smtpd; options as Mailer.send has them. The ledger is held to it later."""
        dispatch = self.sandbox.mailer.send(sender, recipients, content, **options)
        self.dispatches.append(dispatch)
        return dispatch

    def arrivals(self, *, to: str | None = None, containing: bytes | None = None) -> list[Arrived]:
        """What reached the outside world so far for this envelope recipient, with these bytes somewhere in it."""
        return [
            message
            for message in map(self._read, self._outside())
            if (to is None or to in message.recipients) and (containing is None or containing in message.content)
        ]

    def _outside(self) -> list[Path]:
        folder = self.sandbox.places.outside
        return [folder / name for name in sorted(os.listdir(folder)) if name[0].isdigit() and name.endswith(".eml")]

    def _read(self, path: Path) -> Arrived:
        """Each file once: they appear whole, and tests look again and again, in the end through thousands."""
        if path not in self._known:
            self._known[path] = show.read(path)
        return self._known[path]

    def arrived(
        self, count: int = 1, *, to: str | None = None, containing: bytes | None = None, seconds: float = 60.0
    ) -> list[Arrived]:
        """Wait until so many have come; fails if that takes too long or more have come by then."""
        found: list[Arrived] = []

        def enough() -> bool:
            found[:] = self.arrivals(to=to, containing=containing)
            return len(found) >= count

        wait_until(enough, f"{count} messages to={to} containing={containing!r}", seconds)
        assert len(found) == count, [message.path.name for message in found]
        return found

    def message(
        self, subject: str = "hello", body: str = "Good morning.\r\n", sender: str = "news@shop.example"
    ) -> Mail:
        """A small message with a Message-ID of its own."""
        name = make_msgid(domain="shop.example")
        head = f"From: {sender}\r\nTo: somebody@alias.example\r\nSubject: {subject}\r\nMessage-ID: {name}\r\n"
        return Mail((head + "Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\n" + body).encode(), name.encode())

    def signatures(self, message: Arrived) -> dict[str, str]:
        """Verdict per signing domain and selector, as `shop.example/sandbox`: `valid`."""
        found = show.signatures(message.content, self.sandbox.memory.ports["dns"])
        return {f"{each.domain}/{each.selector}": each.verdict for each in found}

    def publish(self, records: str) -> None:
        """Add lines to the zone, their names relative to `.example`. Nobody may have asked for them before."""
        zone_file = self.sandbox.places.zone
        zone_file.write_text(zone.with_records(zone_file.read_text(), records))
        self.sandbox.reload_dns()

    # --- the product -----------------------------------------------------------------------------------------------

    def cli(self, *arguments: str, stdin: str = "") -> Any:
        """Carry out a command that must succeed; its JSON result, None if it prints nothing."""
        done = self._commands.run(("--json", *arguments), stdin)
        if done.code != 0:
            raise Trouble(
                f"`mailrelay {' '.join(arguments)}` ended with status {done.code}:\n{done.remarks or done.out}"
            )
        return done.json() if done.out.strip() else None

    def cli_fails(self, *arguments: str, stdin: str = "") -> CliResult:
        """Carry out a command that must not succeed."""
        done = self.sandbox.cli(*arguments, stdin=stdin, expect=None)
        assert done.code != 0, done.out
        return done

    def rows(self, sql: str) -> list[list[str]]:
        """Rows of a statement on the product's database, each value as text, '' for null."""
        with psycopg.connect(self.sandbox.dsn, autocommit=True) as connection:
            result = connection.execute(sql.encode()).pgresult
            assert result is not None  # a statement was carried out
            cells = [
                [result.get_value(row, column) or b"" for column in range(result.nfields)]
                for row in range(result.ntuples)
            ]
            return [[cell.decode() for cell in row] for row in cells]

    def outcomes(self, queue_id: str) -> list[tuple[str, str, str]]:
        """Recipient, outcome and reason of each ledger row of a message, in the order of recipients."""
        assert re.fullmatch(r"[0-9A-Za-z]+", queue_id)
        where = f"where queue_id = '{queue_id}' order by rcpt, id"
        found = self.rows(f"select rcpt, outcome, coalesce(reason, '') from ledger {where}")
        return [(rcpt, outcome, reason) for rcpt, outcome, reason in found]

    # --- trouble ---------------------------------------------------------------------------------------------------

    def kill(self, role: str) -> None:
        """SIGKILL; the supervisor starts it again."""
        self.sandbox.supervised.signal(role, signal.SIGKILL)

    @contextmanager
    def without_role(self, role: str) -> Iterator[None]:
        """The role is down within the block and healthy again after it."""
        self.sandbox.supervised.hold(role)
        try:
            yield
        finally:
            self.sandbox.supervised.release(role)
            self.sandbox.wait_healthy(role)

    @contextmanager
    def without_outside(self) -> Iterator[None]:
        """Within the block nobody else on the internet can be reached."""
        supervised, port = self.sandbox.supervised, self.sandbox.memory.ports["outside"]
        supervised.hold("outside")
        try:
            wait_until(lambda: not ports.answers(port), "the outside world to end")
            yield
        finally:
            supervised.release("outside")
            wait_until(lambda: ports.answers(port), "the outside world to listen")

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """PostgreSQL is down within the block; all roles are well again after it."""
        self.sandbox.postgres.stop()
        try:
            yield
        finally:
            self.sandbox.postgres.start()
            for role in ROLES:
                self.sandbox.wait_healthy(role)

    @contextmanager
    def without_submission(self) -> Iterator[None]:
        """Nobody listens where copies are handed back to Postfix."""
        postfix, port = self.sandbox.postfix, self.sandbox.memory.ports["submit"]
        master = postfix.etc / "master.cf"
        before = master.read_bytes()
        postfix.postconf("-M#", f"127.0.0.1:{port}/inet")
        postfix.reload()
        try:
            wait_until(lambda: not ports.answers(port), "the submission listener to close")
            yield
        finally:
            master.write_bytes(before)
            postfix.reload()
            wait_until(lambda: ports.answers(port), "the submission listener to open")

    # --- afterwards ------------------------------------------------------------------------------------------------

    def repair(self) -> None:
        """Bring back whatever a failed test left down."""
        for role in ROLES:
            self.sandbox.supervised.release(role)
        self.sandbox.supervised.release("outside")
        self.sandbox.postgres.start()
        self.sandbox.postfix.start()
        for role in ROLES:
            self.sandbox.wait_healthy(role)

    def drop_queue(self) -> None:
        """Throw away what Postfix still holds, such as mail for later*@."""
        run(["postsuper", "-c", str(self.sandbox.postfix.etc), "-d", "ALL"])

    def settle(self, seconds: float = _SETTLE_SECONDS) -> None:
        """Wait until Postfix holds no mail any more."""
        self.sandbox.postfix.flush()
        try:
            wait_until(self.sandbox.postfix.empty, "Postfix to hold no mail", seconds)
        except Trouble as error:
            listed = run(["postqueue", "-c", str(self.sandbox.postfix.etc), "-p"])
            raise AssertionError(f"{error}:\n{listed}") from error

    def check_ledger(self) -> None:
        """accepted = delivered + failed + discarded + held + queued, nothing queued, nobody forgotten."""
        wait_until(
            lambda: self.rows("select count(*) from ledger where outcome = 'queued'") == [["0"]], "open outcomes"
        )
        for dispatch in self.dispatches:
            if not dispatch.queue_id:
                continue
            accepted = {_address(reply.command).lower() for reply in dispatch.recipients if reply.accepted}
            recorded = {rcpt for rcpt, outcome, _ in self.outcomes(dispatch.queue_id) if outcome != "refused"}
            assert len(recorded) == len(accepted), (dispatch.queue_id, accepted, recorded)
        self.dispatches.clear()


def _address(command: str) -> str:
    return command.partition("<")[2].rpartition(">")[0]
