"""What the banner and the warning say, as HTML and as plain text (spec sections 3.8 and 3.10).

Everything shown comes from strangers: it is cut, cleaned and escaped, so that it can be nothing but text.
"""

import re
from dataclasses import dataclass
from html import escape
from typing import Literal

MARK = "----- mailrelay -----"
LINE_CHARACTERS = 72
# A reply is searched for blocks of at most 12 lines, marks included (spec section 4.8).
_TEXT_LINES = 10

Danger = Literal["dmarc", "spam"]


@dataclass(frozen=True, slots=True)
class Texts:
    """The wording in one language: without markup, in lines as long as they come, ASCII where the language allows."""

    sent_to: str = "This mail was sent to {rcpt} by {sender}."
    sent_to_described: str = "This mail was sent to {rcpt} ({description}) by {sender}."
    original_subject: str = 'Its original subject: "{subject}"'
    calendar: str = (
        "The invitation names the real organiser. Who answers it from a calendar answers directly, "
        "with the real address."
    )
    deactivate: str = "Deactivate this address"
    nobody: str = "an unknown sender"
    dmarc: str = (
        "Careful: this mail failed the check of its sender (DMARC). Somebody else may have written it. "
        "Do not trust links and attachments."
    )
    spam: str = "Careful: this mail looks like spam. Do not trust links and attachments."


ENGLISH = Texts()


@dataclass(frozen=True, slots=True)
class Facts:
    """What a banner tells. Empty texts are left out.

    rcpt: the address the mail was sent to, extension included; description: of the alias; sender: an address;
    original_subject: only if it was replaced and need not stay hidden; link: to deactivate the alias (section 8.2);
    calendar: the message invites to something, and is rewritten.
    """

    rcpt: str
    description: str = ""
    sender: str = ""
    original_subject: str = ""
    link: str = ""
    calendar: bool = False


@dataclass(frozen=True, slots=True)
class Fragment:
    """The same in two forms. html: lines end in CRLF, save the last. plain: lines, as they are sent."""

    html: str
    plain: tuple[str, ...]


def banner(facts: Facts, texts: Texts = ENGLISH) -> Fragment:
    """The banner of one copy."""
    words = {
        "rcpt": _clean(facts.rcpt, 120),
        "sender": _clean(facts.sender, 120) or texts.nobody,
        "description": _clean(facts.description, 60),
    }
    sentences = [((texts.sent_to_described if words["description"] else texts.sent_to).format(**words), 4)]
    if subject := _clean(facts.original_subject, 100):
        sentences.append((texts.original_subject.format(subject=subject), 2))
    if facts.calendar:
        sentences.append((texts.calendar, 2))
    html = [_paragraph(sentence) for sentence, _ in sentences]
    plain = [line for sentence, lines in sentences for line in _wrap(sentence, lines)]
    if facts.link:
        html.append(f'<a href="{escape(facts.link)}" style="color:#1a5fb4">{escape(texts.deactivate)}</a>')
        plain += [f"{texts.deactivate}:"[:LINE_CHARACTERS], facts.link]
    return Fragment(_table("mr-banner", "#f2f4f7", html), (MARK, *plain, MARK))


def warning(danger: Danger, texts: Texts = ENGLISH) -> Fragment:
    """The block above the banner of mail that may be forged or unwanted."""
    text = texts.dmarc if danger == "dmarc" else texts.spam
    html = _table("mr-warning", "#ffe1dd", [f"<strong>{_paragraph(text)}</strong>"])
    return Fragment(html, (MARK, *_wrap(text, _TEXT_LINES), MARK))


def stack(*fragments: Fragment) -> Fragment:
    """Several blocks, one below the other."""
    plain: list[str] = []
    for fragment in fragments:
        plain += ["", *fragment.plain] if plain else fragment.plain
    return Fragment("\r\n".join(fragment.html for fragment in fragments), tuple(plain))


def _table(mark: str, colour: str, paragraphs: list[str]) -> str:
    text = "\r\n<br>".join(paragraphs)
    return (
        f'<!--{mark}--><table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"\r\n'
        f' style="border-collapse:collapse;margin:0 0 12px 0"><tr><td bgcolor="{colour}"\r\n'
        f' style="background-color:{colour};color:#1f2328;padding:8px 12px;text-align:left;\r\n'
        f'font:13px/1.4 Arial,Helvetica,sans-serif">\r\n'
        f"{text}\r\n"
        f"</td></tr></table><!--/{mark}-->"
    )


def _paragraph(text: str) -> str:
    return escape("\r\n".join(_lines(text)))


# Controls, and what leaves room or ends lines in any alphabet.
_SPACES = re.compile("[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
# What reorders the text that follows, or cannot be seen; joiners stay, as some scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U000e0000-\U000e0fff]+"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _clean(text: str, characters: int) -> str:
    """One line of visible characters, cut to a length, that does not look like the mark of a block."""
    text = _SPACES.sub(" ", _INVISIBLE.sub("", text[: 8 * characters])).strip(" ")
    text = _SURROGATE.sub("\ufffd", text).replace(MARK, MARK.replace(" ", ""))
    return text if len(text) <= characters else text[: characters - 3] + "..."


def _lines(text: str) -> list[str]:
    """Text in lines of some length, broken between words only."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + len(word) < LINE_CHARACTERS - 1:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _wrap(text: str, most: int) -> list[str]:
    """Plain lines; with format=flowed none of them is a quotation or flows into the next (RFC 3676 section 4.4)."""
    # One character less, for the space below.
    room = LINE_CHARACTERS - 1
    lines = [line[at : at + room].strip(" ") for line in _lines(text) for at in range(0, len(line), room)]
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: room - 3] + "..."]
    return [f" {line}" if line.startswith((">", "From ")) else line for line in lines]
