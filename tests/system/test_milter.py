"""The milter on a real Postfix: spec section 12.2 as far as it is decided at the end of a message."""

import re
import signal
import smtplib
import subprocess
from collections.abc import Iterator
from email.utils import make_msgid
from pathlib import Path

import pytest

from tests.system.milter_host import MilterHost, milter_host
from tests.system.world import World
from tools.sandbox import ports
from tools.sandbox.process import wait_until

A1 = "shop@alias.example"  # made by the sandbox, of account johndoe
NEWS = "news@shop.example"
FORGER = "127.0.0.66"  # in nobody's SPF record
DMARC = "550 5.7.26 Rejected by the DMARC policy of shop.example"
DOWN = "451 4.7.1 Service unavailable - try again later"

_ZONE = """
weak 60 IN TXT "v=spf1 -all"
_dmarc.weak 60 IN TXT "v=DMARC1; p=quarantine"
lax 60 IN TXT "v=spf1 -all"
_dmarc.lax 60 IN TXT "v=DMARC1; p=none"
"""


@pytest.fixture(scope="module")
def host(session_world: World) -> Iterator[MilterHost]:
    sandbox = session_world.sandbox
    sandbox.places.zone.write_text(sandbox.places.zone.read_text() + _ZONE)
    sandbox.reload_dns()
    with milter_host(sandbox) as running:
        yield running


def message(author: str = f"The Shop <{NEWS}>", extra: bytes = b"", body: bytes = b"Good morning.\r\n") -> bytes:
    """One of its own, found again by its Message-ID."""
    head = f"From: {author}\r\nTo: {A1}\r\nSubject: hello\r\nMessage-ID: {make_msgid(domain='shop.example')}\r\n"
    return extra + head.encode() + b"\r\n" + body


def mark_of(content: bytes) -> bytes:
    found = re.search(rb"Message-ID: (\S+)", content)
    assert found is not None
    return found[1]


def sent(host: MilterHost, content: bytes, sender: str = NEWS, *rcpts: str, **options: object) -> bytes:
    """Its mark; it was accepted."""
    assert host.said(sender, *(rcpts or (A1,)), content=content, **options) == "250"
    return mark_of(content)


# --- what is accepted ----------------------------------------------------------------------------------------------


def test_good_mail_passes_with_results_and_a_signed_header(host: MilterHost) -> None:
    passed = host.passed(sent(host, message()))
    told = host.told(passed)
    assert (told.findings.spf.result, told.findings.dmarc.result) == ("pass", "pass")
    assert [one.result for one in told.findings.dkim] == ["pass"]
    assert (told.ip, told.helo, told.mail_from, told.route) == ("127.0.0.11", "mx.shop.example", NEWS, "smtp")
    assert (told.action, told.spam) == ("none", None)
    names = [field.name for field in passed.fields]
    # 11.2: above what others wrote, below our own trace.
    ours = names.index(b"x-mailrelay-ingress")
    assert names[ours - 1 : ours + 3] == [
        b"received",
        b"x-mailrelay-ingress",
        b"authentication-results",
        b"dkim-signature",
    ]
    (results,) = passed.values(b"authentication-results")
    assert results.startswith(b"mx.relay.example; ")
    assert b"dmarc=pass (p=reject) header.from=shop.example" in re.sub(rb"\s+", b" ", results)
    assert re.fullmatch(r"[0-9A-F]{8,}", told.queue_id)


def test_12_2_55_56_odd_authors_are_understood(host: MilterHost) -> None:
    for author in (f"Name <Name <{NEWS}>>", f"Widgets, Inc <{NEWS}>"):
        told = host.told(host.passed(sent(host, message(author))))
        assert told.findings.dmarc.domain == "shop.example"


@pytest.mark.parametrize(
    ("domain", "action"),
    [
        pytest.param("weak.example", "quarantine", id="12.2-48-p-quarantine"),
        pytest.param("lax.example", "tag", id="12.2-49-p-none"),
    ],
)
def test_a_weaker_policy_leaves_a_mark(host: MilterHost, domain: str, action: str) -> None:
    told = host.told(host.passed(sent(host, message(f"a@{domain}"), f"a@{domain}")))
    assert (told.findings.dmarc.result, told.action) == ("fail", action)


def test_folded_fields_and_octets_of_all_kinds_stay_signed(host: MilterHost) -> None:
    extra = (
        b"X-Folded: one\r\n\ttwo\r\n   three \r\nX-Empty:\r\nX-Tight:x\r\n"
        + b"X-Octets: gr\xfc\xdfe \x01\x7f\r\nX-Long: "
        + b"y" * 900
        + b"\r\n"
    )
    content = message(extra=extra, body=b".\r\n..\r\n gr\xfc\xdfe\r\n\r\n\r\n")
    told = host.told(host.passed(sent(host, content)))
    assert [one.result for one in told.findings.dkim] == ["pass"]


@pytest.mark.parametrize(
    "rcpt",
    [
        "@shop.example,@lax.example:shop@alias.example",
        "shop%alias.example",
        "alias.example!shop",
        "shop(?)@ALIAS.example.",
    ],
    ids=["source-route", "percent", "bang", "comment"],
)
def test_whoever_postfix_finds_in_an_odd_spelling_is_meant(host: MilterHost, rcpt: str) -> None:
    assert host.said("@shop.example:a@lax.example", rcpt, content=message("nobody"), signed=False).startswith(
        "550 5.6.0"
    )
    content = message("a@lax.example")
    told = host.told(host.passed(sent(host, content, "@shop.example:a@lax.example", rcpt)))
    assert told.mail_from == "a@lax.example"


def test_a_nul_behind_the_author_hides_nothing(host: MilterHost) -> None:
    mark = sent(host, message(f"<{NEWS}>\0 <x@lax.example>"), signed=False)
    assert host.told(host.passed(mark)).findings.dmarc.domain == "shop.example"


# --- forged fields -------------------------------------------------------------------------------------------------


def test_12_2_51_52_what_only_we_write_goes(host: MilterHost) -> None:
    extra = (
        b"X-Mailrelay-Ingress: v=1;dmarc=pass:reject;mac=00\r\nAuthentication-Results: mx.relay.example; dmarc=pass\r\n"
        b"Authentication-Results: mx.shop.example; spf=pass\r\nx-mailrelay-ingress: again\r\n"
        b"X-Mailrelay-Loop: v1; 00\r\nAUTHENTICATION-RESULTS:\r\n MX.relay.example 1; dmarc=pass\r\n"
        b"X-Mailrelay-Spoof: 1\r\n"
    )
    passed = host.passed(sent(host, message("a@lax.example", extra), "a@lax.example"))
    assert host.told(passed).findings.dmarc.result == "fail"
    assert passed.count(b"x-mailrelay-ingress") == 1
    ours, theirs = passed.values(b"authentication-results")
    assert ours.startswith(b"mx.relay.example;")
    assert b"dmarc=fail" in ours
    assert theirs == b"mx.shop.example; spf=pass"
    assert passed.count(b"x-mailrelay-loop") == 1
    assert passed.count(b"x-mailrelay-spoof") == 0


def test_mail_to_others_is_not_touched(host: MilterHost) -> None:
    extra = b"X-Mailrelay-Ingress: v=1\r\nAuthentication-Results: mx.relay.example; dmarc=pass\r\n"
    content = message(extra=extra)
    # Not even when DMARC fails: that is for the host's other filters.
    mark = sent(host, content, NEWS, "somebody@lax.example", source="127.0.0.2", signed=False)
    passed = host.passed(mark)
    kept = passed.content[passed.content.index(b"X-Mailrelay-Ingress") :]
    assert kept == content


# --- refusals ------------------------------------------------------------------------------------------------------


def test_12_2_46_a_forger_is_refused_in_the_session_and_recorded(host: MilterHost) -> None:
    before = host.refusals(A1)
    assert host.said(NEWS, A1, content=message(), source=FORGER, signed=False) == DMARC
    wait_until(lambda: host.refusals(A1) == [*before, "dmarc"], "the record")


def test_12_2_47_an_owner_may_want_to_keep_it(host: MilterHost) -> None:
    host.sql("update account set dmarc_reject_action = 'quarantine' where name = 'johndoe'")
    try:
        mark = sent(host, message(), source=FORGER, signed=False)
    finally:
        host.sql("update account set dmarc_reject_action = 'reject' where name = 'johndoe'")
    assert host.told(host.passed(mark)).action == "quarantine"


@pytest.mark.parametrize(
    ("extra", "author", "expected"),
    [
        pytest.param(
            b"From: x@shop.example\r\n", NEWS, "550 5.6.0 A single valid From address is required", id="12.2-54"
        ),
        pytest.param(b"", "nobody", "550 5.6.0 A single valid From address is required", id="2.3-5-unreadable"),
        pytest.param(b"Received: x\r\n" * 51, NEWS, "554 5.4.6 Routing loop detected", id="12.2-57"),
    ],
)
def test_a_message_that_is_none_is_refused(host: MilterHost, extra: bytes, author: str, expected: str) -> None:
    assert host.said(NEWS, A1, content=message(author, extra), signed=False) == expected


def test_2_3_5_a_body_without_any_header_is_refused_at_once(host: MilterHost) -> None:
    said = host.said(NEWS, A1, content=b"\r\nonly a body\r\n", signed=False)
    assert said == "550 5.6.0 A single valid From address is required"


def test_2_3_3_a_message_above_our_limit_is_refused_without_a_bounce(host: MilterHost) -> None:
    line = b"x" * 998 + b"\r\n"
    content = message(body=line * 26_500)
    assert host.said(NEWS, A1, content=content) == "552 5.3.4 Message is larger than 26214400 bytes"


def test_12_2_58_a_message_above_the_hosts_limit_does_not_come_in(host: MilterHost) -> None:
    with smtplib.SMTP("127.0.0.1", host.smtp_port) as session:
        session.ehlo()
        code, _ = session.docmd(f"MAIL FROM:<{NEWS}> SIZE=62914560")
    assert code == 552


def test_2_1_a_recipient_elsewhere_takes_it_for_all(host: MilterHost) -> None:
    content = message()
    mark = sent(host, content, NEWS, A1, "friend@lax.example", source="127.0.0.2", signed=False)
    assert host.passed(mark).count(b"x-mailrelay-ingress") == 1
    assert host.said(NEWS, A1, content=message(), source=FORGER, signed=False) == DMARC


def test_a_blocked_author_hears_what_strangers_hear(host: MilterHost) -> None:
    host.sql(
        "insert into blocked_sender (account_id, type, value)"
        " select id, 'email', 'blocked@shop.example' from account where name = 'johndoe'"
    )
    said = host.said(NEWS, A1, content=message("blocked@shop.example"))
    assert said == "550 5.1.1 Address does not exist"


# --- another mail server -------------------------------------------------------------------------------------------


def test_miltertest_hears_the_same(host: MilterHost) -> None:
    script = Path(__file__).with_name("milter.lua")
    argv = ["miltertest", "-s", str(script), "-D", f"socket=unix:{host.sock}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- local mail ----------------------------------------------------------------------------------------------------


def test_mail_of_the_sendmail_command_carries_the_header_too(host: MilterHost) -> None:
    content = message("root@mx.relay.example")
    subprocess.run(
        ["/usr/sbin/sendmail", "-C", str(host.postfix.etc), "-f", "root@mx.relay.example", A1],
        input=content.replace(b"\r\n", b"\n"),
        check=True,
    )
    told = host.told(host.passed(mark_of(content)))
    assert (told.route, told.ip, told.action) == ("local", "127.0.0.1", "none")
    odd = message("root@mx.relay.example")
    command = ["/usr/sbin/sendmail", "-C", str(host.postfix.etc), "-f", "root@mx.relay.example", "shop%alias.example"]
    subprocess.run(command, input=odd.replace(b"\r\n", b"\n"), check=True)
    assert host.told(host.passed(mark_of(odd))).mail_from == "root@mx.relay.example"


# --- trouble -------------------------------------------------------------------------------------------------------


def test_without_the_milter_mail_waits_at_its_sender(host: MilterHost) -> None:
    host.stop(signal.SIGKILL)
    try:
        wait_until(lambda: not _answers(host), "the workers to follow their parent")
        assert _transaction(host).startswith("4")
    finally:
        host.start()
    sent(host, message())


def test_a_worker_that_dies_is_replaced(host: MilterHost) -> None:
    before = host.workers()
    assert len(before) == 2
    for pid in before:
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
    wait_until(lambda: len(host.workers()) == 2 and not set(host.workers()) & set(before), "new workers")
    wait_until(lambda: host.health() == 200, "all workers to answer")
    sent(host, message())


def test_a_reload_changes_texts_and_drops_nobody(host: MilterHost) -> None:
    before = host.workers()
    host.configure(replies={"BADFROM": "Who are you?"})
    try:
        assert host.process is not None
        host.process.send_signal(signal.SIGHUP)

        def new_text() -> bool:
            return host.said(NEWS, A1, content=message("nobody"), signed=False) == "550 5.6.0 Who are you?"

        wait_until(new_text, "the new text")
        assert host.workers() == before
    finally:
        host.configure(replies={"BADFROM": "A single valid From address is required"})
        assert host.process is not None
        host.process.send_signal(signal.SIGHUP)


def test_without_the_database_good_mail_passes_and_forgeries_wait(host: MilterHost, session_world: World) -> None:
    with session_world.without_database():
        sent(host, message())
        said = host.said(NEWS, A1, content=message(), source=FORGER, signed=False)
    assert said == "451 4.3.0 Temporary failure, try again"
    wait_until(lambda: host.health() == 200, "the database to be noticed")


def afresh(host: MilterHost) -> None:
    """After a reload, an idle smtpd could still take one more session under the old settings."""
    host.postfix.stop()
    host.postfix.start()


def test_names_that_are_no_text_do_not_hurt_anybody(host: MilterHost) -> None:
    host.postfix.postconf("-e", "smtputf8_enable = no")
    afresh(host)
    try:
        with smtplib.SMTP("127.0.0.1", host.smtp_port, source_address=("127.0.0.11", 0)) as session:
            session.sock.sendall(b"EHLO b\xfcro\r\n")  # type: ignore[union-attr]
            assert session.getreply()[0] == 250
            assert session.docmd(f"MAIL FROM:<{NEWS}>")[0] == 250
            assert session.docmd(f"RCPT TO:<{A1}>")[0] == 250
            content = message("a@lax.example")
            assert session.data(content)[0] == 250
    finally:
        host.postfix.postconf("-X", "smtputf8_enable")
        afresh(host)
    assert host.told(host.passed(mark_of(content))).helo in ("", "b\udcfcro")


def test_beside_other_roles_it_runs_in_a_child(host: MilterHost) -> None:
    policy, socketmap, status, lmtp, lmtp_status, api, worker, milter = (f"127.0.0.1:{n}" for n in ports.pick(8))
    host.stop()
    host.configure(
        policy={"listen": policy, "socketmap": socketmap, "status": status},
        lmtp={"listen": lmtp, "status": lmtp_status},
        api={"listen": api},
        worker={"status": worker},
        milter={"status": milter},
    )
    host.status = int(milter.rpartition(":")[2])
    host.start("all")
    try:
        assert all(ports.answers(int(address.rpartition(":")[2])) for address in (policy, lmtp, api, worker))
        sent(host, message())
        (child,) = host.workers()
        subprocess.run(["kill", "-KILL", str(child)], check=True)
        wait_until(lambda: host.workers() not in ([], [child]) and host.health() == 200, "another child")
        sent(host, message())
    finally:
        assert host.stop() == 0
        assert not host.sock.exists()
        host.start()


# --- the status page -----------------------------------------------------------------------------------------------


def test_the_status_page_speaks_for_all_processes(host: MilterHost) -> None:
    def accepted() -> float:
        found = re.findall(
            r'^mailrelay_milter_messages_total{reason="none",verdict="accept"} (\S+)', host.metrics(), re.M
        )
        return sum(map(float, found))

    before = accepted()
    for _ in range(6):
        sent(host, message())
    assert accepted() == before + 6
    assert re.search(r"^mailrelay_listening 1.0$", host.metrics(), re.M)
    assert host.health() == 200


def _answers(host: MilterHost) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", host.smtp_port) as session:
            session.ehlo()
            return session.docmd(f"MAIL FROM:<{NEWS}>")[0] == 250
    except smtplib.SMTPException:
        return False


def _transaction(host: MilterHost) -> str:
    try:
        return host.said(NEWS, A1, content=message())
    except smtplib.SMTPException as error:
        return str(error.args[0])
    except AssertionError:
        return "4 refused before the content"
