"""Users log in to the host's submission service, on a real Dovecot, and send with their addresses and no others.

Postfix and Dovecot run with the snippets of conf/, only places changed.
"""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mailrelay.core.header import split
from tests.system.letters import from_owner, names, reverse
from tests.system.scenario import Person
from tests.system.test_delivery import header
from tests.system.world import Mail, World
from tools.sandbox import dovecot, ports
from tools.sandbox.places import CHECKOUT
from tools.sandbox.process import wait_until
from tools.sandbox.sandbox import DATABASE, Sandbox

ME, MUTE = "submit@inbox.example", "mute@inbox.example"
ALIAS, STRANGERS = "sub.mine@alias.example", "sub.theirs@alias.example"
OUTSIDE, CONTACT = "friend@elsewhere.example", "friend@shop.example"
REVERSE = reverse(ALIAS, CONTACT)


@dataclass(frozen=True)
class Submission:
    """The service, and somebody's app password for it."""

    world: World
    auth: dovecot.Instance
    port: int
    password: str

    @contextmanager
    def client(self) -> Iterator[smtplib.SMTP]:
        """A connection under TLS. The certificate is the test's own, so nobody vouches for it."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", self.port, "laptop.example", timeout=60) as client:
            client.starttls(context=context)
            yield client

    def try_login(self, login: str, password: str) -> int:
        """The code of the reply."""
        with self.client() as client:
            try:
                return client.login(login, password)[0]
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code

    def rcpt(self, sender: str, rcpt: str = OUTSIDE, login: str = ME) -> tuple[int, str]:
        """What a logged-in client hears at RCPT."""
        with self.client() as client:
            client.login(login, self.password)
            assert client.mail(sender)[0] == 250
            code, text = client.rcpt(rcpt)
            return code, text.decode()


def _certificate(folder: Path) -> Path:
    """A file with a key and a certificate for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.relay.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "submission.pem"
    path.write_bytes(encoded + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _service(sandbox: Sandbox, port: int) -> str:
    """conf/postfix/submission.cf at this sandbox's places."""
    text = (CHECKOUT / "conf" / "postfix" / "submission.cf").read_text()
    for usual, here in (
        ("\nsubmission inet n - y ", f"\n127.0.0.1:{port} inet n - n "),
        ("127.0.0.1:10032", sandbox.address("socketmap")),
        ("127.0.0.1:10031", sandbox.address("policy")),
    ):
        assert text.count(usual) == 1, usual
        text = text.replace(usual, here)
    return text


@contextmanager
def _serving(sandbox: Sandbox) -> Iterator[tuple[dovecot.Instance, int]]:
    """The submission service in the sandbox' Postfix, and Dovecot beside it; both gone afterwards."""
    postfix = sandbox.postfix
    master, main = postfix.etc / "master.cf", postfix.etc / "main.cf"
    before = master.read_bytes(), main.read_bytes()
    (port,) = ports.pick(1)
    auth = dovecot.Instance(sandbox.places.run / "dovecot")
    try:
        auth.create(postfix, sandbox.postgres, DATABASE)
        auth.start(postfix)
        with master.open("a") as file:
            file.write(_service(sandbox, port))
        certificate = _certificate(postfix.etc)
        postfix.postconf("-e", f"smtpd_tls_chain_files={certificate}")
        postfix.reload()
        wait_until(lambda: ports.answers(port), "the submission service to listen")
        yield auth, port
    finally:
        master.write_bytes(before[0])
        main.write_bytes(before[1])
        postfix.reload()
        auth.stop()
        print(auth.log_text)  # pytest shows it when a test failed


@pytest.fixture(scope="module")
def submission(session_world: World) -> Iterator[Submission]:
    world, sandbox = session_world, session_world.sandbox
    sandbox.query((CHECKOUT / "sql" / "dovecot.sql").read_text())
    world.publish("friends 60 IN MX 10 mx.relay.example.\n")
    world.cli("account", "add", "submitter", "--recipient", ME, "--verified")
    world.cli("recipient", "add", MUTE, "--account", "submitter", "--verified")
    sandbox.query(f"update recipient set can_reply_send = false where address = '{MUTE}'")
    world.cli("account", "add", "stranger", "--recipient", "stranger@inbox.example", "--verified")
    world.cli("alias", "add", ALIAS, "--account", "submitter", "--to", ME)
    world.cli("alias", "add", STRANGERS, "--account", "stranger", "--to", "stranger@inbox.example")
    password = world.cli("app-password", "add", ME, "--name", "test")["password"]
    with _serving(sandbox) as (auth, port):
        yield Submission(world, auth, port, password)


def test_an_app_password_logs_in(submission: Submission) -> None:
    assert submission.try_login(ME, submission.password) == 235
    assert submission.try_login("Submit@Inbox.example", submission.password) == 235
    assert submission.try_login(MUTE, submission.password) == 235


def test_it_is_for_sending_only(submission: Submission) -> None:
    assert submission.auth.accepts("smtp", ME, submission.password)
    assert not submission.auth.accepts("imap", ME, submission.password)


def test_each_of_several_passwords_works_until_it_is_removed(submission: Submission) -> None:
    second = submission.world.cli("app-password", "add", "submitter", "--name", "second")
    assert submission.try_login(ME, second["password"]) == 235
    submission.world.cli("app-password", "remove", str(second["id"]))
    assert submission.try_login(ME, second["password"]) == 535
    assert submission.try_login(ME, submission.password) == 235


@pytest.mark.parametrize(
    ("login", "change"),
    [
        pytest.param(ME, lambda password: password[:-1] + ("a" if password[-1] != "a" else "b"), id="wrong-secret"),
        pytest.param(ME, lambda password: "aaaaaaaa" + password[8:], id="unknown-selector"),
        pytest.param(ME, lambda password: password[:8], id="selector-alone"),
        pytest.param(ME, lambda password: "' or true --", id="sql"),
        pytest.param("stranger@inbox.example", lambda password: password, id="somebody-elses-login"),
        pytest.param("submitter", lambda password: password, id="account-name"),
        pytest.param(ALIAS, lambda password: password, id="alias"),
    ],
)
def test_anything_else_does_not(submission: Submission, login: str, change: object) -> None:
    assert callable(change)
    assert submission.try_login(login, change(submission.password)) == 535


def test_there_is_no_login_without_tls(submission: Submission) -> None:
    with smtplib.SMTP("127.0.0.1", submission.port, "laptop.example", timeout=60) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH PLAIN")[0] == 530


def test_nobody_sends_without_a_login(submission: Submission) -> None:
    with submission.client() as client:
        client.ehlo()
        client.mail(ALIAS)
        assert client.rcpt(OUTSIDE)[0] == 554


@pytest.mark.parametrize(
    ("sender", "code"),
    [
        pytest.param(ALIAS, 250, id="own-alias"),
        pytest.param("Sub.Mine+tag@Alias.example", 250, id="own-alias-with-a-tag"),
        pytest.param(ME, 250, id="own-mailbox"),
        pytest.param(STRANGERS, 553, id="strangers-alias"),
        pytest.param("stranger@inbox.example", 553, id="strangers-mailbox"),
        pytest.param(MUTE, 553, id="another-mailbox-than-the-login"),
        pytest.param("sub.mine+friend=elsewhere.example@alias.example", 553, id="reverse-address"),
        pytest.param("nobody@alias.example", 553, id="no-such-alias"),
        pytest.param("nobody@elsewhere.example", 553, id="unknown"),
    ],
)
def test_a_login_sends_with_its_own_addresses(submission: Submission, sender: str, code: int) -> None:
    got, text = submission.rcpt(sender)
    assert got == code, text
    if code == 553:
        assert f"not owned by user {ME}" in text


def test_a_mailbox_that_may_not_reply_has_its_own_address_only(submission: Submission) -> None:
    assert submission.rcpt(ALIAS, login=MUTE)[0] == 553
    assert submission.rcpt(MUTE, login=MUTE)[0] == 250


def test_a_right_that_is_taken_ends_with_the_next_message(submission: Submission) -> None:
    query = submission.world.sandbox.query
    query(f"update recipient set can_reply_send = false where address = '{ME}'")
    assert submission.rcpt(ALIAS)[0] == 553
    query(f"update recipient set can_reply_send = true where address = '{ME}'")
    assert submission.rcpt(ALIAS)[0] == 250


def test_it_is_tried_again_while_nobody_can_say(submission: Submission, world: World) -> None:
    with submission.client() as client:
        client.login(ME, submission.password)
        with world.without_database():
            client.mail(ALIAS)
            code, text = client.rcpt(OUTSIDE)
            assert code == 451, text
        client.rset()
        client.mail(ALIAS)
        assert client.rcpt(OUTSIDE)[0] == 250


def test_nobody_logs_in_without_the_database_and_everybody_after_it(submission: Submission, world: World) -> None:
    with world.without_database():
        # Postfix 3.7 says 535: it takes whatever Dovecot cannot answer for a wrong password.
        assert submission.try_login(ME, submission.password) in (454, 535)
    wait_until(lambda: submission.try_login(ME, submission.password) == 235, "Dovecot to ask the database again", 60)


def _mail(world: World, author: str, *more: str, subject: str = "hello") -> Mail:
    """As mail programs write it, telling more than their user knows."""
    mail = world.message(subject, sender=f'"Real Name" <{author}>')
    head = ["User-Agent: Mail 1.0", "X-Originating-IP: [192.0.2.77]", f"Reply-To: {ME}", f"Bcc: {ME}", *more]
    return Mail("".join(f"{line}\r\n" for line in head).encode() + mail.content, mail.message_id)


def _send(submission: Submission, mail: Mail, *rcpts: str, sender: str = ALIAS, login: str = ME) -> str:
    """What the end of the message hears."""
    with submission.client() as client:
        client.login(login, submission.password)
        assert client.mail(sender)[0] == 250
        for rcpt in rcpts:
            assert client.rcpt(rcpt)[0] == 250
        code, text = client.data(mail.content)
        return f"{code} {text.decode()}"


def test_mail_from_an_alias_leaves_without_a_trace_of_its_owner(submission: Submission, world: World) -> None:
    rcpt = "Trace@friends.example"
    mail = _mail(world, ALIAS)
    assert _send(submission, mail, rcpt).startswith("250 ")
    (arrived,) = world.arrived(to=rcpt)
    copy = split(arrived.content)
    assert arrived.sender.endswith("@alias.example") and arrived.sender != ALIAS
    assert copy.first(b"from") == ALIAS.encode()
    assert set(world.signatures(arrived).values()) == {"valid"}
    assert {name.partition("/")[0] for name in world.signatures(arrived)} == {"alias.example"}
    own = b"\r\n".join([field.raw for field in copy.fields if field.name != b"received"]) + copy.body
    for trace in (b"inbox.example", b"real name", b"mail 1.0", b"192.0.2.77", b"laptop", b"bcc:", b"x-mailrelay"):
        assert trace not in own.lower()
    # Received fields of the way out are those of this host, which every copy has.
    received = b"".join([field.raw for field in copy.fields if field.name == b"received"]).lower()
    for trace in (ME.encode(), b"laptop", b"authenticated", b"esmtpsa"):
        assert trace not in received
    assert mail.message_id not in arrived.content
    [[kind, contact]] = world.rows(f"select email_type, destination from outbound where destination = '{rcpt}'")
    assert (kind, contact) == ("S", rcpt)


def test_answers_come_back_through_the_alias(submission: Submission, world: World) -> None:
    rcpt, mail = "pal@friends.example", _mail(world, ALIAS)
    assert _send(submission, mail, rcpt).startswith("250 ")
    (arrived,) = world.arrived(to=rcpt)
    thread = mail_id(arrived.content).decode()
    answer = world.message(sender=rcpt)
    content = f"In-Reply-To: {thread}\r\n".encode() + answer.content
    world.send(rcpt, ALIAS, content=content)
    (forward,) = world.arrived(to=ME, containing=answer.message_id)
    # As the copy shows the owner's own message: by the name that he knows.
    assert split(forward.content).first(b"in-reply-to") == mail.message_id
    # And the owner's next answer, from the alias again, is one of the thread.
    reply = _mail(world, ALIAS, f"In-Reply-To: {answer.message_id.decode()}", f"References: {mail.message_id.decode()}")
    assert _send(submission, reply, rcpt).startswith("250 ")
    _, second = world.arrived(2, to=rcpt)
    assert split(second.content).first(b"in-reply-to") == answer.message_id
    assert split(second.content).first(b"references") == thread.encode()
    assert world.rows(f"select email_type from outbound where destination = '{rcpt}' order by email_type") == [
        ["R"],
        ["S"],
    ]


def test_each_recipient_gets_a_copy_and_nobody_sees_the_hidden_ones(submission: Submission, world: World) -> None:
    first, second = "one@friends.example", "two@friends.example"
    reverse = "sub.mine+three=friends.example@alias.example"
    mail = _mail(world, ALIAS, f"Cc: {first}")
    assert _send(submission, mail, first, second, reverse, STRANGERS).startswith("250 ")
    for rcpt in (first, second, "three@friends.example"):
        (arrived,) = world.arrived(to=rcpt)
        assert arrived.recipients == (rcpt,)
        assert b"two@" not in arrived.content.partition(b"\r\n\r\n")[0].partition(b"From:")[2]
        assert b"inbox.example" not in arrived.content.partition(b"From:")[2]
    assert len(world.arrived(to="stranger@inbox.example")) == 1
    world.settle()


@pytest.mark.parametrize(
    ("command", "contact"),
    [
        ("<Folded.One@FRIENDS.example>", "Folded.One@friends.example"),
        ('<"quoted.one"@friends.example>', "quoted.one@friends.example"),
        ("<dot.one@friends.example.>", "dot.one@friends.example"),
        ("<bang!one@friends.example>", "bang!one@friends.example"),
        ("<percent%one@friends.example>", "percent%one@friends.example"),
        (f"<{'x' * 64}@friends.example>", f"{'x' * 64}@friends.example"),
        ("<dsn@friends.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@friends.example", "dsn@friends.example"),
        ("<@third.example:route.one@friends.example>", None),
        ('<"needs quotes"@friends.example>', None),
    ],
)
def test_however_a_recipient_is_written_nothing_goes_around_the_alias(
    submission: Submission, world: World, command: str, contact: str | None
) -> None:
    mail = _mail(world, ALIAS, subject=f"to {contact} as {len(command)}")
    with submission.client() as client:
        client.login(ME, submission.password)
        client.mail(ALIAS)
        assert client.docmd(f"RCPT TO:{command}")[0] == 250
        assert client.data(mail.content)[0] == (250 if contact else 550)
    world.settle()
    found = world.arrivals(containing=f"to {contact} as {len(command)}".encode())
    assert [one.recipients for one in found] == ([(contact,)] if contact else [])
    assert not any(b"Mail 1.0" in one.content or mail.message_id in one.content for one in found)


def test_from_must_be_an_alias_of_the_login(submission: Submission, world: World) -> None:
    for author in (STRANGERS, "nobody@alias.example", ME, "friend@friends.example"):
        heard = _send(submission, _mail(world, author), "never@friends.example")
        assert heard == "550 5.7.1 From is no alias that this login may send with", author
    heard = _send(submission, _mail(world, ALIAS), "never@friends.example", sender=MUTE, login=MUTE)
    assert heard == "550 5.7.1 Replying from this address is switched off"
    world.settle()
    assert world.arrivals(to="never@friends.example") == []


def test_the_alias_in_from_is_enough(submission: Submission, world: World) -> None:
    rcpt = "header@friends.example"
    assert _send(submission, _mail(world, ALIAS), rcpt, sender=ME).startswith("250 ")
    (arrived,) = world.arrived(to=rcpt)
    assert ME.encode() not in arrived.content and arrived.sender.endswith("@alias.example")


def test_mail_in_ones_own_name_leaves_as_it_was_written(submission: Submission, world: World) -> None:
    rcpt = "open@friends.example"
    mail = _mail(world, ME)
    assert _send(submission, mail, rcpt, sender=ME).startswith("250 ")
    (arrived,) = world.arrived(to=rcpt, containing=mail.message_id)
    assert arrived.sender == ME
    assert b"User-Agent: Mail 1.0" in arrived.content
    assert b"X-Mailrelay" not in arrived.content


def test_limits_hold(submission: Submission, world: World) -> None:
    rcpts = [f"many{number}@friends.example" for number in range(31)]  # one more than there may be in an hour
    assert _send(submission, _mail(world, ALIAS), *rcpts) == "550 5.7.1 Sending limit reached"
    world.settle()
    assert world.arrivals(to=rcpts[0]) == []


def test_it_waits_while_the_milter_cannot_ask(submission: Submission, world: World) -> None:
    mail = _mail(world, ALIAS)
    with submission.client() as client:
        client.login(ME, submission.password)
        client.mail(ALIAS)
        assert client.rcpt("later@friends.example")[0] == 250
        with world.without_database():
            assert client.data(mail.content)[0] == 451


def mail_id(content: bytes) -> bytes:
    return split(content).first(b"message-id") or b""


@pytest.mark.parametrize(
    ("author", "sender"),
    [pytest.param(ME, ME, id="as-the-mailbox"), pytest.param(f"Me <{ALIAS}>", ALIAS, id="as-the-alias")],
)
def test_12_4_99_who_is_logged_in_answers_without_a_signature(
    submission: Submission, world: World, author: str, sender: str
) -> None:
    mail = from_owner(Person(0, "submitter", author), REVERSE)
    with submission.client() as client:
        client.login(ME, submission.password)
        assert client.sendmail(sender, [REVERSE], mail.content) == {}
    (copy,) = world.arrived(to=CONTACT, containing=mail.message_id)
    assert header(copy, "From") == [ALIAS]
    assert names(copy, ME, "inbox.example") == []


def test_12_4_99_a_login_proves_its_own_mailbox_only(submission: Submission, world: World) -> None:
    mail = from_owner(Person(0, "submitter", MUTE), REVERSE)
    with submission.client() as client:
        client.login(ME, submission.password)
        with pytest.raises(smtplib.SMTPDataError, match="could not be authenticated: dmarc=fail"):
            client.sendmail(ME, [REVERSE], mail.content)
    assert world.arrivals(containing=mail.message_id) == []
