"""Mail that comes back: reports as other hosts write them, and what the service has on record of them."""

import re
from collections.abc import Iterator, Sequence
from email import message_from_bytes
from email.utils import make_msgid
from pathlib import Path
from typing import Any

import pytest

from tests.system.scenario import Person, Scenario, Sent
from tests.system.world import Mail
from tools.sandbox.show import Arrived

FAILURE = "Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user here\r\n"
_SAMPLES = Path(__file__).parents[1] / "data" / "bounces"


def refusing(scenario: Scenario, word: str = "refuse", **columns: Any) -> tuple[Person, str]:
    """Somebody whose only mailbox takes no mail, as the outside world tells by `word`, and an alias of theirs."""
    person = scenario.person(**columns)
    mailbox = f"{word}.{person.name}@inbox.example"
    scenario.sql("update recipient set address = %s where account_id = %s", mailbox, person.account)
    scenario.mailboxes.discard(person.mailbox)
    scenario.mailboxes.add(mailbox)
    person = Person(person.account, person.name, mailbox)
    return person, scenario.alias(person)


def with_another(scenario: Scenario, word: str = "refuse", **columns: Any) -> tuple[Person, str, str]:
    """Somebody with a mailbox that works, which hears what happens, and one that takes no mail, with an alias for it.

    Gives that mailbox as well.
    """
    person = scenario.person(**columns)
    mailbox = f"{word}.{person.name}@inbox.example"
    return person, mailbox, scenario.alias(person, mailbox)


def delivered(scenario: Scenario, alias: str, mailbox: str, **options: Any) -> tuple[Sent, Arrived]:
    """A message and the copy that arrived, whose sender is its return path."""
    sent = scenario.send(alias, **options)
    (copy,) = scenario.copies(sent, mailbox)
    return sent, copy


def report(groups: str = FAILURE, rcpt: str = "", returned: bytes = b"", words: str = "It did not arrive.") -> Mail:
    """A delivery report (RFC 3464) of a host that we do not know. groups: lines about its one recipient."""
    name = make_msgid(domain="mail.plain.example")
    end = f"end{name.partition('@')[0][1:]}"
    head = [
        "From: MAILER-DAEMON@mail.plain.example (Mail Delivery System)",
        "To: postmaster",
        "Subject: Undelivered",
        "Date: Sat, 21 Nov 2026 10:00:00 +0000",
        f"Message-ID: {name}",
        "MIME-Version: 1.0",
        "Auto-Submitted: auto-replied",
        f"Content-Type: multipart/report; report-type=delivery-status; boundary={end}",
        "",
        f"--{end}\r\nContent-Type: text/plain\r\n\r\n{words}\r\n",
        f"--{end}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.plain.example\r\n",
        f"Final-Recipient: rfc822; {rcpt}\r\n{groups}\r\n",
    ]
    back = f"--{end}\r\nContent-Type: message/rfc822\r\n\r\n".encode() + returned + b"\r\n" if returned else b""
    return Mail("\r\n".join(head).encode() + back + f"--{end}--\r\n".encode(), name.encode())


def sample(name: str, mailbox: str) -> Mail:
    """A report that another mail system wrote, from the collection of the tests of the parser, about this mailbox."""
    content = re.sub(rb"\r?\n", b"\r\n", next(_SAMPLES.glob(f"{name}*.eml")).read_bytes())
    content = content.replace(b"real@inbox.example", mailbox.encode())
    return Mail(content, str(message_from_bytes(content)["Message-ID"]).encode())


def returns(scenario: Scenario, path: str, mail: Mail, sender: str = "", outcome: str = "bounce_report") -> Sent:
    """Mail at a return path: accepted, and nothing of it goes anywhere."""
    sent = scenario.send(path, sender=sender, mail=mail)
    scenario.becomes(sent.queue_id, [(path.lower(), "discarded", outcome)])
    return sent


def records(scenario: Scenario, person: Person, count: int = 1) -> list[dict[str, Any]]:
    """The failed deliveries of an account, the latest first, as its operator sees them. Waits for so many."""
    number = "select count(*) from failed_delivery where account_id = %s"
    scenario.eventually(lambda: scenario.value(number, person.account) >= count, f"{count} failed deliveries")
    found: list[dict[str, Any]] = scenario.world.cli("failed", "list", "--account", person.name)
    assert len(found) == count, found
    return found


def record(scenario: Scenario, person: Person, kind: str = "F") -> dict[str, Any]:
    """The one failed delivery of this kind. Notifications about it may have failed as well."""
    number = "select id from failed_delivery where account_id = %s and email_type = %s"
    scenario.eventually(
        lambda: len(scenario.sql(number, person.account, kind)) > 0, f"a failed delivery of type {kind}"
    )
    found: dict[str, Any] = scenario.world.cli("failed", "show", str(scenario.value(number, person.account, kind)))
    return found


def copies_of(scenario: Scenario, sent: Sent) -> list[tuple[str, int]]:
    """Where the copies of a message went, and how often each was reported to have failed."""
    mine = "select outbound_id from ledger where queue_id = %s"
    found = scenario.sql(f"select destination, bounce_count from outbound where id in ({mine})", sent.queue_id)
    return sorted((str(destination), int(count)) for destination, count in found)


def of(record: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(record[name] for name in names)


def mistold(scenario: Scenario, already: Sequence[str]) -> list[str]:
    """Reports that left for the outside world, and whatever went back to somebody who wrote."""
    new = (one for one in scenario.world.arrivals() if one.path.name not in already)
    return [one.path.name for one in new if one.sender in ("", "<>") or b"delivery-status" in one.content.lower()]


def spool_files(scenario: Scenario) -> list[Path]:
    """What waits until its copies have arrived."""
    return [path for path in (scenario.world.sandbox.places.product_state / "spool").rglob("*") if path.is_file()]


def spooled(scenario: Scenario, sent: Sent) -> list[Path]:
    """The spool files of one message."""
    ids = scenario.sql(
        "select to_hex(outbound_id) from ledger where queue_id = %s and outbound_id is not null", sent.queue_id
    )
    names = {one.rjust(16, "0") for (one,) in ids}
    return [path for path in spool_files(scenario) if path.parent.name + path.name in names]


@pytest.fixture(name="silent", autouse=True)
def nobody_outside_is_told(scenario: Scenario) -> Iterator[None]:
    """After each test: no report has left, whoever wrote. Test modules import it by this name."""
    already = [one.path.name for one in scenario.world.arrivals()]
    yield
    assert mistold(scenario, already) == []
