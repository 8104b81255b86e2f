"""Address lists as strangers write them."""

import itertools
import time
from email.utils import parseaddr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailrelay.core.author import speaker
from mailrelay.core.header import split
from mailrelay.core.mailbox import (
    FromProblem,
    Group,
    Mailbox,
    address_of,
    first_address,
    from_problem,
    mailboxes,
)

SPECIALS = [
    b'"',
    b"\\",
    b"(",
    b")",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b"@",
    b"a",
    b" ",
    b"=?u?q?x?=",
    b"a@b",
    b"<a@b>",
    b".",
]


def read(value: bytes) -> list[str]:
    """What a list holds: `name|address`, `name|-` if there is no address, `name:;` for groups."""
    return [
        f"{one.name}:;" if isinstance(one, Group) else f"{one.name}|{one.address or '-'}" for one in mailboxes(value)
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 5322, appendix A
        (b"John Doe <jdoe@machine.example>", ["John Doe|jdoe@machine.example"]),
        (b'"Joe Q. Public" <john.q.public@example.com>', ["Joe Q. Public|john.q.public@example.com"]),
        (
            b'Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>, <boss@nil.test>, "Giant; \\"Big\\" Box" '
            b"<sysservices@example.net>",
            [
                "Mary Smith|mary@x.test",
                "|jdoe@example.org",
                "Who?|one@y.test",
                "|boss@nil.test",
                'Giant; "Big" Box|sysservices@example.net',
            ],
        ),
        (
            b"A Group:Ed Jones <joe@a.test>,joe@where.test,John <jdoe@one.test>;, x@y.test",
            ["Ed Jones|joe@a.test", "|joe@where.test", "John|jdoe@one.test", "|x@y.test"],
        ),
        (b"Undisclosed recipients:;", ["Undisclosed recipients:;"]),
        (
            b"(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;",
            ["(Empty list)(start)Hidden recipients:;"],
        ),
        (
            b"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
            ["Mary Smith|mary@example.net", "|jdoe@test.example"],
        ),
        (b"<@machine.tld,@x.y:mary@example.net>", ["|mary@example.net"]),
        (b"Pete <pete(his account)@silly.test(host)>", ["Pete|pete@silly.test"]),
        (b"news@shop.example (Example (Online) Shop)", ["Example (Online) Shop|news@shop.example"]),
        # what people write
        pytest.param(b"Name <Name <a@shop.example>>", ["Name|a@shop.example"], id="12.2-55"),
        pytest.param(b"Widgets, Inc <a@shop.example>", ["Widgets, Inc|a@shop.example"], id="12.2-56"),
        (b"A, B <a@x.example>, C <c@x.example>", ["A, B|a@x.example", "C|c@x.example"]),
        (b"Alice, bob@x.example", ["Alice|-", "|bob@x.example"]),
        (b"Name <a@x.example", ["Name|a@x.example"]),
        (b"Name <a@x.example, Other <b@x.example>", ["Name|a@x.example", "Other|b@x.example"]),
        (b"a@x.example; b@x.example;", ["|a@x.example", "|b@x.example"]),
        (b"undisclosed-recipients:", ["undisclosed-recipients:;"]),
        (b"undisclosed-recipients:;, a@x.example", ["undisclosed-recipients:;", "|a@x.example"]),
        (b"Re: Foo <a@x.example>", ["Re: Foo|a@x.example"]),
        (b'"Foo <a@x.example>', ["Foo|a@x.example"]),
        (b"John (Sales) <j@x.example>", ["John (Sales)|j@x.example"]),
        (b"<mailto:a@x.example>", ["|a@x.example"]),
        (b'"a@bank.example" <b@x.example>', ["a@bank.example|b@x.example"]),
        (b"a@bank.example <b@x.example>", ["a@bank.example|b@x.example"]),
        (b"=?utf-8?q?Doe,_John?= <j@x.example>", ["Doe, John|j@x.example"]),
        (b'"=?utf-8?q?B=C3=BCro?=" <b@x.example>', ["Büro|b@x.example"]),
        (b'"\\" Name \\"" <a@x.example>', ["Name|a@x.example"]),
        (b"M\xfcller <m@x.example>", ["M\ufffdller|m@x.example"]),
        ("Bücher <b@bücher.example>".encode(), ["Bücher|b@xn--bcher-kva.example"]),
        pytest.param("büro@münchen.example".encode(), ["|büro@xn--mnchen-3ya.example"], id="12.2-59"),
        (b"a\0b <a@x.example>", ["ab|a@x.example"]),
        (b'"john doe"@x.example', ['|"john doe"@x.example']),
        (b'<"a,b>c"@x.example>', ['|"a,b>c"@x.example']),
        (b'"plain"@x.example', ["|plain@x.example"]),
        (b"a..b@phone.example", ['|"a..b"@phone.example']),
        (b"", []),
        (b" , ,, ", []),
        (b"<>", ["|-"]),
        (b"nobody", ["nobody|-"]),
        (b"a@[192.0.2.1]", ["a@[192.0.2.1]|-"]),
        (b"a\r\n\t@x.example", ["|a@x.example"]),
    ],
)
def test_lists_are_read(value: bytes, expected: list[str]) -> None:
    assert read(value) == expected


def test_raw_is_what_stands_in_the_field() -> None:
    value = b'"A" <a@x.example>,\r\n\tB  <b@x.example> , c'
    assert [one.raw for one in mailboxes(value) if isinstance(one, Mailbox)] == [
        b'"A" <a@x.example>',
        b"B  <b@x.example>",
        b"c",
    ]


def test_the_limit_ends_the_list() -> None:
    value = b"a@x.example, " * 5
    assert len(mailboxes(value)) == 5
    assert len(mailboxes(value, limit=2)) == 2


@pytest.mark.parametrize(
    "text", [b"", b"@", b"a@", b"a b@x.example", b'"a\nb"@x.example', b"a@x.example" * 200, b"\xff@x"]
)
def test_some_octets_are_no_address(text: bytes) -> None:
    assert address_of(text) is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([b"a@shop.example"], None),
        ([b"A <a@shop.example>, B <b@Shop.example>"], None),
        ([b"Broken <a b@shop.example>, B <b@shop.example>"], None),
        pytest.param([b"Name <Name <a@shop.example>>"], None, id="12.2-55"),
        pytest.param([b"Widgets, Inc <a@shop.example>"], None, id="12.2-56"),
        ([], FromProblem.ABSENT),
        ([b""], FromProblem.UNREADABLE),
        ([b"MAILER-DAEMON"], FromProblem.UNREADABLE),
        ([b"undisclosed:;"], FromProblem.UNREADABLE),
        ([b"a@shop.example, " * 60], FromProblem.UNREADABLE),
        pytest.param([b"a@shop.example", b"a@shop.example"], FromProblem.SEVERAL_FIELDS, id="12.2-54"),
        ([b"a@shop.example, b@bank.example"], FromProblem.SEVERAL_DOMAINS),
        ([b"a@shop.example, b@mail.shop.example"], FromProblem.SEVERAL_DOMAINS),
    ],
)
def test_one_author_is_wanted(values: list[bytes], problem: FromProblem | None) -> None:
    assert from_problem(values, null_sender=False, is_report=True) is problem


@pytest.mark.parametrize(
    ("values", "null_sender", "is_report", "problem"),
    [
        ([], True, True, None),
        ([b"MAILER-DAEMON"], True, True, None),
        ([], True, False, FromProblem.ABSENT),
        ([], False, True, FromProblem.ABSENT),
        ([b"a@x.example", b"a@x.example"], True, True, FromProblem.SEVERAL_FIELDS),
        ([b"a@x.example, b@y.example"], True, True, FromProblem.SEVERAL_DOMAINS),
    ],
)
def test_a_report_needs_no_author(
    values: list[bytes], null_sender: bool, is_report: bool, problem: FromProblem | None
) -> None:
    assert from_problem(values, null_sender=null_sender, is_report=is_report) is problem


@pytest.mark.parametrize(
    ("header", "sender", "expected"),
    [
        (b'From: "Shop" <a@x.example>\r\nSender: b@x.example\r\n', "c@x.example", "Shop|a@x.example"),
        (b"From: Shop <broken>\r\nSender: b@x.example\r\n", "c@x.example", "Shop|b@x.example"),
        (b"From: Shop <broken>\r\n", "c@x.example", "Shop|c@x.example"),
        (b"", "c@x.example", "|c@x.example"),
        (b"From: Shop <broken>\r\n", "", "Shop|None"),
        (b"Subject: x\r\n", "\udcff@x.example", "|None"),
    ],
)
def test_somebody_speaks(header: bytes, sender: str, expected: str) -> None:
    found = speaker(split(header + b"\r\n"), sender)
    assert f"{found.name}|{found.address}" == expected


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=40)


@given(st.binary() | st.lists(st.sampled_from(SPECIALS)).map(b"".join))
@example(b'"<"<"<')
def test_any_octets_are_a_list(value: bytes) -> None:
    found = mailboxes(value)
    assert first_address(value) == next(
        (one.address for one in found if isinstance(one, Mailbox) and one.address), None
    )
    for one in found:
        assert not set(one.name) & set("\r\n\0")
        if isinstance(one, Mailbox):
            assert one.raw in value
    assert mailboxes(value, limit=1) == found[:1]


@given(st.lists(st.from_regex(rb"[a-z]{1,8}(\.[a-z0-9]{1,8})?@[a-z]{1,8}\.example", fullmatch=True), max_size=30))
def test_plain_lists_are_read_as_written(addresses: list[bytes]) -> None:
    names = [f"|{parseaddr(one.decode())[1]}" for one in addresses]
    assert read(b", ".join(addresses)) == names


def test_twenty_thousand_addresses_do_not_take_the_square_of_their_number() -> None:
    value = b",\r\n\t".join(b'"Person %d" <person%d@host%d.example>' % (i, i, i % 700) for i in range(20_000))
    started = time.process_time()
    assert len(mailboxes(value)) == 20_000
    assert time.process_time() - started < 10 * len(value) / 100_000 * 0.05  # the square would be minutes


@pytest.mark.parametrize("words", [w for n in (1, 2) for w in itertools.product(SPECIALS, repeat=n)], ids=repr)
def test_no_pattern_takes_quadratic_time(words: tuple[bytes, ...]) -> None:
    word = b"".join(words)
    value = b'"<' + word * (100_000 // len(word))
    started = time.process_time()
    mailboxes(value)
    assert time.process_time() - started < 2  # it takes a fiftieth of that; with the square it would be many seconds
