"""The people of the mail specification's test cases (section 12), and the looks that many of those tests take.

User U (`u1`) has recipients r1 (verified, default), r2 (verified) and r3 (unverified); aliases a1, off, gone and both;
the domains MINE (catch-all) and RX (expression `^prefix`). Tests that change what belongs to an account make a person
of their own. After each test nothing may have told anybody's mailbox to anybody else.
"""

import functools
import itertools
import re
import smtplib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.system.world import Mail, World
from tools.sandbox import outside, ports, show
from tools.sandbox.process import Trouble, run, wait_until
from tools.sandbox.sandbox import ROLES
from tools.sandbox.sender import Dispatch, Reply, neighbour_of, sign
from tools.sandbox.show import Arrived

SHARED, MINE, RX = "alias.example", "mine.example", "rx.example"
R1, R2, R3 = "real@inbox.example", "second@inbox2.example", "third@inbox3.example"
NEWS = "news@shop.example"

ACCEPTED = "250"
UNKNOWN = "550 5.1.1 Address does not exist"
TEMPORARY = "451 4.3.0 Temporary look-up failure"

NOTICE = b"<notifications@relay.example>"
_AROUND_TEXT = re.compile(r"<[^\n]*>: Recipient address rejected: ")
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Person:
    """An account. mailbox: its default recipient."""

    account: int
    name: str
    mailbox: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was accepted, and by what its copies are known."""

    dispatch: Dispatch
    message_id: bytes

    @property
    def queue_id(self) -> str:
        return self.dispatch.queue_id


@dataclass(slots=True)
class Scenario:
    """What the tests do with the world. said: every reply of the public smtpd, for the look for leaks.

    last_job: of those that tests before this one left behind.
    """

    world: World
    u: Person
    said: list[Reply] = field(default_factory=list)
    mailboxes: set[str] = field(default_factory=lambda: {R1, R2, R3})
    last_job: int = 0

    # --- the database ----------------------------------------------------------------------------------------------

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Carry out one statement on the product's database."""
        with psycopg.connect(self.world.sandbox.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *values: Any) -> Any:
        """The one value of a one-row statement."""
        ((found,),) = self.sql(statement, *values)
        return found

    def person(self, mailbox: str | None = None, verified: bool = True, **columns: Any) -> Person:
        """A new account with one recipient. columns: of the account."""
        number = next(_numbers)
        name, mailbox = f"person{number}", mailbox or f"private.{number}@inbox.example"
        with psycopg.connect(self.world.sandbox.dsn) as connection:
            account = _inserted(connection, "account", {"name": name, **columns})
            recipient = _recipient(connection, account, mailbox, verified)
            connection.execute("update account set default_recipient_id = %s where id = %s", (recipient, account))
        self.mailboxes.add(mailbox)
        return Person(account, name, mailbox)

    def recipient(self, person: Person, mailbox: str, verified: bool = True) -> int:
        """One more recipient."""
        self.mailboxes.add(mailbox)
        with psycopg.connect(self.world.sandbox.dsn) as connection:
            return _recipient(connection, person.account, mailbox, verified)

    def alias(self, person: Person, *mailboxes: str, domain: str = SHARED, **columns: Any) -> str:
        """A new alias with these recipients attached, known or new ones. columns: of the alias."""
        address = f"{columns.pop('local_part', f'alias{next(_numbers)}')}@{domain}"
        values = {"account_id": person.account, "local_part": address.partition("@")[0], "domain": domain, **columns}
        known = dict(self.sql("select address, id from recipient where account_id = %s", person.account))
        recipients = [known[box] if box in known else self.recipient(person, box) for box in mailboxes]
        with psycopg.connect(self.world.sandbox.dsn) as connection:
            alias = _inserted(connection, "alias", values)
            for order, recipient in enumerate(recipients):
                connection.execute(
                    "insert into alias_recipient (alias_id, recipient_id, created_at)"
                    " values (%s, %s, now() + %s * interval '1 microsecond')",
                    (alias, recipient, order),
                )
        return address

    def domain(self, person: Person, **columns: Any) -> str:
        """A new verified domain of a person; returns when Postfix takes it for ours."""
        name = str(columns.pop("name", f"domain{next(_numbers)}.example"))
        with psycopg.connect(self.world.sandbox.dsn) as connection:
            values = {"name": name, "account_id": person.account, "verified_at": "now", **columns}
            _inserted(connection, "domain", values)
        self.await_domain(name)
        return name

    def await_domain(self, name: str) -> None:
        """Return when Postfix takes a domain for ours. An smtpd remembers answers, so each question is a new one."""
        wait_until(
            lambda: not self.answer(f"probe{next(_numbers)}+@{name}").startswith("454"), f"{name} to be served here"
        )

    def set_alias(self, address: str, column: str, value: Any) -> None:
        local, _, domain = address.partition("@")
        self.sql(f"update alias set {column} = %s where local_part = %s and domain = %s", value, local, domain)

    def of_alias(self, address: str, columns: str) -> tuple[Any, ...]:
        """Columns of an alias row; fails if there is none."""
        (row,) = self.sql(f"select {columns} from alias where local_part || '@' || domain = %s", address)
        return row

    def alias_exists(self, address: str) -> bool:
        return bool(self.sql("select id from alias where local_part || '@' || domain = %s", address))

    # --- the dialogue ----------------------------------------------------------------------------------------------

    def ask(self, sender: str, *rcpts: str, client: str | None = None) -> list[str]:
        """What RCPT says to each recipient of a transaction that ends there: `250`, or code and text."""
        with smtplib.SMTP(
            *self.world.sandbox.mailer.smtp,
            local_hostname="mx.outside.example",
            source_address=(neighbour_of(sender).address, 0),
            timeout=60,
        ) as session:
            session.command_encoding = "utf-8"
            if client is not None:
                session.ehlo()
                self._say(session, f"XCLIENT ADDR={'IPV6:' if ':' in client else ''}{client}", 220)
            session.ehlo()
            utf8 = "" if "".join([sender, *rcpts]).isascii() else " SMTPUTF8"
            self._say(session, f"MAIL FROM:<{sender}>{utf8}", 250)
            return [plain(self._say(session, f"RCPT TO:<{rcpt}>")) for rcpt in rcpts]

    def answer(self, rcpt: str, sender: str = NEWS, client: str | None = None) -> str:
        """What RCPT says to one recipient."""
        return self.ask(sender, rcpt, client=client)[0]

    def answers(self, expected: str, rcpt: str, sender: str = NEWS, client: str | None = None) -> None:
        """Wait until RCPT says so: a change reaches the policy role a moment after it is made."""
        last = ""

        def so() -> bool:
            nonlocal last
            last = self.answer(rcpt, sender, client)
            return last.startswith(expected) if expected != ACCEPTED else last == ACCEPTED

        wait_until(so, f"{expected!r} for {rcpt}", 15)

    def remember(self, *rcpts: str) -> None:
        """Ask until the policy role answers from memory. What it reads while something changes it does not keep."""
        for rcpt in rcpts:

            def from_memory(rcpt: str = rcpt) -> bool:
                before = self._hits()
                return self.answer(rcpt) == ACCEPTED and self._hits() > before

            wait_until(from_memory, f"{rcpt} to be remembered")

    def _hits(self) -> float:
        found = re.search(
            r'(?m)^mailrelay_cache_lookups_total\{result="hit"\} (\S+)', self.world.sandbox.metrics("policy")
        )
        return float(found[1]) if found else 0.0

    def _say(self, session: smtplib.SMTP, command: str, expected: int | None = None) -> Reply:
        code, text = session.docmd(command)
        reply = Reply(command, code, text.decode(errors="replace"))
        self.said.append(reply)
        assert expected in (None, code), str(reply)
        return reply

    # --- mail ------------------------------------------------------------------------------------------------------

    def send(self, *rcpts: str, sender: str = NEWS, mail: Mail | None = None, **options: Any) -> Sent:
        """A message that is accepted for all recipients."""
        mail = mail or self.world.message(sender=sender or "MAILER-DAEMON@shop.example")
        dispatch = self.world.send(sender, *rcpts, content=mail.content, **options)
        assert dispatch.accepted, (dispatch.recipients, dispatch.data)
        return Sent(dispatch, mail.message_id)

    def signed(self, mail: Mail, domain: str = "shop.example") -> Mail:
        """The message with a neighbour's signature, for whichever envelope sender."""
        return Mail(sign(mail.content, domain, self.world.sandbox.places.keys), mail.message_id)

    def refused(self, sender: str, *rcpts: str, mail: Mail | None = None, **options: Any) -> str:
        """What is said at the end of a message whose recipients were accepted, as code and text; it is not taken."""
        dispatch = self.world.send(sender, *rcpts, content=(mail or self.world.message()).content, **options)
        assert all(reply.accepted for reply in dispatch.recipients), dispatch.recipients
        assert dispatch.data is not None and not dispatch.data.accepted, dispatch.data
        return f"{dispatch.data.code} {dispatch.data.text}"

    def refusals(self, rcpt: str) -> list[str]:
        """Reasons why mail for this recipient was refused, from the ledger."""
        return [
            reason
            for (reason,) in self.sql(
                "select reason from ledger where rcpt = %s and outcome = 'refused' order by id", rcpt
            )
        ]

    def copies(self, sent: Sent, *mailboxes: str) -> list[Arrived]:
        """Wait until all is delivered: one copy went to each of these mailboxes, and none to anybody else."""
        self.world.sandbox.postfix.flush()  # after a reload the queue manager sleeps until somebody wakes it
        if mailboxes:
            self.world.arrived(len(mailboxes), containing=sent.message_id)
        self.world.settle()
        found = self.world.arrivals(containing=sent.message_id)
        assert sorted(copy.recipients for copy in found) == sorted((mailbox,) for mailbox in mailboxes)
        return sorted(found, key=lambda copy: mailboxes.index(copy.recipients[0]))

    # --- what became of it -----------------------------------------------------------------------------------------

    def becomes(self, queue_id: str, expected: Sequence[tuple[str, str, str]]) -> None:
        """Wait until the ledger says so: (recipient, outcome, reason) of each row."""
        with suppress(Trouble):  # the assertion shows the difference
            wait_until(lambda: sorted(self.world.outcomes(queue_id)) == sorted(expected), "the ledger")
        assert sorted(self.world.outcomes(queue_id)) == sorted(expected)

    def eventually(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        wait_until(condition, what, seconds)

    @contextmanager
    def submission_with(self, *options: str) -> Iterator[None]:
        """The loopback listener behaves differently within the block. options: `name = value` for its smtpd."""
        postfix, port = self.world.sandbox.postfix, self.world.sandbox.memory.ports["submit"]
        master = postfix.etc / "master.cf"
        before = master.read_bytes()
        more = "".join(f"    -o {{ {option} }}\n" for option in options)
        text, found = re.subn(rf"(?m)^(127\.0\.0\.1:{port} .*\n(?:[ \t].*\n)*)", rf"\g<1>{more}", before.decode())
        assert found == 1
        master.write_text(text)
        self._restart_submission()
        try:
            yield
        finally:
            master.write_bytes(before)
            self._restart_submission()

    @contextmanager
    def postfix_with(self, **settings: str) -> Iterator[None]:
        """Postfix has these settings within the block, for mail that comes in and goes out within it."""
        postfix = self.world.sandbox.postfix
        main = postfix.etc / "main.cf"
        before = main.read_bytes()
        postfix.postconf("-e", *(f"{name} = {value}" for name, value in settings.items()))
        postfix.reload()
        try:
            yield
        finally:
            main.write_bytes(before)
            postfix.reload()

    @contextmanager
    def answering(self, reply: str, *mailboxes: str) -> Iterator[None]:
        """The hosts of these mailboxes give this reply to mail for them, within the block."""
        file = self.world.sandbox.places.outside / outside.ANSWERS
        before = file.read_text() if file.exists() else ""
        _replace(file, before + "".join(f"{mailbox} {reply}\n" for mailbox in mailboxes))
        try:
            yield
        finally:
            _replace(file, before)

    def _restart_submission(self) -> None:
        """Reload, and end kept connections: an old smtpd would finish those under the old rules."""
        postfix, port = self.world.sandbox.postfix, self.world.sandbox.memory.ports["submit"]
        postfix.reload()
        wait_until(lambda: ports.answers(port), "the submission listener to open")
        with self.world.without_role("lmtp"):
            pass

    def drop_mail(self, recipient: str) -> None:
        """Take a message for this recipient out of Postfix' queue."""
        etc = str(self.world.sandbox.postfix.etc)
        listed = run(["postqueue", "-c", etc, "-j"])
        for line in listed.splitlines():
            if f'"address": "{recipient}"' in line:
                found = re.search(r'"queue_id": "(\w+)"', line)
                assert found is not None
                run(["postsuper", "-c", etc, "-d", found[1]])

    def _siblings(self, mailboxes: set[str]) -> set[str]:
        """The mailboxes of the accounts that have one of these."""
        account = "select account_id from recipient where address_folded = any (%s)"
        found = self.sql(f"select address_folded from recipient where account_id in ({account})", list(mailboxes))
        return {address for (address,) in found}

    # --- notifications ---------------------------------------------------------------------------------------------

    def notices(self, mailbox: str, code: str, about: str = "") -> list[EmailMessage]:
        """What the service itself has written to a mailbox so far. about: something that the text says."""
        found = [
            message_from_bytes(arrived.content, policy=policy.default)
            for arrived in self.world.arrivals(to=mailbox, containing=f"Feedback-ID: {code}:mailrelay".encode())
        ]
        return [message for message in found if about in text_of(message)]

    def notice(self, mailbox: str, code: str, about: str = "", seconds: float = 60.0) -> EmailMessage:
        """Wait for the one notification of this kind."""
        self.eventually(
            lambda: len(self.notices(mailbox, code, about)) > 0, f"{code} to {mailbox} about {about}", seconds
        )
        (message,) = self.notices(mailbox, code, about)
        return message

    # --- leaks -----------------------------------------------------------------------------------------------------

    def check_leaks(self, already: set[str]) -> None:
        """No mailbox in anything said to senders, nor in a message that went to somebody else.

        What we write to an owner may name the other mailboxes of the account.
        """
        replies = [*self.said, *_replies(self.world)]
        for mailbox in self.mailboxes:
            needle = mailbox.lower()
            told = [str(reply) for reply in replies if needle in reply.text.lower()]
            assert not told, f"{mailbox} was told to a sender: {told}"
        for path in sorted(self.world.sandbox.places.outside.glob("[0-9]*.eml")):
            if path.name in already:
                continue
            message = show.read(path)
            owners = {recipient.lower() for recipient in message.recipients}
            if NOTICE in message.content:
                owners |= self._siblings(owners)
            content = message.content.lower()
            leaked = [box for box in self.mailboxes if box.lower() not in owners and box.lower().encode() in content]
            assert not leaked, f"{path.name} for {owners} names {leaked}"


def _replace(file: Path, text: str) -> None:
    temporary = file.with_suffix(".new")
    temporary.write_text(text)
    temporary.rename(file)


def plain(reply: Reply) -> str:
    """`250`, or code, enhanced code and the text without what Postfix puts around it."""
    return ACCEPTED if reply.accepted else f"{reply.code} {_AROUND_TEXT.sub('', reply.text)}"


def _replies(world: World) -> Iterator[Reply]:
    for dispatch in world.dispatches:
        yield from (dispatch.sender, *dispatch.recipients)
        if dispatch.data is not None:
            yield dispatch.data


def _inserted(connection: "psycopg.Connection[Any]", table: str, values: dict[str, Any]) -> int:
    columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    statement = f"insert into {table} ({columns}) values ({marks}) returning id"
    row = connection.execute(statement.encode(), list(values.values())).fetchone()
    assert row is not None
    return int(row[0])


def _recipient(connection: "psycopg.Connection[Any]", account: int, mailbox: str, verified: bool) -> int:
    values = {"account_id": account, "address": mailbox, "verified_at": "now" if verified else None}
    return _inserted(connection, "recipient", values)


@functools.cache
def _user_u(world: World) -> Person:
    """User U of spec section 12, made once for the session by the commands an operator has."""
    cli = world.cli
    account = cli("account", "add", "u1", "--recipient", R1, "--verified")["id"]
    cli("recipient", "add", R2, "--account", "u1", "--verified")
    cli("recipient", "add", R3, "--account", "u1")
    cli("domain", "add", MINE, "--account", "u1", "--verified", "--catch-all")
    cli("domain", "add", RX, "--account", "u1", "--verified")
    cli("domain", "set", RX, "--regex", "^prefix")
    for name in ("a1", "off", "gone"):
        cli("alias", "add", f"{name}@{SHARED}", "--account", "u1")
    cli("alias", "pause", f"off@{SHARED}")
    cli("alias", "delete", f"gone@{SHARED}")
    cli("alias", "add", f"both@{SHARED}", "--to", R1, R2, "--account", "u1")
    person = Person(account, "u1", R1)
    for name in (MINE, RX):
        Scenario(world, person).await_domain(name)
    return person


def text_of(notice: EmailMessage) -> str:
    """What a notification says to who reads it without markup."""
    part = notice.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


@pytest.fixture(name="scenario")
def provide_scenario(world: World) -> Iterator[Scenario]:
    """The world with user U in it, looked over for leaks after the test. Test modules import it by this name."""
    already = {path.name for path in world.sandbox.places.outside.glob("[0-9]*.eml")}
    scenario = Scenario(world, _user_u(world))
    scenario.last_job = scenario.value("select coalesce(max(id), 0) from job")
    logs = {path: path.stat().st_size for path in world.sandbox.places.log.glob("*.log") if path.stem in ROLES}
    yield scenario
    scenario.check_leaks(already)
    for path, before in logs.items():
        with path.open("rb") as file:
            file.seek(before)
            written = file.read().lower()
        assert not [box for box in scenario.mailboxes if box.lower().encode() in written], (
            f"{path.name} names mailboxes"
        )
