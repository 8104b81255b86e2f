"""Encrypted copies through a real Postfix, opened by GnuPG: spec section 12.5, rows 151 to 155 and 158."""

import itertools
from email import policy
from email.message import EmailMessage, Message

import pytest

from tests.system.letters import names
from tests.system.pgpdesk import (
    BOTH,
    CURVE,
    RSA,
    Desk,
    provide_desk,  # noqa: F401  # a fixture
    provide_desk_parts,  # noqa: F401  # a fixture
    read,
)
from tests.system.scenario import (
    NEWS,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.test_rules import rule
from tests.system.world import Mail

_FILE = bytes(range(256)) * 40
_marks = itertools.count(1)


def mark() -> str:
    """A word that no other message says."""
    return f"confidential{next(_marks)}word"


def letter(scenario: Scenario, word: str, subject: str = "Your order") -> EmailMessage:
    """A message whose text says this word, in quoted-printable, to be finished with `posted`."""
    made = EmailMessage(policy=policy.SMTP)
    made["From"], made["To"], made["Subject"] = f"Shop <{NEWS}>", "somebody@alias.example", subject
    made["Date"] = "Sat, 21 Nov 2026 10:00:00 +0000"
    made["Message-ID"] = scenario.world.message().message_id.decode()
    made.set_content(f"Gr\u00fc\u00dfe, {word}\n", cte="quoted-printable")
    return made


def posted(message: EmailMessage) -> Mail:
    return Mail(message.as_bytes(), str(message["Message-ID"]).encode())


def said(part: Message) -> str:
    """The text of a part, with bare newlines."""
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.decode().replace("\r\n", "\n")


def bare(scenario: Scenario, kind: str, body: bytes, *fields: str) -> Mail:
    """A message with this content, octet by octet."""
    mail = scenario.world.message()
    head = mail.content.partition(b"\r\n\r\n")[0]
    more = "".join(f"{field}\r\n" for field in ("MIME-Version: 1.0", f"Content-Type: {kind}", *fields))
    return Mail(head + b"\r\n" + more.encode() + b"\r\n" + body, mail.message_id)


# --- PGP/MIME ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pytest.param(CURVE, id="Curve25519"), pytest.param(RSA, id="RSA")])
@pytest.mark.parametrize("times", [1, 60], ids=["small", "large"])  # which takes another way
def test_12_5_151_a_message_with_a_file_arrives_sealed(desk: Desk, kind: tuple[str, str], times: int) -> None:
    reader, word = desk.reader(kind=kind), mark()
    made = letter(desk.scenario, word)
    made.add_attachment(_FILE * times, "application", "octet-stream", filename=f"{word}.bin")
    copy = desk.received(reader, posted(made))
    inside = read(desk.opened(copy, word))
    assert desk.scenario.world.signatures(copy) == BOTH
    text, file = inside.iter_parts()
    assert said(text) == f"Gr\u00fc\u00dfe, {word}\n"
    assert (file.get_filename(), file.get_content()) == (f"{word}.bin", _FILE * times)
    assert header(copy, "Subject") == ["Your order"] and header(copy, "X-Mailrelay-Mode") == [
        "rewrite; reason=encryption"
    ]
    assert desk.recorded(copy)


def test_12_5_151_the_encoding_of_a_plain_text_is_inside_only(desk: Desk) -> None:
    reader, word = desk.reader(), mark()
    content = desk.opened(desk.received(reader, posted(letter(desk.scenario, word))), word)
    assert read(content)["Content-Transfer-Encoding"] == "quoted-printable"
    assert content.startswith(b"MIME-Version: 1.0\r\n")
    bare_text = desk.scenario.world.message(body=f"{word} \r\n-- \r\n")
    content = desk.opened(desk.received(reader, bare_text), word)
    head, _, body = content.partition(b"\r\n\r\n")
    assert b"Content-Type: text/plain; charset=us-ascii" in head.split(b"\r\n")
    assert body == f"{word} \r\n-- \r\n".encode()


def test_12_5_151_the_banner_is_inside(desk: Desk) -> None:
    reader, word = desk.reader(), mark()
    desk.scenario.sql("update account set banner_location = 'top' where id = %s", reader.person.account)
    content = desk.opened(desk.received(reader, posted(letter(desk.scenario, word))), word)
    text = said(read(content))
    assert text.endswith(f"Gr\u00fc\u00dfe, {word}\n") and reader.alias in text


# --- a hidden subject ----------------------------------------------------------------------------------------------


def test_12_5_152_a_hidden_subject_is_inside_only(desk: Desk) -> None:
    reader, word = desk.reader("hide-subject"), mark()
    copy = desk.received(reader, posted(letter(desk.scenario, word, f"Zw\u00f6lf {word}")))
    content = desk.opened(copy, word)
    inside = read(content)
    assert header(copy, "Subject") == ["[...]"]
    assert inside["Subject"] == f"Zw\u00f6lf {word}"
    assert names(copy, "Zw\u00f6lf") == [] and header(copy, "X-Mailrelay-Original-Subject") == []
    params = inside["Content-Type"].params
    assert (params["hp"], params["protected-headers"], params["hp-legacy-display"]) == ("cipher", "v1", "1")
    assert "Subject: [...]" in inside.get_all("HP-Outer", [])
    assert inside["Message-ID"] == header(copy, "Message-ID")[0]
    assert f"Subject: Zw\u00f6lf {word}" in inside.get_content().splitlines()[0]


def test_12_5_152a_an_attached_message_keeps_its_own_header(desk: Desk) -> None:
    reader, word = desk.reader("hide-subject"), mark()
    made, other = letter(desk.scenario, word, f"Fwd: {word}"), letter(desk.scenario, "other", "An older one")
    made.add_attachment(other)
    content = desk.opened(desk.received(reader, posted(made)), word)
    inside = read(content)
    assert content.count(b"protected-headers=") == content.count(b"hp=") == 1
    assert inside["Content-Type"].params["hp"] == "cipher"
    text, attached = inside.iter_parts()
    assert "protected-headers" not in str(attached.get_content()["Content-Type"])
    assert attached.get_content()["Subject"] == "An older one"
    assert bytes(other) in content
    assert word in text.get_content()


# --- inline --------------------------------------------------------------------------------------------------------


def test_12_5_153_inline_mail_with_a_file_is_pgp_mime(desk: Desk) -> None:
    reader, word = desk.reader("inline"), mark()
    made = letter(desk.scenario, word)
    made.add_attachment(_FILE, "image", "png", filename="x.png")
    content = desk.opened(desk.received(reader, posted(made)), word)
    assert [part.get_content() for part in read(content).iter_attachments()] == [_FILE]


def test_6_4_inline_mail_is_a_text_and_nothing_else(desk: Desk) -> None:
    reader, word = desk.reader("inline"), mark()
    made = letter(desk.scenario, word)
    made.add_alternative(f"<p>Gr\u00fc\u00dfe, {word}</p>\n", "html")
    copy = desk.received(reader, posted(made))
    said = desk.opened_inline(copy, word).decode()
    assert said.replace("\r\n", "\n").strip() == f"Gr\u00fc\u00dfe, {word}"
    assert desk.scenario.world.signatures(copy) == BOTH
    assert desk.recorded(copy)


# --- what is encrypted already -------------------------------------------------------------------------------------


def armored(desk: Desk, fingerprint: str, word: str, *options: str) -> bytes:
    made = desk.gpg.run("--armor", *options, "-r", fingerprint, "--encrypt", given=f"{word}\r\n".encode())
    return made.replace(b"\n", b"\r\n")


def test_12_5_154_pgp_mime_is_not_encrypted_again(desk: Desk) -> None:
    reader = desk.reader()
    body = b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--b\r\n"
    body += b"Content-Type: application/octet-stream\r\n\r\n" + armored(desk, reader.fingerprint, mark())
    kind = 'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b'
    mail = bare(desk.scenario, kind, body + b"\r\n--b--\r\n")
    copy = desk.received(reader, mail)
    assert copy.body == mail.content.partition(b"\r\n\r\n")[2]
    assert header(copy, "Content-Type") == [kind]


def test_12_5_155_armor_with_a_version_in_a_plain_text_is_not_encrypted_again(desk: Desk) -> None:
    reader = desk.reader("inline")
    text = armored(desk, reader.fingerprint, mark(), "--emit-version", "--comment", "none")
    assert b"\r\nVersion: " in text
    mail = bare(desk.scenario, "text/plain; charset=utf-8", b"\r\n" + text)
    assert desk.received(reader, mail).body == b"\r\n" + text


def test_12_5_158_enveloped_s_mime_stays_as_it_is(desk: Desk) -> None:
    reader = desk.reader()
    kind = "application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m"
    mail = bare(desk.scenario, kind, b"MIIBSAYJKoZIhvcNAQcDoIIBOTCCATU=\r\n", "Content-Transfer-Encoding: base64")
    copy = desk.received(reader, mail)
    assert copy.body == b"MIIBSAYJKoZIhvcNAQcDoIIBOTCCATU=\r\n"
    assert (header(copy, "Content-Type"), header(copy, "Content-Transfer-Encoding")) == ([kind], ["base64"])


# --- who wants it, and who does not --------------------------------------------------------------------------------


def test_3_12_of_two_recipients_each_gets_the_copy_of_his_own(desk: Desk) -> None:
    scenario, reader, word = desk.scenario, desk.reader(), mark()
    other = f"open.{reader.person.account}@inbox2.example"
    alias = scenario.alias(reader.person, reader.mailbox, other)
    sent = scenario.send(alias, mail=posted(letter(scenario, word)))
    closed, clear = scenario.copies(sent, reader.mailbox, other)
    desk.opened(closed, word)
    assert clear.content.endswith(sent.dispatch.content)
    assert (desk.recorded(closed), desk.recorded(clear)) == (True, False)


def test_6_1_whoever_switched_it_off_gets_mail_in_clear(desk: Desk) -> None:
    reader, word = desk.reader("off"), mark()
    copy = desk.received(reader, posted(letter(desk.scenario, word)))
    assert names(copy, word) == [word] and not desk.recorded(copy)


def test_6_1_a_rule_switches_it_off_but_not_for_who_never_wants_plain_text(desk: Desk) -> None:
    reader = desk.reader()
    rule(desk.scenario, reader.person, "open", "encryption off", when="subject contains open")
    for subject, is_clear in (("open", True), ("other", False)):
        word = mark()
        copy = desk.received(reader, posted(letter(desk.scenario, word, subject)))
        assert desk.recorded(copy) is not is_clear
        if is_clear:
            assert names(copy, word) == [word]
        else:
            desk.opened(copy, word)
    desk.choose(reader.mailbox, "--never-plaintext")
    word = mark()
    desk.opened(desk.received(reader, posted(letter(desk.scenario, word, "open"))), word)
