"""The header of a copy in rewrite mode: every row of the table of spec section 3.3."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core import dkim, phrase
from mailrelay.core.address import Address
from mailrelay.core.compose import transparent_header
from mailrelay.core.correspond import Aliased, correspond, correspondents
from mailrelay.core.header import MAX_FIELDS, Field, Message, split
from mailrelay.core.letterhead import Letterhead, Signer
from mailrelay.core.mode import SINGLE
from mailrelay.core.rewrite import Edits, House, rewritten
from mailrelay.core.subject import changed
from tests.unit.example import (
    EXAMPLE_PARTIES,
    HEAD,
    HOUSE,
    MESSAGE,
    REWRITTEN,
    TRANSPARENT,
    Parties,
    edits_of,
)
from tests.unit.test_dkim import RSA

PARTIES = Parties()
PLAIN_HEAD = replace(HEAD, authentication_results="")
NAMED = b"From: news@shop.example\r\nTo: a1@alias.example\r\nDate: today\r\nMessage-ID: <1@x>\r\n"
OUR_FROM = PARTIES.from_


def copy(
    content: bytes, head: Letterhead = PLAIN_HEAD, parties: Parties = PARTIES, house: House = HOUSE, **more: object
) -> bytes:
    message = split(content)
    edits = replace(edits_of(message, parties), **more)  # type: ignore[arg-type]
    return b"".join(rewritten(message, head, edits, house).above(message))


def fields(content: bytes) -> list[Field]:
    return list(split(content).fields)


def values(content: bytes, name: str) -> list[bytes]:
    return split(content).values(name.lower().encode())


def below(content: bytes) -> bytes:
    """What follows the facts that we add."""
    return re.split(
        rb"^Feedback-ID: .*\r\n(?:Auto-Submitted: auto-replied\r\n)?", content, maxsplit=1, flags=re.MULTILINE
    )[1]


def test_the_worked_example_in_rewrite_mode() -> None:
    header = rewritten(MESSAGE, HEAD, edits_of(MESSAGE, EXAMPLE_PARTIES, behaviour=0), HOUSE)
    assert b"".join(header.above(MESSAGE)) == REWRITTEN


def test_the_worked_example_from_end_to_end() -> None:
    aliased = Aliased(Address("a1", "alias.example"), Address("relay", "relay.example"))
    parties = correspond(correspondents(MESSAGE, HEAD.sender), aliased, (), {})
    edits = replace(edits_of(MESSAGE, behaviour=0), correspondence=parties)
    assert b"".join(rewritten(MESSAGE, HEAD, edits, HOUSE).above(MESSAGE)) == REWRITTEN


def test_the_worked_example_in_transparent_mode() -> None:
    assert b"".join(transparent_header(MESSAGE, HEAD, "X-Mailrelay-").above(MESSAGE)) == TRANSPARENT


def test_signatures_go_on_top_and_cover_what_the_example_says() -> None:
    header = rewritten(MESSAGE, HEAD, edits_of(MESSAGE), HOUSE).signed(b"hash", Signer((RSA,), 1767690002))
    signature, *rest = header.fields
    assert signature.name == b"dkim-signature"
    assert b"".join(field.raw for field in rest) + MESSAGE.content[MESSAGE.header_end :] == REWRITTEN
    signed = re.sub(rb"\s", b"", signature.raw)
    assert (
        b"h=from:from:reply-to:reply-to:subject:subject:date:date:to:to:cc:cc:message-id:message-id:in-reply-to:"
        b"references:mime-version:mime-version:content-type:content-type:content-transfer-encoding:sender:"
        b"list-unsubscribe:list-unsubscribe:list-unsubscribe-post:list-unsubscribe-post:feedback-id:feedback-id:"
        b"auto-submitted;" in signed
    )


REMOVED = [
    *("Return-Path", "X-Original-To", "Envelope-To", "X-Envelope-To", "Apparently-To", "Bcc", "Delivered-To"),
    *("DKIM-Signature", "DomainKey-Signature", "X-Google-DKIM-Signature", "Authentication-Results"),
    *("Disposition-Notification-To", "Return-Receipt-To", "X-Confirm-Reading-To"),
    *("Disposition-Notification-Options", "Generate-Delivery-Report", "Errors-To"),
    *("Autocrypt", "Autocrypt-Gossip", "Openpgp", "X-PGP-Key", "Feedback-ID", "Sender"),
    *("X-Spam", "X-Spam-Status", "X-Spamd-Result", "X-Rspamd-Queue-Id", "X-Virus-Scanned"),
    *("X-Mailrelay-Mode", "X-Mailrelay-Ingress", "X-MAILRELAY-", "X-Mailrelay-Loopy"),
]
KEPT = [
    *("Received", "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "Resent-To", "Resent-From"),
    *("Content-Disposition", "List-Id", "List-Archive", "Precedence", "Auto-Submitted", "X-Auto-Response-Suppress"),
    *("Importance", "Priority", "X-Priority", "Sensitivity", "Keywords", "Comments", "Content-Language"),
    *("Thread-Topic", "Thread-Index", "TLS-Required", "X-Mailrelay-Loop", "X-Unknown", "X-Forwarded-To", "Author"),
    *("X-AnonAddy-Original-To", "List-Post", "Received-SPF", "X-Mailrelays-Mode"),
]


@pytest.mark.parametrize("name", [pytest.param(name, id=f"row-75-{name}") for name in REMOVED])
def test_fields_that_go_every_one(name: str) -> None:
    field = name.encode()
    content = b"%b: one\r\n%b%b : two\r\n\tfolded\r\n\r\n%b: body\r\n" % (field, NAMED, field.upper(), field)
    assert below(copy(content)) == NAMED.replace(b"From: news@shop.example\r\n", OUR_FROM) + b"\r\n%b: body\r\n" % field


@pytest.mark.parametrize("name", [pytest.param(name, id=f"row-76-{name}") for name in KEPT])
def test_fields_that_stay_in_place_even_twice(name: str) -> None:
    own = b"%b: one\r\n" % name.encode()
    twice = b"%b :  \xfftwo \r\n\t folded \r\n" % name.upper().encode()
    content = own + NAMED + twice + b"X-Last: x\r\n\r\nbody\r\n"
    assert below(copy(content)) == content.replace(b"From: news@shop.example\r\n", OUR_FROM)


@pytest.mark.parametrize("name", sorted(SINGLE - {b"to", b"cc", b"from", b"reply-to", b"sender"}))
def test_row_77_the_first_of_duplicates_stays(name: bytes) -> None:
    first, second = b"%b:  first\r\n" % name, b"%b: second\r\n" % name.upper()
    others = b"".join(raw for raw in NAMED.splitlines(keepends=True) if not raw.lower().startswith(name + b":"))
    content = first + others + second + second + b"\r\n"
    assert below(copy(content)) == (first + others + b"\r\n").replace(b"From: news@shop.example\r\n", OUR_FROM)


def test_duplicates_of_address_fields_are_merged_into_the_originals() -> None:
    out = copy(b"To: x@a.example\r\nTo: a1@alias.example\r\nCc: c@a.example\r\ncc: d@a.example\r\n" + NAMED + b"\r\n")
    assert values(out, "To") == [b"a1@alias.example"]
    assert values(out, "X-Mailrelay-Original-To") == [b"x@a.example, a1@alias.example, a1@alias.example"]
    assert values(out, "Cc") == []
    assert values(out, "X-Mailrelay-Original-Cc") == [b"c@a.example, d@a.example"]


def test_of_results_only_our_own_topmost_stay() -> None:
    ours = b"Authentication-Results: MX.relay.example 1; spf=pass\r\n"
    foreign = b"Authentication-Results: mx.relay.example.bad.example; dmarc=pass\r\n"
    content = foreign + NAMED + ours + ours.replace(b"pass", b"none") + foreign + b"\r\n"

    def kept(head: Letterhead) -> list[bytes]:
        return [field.raw for field in fields(copy(content, head)) if field.name == b"authentication-results"]

    assert kept(replace(PLAIN_HEAD, authentication_results="mx.relay.example 1; spf=pass")) == [ours]
    # Where nobody looked, whatever calls itself ours is forged.
    assert kept(replace(PLAIN_HEAD, authentication_results="")) == []


def test_row_72_a_missing_message_id_is_made_at_the_alias_domain() -> None:
    out = copy(NAMED.replace(b"Message-ID: <1@x>\r\n", b"") + b"\r\n")
    assert values(out, "Message-ID") == [b"<%b@alias.example>" % (b"0f" * 16)]


@pytest.mark.parametrize("value", [b"<[abc@x]>", b"", b"  a b ", b"<1@x> <2@x>"])
def test_row_72_a_malformed_message_id_stays(value: bytes) -> None:
    content = NAMED.replace(b"<1@x>", value) + b"\r\n"
    assert below(copy(content)) == content.replace(b"From: news@shop.example\r\n", OUR_FROM)


def test_row_92_a_new_message_id_keeps_the_original_aside() -> None:
    out = copy(NAMED + b"\r\n", new_message_id=True)
    assert values(out, "Message-ID") == [b"<%b@alias.example>" % (b"0f" * 16)]
    assert values(out, "X-Mailrelay-Original-Message-ID") == [b"<1@x>"]


def test_row_73_a_missing_date_is_now() -> None:
    out = copy(NAMED.replace(b"Date: today\r\n", b"") + b"\r\n")
    assert values(out, "Date") == [b"Tue, 06 Jan 2026 09:00:02 +0000"]


def test_row_74_answers_thread_in_the_owners_mailbox() -> None:
    answer = b"In-Reply-To: <0f@alias.example>\r\nReferences: <1@shop.example>\r\n\t<0f@alias.example>\r\n"
    out = copy(NAMED + answer + b"\r\n", thread={"<0f@alias.example>": "<mine@mua.example>"})
    assert answer.replace(b"0f@alias.example", b"mine@mua.example") in out


def test_row_84_a_new_subject_keeps_the_original_aside() -> None:
    content = NAMED + b"Subject: Your\r\n order 77\r\n\r\n"
    subject = Field(b"subject", b"Subject: Private Your order 77\r\n")
    out = copy(content, subject=subject)
    assert values(out, "Subject") == [b"Private Your order 77"]
    assert values(out, "X-Mailrelay-Original-Subject") == [b"Your order 77"]
    assert values(copy(content, subject=subject, hide_subject=True), "X-Mailrelay-Original-Subject") == []


def test_a_missing_subject_stays_missing_unless_replaced() -> None:
    assert values(copy(NAMED + b"\r\n"), "Subject") == []
    assert values(copy(NAMED + b"\r\n", subject=Field(b"subject", b"Subject: x\r\n")), "Subject") == [b"x"]


def test_row_89_a_reason_for_the_mode_is_told() -> None:
    out = copy(NAMED + b"\r\n", replace(PLAIN_HEAD, reason="dmarc"))
    assert values(out, "X-Mailrelay-Mode") == [b"rewrite; reason=dmarc"]


def test_row_97_replaced_list_fields_are_kept_aside() -> None:
    out = b"".join(rewritten(MESSAGE, HEAD, edits_of(MESSAGE, behaviour=1), HOUSE).above(MESSAGE))
    assert values(out, "X-Mailrelay-Original-List-Unsubscribe") == [
        b"<https://shop.example/u/77>,\t<mailto:unsub-77@shop.example?subject=stop>"
    ]
    assert values(out, "X-Mailrelay-Original-List-Unsubscribe-Post") == []  # says the same
    assert values(out, "List-Unsubscribe")[0].startswith(b"<https://app.relay.example/u/deactivate/")
    assert out.index(b"\r\nList-Unsubscribe: ") > out.index(b"\r\nMessage-ID: ")  # in place of the original


def test_row_96_list_fields_where_there_were_none_are_added_on_top() -> None:
    message = split(NAMED + b"\r\n")
    out = b"".join(rewritten(message, PLAIN_HEAD, edits_of(message, PARTIES, behaviour=0), HOUSE).above(message))
    added_fields = below(out).split(b"From: ")[0]
    assert [field.name for field in fields(added_fields)] == [b"list-unsubscribe", b"list-unsubscribe-post"]


def test_mail_addresses_of_lists_become_ours() -> None:
    out = copy(NAMED + b"List-Post: <mailto:l@x.example>\r\nList-Help: <mailto:bad>\r\n\r\n")
    assert values(out, "List-Post") == [b"<mailto:a1+l=x.example@alias.example>"]
    assert values(out, "List-Help") == []


def test_read_receipts_sender_and_missing_parties() -> None:
    out = copy(b"Sender: boss@shop.example\r\nReply-To: help@shop.example\r\n" + NAMED + b"\r\n")
    assert values(out, "Sender") == values(out, "Reply-To") == []
    assert values(out, "X-Mailrelay-Original-Sender") == [b"boss@shop.example"]
    assert values(out, "X-Mailrelay-Original-Reply-To") == [b"help@shop.example"]


def test_parties_that_the_message_did_not_name_stand_on_top() -> None:
    parties = replace(PARTIES, reply_to=b"Reply-To: a1+x=y.example@alias.example\r\n", unrepliable=True)
    out = copy(b"Subject: x\r\n\r\nbody\r\n", parties=parties, author="")
    names = [field.name for field in fields(below(out))]
    assert names == [b"from", b"reply-to", b"to", b"date", b"message-id", b"subject"]
    assert values(out, "X-Mailrelay-Unrepliable") == [b"Yes"]
    assert values(out, "X-Mailrelay-Original-From") == values(out, "X-Mailrelay-Original-Sender-Address") == []


def test_row_70_no_original_recipient_is_lost_for_want_of_room() -> None:
    people = [b"Person Number %d <p%d@elsewhere.example>" % (number, number) for number in range(80)]
    out = copy(NAMED.replace(b"a1@alias.example", b",\r\n ".join(people)) + b"\r\n")
    originals = values(out, "X-Mailrelay-Original-To")
    assert b" ".join(originals).replace(b"\t", b" ") == b", ".join(people)
    assert all(len(original) <= 900 for original in originals)


@pytest.mark.parametrize("sender", ["", "x@shop.example"])
@pytest.mark.parametrize("said", [b"", b"Auto-Submitted: no\r\n"])
def test_mail_of_the_null_sender_says_that_it_wants_no_answer(sender: str, said: bytes) -> None:
    out = copy(said + NAMED + b"\r\n", replace(PLAIN_HEAD, sender=sender))
    expected = [b"no"] if said else [b"auto-replied"] if not sender else []
    assert values(out, "Auto-Submitted") == expected
    assert values(out, "X-Mailrelay-Envelope-From") == [sender.encode() or b"<>"]


def test_all_facts_in_their_order_with_addys_names() -> None:
    head = replace(HEAD, sender="", authentication_results="mx.relay.example; arc=none", spam=True, resend=True)
    content = b"Sender: s\r\nReply-To: r\r\nCc: c\r\nSubject: s\r\nX-AnonAddy-Spam: forged\r\n" + NAMED + b"\r\n"
    subject = Field(b"subject", b"Subject: [SPAM] s\r\n")
    out = copy(content, replace(head, compat=True), replace(PARTIES, unrepliable=True), subject=subject)
    added_fields = fields(out[: out.index(b"Feedback-ID")] + b"\r\n")
    assert [field.raw.partition(b":")[0].removeprefix(b"X-").decode() for field in added_fields] == [
        *(f"Mailrelay-{name}" for name in ("Mode", "Id", "Loop", "Envelope-To", "Envelope-From")),
        *(f"Mailrelay-Original-{name}" for name in ("From", "Sender-Address", "Reply-To", "Cc", "Sender", "Subject")),
        *(f"Mailrelay-{name}" for name in ("Authentication-Results", "Spam", "Resend", "Unrepliable")),
        *(f"AnonAddy-Original-{name}" for name in ("From-Header", "Sender", "Reply-To-Header", "Cc", "Envelope-From")),
        *(f"AnonAddy-{name}" for name in ("Authentication-Results", "Spam", "Resend")),
    ]
    assert values(out, "X-AnonAddy-Spam") == [b"Yes"]
    assert values(out, "X-AnonAddy-Original-Sender") == [b"news@shop.example"]


def test_the_author_field_carries_the_original_from() -> None:
    out = copy(b"Author: forged@x\r\n" + NAMED + b"\r\n", author_field=True)
    assert values(out, "Author") == [b"news@shop.example"]


def test_fields_of_a_changed_body() -> None:
    content = NAMED + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\nContent-Id: <x>\r\n\r\n"
    body_fields = {
        b"mime-version": Field(b"mime-version", b"MIME-Version: 1.0\r\n"),
        b"content-transfer-encoding": Field(b"content-transfer-encoding", b"Content-Transfer-Encoding: base64\r\n"),
        b"content-id": None,
    }
    out = copy(content, body_fields=body_fields)
    assert values(out, "MIME-Version") == [b"1.0"]
    assert values(out, "Content-Transfer-Encoding") == [b"base64"]
    assert values(out, "Content-Type") == [b"text/plain"]
    assert values(out, "Content-Id") == []


def test_the_prefix_is_the_installations() -> None:
    house = replace(HOUSE, prefix="X-Acme-")
    out = copy(b"X-Mailrelay-Mode: kept\r\nX-Acme-Mode: forged\r\nX-Acme-Loop: kept\r\n" + NAMED + b"\r\n", house=house)
    assert values(out, "X-Acme-Mode") == [b"rewrite"]
    assert values(out, "X-Acme-Loop") == [b"v1; 10c03825a25dd8168c86", b"kept"]
    assert values(out, "X-Mailrelay-Mode") == [b"kept"]


def test_row_59_nothing_needs_smtputf8_any_more() -> None:
    text = (
        "From: Büro <büro@münchen.example>\r\nSubject: grün\r\nReceived: from ü\r\nMessage-ID: <ü@x>\r\n"
        "Date: Tue, 6 Jan 2026 09:00:00 +0000\r\nResent-To: ü@x\r\nList-Unsubscribe: <https://x/ü>\r\n"
        'Content-Type: text/plain; name="ü"\r\nX-Foo: ü\r\n\r\nü\r\n'
    )
    head = replace(PLAIN_HEAD, sender="büro@münchen.example")
    out = copy(text.encode(), head, author="büro@xn--mnchen-3ya.example", smtputf8=True)
    header, _, body = out.partition(b"\r\n\r\n")
    assert header.isascii()
    assert body == "ü\r\n".encode()
    assert values(out, "Message-ID") == [b"<%b@alias.example>" % (b"0f" * 16)]
    told = {name: [phrase.decoded(value) for value in values(out, f"X-Mailrelay-Original-{name}")] for name in MOVED}
    assert told == {"From": ["Büro <büro@münchen.example>"], "Message-ID": ["<ü@x>"], "Resent-To": ["ü@x"]}
    assert phrase.decoded(values(out, "Subject")[0]) == "grün"
    assert values(out, "Resent-To") == []


MOVED = ("From", "Message-ID", "Resent-To")


@pytest.mark.parametrize(
    ("content", "rest"),
    [
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"\r\nbody\r\n", b"\r\nbody\r\n", id="no-header"),
        pytest.param(b"X: x", b"X: x\r\n", id="no-line-end"),
        pytest.param(b"X: x\r\nbody\r\n", b"X: x\r\n\r\nbody\r\n", id="no-separator"),
        pytest.param(b"Bcc: x\r\nbody\r\n", b"\r\nbody\r\n", id="only-a-body-left"),
        pytest.param(b" folded\r\n", b"\r\n folded\r\n", id="continuation-of-nothing"),
    ],
)
def test_odd_messages_keep_their_shape(content: bytes, rest: bytes) -> None:
    out = copy(content)
    assert out.endswith(b"Message-ID: <%b@alias.example>\r\n%b" % (b"0f" * 16, rest))
    assert split(out).body == split(content).body


def test_an_mbox_line_stays_on_top() -> None:
    out = copy(b"From x Tue Jan  6\r\nX-Foo: y\r\n\r\n")
    assert out.startswith(b"From x Tue Jan  6\r\nX-Mailrelay-Mode: rewrite\r\n")
    assert out.endswith(b"X-Foo: y\r\n\r\n")


def test_nothing_forbidden_hides_behind_ten_thousand_fields() -> None:
    buried = b"Bcc: r@x\r\nFROM : f@x\r\n\tg\r\nDKIM-Signature: x\r\nX-Mailrelay-Id: 1\r\n"
    buried += b"Auto-Submitted: no\r\nList-Post: x\r\nX-Mailrelay-Loop: 2\r\nX-Foo: y\r\n"
    content = NAMED + b"a:\r\n" * MAX_FIELDS + buried + b"X-Spam-Foo: z\r\n\r\nBcc: body\r\n"
    expected = NAMED + b"a:\r\n" * MAX_FIELDS + b"X-Mailrelay-Loop: 2\r\nX-Foo: y\r\n\r\nBcc: body\r\n"
    assert below(copy(content)) == expected.replace(b"From: news@shop.example\r\n", OUR_FROM)


LINES = st.sampled_from(
    [
        *(
            b"Bcc: x\r\n",
            b"From: x@y.example\r\n",
            b"from :z\n",
            b"To: a,\r\n b\r\n",
            b"Subject: s\r\n",
            b"X-Foo: \xff\r\n",
        ),
        *(b"DKIM-Signature: d\r\n", b"X-Mailrelay-Id: 7\r\n", b"X-Mailrelay-Loop: 7\r\n", b"x-spam-y: n\r\n"),
        *(b"List-Post: <mailto:x@y.example>\r\n", b"List-Unsubscribe: <ftp://x>\r\n", b"Received: r\r\n\tt\r\n"),
        *(b"X-Long: " + b"y " * 700 + b"\r\n", b"X-Longer: " + b"y" * 3000 + b"\r\n", b"References: <a>\r\n"),
        *(b"\r\n", b"\n", b" folded\r\n", b"From x\r\n", b"no field\r\n", b"Authentication-Results: x\r\n"),
    ]
)
CONTENTS = st.lists(LINES | st.binary(max_size=12), max_size=25).map(b"".join)
FORBIDDEN = re.compile(
    rb"return-path|(x-)?envelope-to|bcc|delivered-to|dkim-signature|sender|x-spam.*|authentication-results"
)


def edits(message: Message, smtputf8: bool) -> Edits:
    first = next((field for field in message.fields if field.name == b"subject"), None)
    subject = changed(first, None, "[SPAM]")
    return replace(edits_of(message, PARTIES, behaviour=0), smtputf8=smtputf8, subject=subject)


@settings(max_examples=500)
@given(CONTENTS, st.booleans())
def test_any_message_keeps_what_may_stay_and_nothing_else(content: bytes, smtputf8: bool) -> None:
    message = split(content)
    header = rewritten(message, HEAD, edits(message, smtputf8), HOUSE)
    out = b"".join(header.above(message))
    again = split(out)
    assert again.body == message.body
    assert [field.raw for field in again.fields if field.name] == [field.raw for field in header.fields]
    assert [name for name in (field.name for field in header.fields) if FORBIDDEN.fullmatch(name)] == []
    assert max(len(line.rstrip(b"\r")) for line in header.block.split(b"\n")) <= 998
    assert all(again.count(name) <= 1 for name in SINGLE)
    assert again.count(b"from") == again.count(b"date") == again.count(b"message-id") == 1
    if smtputf8:
        assert header.block.isascii()
    dkim.sign(header.fields, b"hash", (), 0)


def stays(field: Field) -> bool:
    return field.name in (b"x-foo", b"received", b"x-mailrelay-loop", b"x-long")


@settings(max_examples=200)
@given(CONTENTS)
def test_kept_fields_keep_their_octets_and_their_order(content: bytes) -> None:
    kept = [field.raw for field in fields(content) if stays(field) and len(field.raw) < 999]
    out = below(copy(content + b"\r\n"))
    assert [field.raw for field in fields(out) if stays(field) and len(field.raw) < 999] == kept


def test_a_normal_header_takes_microseconds_and_a_huge_one_its_time() -> None:
    huge = split(
        b"To: " + b"Some Body <b@x.example>,\r\n " * 40_000 + b"c@x.example\r\n" + b"a:\r\n" * 100_000 + b"\r\n"
    )
    for message, rounds, seconds in ((MESSAGE, 1000, 0.5), (huge, 1, 0.7)):
        edits = edits_of(message)
        began = time.process_time()
        for _ in range(rounds):
            rewritten(message, HEAD, edits, HOUSE)
        assert time.process_time() - began < seconds
