"""What a copy looks like where it arrives: spec section 12.3 through a real Postfix, the row in each test's name."""

import email
import re
import subprocess
from datetime import UTC, datetime, timedelta
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses, parseaddr
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from tests.system.scenario import (
    NEWS,
    Person,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import Mail
from tools.sandbox.show import Arrived

SHOP = f'"Example Shop" <{NEWS}>'
FORMATS = [
    "Example Shop 'news at shop.example'",
    "Example Shop - news(a)shop.example",
    "Example Shop - shop.example",
    "Example Shop",
    "news at shop.example",
    "",
    "shop.example",
    "Example Shop 'news@shop.example'",
]
BOTH = {"alias.example/mr1": "valid", "alias.example/mr1e": "valid"}


def owner(scenario: Scenario, *mailboxes: str, forward_mode: str = "rewrite", **columns: Any) -> tuple[Person, str]:
    """Somebody new, and an alias. columns: of the account."""
    person = scenario.person(forward_mode=forward_mode, **columns)
    return person, scenario.alias(person, *mailboxes)


def letter(scenario: Scenario, *fields: str, body: str = "Good morning.\r\n", author: str = SHOP) -> Mail:
    """A message with these fields below the usual ones, of which To is none."""
    mail = scenario.world.message(sender=author)
    head = mail.content.partition(b"\r\n\r\n")[0].replace(b"To: somebody@alias.example\r\n", b"")
    more = "".join(f"{field}\r\n" for field in fields)
    return Mail(head + b"\r\n" + more.encode() + b"\r\n" + body.encode(), mail.message_id)


def received(scenario: Scenario, person: Person, address: str, mail: Mail, **options: Any) -> tuple[Arrived, Sent]:
    """The one copy of a message, and the message."""
    sent = scenario.send(address, mail=mail, **options)
    (copy,) = scenario.copies(sent, person.mailbox)
    return copy, sent


def reverse(address: str, contact: str) -> str:
    local, _, domain = address.partition("@")
    return f"{local}+{contact.replace('@', '=')}@{domain}"


def name_and_address(value: str) -> tuple[str, str]:
    """A mailbox of a field, its name decoded."""
    name, address = parseaddr(value)
    return str(make_header(decode_header(name))), address


def addresses(copy: Arrived, name: str) -> list[str]:
    return [address for _, address in getaddresses(header(copy, name)) if address]


def mode(copy: Arrived) -> list[str]:
    return header(copy, "X-Mailrelay-Mode")


# --- the author ----------------------------------------------------------------------------------------------------


def test_12_3_60_the_author_is_shown_as_each_owner_likes_it(scenario: Scenario) -> None:
    owners = [owner(scenario, display_from_format=number) for number in range(8)]
    sent = scenario.send(*(address for _, address in owners), mail=scenario.world.message(sender=SHOP))
    copies = scenario.copies(sent, *(person.mailbox for person, _ in owners))
    shown = [name_and_address(*header(copy, "From")) for copy in copies]
    assert [name for name, _ in shown] == FORMATS
    assert [address for _, address in shown] == [reverse(address, NEWS) for _, address in owners]
    assert all(scenario.world.signatures(copy) == BOTH for copy in copies)


def test_12_3_63_who_uses_reply_to_sees_the_alias_as_the_author(scenario: Scenario) -> None:
    person, address = owner(scenario, use_reply_to=True)
    copy, _ = received(scenario, person, address, scenario.world.message(sender=SHOP))
    assert name_and_address(*header(copy, "From")) == (FORMATS[0], address)
    assert addresses(copy, "Reply-To") == [reverse(address, NEWS)]


def test_12_3_64_a_domain_that_may_not_send_yet_is_not_in_from(scenario: Scenario) -> None:
    person = scenario.person(forward_mode="rewrite")
    address = f"x@{scenario.domain(person, catch_all=True)}"
    copy, _ = received(scenario, person, address, scenario.world.message(sender=SHOP))
    assert addresses(copy, "From") == ["relay@relay.example"]
    assert addresses(copy, "Reply-To") == [reverse(address, NEWS)]
    assert re.fullmatch(r"b-[a-z2-7]{34}@relay\.example", copy.sender)
    assert scenario.world.signatures(copy) == {"relay.example/mr1": "valid", "relay.example/mr1e": "valid"}
    assert scenario.ask("", copy.sender) == ["250"]


def test_12_3_71_a_long_author_gets_a_short_reverse_address_and_keeps_it(scenario: Scenario) -> None:
    person, address = owner(scenario)
    author = f"{'n' * 60}@shop.example"
    first, second = (
        received(scenario, person, address, scenario.world.message(sender=f"Shop <{author}>"))[0] for _ in range(2)
    )
    (found,) = addresses(first, "From")
    assert re.fullmatch(r"r-[a-z2-7]{16}@alias\.example", found)
    assert addresses(second, "From") == [found]
    known = "select address from contact where reverse_local_part || '@' || reverse_domain = %s"
    assert scenario.sql(known, found) == [(author,)]


# --- the others ----------------------------------------------------------------------------------------------------


def test_12_3_67_everybody_in_to_and_cc_is_answered_through_us(scenario: Scenario) -> None:
    person, address = owner(scenario)
    fields = [f"To: {address}", 'Cc: "Other, Customer" <other@elsewhere.example>,\r\n\tThird <x.y@third.example>']
    copy, _ = received(scenario, person, address, letter(scenario, *fields))
    assert addresses(copy, "To") == [address]
    assert addresses(copy, "Cc") == [reverse(address, "other@elsewhere.example"), reverse(address, "x.y@third.example")]
    assert [name for name, _ in getaddresses(header(copy, "Cc"))] == ["Other, Customer", "Third"]


def test_12_3_68_the_alias_joins_a_to_that_does_not_name_it(scenario: Scenario) -> None:
    person, address = owner(scenario)
    copy, _ = received(scenario, person, address, letter(scenario, "To: list@x.example"))
    assert addresses(copy, "To") == [reverse(address, "list@x.example"), address]


def test_12_3_69_an_own_mailbox_that_the_author_wrote_to_stays(scenario: Scenario) -> None:
    person, address = owner(scenario)
    copy, _ = received(scenario, person, address, letter(scenario, f"To: {address}, {person.mailbox}"))
    assert addresses(copy, "To") == [address, person.mailbox]


def test_12_3_70_of_eighty_addresses_fifty_are_rewritten_and_none_is_left(scenario: Scenario) -> None:
    person, address = owner(scenario)
    crowd = [f"n{number}@crowd.example" for number in range(80)]
    copy, _ = received(scenario, person, address, letter(scenario, "To: " + ",\r\n ".join(crowd)))
    assert addresses(copy, "To") == [*(reverse(address, one) for one in crowd[:50]), address]
    assert addresses(copy, "X-Mailrelay-Original-To") == crowd


# --- the body ------------------------------------------------------------------------------------------------------

_LONG = "Liebe Kundin, hier kommt Ihre Bestellung mit vielen schönen Dingen, die alle länger als eine Zeile sind."


def test_12_3_78_the_banner_is_in_both_parts_and_the_rest_decodes_as_before(scenario: Scenario) -> None:
    made = EmailMessage(policy=policy.SMTP)
    made.set_content(f"{_LONG}\n", cte="quoted-printable")
    made.add_alternative(f'<html><body class="x"><p>{_LONG}</p></body></html>\n', "html", cte="quoted-printable")
    head, _, body = made.as_string().partition("\r\n\r\n")
    person, address = owner(scenario, banner_location="top")
    copy, _ = received(scenario, person, address, letter(scenario, f"To: {address}", *head.split("\r\n"), body=body))
    assert b"=\r\n" in copy.body
    assert b"=\r\n" in copy.body
    assert b"=\n" not in copy.body.replace(b"=\r\n", b"")
    plain, html = email.message_from_bytes(copy.content, policy=policy.SMTP).iter_parts()
    said = f"This mail was sent to {address} by {NEWS}."
    text, page = (part.get_content().replace("\r\n", "\n") for part in (plain, html))
    assert text.startswith(f"----- mailrelay -----\n{said}\n")
    assert text.endswith(f"----- mailrelay -----\n\n{_LONG}\n")
    assert re.sub(r"<!--mr-banner-->.*<!--/mr-banner-->", "", page, flags=re.S) == (
        f'<html><body class="x"><p>{_LONG}</p></body></html>\n'
    )
    assert page.index('<body class="x">') < page.index(said) < page.index(_LONG)
    assert [part["Content-Transfer-Encoding"] for part in (plain, html)] == ["quoted-printable"] * 2
    assert scenario.world.signatures(copy) == BOTH


def signed_by_a_person(text: bytes) -> bytes:
    """An S/MIME message with a detached signature, CRLF line ends, from its MIME-Version on."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, NEWS)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    builder = pkcs7.PKCS7SignatureBuilder().set_data(text).add_signer(certificate, key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Text]
    made = builder.sign(serialization.Encoding.SMIME, options)
    return re.sub(rb"\r?\n", b"\r\n", made)


def test_12_3_83_a_signature_of_the_author_holds_in_spite_of_a_banner(scenario: Scenario, tmp_path: Path) -> None:
    head, _, body = signed_by_a_person(b"Good morning.  \r\n\r\nFrom here on\r\n").partition(b"\r\n\r\n")
    person, address = owner(scenario, banner_location="top", email_subject="Private {{subject}}")
    fields = [f"To: {address}", *head.decode().split("\r\n")]
    copy, _ = received(scenario, person, address, letter(scenario, *fields, body=body.decode()))
    assert (header(copy, "Subject"), copy.body) == (["Private hello"], body)
    file = tmp_path / "copy.eml"
    file.write_bytes(copy.content)
    verify = ["openssl", "cms", "-verify", "-noverify", "-in", str(file)]
    subprocess.run(verify, check=True, capture_output=True)
    file.write_bytes(copy.content.replace(b"Good morning.", b"Good evening."))
    assert subprocess.run(verify, check=False, capture_output=True).returncode != 0


def test_12_3_94_a_line_that_postfix_would_cut_is_encoded_before_we_sign(scenario: Scenario) -> None:
    person, address = owner(scenario)
    line = "0123456789" * 200
    copy, _ = received(scenario, person, address, scenario.world.message(body=f"{line}\r\nthe end\r\n"))
    assert header(copy, "Content-Transfer-Encoding") == ["quoted-printable"]
    assert max(map(len, copy.content.split(b"\r\n"))) <= 990
    decoded = email.message_from_bytes(copy.content, policy=policy.SMTP).get_content()
    assert decoded.split() == [line, "the", "end"]
    assert scenario.world.signatures(copy) == BOTH


# --- several recipients --------------------------------------------------------------------------------------------


def test_12_3_86_each_recipient_gets_a_copy_with_a_way_back_of_its_own(scenario: Scenario) -> None:
    boxes = ("left.86@inbox.example", "right.86@inbox.example")
    _, address = owner(scenario, *boxes)
    sent = scenario.send(address)
    left, right = scenario.copies(sent, *boxes)
    assert left.sender != right.sender
    assert header(left, "X-Mailrelay-Id") != header(right, "X-Mailrelay-Id")
    assert header(left, "Message-ID") == header(right, "Message-ID") == [sent.message_id.decode()]
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


def test_12_3_87_only_the_copy_that_was_not_taken_is_made_again(scenario: Scenario) -> None:
    boxes = ("taken.87@inbox.example", "not.at.first@inbox.example")
    _, address = owner(scenario, *boxes)
    table = f"inline:{{{{{boxes[1]}=450 4.2.0 not now}}}}"
    with scenario.submission_with(
        f"smtpd_recipient_restrictions = check_recipient_access {table},permit_mynetworks,reject"
    ):
        sent = scenario.send(address)
        (first,) = scenario.world.arrived(1, containing=sent.message_id)
        deferred = rf" {sent.queue_id}: to=<{address}>.*dsn=4\.3\.0, status=deferred"
        scenario.eventually(
            lambda: bool(re.search(deferred, scenario.world.sandbox.postfix.log_text())), "the rest to wait"
        )
        assert first.recipients == boxes[:1]
    scenario.copies(sent, *boxes)
    scenario.becomes(sent.queue_id, [(address, "delivered", "")] * 2)
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


# --- the mode ------------------------------------------------------------------------------------------------------


def test_12_3_89_untouched_it_would_fail_at_the_receiver_so_it_is_rewritten(scenario: Scenario) -> None:
    person, address = owner(scenario, forward_mode="transparent")
    copy, _ = received(scenario, person, address, scenario.world.message(), signed=False)
    assert mode(copy) == ["rewrite; reason=dmarc"]
    assert addresses(copy, "From") == [reverse(address, NEWS)]
    assert scenario.world.signatures(copy) == BOTH
    ((made,),) = scenario.sql(
        "select o.mode from outbound o join ledger l on l.outbound_id = o.id where l.rcpt = %s", address
    )
    assert made == "rewrite"


def test_12_3_90_a_banner_asks_for_rewriting(scenario: Scenario) -> None:
    (plain, bare), (fancy, adorned) = (
        owner(scenario, forward_mode="auto", banner_location=location) for location in ("off", "top")
    )
    sent = scenario.send(bare, adorned)
    untouched, rewritten = scenario.copies(sent, plain.mailbox, fancy.mailbox)
    assert (mode(untouched), mode(rewritten)) == (["transparent"], ["rewrite; reason=changes"])
    assert untouched.content.endswith(sent.dispatch.content)
    assert b"----- mailrelay -----" in rewritten.body


# --- mail from oneself ---------------------------------------------------------------------------------------------


def test_12_3_92_mail_from_oneself_does_not_vanish_as_the_sent_copy(scenario: Scenario) -> None:
    for forward_mode in ("rewrite", "transparent"):
        person, address = owner(scenario, forward_mode=forward_mode)
        mail = scenario.world.message(sender=f"Me <{person.mailbox}>")
        copy, _ = received(scenario, person, address, mail, sender=person.mailbox)
        (message_id,) = header(copy, "Message-ID")
        assert re.fullmatch(r"<[0-9a-f]{32}@alias\.example>", message_id)
        assert header(copy, "X-Mailrelay-Original-Message-ID") == [mail.message_id.decode()]


def test_12_3_93_mail_from_oneself_goes_to_the_others(scenario: Scenario) -> None:
    person = scenario.person(forward_mode="rewrite")
    address = scenario.alias(person, person.mailbox, "second.93@inbox2.example")
    mail = scenario.world.message(sender=f"Me <{person.mailbox}>")
    sent = scenario.send(address, sender=person.mailbox, mail=mail)
    (copy,) = scenario.copies(sent, "second.93@inbox2.example")
    assert header(copy, "Message-ID") == [mail.message_id.decode()]
    scenario.becomes(sent.queue_id, [(address, "delivered", "")])
    scenario.mailboxes.discard(person.mailbox)  # who wrote it is not hidden from the other


def test_12_3_93_who_only_claims_to_be_a_recipient_is_a_stranger(scenario: Scenario) -> None:
    scenario.world.publish('lazy93 60 IN TXT "v=spf1 -all"\n')
    person = scenario.person("me@lazy93.example", forward_mode="rewrite")
    address = scenario.alias(person, person.mailbox, "other.93@inbox.example")
    sent = scenario.send(address, sender=person.mailbox, mail=scenario.world.message(sender=person.mailbox))
    scenario.copies(sent, person.mailbox, "other.93@inbox.example")
    scenario.mailboxes.discard(person.mailbox)


# --- unsubscribing -------------------------------------------------------------------------------------------------


def test_12_3_95_the_authors_way_to_unsubscribe_leads_through_us(scenario: Scenario) -> None:
    person, address = owner(scenario, list_unsubscribe_behaviour=0)
    fields = [
        f"To: {address}",
        "List-Unsubscribe: <https://shop.example/u/77>,\r\n\t<mailto:unsub-77@shop.example?subject=stop>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
    ]
    copy, _ = received(scenario, person, address, letter(scenario, *fields))
    through_us = reverse(address, "unsub-77@shop.example")
    assert header(copy, "List-Unsubscribe") == [f"<https://shop.example/u/77>, <mailto:{through_us}?subject=stop>"]
    assert header(copy, "List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]
    for signature in header(copy, "DKIM-Signature"):
        names = re.sub(r"\s", "", signature).partition(";h=")[2].partition(";")[0].split(":")
        assert (names.count("list-unsubscribe"), names.count("list-unsubscribe-post")) == (2, 2)
    assert scenario.world.signatures(copy) == BOTH
