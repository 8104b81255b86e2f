"""What banner and warning say, and that strangers cannot make them say more."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.banner import LINE_CHARACTERS, MARK, Facts, Texts, banner, stack, warning

LINK = "https://app.relay.example/u/deactivate/50c9e585-e7f5-41c4-9016-9014c15454bc?expires=1&signature=" + "0" * 64
FACTS = Facts(
    rcpt="a1+shop@alias.example",
    description="My <shop>",
    sender="news@shop.example",
    original_subject='Your "order" 77',
    link=LINK,
)


class Reader(HTMLParser):
    """Collects tags, comments and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.comments: list[str] = []
        self.links: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def test_the_banner_in_html() -> None:
    reader = read(banner(FACTS).html)
    text = " ".join(reader.text.split())
    assert "This mail was sent to a1+shop@alias.example (My <shop>) by news@shop.example." in text
    assert 'original subject: "Your "order" 77"' in text
    assert reader.links == [LINK]
    assert reader.comments == ["mr-banner", "/mr-banner"]
    assert reader.tags[0] == "table" and reader.tags.count("table") == 1
    html = banner(FACTS).html
    assert html.startswith('<!--mr-banner--><table role="presentation"') and html.endswith("</table><!--/mr-banner-->")
    assert max(map(len, html.split("\r\n"))) < 400


def test_the_banner_in_plain_text() -> None:
    assert banner(FACTS).plain == (
        "----- mailrelay -----",
        "This mail was sent to a1+shop@alias.example (My <shop>) by",
        "news@shop.example.",
        'Its original subject: "Your "order" 77"',
        "Deactivate this address:",
        LINK,
        "----- mailrelay -----",
    )


def test_what_is_not_known_is_not_said() -> None:
    fragment = banner(Facts("a1@alias.example"))
    assert fragment.plain[1:-1] == ("This mail was sent to a1@alias.example by an unknown sender.",)
    assert read(fragment.html).links == []


def test_invitations_get_a_note() -> None:
    fragment = banner(Facts("a1@alias.example", sender="x@shop.example", calendar=True))
    assert "directly, with the real address" in " ".join(fragment.plain)
    assert "directly, with the real address" in " ".join(read(fragment.html).text.split())


def test_the_warning_names_the_danger() -> None:
    assert "DMARC" in " ".join(warning("dmarc").plain)
    assert "spam" in " ".join(warning("spam").plain) and "DMARC" not in warning("spam").html
    assert read(warning("spam").html).comments == ["mr-warning", "/mr-warning"]


def test_blocks_are_stacked() -> None:
    both = stack(warning("spam"), banner(FACTS))
    assert both.html == warning("spam").html + "\r\n" + banner(FACTS).html
    assert both.plain == (*warning("spam").plain, "", *banner(FACTS).plain)
    assert stack(banner(FACTS)) == banner(FACTS)


def test_the_wording_can_be_translated() -> None:
    texts = Texts(sent_to="Gesendet an {rcpt} von {sender}.", deactivate="Adresse abschalten")
    fragment = banner(Facts("a1@alias.example", sender="x@shop.example", link=LINK), texts)
    assert fragment.plain[1:3] == ("Gesendet an a1@alias.example von x@shop.example.", "Adresse abschalten:")


HOSTILE = [
    "--><script>alert(1)</script><!--/mr-banner-->",
    "<!--/mr-banner-->",
    "a\r\n----- mailrelay -----\r\nb",
    "----- ----- mailrelay ----- -----",
    "\u202egnp.exe\u2066\u200b\x00\x1b[2J",
    "> quoted " * 40,
    "From " * 60,
    "\ud800\udfff",
    "x" * 5000,
    "{rcpt.__class__}",
    "&amp;<b>&#60;",
    " \u2028 \u3000 \x85 ",
]


def check(facts: Facts) -> None:
    fragment = banner(facts)
    reader = read(fragment.html)
    assert reader.comments == ["mr-banner", "/mr-banner"]
    assert reader.links == [facts.link]
    assert reader.tags == ["table", "tr", "td", *["br"] * (2 + facts.calendar), "a"]
    lines = fragment.plain
    assert len(lines) <= 12
    assert [MARK in line for line in lines] == [at in (0, len(lines) - 1) for at in range(len(lines))]
    for line in lines:
        assert line == line.rstrip() and line
        assert len(line) <= LINE_CHARACTERS or line == facts.link
        assert not line.startswith((">", "From "))
    for text in (*lines, unescape(fragment.html).replace("\r\n", "")):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_stay_text(value: str) -> None:
    check(Facts(value + "x", value + "x", value + "x", value + "x", LINK, True))


ODD_PIECES = [*"<>&\"'-!/= \r\n\t\0abm{}", "\u202e", "\u2028", MARK, "<!--", "-->"]
ODD = st.lists(st.sampled_from(ODD_PIECES), max_size=60).map("".join)


@settings(max_examples=300)
@given(ODD | st.text(max_size=300), ODD, ODD | st.text("xÄ日 ", max_size=300), ODD, st.booleans())
def test_nothing_breaks_out(rcpt: str, description: str, sender: str, subject: str, calendar: bool) -> None:
    check(Facts("r" + rcpt, "d" + description, "s" + sender, "o" + subject, LINK, calendar))
