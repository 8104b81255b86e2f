"""Who writes to whom in a rewritten copy."""

import time
from dataclasses import replace
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, parse_address
from mailrelay.core.context import letters
from mailrelay.core.correspond import Aliased, Correspondence, correspond, correspondents, opaque_needed
from mailrelay.core.display import DisplayFrom
from mailrelay.core.header import split, unfold

A1 = Aliased(parse_address("a1@alias.example"), parse_address("relay@relay.example"))
UNSENT = replace(A1, address=parse_address("x@unsent.example"), verified_for_sending=False)
FROM = b'From: "Example Shop" <news@shop.example>\r\n'
TO = b"To: a1@alias.example\r\n"
SHOP = "\"Example Shop 'news at shop.example'\""
REAL = "real@inbox.example"


def made(contacts: tuple[Address, ...], alias: Address = A1.address) -> dict[str, Address]:
    """Opaque addresses as the store would make them."""
    return {str(one): Address(f"r-{letters(at.to_bytes(10, 'big'))}", alias.domain) for at, one in enumerate(contacts)}


def compose(header: bytes, aliased: Aliased = A1, known: tuple[str, ...] = (), sender: str = "") -> Correspondence:
    who = correspondents(split(header + b"\r\nbody\r\n"), sender)
    return correspond(who, aliased, known, made(opaque_needed(who, aliased, known), aliased.address))


def value(field: bytes | None) -> str | None:
    """The unfolded value of a field."""
    if field is None:
        return None
    assert field.endswith(b"\r\n") and field.isascii()
    return unfold(field.partition(b":")[2]).decode("ascii").replace("\t", " ")


def addresses(field: bytes | None) -> list[str]:
    return [address for _, address in getaddresses([value(field) or ""])]


def test_the_worked_example() -> None:
    done = compose(
        FROM
        + b"Reply-To: Support Desk <help@shop.example>\r\n"
        + TO
        + b'Cc: "Other Customer" <other@elsewhere.example>\r\n'
    )
    assert done == Correspondence(
        b"From: \"Example Shop 'news at shop.example'\" <a1+news=shop.example@alias.example>\r\n",
        b"Reply-To: \"Support Desk 'help at shop.example'\" <a1+help=shop.example@alias.example>\r\n",
        TO,
        b'Cc: "Other Customer" <a1+other=elsewhere.example@alias.example>\r\n',
    )


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (0, f"{SHOP} <a1+news=shop.example@alias.example>"),
        (1, '"Example Shop - news(a)shop.example" <a1+news=shop.example@alias.example>'),
        (2, '"Example Shop - shop.example" <a1+news=shop.example@alias.example>'),
        (3, '"Example Shop" <a1+news=shop.example@alias.example>'),
        (4, '"news at shop.example" <a1+news=shop.example@alias.example>'),
        (5, "a1+news=shop.example@alias.example"),
        (6, '"shop.example" <a1+news=shop.example@alias.example>'),
        (7, "\"Example Shop 'news@shop.example'\" <a1+news=shop.example@alias.example>"),
    ],
    ids=lambda value: f"12.3-60-format{value}" if isinstance(value, int) else "",
)
def test_from_follows_the_format(form: int, expected: str) -> None:
    assert value(compose(FROM + TO, replace(A1, form=DisplayFrom(form))).from_) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (1, '"news(a)shop.example" <a1+news=shop.example@alias.example>'),
        (6, '"shop.example" <a1+news=shop.example@alias.example>'),
        (5, "a1+news=shop.example@alias.example"),
    ],
    ids=lambda value: f"12.3-61-format{value}" if isinstance(value, int) else "",
)
def test_from_without_a_name(form: int, expected: str) -> None:
    assert value(compose(b"From: news@shop.example\r\n" + TO, replace(A1, form=DisplayFrom(form))).from_) == expected


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        pytest.param(b"Name <Name <a@shop.example>>", "\"Name 'a at shop.example'\"", id="12.2-55"),
        pytest.param(b"Widgets, Inc <a@shop.example>", "\"Widgets, Inc 'a at shop.example'\"", id="12.2-56"),
    ],
)
def test_odd_authors_are_understood(author: bytes, expected: str) -> None:
    done = compose(b"From: " + author + b"\r\n" + TO)
    assert value(done.from_) == f"{expected} <a1+a=shop.example@alias.example>"


def test_an_author_beyond_ascii_gets_an_opaque_address() -> None:
    done = compose("From: büro@münchen.example\r\n".encode() + TO)
    shown = "=?utf-8?q?b=C3=BCro_at_xn--mnchen-3ya=2Eexample?="
    assert value(done.from_) == f"{shown} <r-aaaaaaaaaaaaaaaa@alias.example>", "12.2-59"


def test_hostile_names_stay_in_one_field() -> None:
    name = "=?utf-8?q?Evil=0D=0ABcc:_v=40x.example=E2=80=AE" + "x" * 300 + "?="
    from_ = compose(f"From: {name} <a@shop.example>\r\n".encode() + TO, replace(A1, form=DisplayFrom.NAME)).from_
    (field,) = split(from_ + b"\r\n").fields
    ((shown, address),) = getaddresses([field.value.decode("ascii")])
    assert address == "a1+a=shop.example@alias.example", "12.3-62"
    assert "\u202e".encode() not in from_ and len(shown.encode()) <= 300


def test_a_rules_name_wins() -> None:
    done = compose(FROM + TO, replace(A1, display_from="My Shop"))
    assert value(done.from_) == '"My Shop" <a1+news=shop.example@alias.example>'


@pytest.mark.parametrize(
    ("header", "reply_to"),
    [
        (b"", f"{SHOP} <a1+news=shop.example@alias.example>"),
        (b"Reply-To: help@shop.example\r\n", '"help at shop.example" <a1+help=shop.example@alias.example>'),
        (b"Reply-To: news@shop.example\r\n", '"news at shop.example" <a1+news=shop.example@alias.example>'),
        (b"Reply-To: a1@alias.example\r\n", f"{SHOP} <a1+news=shop.example@alias.example>"),
    ],
)
def test_with_use_reply_to_from_is_the_alias(header: bytes, reply_to: str) -> None:
    done = compose(FROM + header + TO, replace(A1, use_reply_to=True))
    assert value(done.from_) == f"{SHOP} <a1@alias.example>", "12.3-63"
    assert value(done.reply_to) == reply_to
    assert not done.unrepliable


def test_a_domain_that_must_not_send_lends_the_services_from() -> None:
    done = compose(FROM + b"To: x@unsent.example\r\n", UNSENT)
    assert addresses(done.from_) == ["relay@relay.example"], "12.3-64"
    assert addresses(done.reply_to) == ["x+news=shop.example@unsent.example"]


@pytest.mark.parametrize(
    ("reply_to", "expected"),
    [
        pytest.param(
            b"Help <help@shop.example>, b@shop.example",
            ["a1+help=shop.example@alias.example", "a1+b=shop.example@alias.example"],
            id="12.3-65",
        ),
        pytest.param(b"a1@alias.example", [], id="12.3-66"),
        pytest.param(b"A1+tag@Alias.example", [], id="12.3-66-tag"),
        (b"News@shop.example", []),
        (b"x@y.example, a1@alias.example", ["a1+x=y.example@alias.example"]),
        (
            b"x@y.example, news@shop.example",
            ["a1+x=y.example@alias.example", "a1+news=shop.example@alias.example"],
        ),
        (b"broken, <>", []),
        (b"undisclosed:;", []),
        (
            b", ".join(b"p%d@shop.example" % at for at in range(20)),
            [f"a1+p{at}=shop.example@alias.example" for at in range(10)],
        ),
    ],
)
def test_reply_to(reply_to: bytes, expected: list[str]) -> None:
    done = compose(FROM + b"Reply-To: " + reply_to + b"\r\n" + TO)
    assert addresses(done.reply_to) == expected
    assert (done.reply_to is None) == (not expected)


@pytest.mark.parametrize("header", [b"", b"From: broken\r\n", b"From: <>\r\nSender: nobody\r\n"])
@pytest.mark.parametrize("aliased", [A1, UNSENT], ids=["sends", "unsent"])
def test_nobody_can_be_answered(header: bytes, aliased: Aliased) -> None:
    done = compose(header + b"Reply-To: help@shop.example\r\n" + TO, aliased)
    address = "a1@alias.example" if aliased is A1 else "relay@relay.example"
    assert value(done.from_) == f'"Unknown sender" <{address}>'
    assert done.reply_to is None
    assert done.unrepliable


def test_the_envelope_sender_is_the_last_resort() -> None:
    done = compose(b"From: broken\r\n" + TO, sender="bounce@shop.example")
    assert addresses(done.from_) == ["a1+bounce=shop.example@alias.example"]


@pytest.mark.parametrize(
    ("header", "known", "to", "cc"),
    [
        pytest.param(
            TO + b"Cc: B <b@x.example>, c@y.example\r\n",
            (),
            ["a1@alias.example"],
            ["a1+b=x.example@alias.example", "a1+c=y.example@alias.example"],
            id="12.3-67",
        ),
        pytest.param(
            b"To: list@x.example\r\n", (), ["a1+list=x.example@alias.example", "a1@alias.example"], [], id="12.3-68"
        ),
        pytest.param(b"", (), ["a1@alias.example"], [], id="12.3-68-no-to"),
        pytest.param(
            TO + b"Cc: Real@inbox.example\r\n", (REAL,), ["a1@alias.example"], ["Real@inbox.example"], id="12.3-69"
        ),
        (
            TO + b"Cc: real+x@inbox.example, b1+t@alias.example\r\n",
            (REAL, "b1@alias.example"),
            ["a1@alias.example"],
            ["real+x@inbox.example", "b1+t@alias.example"],
        ),
        (b"To: A1+Tag@alias.example\r\n", (), ["A1+Tag@alias.example"], []),
        (
            b"To: a1+b=x.example@alias.example, d@x.example\r\n",
            (),
            ["a1@alias.example", "a1+d=x.example@alias.example"],
            [],
        ),
        (b"Cc: a1@alias.example\r\n", (), [], ["a1@alias.example"]),
        (b"To: broken\r\nCc: a1@alias.example\r\n", (), [], ["a1@alias.example"]),
        (TO + b"To: b@x.example\r\n", (), ["a1@alias.example", "a1+b=x.example@alias.example"], []),
        (
            b"To: b@x.example, B@x.example, a1@alias.example\r\n",
            (),
            ["a1+b=x.example@alias.example", "a1@alias.example"],
            [],
        ),
        ("To: ü@inbox.example, a1@alias.example\r\n".encode(), ("ü@inbox.example",), ["a1@alias.example"], []),
        (
            "To: ü@x.example, a1@alias.example\r\n".encode(),
            (),
            ["r-aaaaaaaaaaaaaaaa@alias.example", "a1@alias.example"],
            [],
        ),
        pytest.param(
            b"To: " + b"x" * 60 + b"@x.example, a1@alias.example\r\n",
            (),
            ["r-aaaaaaaaaaaaaaaa@alias.example", "a1@alias.example"],
            [],
            id="12.3-71",
        ),
    ],
)
def test_to_and_cc(header: bytes, known: tuple[str, ...], to: list[str], cc: list[str]) -> None:
    done = compose(FROM + header, known=known)
    assert addresses(done.to) == to
    assert addresses(done.cc) == cc


def test_a_hidden_recipient_keeps_the_group_and_shows_its_tag() -> None:
    done = compose(FROM + b"To: undisclosed-recipients:;\r\n", replace(A1, tag="news"))
    assert value(done.to) == "undisclosed-recipients:;, a1+news@alias.example"


@pytest.mark.parametrize("tag", ["b=x.example", "ü", "a b", "x\r\nBcc: y", ""])
def test_other_tags_are_not_shown(tag: str) -> None:
    assert value(compose(FROM, replace(A1, tag=tag)).to) == "a1@alias.example"


def test_groups_are_flattened() -> None:
    done = compose(FROM + b"To: Friends: A <a@x.example>, a1@alias.example;\r\n")
    assert value(done.to) == '"A" <a1+a=x.example@alias.example>, a1@alias.example'


@pytest.mark.parametrize(
    "field",
    [
        b"TO : A1@alias.example\r\n",
        b"To: =?utf-8?q?=C3=BC?= <a1@alias.example>,\r\n\t(x) real@inbox.example\r\n",
    ],
)
def test_a_field_in_which_nobody_changes_keeps_its_octets(field: bytes) -> None:
    assert compose(FROM + field, known=(REAL,)).to == field


@pytest.mark.parametrize(
    "field",
    [
        "To: Ü <a1@alias.example>\r\n".encode(),
        b"To: \0A <a1@alias.example>\r\n",
        b"To: A\r <a1@alias.example>\r\n",
        b"To: " + b"x" * 990 + b" <a1@alias.example>\r\n",
    ],
)
def test_unless_they_are_no_good(field: bytes) -> None:
    done = compose(FROM + field)
    assert done.to != field
    assert addresses(done.to) == ["a1@alias.example"]


def test_at_most_50_addresses_are_rewritten_and_none_stays_raw() -> None:
    many = b", ".join(b"p%d@x.example" % at for at in range(80))
    done = compose(
        FROM + b"To: " + many + b"\r\nCc: q@x.example, a1@alias.example, real@inbox.example\r\n", known=(REAL,)
    )
    assert addresses(done.to) == [f"a1+p{at}=x.example@alias.example" for at in range(50)], "12.3-70"
    assert addresses(done.cc) == ["a1@alias.example", REAL]


def test_20000_addresses_take_little_time() -> None:
    header = FROM + b"To: " + b",\r\n\t".join(b'"P %d" <p%d@h%d.example>' % (i, i, i) for i in range(20_000)) + b"\r\n"
    message = split(header)
    started = time.process_time()
    who = correspondents(message, "")
    done = correspond(who, A1, (), made(opaque_needed(who, A1, ())))
    assert time.process_time() - started < 0.1
    assert len(addresses(done.to)) == 51
    assert len(who.addresses) <= 1000


def test_the_caller_hears_which_addresses_to_look_up() -> None:
    who = correspondents(
        split(FROM + b"To: Real+X@inbox.example, A <a1@alias.example>, broken\r\nCc: undisclosed:;\r\n\r\n"), ""
    )
    assert who.addresses == ("real+x@inbox.example", REAL, "a1@alias.example")


def test_the_caller_hears_who_needs_an_opaque_address() -> None:
    message = split(FROM + b"Reply-To: a1@alias.example, h@shop.example\r\nTo: b@x.example, real@inbox.example\r\n\r\n")
    who = correspondents(message, "")
    assert opaque_needed(who, A1, (REAL,)) == ()
    chosen = opaque_needed(who, replace(A1, style="opaque"), (REAL,))
    assert [str(one) for one in chosen] == ["news@shop.example", "h@shop.example", "b@x.example"]


def test_who_has_no_opaque_address_is_left_out() -> None:
    message = split(FROM + b"Reply-To: h@shop.example\r\nTo: b@x.example, a1@alias.example\r\n\r\n")
    done = correspond(correspondents(message, ""), replace(A1, style="opaque"), (), {})
    assert value(done.from_) == f"{SHOP} <a1@alias.example>"
    assert done.reply_to is None
    assert addresses(done.to) == ["a1@alias.example"]
    assert done.unrepliable


LISTS = st.lists(
    st.sampled_from(
        [
            b"a@x.example",
            b"B <b@y.example>",
            b"a1@alias.example",
            b"a1+t@alias.example",
            b"x:;",
            b"broken",
            b", ",
            b"<",
            b'"',
            b"\xff\0\r",
            "ü <ü@ü.example>".encode(),
            b"b1@alias.example",
            b"=?utf-8?q?=0D=0A=E2=80=AE?= <c@z.example>",
        ]
    )
    | st.binary(max_size=10)
).map(b", ".join)


@given(LISTS, LISTS, LISTS, LISTS, st.booleans(), st.booleans(), st.sampled_from(DisplayFrom))
def test_12_3_66a_any_message_gets_clean_fields_without_the_real_address(
    author: bytes, reply_to: bytes, to: bytes, cc: bytes, use_reply_to: bool, sends: bool, form: DisplayFrom
) -> None:
    header = b"From: %b\r\nReply-To: %b\r\nTo: %b\r\nCc: %b\r\n" % tuple(
        one.replace(b"\n", b"") for one in (author, reply_to, to, cc)
    )
    aliased = replace(A1, use_reply_to=use_reply_to, verified_for_sending=sends, form=form)
    done = compose(header, aliased, (REAL, "b1@alias.example"))
    assert A1.address.folded in {
        one.partition("+")[0] + "@alias.example" if "+" in one else one
        for one in [address.lower() for field in (done.to, done.cc) for address in addresses(field)]
    }
    for field in (done.from_, done.reply_to, done.to, done.cc):
        if field is None:
            continue
        assert len(split(field + b"\r\n").fields) == 1
        assert field.isascii() and b"\0" not in field and b"inbox.example" not in field
        assert all(len(line) <= 998 and b"\r" not in line for line in field[:-2].split(b"\r\n"))
        assert field.count(b"\n") == field.count(b"\r\n")
        for address in addresses(field):
            # groups give nothing
            assert not address or address.endswith(("@alias.example", "relay@relay.example"))
