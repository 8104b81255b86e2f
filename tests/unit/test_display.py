"""Display names by format, and mailboxes written out."""

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import AddressHeader
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.display import DisplayFrom, display_name, folded, formatted, formatted_group
from mailrelay.core.mailbox import Group, Mailbox, mailboxes
from mailrelay.core.phrase import sanitised

SHOP, NEWS = "Example Shop", "news@shop.example"

NAMES = st.text() | st.text("ab\"\\'@,;:<>()=?_ü日\u202e\r\n\0 ", max_size=120)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (0, "Example Shop 'news at shop.example'"),
        (1, "Example Shop - news(a)shop.example"),
        (2, "Example Shop - shop.example"),
        (3, "Example Shop"),
        (4, "news at shop.example"),
        (5, ""),
        (6, "shop.example"),
        (7, "Example Shop 'news@shop.example'"),
    ],
    ids=lambda value: f"12.3-60-format{value}" if isinstance(value, int) else "",
)
def test_names_follow_the_format(form: int, name: str) -> None:
    assert display_name(DisplayFrom(form), SHOP, NEWS) == name


@pytest.mark.parametrize("known_as", ["", NEWS, "News@Shop.example"])
@pytest.mark.parametrize(
    ("form", "name"),
    [
        (0, "news at shop.example"),
        (1, "news(a)shop.example"),
        (2, "news at shop.example"),
        (3, "news at shop.example"),
        (4, "news at shop.example"),
        (5, ""),
        (6, "shop.example"),
        (7, "news at shop.example"),
    ],
    ids=lambda value: f"12.3-61-format{value}" if isinstance(value, int) else "",
)
def test_without_a_name_the_address_stands_in(form: int, name: str, known_as: str) -> None:
    assert display_name(DisplayFrom(form), known_as, NEWS) == name


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (0, "bank at bank.example 'news at shop.example'"),
        (1, "bank(a)bank.example - news(a)shop.example"),
        (2, "bank at bank.example - shop.example"),
        (3, "bank at bank.example"),
        (7, "bank@bank.example 'news@shop.example'"),
    ],
)
def test_no_other_address_hides_in_a_name(form: int, name: str) -> None:
    assert display_name(DisplayFrom(form), "bank@bank.example", NEWS) == name


def test_long_names_leave_room_for_the_address() -> None:
    shown = display_name(DisplayFrom.DEFAULT, "x" * 100, NEWS)
    assert shown == "x" * 76 + "… 'news at shop.example'"
    assert len(shown) == 100


@given(st.sampled_from(DisplayFrom), NAMES, st.text("ab.", min_size=1, max_size=254))
def test_names_have_at_most_100_characters(form: DisplayFrom, name: str, local: str) -> None:
    assert len(display_name(form, sanitised(name), f"{local}@shop.example")) <= 100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", b"a@x.example"),
        ("Example Shop", b'"Example Shop" <a@x.example>'),
        ('Jim "Jimmy" D\\oe', b'"Jim \\"Jimmy\\" D\\\\oe" <a@x.example>'),
        ("Bücher und mehr", b"=?utf-8?q?B=C3=BCcher_und_mehr?= <a@x.example>"),
        ("日本語", b"=?utf-8?b?5pel5pys6Kqe?= <a@x.example>"),
        ("=?utf-8?q?x?=", b"=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@x.example>"),
        pytest.param("a\r\nBcc: b@x.example", b'"a Bcc: b@x.example" <a@x.example>', id="12.3-62"),
    ],
)
def test_mailboxes_are_written(name: str, value: bytes) -> None:
    assert formatted(name, "a@x.example") == value


def test_addresses_beyond_ascii_cannot_be_written() -> None:
    with pytest.raises(ValueError):
        formatted("", "ü@x.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("undisclosed-recipients", b"undisclosed-recipients:;"),
        ("Hidden recipients", b"Hidden recipients:;"),
        ("", b"undisclosed-recipients:;"),
        ("a, b", b'"a, b":;'),
        ("Empfänger", b"=?utf-8?q?Empf=C3=A4nger?=:;"),
    ],
)
def test_groups_are_written(name: str, value: bytes) -> None:
    assert formatted_group(name) == value
    assert mailboxes(value) == [Group(name or "undisclosed-recipients")]


@given(NAMES)
def test_what_we_write_reads_the_same(name: str) -> None:
    value = formatted(name, "a.b@x.example")
    assert not set(value) & set(b"\r\n\0")
    assert value.isascii()
    (found,) = mailboxes(value)
    assert isinstance(found, Mailbox)
    assert (found.name, str(found.address)) == (sanitised(name), "a.b@x.example")


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_the_standard_library_reads_what_we_write(names: list[str]) -> None:
    value = folded("To", [formatted(name, f"a{at}@x.example") for at, name in enumerate(names)])
    for line in value.split(b"\r\n"):
        assert len(line) <= 998 and b"\r" not in line and b"\n" not in line
        assert line.strip() == line.strip(b"\t")
    for word in value.split():
        assert not word.startswith(b"=?") or len(word) <= 75
    header = message_from_bytes(b"To: " + value + b"\r\n\r\n", policy=policy.SMTP)["To"]
    assert isinstance(header, AddressHeader)
    assert [one.addr_spec for one in header.addresses] == [f"a{at}@x.example" for at in range(len(names))]
    # It puts spaces between encoded words (its older half does not).
    assert [one.display_name.replace(" ", "") for one in header.addresses] == [
        sanitised(name).replace(" ", "") for name in names
    ]
    shown = [str(make_header(decode_header(name))) for name, _ in getaddresses([value.decode("ascii")])]
    assert shown == [sanitised(name) for name in names]


def test_lists_are_folded_between_mailboxes() -> None:
    items = [formatted(f"Person {at}", f"person{at}@x.example") for at in range(10)]
    lines = (b"To: " + folded("To", items)).split(b"\r\n")
    assert len(lines) == 5
    assert all(len(line) <= 78 for line in lines)
    assert all(line.startswith(b'\t"Person') for line in lines[1:])


def test_encoded_names_are_folded_between_words() -> None:
    value = formatted("日本語の件名" * 10, "a@x.example")
    lines = (b"Reply-To: " + folded("Reply-To", [value])).split(b"\r\n")
    assert len(lines) > 2
    assert all(len(line) <= 76 for line in lines)
    assert lines[0] != b"Reply-To: "


def test_a_long_name_is_left_on_one_line() -> None:
    value = formatted("x y " * 24, "a@x.example")
    assert folded("From", [value]) == value
