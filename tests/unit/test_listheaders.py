"""List fields in rewrite mode: whose mail and whose web pages the owner's mail program is led to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.header import Field, split
from mailrelay.core.links import Action
from mailrelay.core.listheaders import MAX_MAIL_TARGETS, Unsubscribe, mail_targets, redirected, unsubscribe
from tests.unit.example import ALIAS_ID, LINKS, MESSAGE, links_of, reverse

NOTHING = split(b"Subject: hello\r\n\r\n")
ONE_CLICK = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"


def raws(fields: Unsubscribe) -> tuple[bytes | None, bytes | None]:
    return fields.field.raw if fields.field else None, fields.post.raw if fields.post else None


def original(value: bytes, behaviour: int = 5, post: bytes = ONE_CLICK) -> tuple[bytes | None, bytes | None]:
    return raws(links_of(split(b"List-Unsubscribe: " + value + b"\r\n" + post + b"\r\n"), behaviour))


def ours(action: Action, params: dict[str, str] | None = None) -> tuple[bytes, bytes]:
    link = LINKS.one_click(action, ALIAS_ID, params or {})
    return f"List-Unsubscribe: <{link}>\r\n".encode(), ONE_CLICK


@pytest.mark.parametrize("behaviour", [0, 5])
def test_row_95_web_links_stay_and_mail_goes_through_us(behaviour: int) -> None:
    expected = (
        b"List-Unsubscribe: <https://shop.example/u/77>,\r\n"
        b"\t<mailto:a1+unsub-77=shop.example@alias.example?subject=stop>\r\n"
    )
    assert raws(links_of(MESSAGE, behaviour)) == (expected, ONE_CLICK)


def test_row_96_without_an_original() -> None:
    assert raws(links_of(NOTHING, 0)) == ours(Action.DEACTIVATE)
    assert raws(links_of(NOTHING, 5)) == (None, None)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param(1, ours(Action.DEACTIVATE), id="row-97-deactivate"),
        pytest.param(2, ours(Action.DELETE), id="delete"),
        pytest.param(3, ours(Action.BLOCK_EMAIL, {"email": "news@shop.example"}), id="block-email"),
        pytest.param(4, ours(Action.BLOCK_DOMAIN, {"domain": "shop.example"}), id="block-domain"),
    ],
)
def test_row_97_our_own_links_replace_the_originals(behaviour: int, expected: tuple[bytes, bytes]) -> None:
    assert raws(links_of(MESSAGE, behaviour)) == raws(links_of(NOTHING, behaviour)) == expected


@pytest.mark.parametrize("behaviour", [3, 4])
def test_without_a_contact_there_is_nobody_to_block(behaviour: int) -> None:
    for message in (MESSAGE, NOTHING):
        assert unsubscribe(message, behaviour, LINKS, ALIAS_ID, None, reverse) == links_of(message, 0)


def test_row_98_other_schemes_go() -> None:
    value = b"<ftp://shop.example/u>,\r\n <https://shop.example/u>,\r\n\t<mailto:u@shop.example>"
    expected = b"List-Unsubscribe: <https://shop.example/u>,\r\n\t<mailto:a1+u=shop.example@alias.example>\r\n"
    assert original(value) == (expected, ONE_CLICK)


def test_web_links_alone_keep_every_octet() -> None:
    value = b" (comment)  <HTTPS://Shop.example/u?a=%20b&c=d>,\r\n\t <http://shop.example/\xff>  "
    assert original(value)[0] == b"List-Unsubscribe: " + value + b"\r\n"


@pytest.mark.parametrize("value", [b"", b"https://shop.example/u", b"<ftp://x>", b"<mailto:>", b"<mailto:a@@x>", b"<"])
def test_no_target_is_as_no_field(value: bytes) -> None:
    assert original(value) == (None, None)
    assert original(value, behaviour=0) == ours(Action.DEACTIVATE)


@pytest.mark.parametrize("value", [b"<mailto:u@shop.example>", b"<http://shop.example/u>"])
def test_one_click_needs_an_https_link(value: bytes) -> None:
    assert original(value)[1] is None
    assert original(value + b", <https://shop.example/u>")[1] == ONE_CLICK


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            b"mailto:u@shop.example?subject=a&body=b%0d%0ac",
            b"mailto:a1+u=shop.example@alias.example?subject=a&body=b%0d%0ac",
        ),
        (b"MAILTO:u@shop.example,v@shop.example?subject=a", b"mailto:a1+u=shop.example@alias.example?subject=a"),
        (b"mailto:u%40shop.example", b"mailto:a1+u=shop.example@alias.example"),
        (b"mailto:u%25v@shop.example", b"mailto:a1+u%25v=shop.example@alias.example"),
        (b"mailto:a%3Fb%26c@shop.example?subject=x", b"mailto:a1+a%3Fb%26c=shop.example@alias.example?subject=x"),
        (b"mailto:u@\r\n shop.example", b"mailto:a1+u=shop.example@alias.example"),
        (b"mailto:u@Shop.Example.", b"mailto:a1+u=shop.example@alias.example"),
    ],
)
def test_targets_of_mail(target: bytes, expected: bytes) -> None:
    assert original(b"<" + target + b">")[0] == b"List-Unsubscribe: <" + expected + b">\r\n"


@pytest.mark.parametrize("query", [b"cc=r@bad.example", b"BCC=r@bad.example", b"%74o=r@bad.example"])
def test_no_query_makes_the_owner_write_past_us(query: bytes) -> None:
    expected = b"List-Unsubscribe: <mailto:a1+u=shop.example@alias.example?subject=a>\r\n"
    assert original(b"<mailto:u@shop.example?" + query + b"&subject=a>")[0] == expected
    assert original(b"<mailto:u@shop.example?" + query + b">")[0] == expected.replace(b"?subject=a", b"")


def test_addresses_without_a_reverse_address_are_dropped() -> None:
    assert original("<mailto:büro@shop.example>".encode()) == (None, None)
    assert original(b"<mailto:b%C3%BCro@shop.example>,<https://x>")[0] == b"List-Unsubscribe: <https://x>\r\n"


def test_several_fields_become_one() -> None:
    content = b"List-Unsubscribe: <https://x>\r\nList-Unsubscribe: <mailto:u@shop.example>\r\n\r\n"
    expected = b"List-Unsubscribe: <https://x>, <mailto:a1+u=shop.example@alias.example>\r\n"
    assert raws(links_of(split(content))) == (expected, None)


def test_the_number_of_addresses_is_bounded() -> None:
    value = b",".join(b"<mailto:u%d@shop.example>" % number for number in range(50))
    written = original(value)[0]
    assert written is not None and written.count(b"mailto:") == MAX_MAIL_TARGETS
    message = split(b"List-Unsubscribe: %b\r\nList-Post: <mailto:p@shop.example>\r\n\r\n" % value)
    prepared = mail_targets(message)
    assert len(prepared) == MAX_MAIL_TARGETS  # of all fields together, as each may cost a row
    many = b"".join(b"List-Post: <mailto:u%d@shop.example>\r\n" % number for number in range(5000))
    assert len(mail_targets(split(many + b"\r\n"))) == MAX_MAIL_TARGETS


def other(raw: bytes) -> bytes | None:
    field = redirected(Field(b"list-post", raw), reverse)
    return field.raw if field else None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"List-Post: NO (closed)\r\n", b"List-Post: NO (closed)\r\n"),
        (b"List-Post: <https://x>\r\n\t(web)\r\n", b"List-Post: <https://x>\r\n\t(web)\r\n"),
        (
            b"List-Post : <mailto:l@x.example>\r\n\t(all), <https://x>\r\n",
            b"List-Post : <mailto:a1+l=x.example@alias.example>\r\n\t(all), <https://x>\r\n",
        ),
        (b"LIST-POST: <mailto:l>, <ftp://x>\r\n", b"LIST-POST: <ftp://x>\r\n"),
        (b"List-Post: <mailto:l>\r\n", None),
    ],
)
def test_the_other_list_fields(raw: bytes, expected: bytes | None) -> None:
    assert other(raw) == expected


PIECES = st.sampled_from(
    [
        b"<",
        b">",
        b",",
        b"mailto:",
        b"u@shop.example",
        b"?",
        b"cc=",
        b"&",
        b"%40",
        b"https://x",
        b"\r\n ",
        b"\xff",
        b"\0",
    ]
)


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=30).map(b"".join), st.integers(0, 5))
def test_no_value_raises_or_leads_to_a_foreign_mailbox(value: bytes, behaviour: int) -> None:
    content = b"List-Unsubscribe: " + value + b"\r\nList-Help: " + value + b"\r\n\r\n"
    message = split(content)
    written = [*raws(links_of(message, behaviour)), *(other(field.raw) for field in message.fields)]
    for raw in filter(None, written):
        assert raw.endswith(b"\r\n") and len(split(raw).fields) == 1
    for target in mail_targets(split(b"".join(filter(None, written)) + b"\r\n")):
        assert target.domain == "alias.example"
