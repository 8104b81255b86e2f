"""What notices say: every kind in every language, whatever strangers put in, and catalogues that are wrong."""

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailrelay import notices as leaf
from mailrelay.core.codes import Intent
from mailrelay.core.errors import BadConfig
from mailrelay.core.links import Links
from mailrelay.core.noticefailure import authentication, item
from mailrelay.core.noticeletter import Paper
from mailrelay.core.notices import KINDS, Code, Value
from mailrelay.core.noticetext import STUB, Told, cleaned, fill, read
from mailrelay.core.noticewords import Material, Signs, tell
from mailrelay.notices import Printed, load, printer
from tests.unit.example import KEY, NOW
from tests.unit.noticed import ALIAS_UUID, BASE, DATA, FAILED_UUID, GOING, SETBACK, notice

PAPER = Paper("mailrelay", "relay.example", "X-Mailrelay-", "0f" * 16, NOW)
SIGNS = Signs(Links(BASE, KEY, int(NOW.timestamp())), f"{BASE}/failed-deliveries")
LANGUAGES = ["en", "de"]
MATERIAL = Material(SETBACK, (SETBACK,), 5)
PRINTERS = {language: printer(load(language)) for language in LANGUAGES}


def told(code: Code, /, material: Material = MATERIAL, signs: Signs = SIGNS, **more: Value) -> Told:
    found = tell(notice(code, **more), GOING, material, signs, PAPER)
    assert found is not None
    return found


def printed(code: Code, language: str = "en", /, **more: Any) -> Printed:
    return PRINTERS[language](told(code, **more))


class Page(HTMLParser):
    """Text, links and loaded things of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(DATA) == set(Code) == set(KINDS)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", Code)
def test_every_kind_says_something_whole(code: Code, language: str) -> None:
    made = printed(code, language)
    page = Page(made.html)
    for text in (made.subject, made.plain, page.text):
        assert "(unknown)" not in text and "(unbekannt)" not in text
    assert made.language == language
    assert 10 < len(made.subject) < 100
    assert max(len(line) for line in made.plain.split("\n") if "https://" not in line) <= 80
    # Both forms say the same.
    for line in made.plain.split("\n\n"):
        if "https://" not in line and ":" not in line and not line.startswith("-- "):
            assert " ".join(line.split()) in page.text
    assert re.search(r"\{[a-z_]+\}", made.plain + page.text) is None


@pytest.mark.parametrize("code", Code)
def test_nothing_is_loaded_and_nobody_is_tracked(code: Code) -> None:
    page = Page(printed(code).html)
    assert page.tags.isdisjoint({"img", "script", "link", "iframe", "object", "form", "input", "base"})
    assert all(link.startswith(f"{BASE}/") for link in page.links)
    assert "url(" not in printed(code).html


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (Code.VR, f"/u/verify/{GOING.mailbox.uuid if GOING.mailbox else ''}?"),
        (Code.ADUN, f"/u/activate/{ALIAS_UUID}?"),
        (Code.ADLN, f"/u/restore/{ALIAS_UUID}?"),
        (Code.SRSA, f"/u/send/{FAILED_UUID}?"),
        (Code.LEAK, f"/u/send/{FAILED_UUID}?"),
        (Code.FDN, f"/u/deactivate/{ALIAS_UUID}?"),
        (Code.ABC, f"/u/block-email/{ALIAS_UUID}?email=news%40shop.example&"),
        (Code.VU, "/verify/1"),
        (Code.RP, "/reset/1"),
        (Code.CNF, "/confirm?token=123456"),
    ],
)
def test_buttons_lead_where_something_can_be_done(code: Code, action: str) -> None:
    made = printed(code)
    assert any(link.startswith(BASE + action) for link in Page(made.html).links)
    [line] = [line for line in made.plain.split("\n") if line.startswith(BASE + action)]
    assert line in [unescape(link) for link in Page(made.html).links]


def test_a_blocked_sender_can_be_unblocked() -> None:
    links = told(Code.ABC, blocked=True).links
    assert "type=email&value=news%40shop.example" in links["unblock"]
    assert "block_email" not in links


def test_links_of_others_lead_nowhere_but_to_us() -> None:
    for link in ("https://evil.example/", "https://app.relay.example.evil.example/", "javascript:alert(1)"):
        assert "reset" not in told(Code.RP, link=link).links


def test_links_of_codes_lead_to_the_site_that_somebody_uses() -> None:
    sites = replace(SIGNS, sites=("https://mail.own.example",))
    link = "https://mail.own.example/console?token=123456"
    own = told(Code.CNF, link=link, signs=sites)
    assert own.links["confirm"] == link
    assert own.values["host"] == "mail.own.example"
    for other in ("https://mail.own.example.evil.example/", "https://evil.example/"):
        foreign = told(Code.CNF, link=other, signs=sites)
        assert "confirm" not in foreign.links
        assert foreign.values["host"] == "relay.example"


@pytest.mark.parametrize(
    ("language", "subject"),
    [
        ("en", "123456 is your confirmation token for app.relay.example (handle:create)"),
        ("de", "123456 ist Ihr Bestätigungscode für app.relay.example (handle:create)"),
    ],
)
def test_the_code_is_the_first_thing_that_people_read(language: str, subject: str) -> None:
    made = printed(Code.CNF, language)
    assert made.subject == subject
    assert "handle_subscribe" not in made.plain


def test_how_long_a_key_will_live_is_told_with_its_code() -> None:
    made = printed(Code.CNF, action="api_key_create", about="new@inbox.example", days=30, renews=True)
    assert "Days that the key will be good for: 30." in made.plain
    assert "The key will renew itself" in made.plain
    assert "renew itself" not in printed(Code.CNF, days=30, renews=False).plain
    assert "the key" not in printed(Code.CNF).plain


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_intent_has_its_words(language: str) -> None:
    assert {intent.value for intent in Intent} <= load(language).reasons.keys()


@pytest.mark.parametrize("code", sorted(set(Code) - {Code.VU, Code.VR, Code.RP}))
def test_without_a_web_address_nothing_speaks_of_buttons(code: Code) -> None:
    made = PRINTERS["en"](told(code, signs=Signs(None)))
    assert "button below" not in " ".join(made.plain.split())
    assert "https://" not in made.plain


ATTACKS = [
    "\r\nBcc: everybody@elsewhere.example\r\n\r\n",
    "a\0b",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "<script>alert(1)</script>",
    "\"><a href='https://evil.example'>click",
    "{alias} {{ 271*271 }} {% raw %}",
    "\ud800",
    "x" * 5000,
    "https://evil.example/login",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("code", [Code.FLA, Code.ADUN, Code.DRSA, Code.RUL, Code.NRV, Code.DMI, Code.TES, Code.CNF])
def test_what_strangers_say_is_nothing_but_text(code: Code, attack: str) -> None:
    names = {name: attack for name, value in DATA[code].items() if isinstance(value, str)}
    made = printed(code, **names)
    page = Page(made.html)
    assert "script" not in page.tags
    assert all(link.startswith(f"{BASE}/") for link in page.links)
    for text in (made.subject, made.plain, made.html):
        assert not re.search("[\0-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
        assert "://evil" not in text
        assert "73441" not in text
    assert "\n" not in made.subject
    assert len(made.plain) < 10_000


@pytest.mark.parametrize("code", Code)
def test_subjects_tell_nothing_that_may_have_to_stay_hidden(code: Code) -> None:
    secrets = {
        "Your order 77",
        "news@shop.example",
        "real@inbox.example",
        "help@shop.example",
        "192.0.2.77",
        "me@inbox.example",
        "you@inbox.example",
        "Mozilla",
    }
    assert not [secret for secret in secrets if secret in printed(code).subject]


def test_a_stub_says_that_there_is_something_and_no_more() -> None:
    stub = tell(notice(Code.FDN), replace(GOING, stub=True), MATERIAL, SIGNS, PAPER)
    assert stub is not None
    assert stub.code == STUB
    made = PRINTERS["en"](stub)
    for secret in ("shop", "order 77", "real@", "5.1.1"):
        assert secret not in made.subject + made.plain + made.html


# -- Failed deliveries -------------------------------------------------------------------------------------------


def facts(material: Material, language: str = "en") -> dict[str, str]:
    return dict(fill(load(language), told(Code.FDN, material)).facts)


def test_a_failed_delivery_is_told_with_all_that_is_known() -> None:
    """Spec 8.4, FDN content."""
    assert facts(MATERIAL) == {
        "Your alias": "shop@alias.example",
        "Sender": "news@shop.example",
        "Subject": "Your order 77",
        "Recipient": "real@inbox.example",
        "Mail server": "mail.inbox.example",
        "Status": "5.1.1",
        "What was said": "smtp; 550 5.1.1 no such user",
        "Sender checks": "SPF pass, DKIM pass, DMARC fail",
        "When": "2026-01-06 09:00 UTC",
        "Kept until": "2026-01-13 09:01 UTC",
    }


@pytest.mark.parametrize(
    ("change", "said", "unsaid"),
    [
        ({}, ["will not change by itself", "kept for you until 2026-01-13"], ["quarantine", "not kept"]),
        ({"bounce_type": "spam"}, ["took it for spam"], ["by itself"]),
        ({"bounce_type": "soft"}, ["could not take it this time"], ["by itself"]),
        ({"stored": False}, ["was not kept"], ["until"]),
        ({"partial": True}, ["What came back of the message is kept"], ["sent again"]),
        ({"quarantined": True, "bounce_type": "spam"}, ["put into quarantine"], ["took it for spam", "deliver"]),
        ({"email_type": "R"}, ["Mail that you sent through your alias"], ["to your mailbox"]),
        ({"email_type": "RUL", "alias": None}, ["A notification to you could not be delivered"], ["your alias"]),
    ],
)
def test_the_words_fit_what_happened(change: dict[str, Any], said: list[str], unsaid: list[str]) -> None:
    filled = fill(load(), told(Code.FDN, Material(replace(SETBACK, **change))))
    words = " ".join(filled.paragraphs)
    assert [one for one in said if one not in words] == []
    assert [one for one in unsaid if one in words] == []


def test_a_hidden_subject_and_an_unknown_sender_are_left_out() -> None:
    found = facts(Material(replace(SETBACK, subject="", sender="<>", evidence="", remote_mta=None)))
    assert {"Subject", "Sender", "Sender checks", "Mail server"}.isdisjoint(found)


def test_only_forwarding_can_be_switched_off_from_a_failure() -> None:
    assert "deactivate" not in told(Code.FDN, Material(replace(SETBACK, email_type="R"))).links


@pytest.mark.parametrize("code", [Code.FDN, Code.FDN_DIGEST, Code.IR_DIGEST])
def test_what_is_gone_is_not_told(code: Code) -> None:
    assert tell(notice(code), GOING, Material(), SIGNS, PAPER) is None


def test_a_digest_lists_the_latest() -> None:
    filled = fill(load(), told(Code.FDN_DIGEST, Material(latest=[SETBACK, SETBACK], count=40)))
    assert filled.subject == "40 more messages did not arrive"
    assert filled.facts == (item(SETBACK), item(SETBACK))
    assert item(SETBACK)[1] == "shop@alias.example - news@shop.example: 5.1.1 smtp; 550 5.1.1 no such user"


def test_sender_checks_are_read_from_our_own_header_only() -> None:
    assert (
        authentication("v=1;\r\n\tspf=fail:mailfrom:x;\r\n\tdkim=;dmarc=none:none:none::x;fh=1")
        == "SPF fail, DMARC none"
    )
    assert authentication("") == authentication("v=1;helo=spf%3Dpass%3B;") == ""


# -- Catalogues --------------------------------------------------------------------------------------------------

ENGLISH = yaml.safe_load((Path(leaf.__file__).parent / "en.yaml").read_text())


def test_languages_have_the_same_parts() -> None:
    english, german = load("en"), load("de")
    assert german.labels.keys() == english.labels.keys()
    for code, entry in english.entries.items():
        other = german.entries[code]
        assert other.subject != entry.subject
        assert [(one.when, one.unless) for one in other.paragraphs] == [
            (one.when, one.unless) for one in entry.paragraphs
        ]
        assert (other.facts, [one.link for one in other.buttons]) == (entry.facts, [one.link for one in entry.buttons])


def test_what_a_translation_lacks_is_said_in_english(tmp_path: Path) -> None:
    (tmp_path / "fr.yaml").write_text(
        "language: fr\nnotices: {NBL: {subject: Presque fini, paragraphs: [Attention.]}}\n"
    )
    catalogue = load("fr", tmp_path)
    assert catalogue.language == "fr"
    assert catalogue.entries["NBL"].subject == "Presque fini"
    assert catalogue.entries["FDN"] == load().entries["FDN"]
    assert catalogue.labels == load().labels


def test_the_operator_may_say_it_otherwise(tmp_path: Path) -> None:
    (tmp_path / "de.yaml").write_text("language: de\nwords: {footer: 'Ihr {product}'}\n")
    catalogue = load("de", tmp_path)
    assert catalogue.words["footer"] == "Ihr {product}"
    assert catalogue.entries == load("de").entries


def test_reasons_are_put_into_words() -> None:
    assert "replying is switched off" in printed(Code.DRSA).plain.replace("\n", " ")
    assert "Antworten ist" in printed(Code.DRSA, "de").plain.replace("\n", " ")
    assert "out of paper" in printed(Code.DRSA, reason="out of paper").plain


def test_who_deactivated_an_alias_is_told() -> None:
    clicked, bounced = (printed(Code.ADUN, reason=reason).plain for reason in ("", "bounces_day"))
    assert "unsubscribe button" in clicked.replace("\n", " ")
    assert "unsubscribe button" not in bounced.replace("\n", " ")
    assert "more than twelve messages within a day" in bounced.replace("\n", " ")


def test_a_default_that_failed_is_no_break_in() -> None:
    assert "password" in printed(Code.DRU).plain
    assert "password" not in printed(Code.DRU, ip="").plain


def _changed(change: Mapping[str, Any]) -> dict[str, Any]:
    raw: dict[str, Any] = copy.deepcopy(ENGLISH)
    for key, value in change.items():
        *path, last = key.split(".")
        at = raw
        for name in path:
            at = at[name]
        at[last] = value
    return raw


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("notices.NBL.subject", "Hello {secret}", "notices.NBL.subject: {secret} is not known here"),
        ("notices.FDN.subject", "Mail of {sender}", "notices.FDN.subject: {sender} is not known here"),
        ("notices.NBL.subject", "", "notices.NBL.subject: is missing, or is no text"),
        ("notices.NBL.subject", 5, "notices.NBL.subject: is missing, or is no text"),
        ("notices.NBL.subject", "50 {percent", "notices.NBL.subject: a brace stands alone"),
        ("notices.NBL.paragraphs", "one", "notices.NBL.paragraphs: is missing, or is no list"),
        ("notices.NBL.paragraphs", ["{alias}"], "notices.NBL.paragraphs.1: {alias} is not known here"),
        ("notices.NBL.paragraphs", [{"text": "x", "if": "y"}], "notices.NBL.paragraphs.1.if: is not known"),
        ("notices.NBL.paragraphs", [{"text": "x", "when": "y"}], "notices.NBL.paragraphs.1: y is not known here"),
        ("notices.NBL.facts", ["alias"], "notices.NBL.facts.1: alias is not known here"),
        ("notices.ADUN.buttons", [{"text": "x", "link": "delete"}], "notices.ADUN.buttons.1: delete is no link"),
        ("notices.ADUN.buttons", ["x"], "notices.ADUN.buttons.1: has to be"),
        ("notices.XYZ", {}, "notices.XYZ: is not known"),
        ("notices", [], "notices: has to be"),
        ("words.footer", "{alias}", "words.footer: {alias} is not known here"),
        ("words", {}, "words.footer: is missing"),
        ("labels", {}, "labels.alias: is missing"),
        ("labels.colour", "x", "labels.colour: is not known"),
        ("language", "the king's", "language: is no language tag"),
        ("extra", 1, "extra: is not known"),
    ],
)
def test_mistakes_are_named(key: str, value: object, problem: str) -> None:
    with pytest.raises(BadConfig) as caught:
        read(_changed({key: value}), "xx.yaml")
    assert [one for one in caught.value.problems if one.startswith(f"xx.yaml: {problem}")]


@pytest.mark.parametrize("raw", [None, 5, "text", [], {}, {"notices": {"FDN": None}}])
def test_any_yaml_will_do_for_a_complaint(raw: object) -> None:
    with pytest.raises(BadConfig):
        read(raw, "xx.yaml")


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fr.yaml"
    path.write_text("language: fr\nnotices: {NBL: {subject: '{x}', paragraphs: ['{y}']}, NO: {}}\n")
    with pytest.raises(BadConfig) as caught:
        load("fr", tmp_path)
    assert len(caught.value.problems) == 3
    assert all(one.startswith(f"{path}: notices.") for one in caught.value.problems)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xff", b"a: \x00"])
def test_files_that_are_no_yaml_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fr.yaml").write_bytes(content)
    with pytest.raises(BadConfig, match=r"fr\.yaml: is not YAML"):
        load("fr", tmp_path)


def test_a_language_that_nobody_wrote_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no texts for xx"):
        load("xx", tmp_path)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (" a \t\n b ", "a b"),
        ("a\u200bb", "ab"),
        ("ftp://x", "ftp[:]//x"),
        ("see www.evil.example now", "see www[.]evil.example now"),
        ("evil.example/login", "evil[.]example/login"),
        ("xn--evil.xn--p1ai:8080?a", "xn--evil[.]xn--p1ai:8080?a"),
        ("news@shop.example wrote", "news@shop.example wrote"),
        ("Mail/5.0 (X11; 1.2)", "Mail/5.0 (X11; 1.2)"),
        ("y" * 400, "y" * 299 + "…"),
        ("Grüße", "Grüße"),
    ],
)
def test_texts_are_cleaned(text: str, clean: str) -> None:
    assert cleaned(text) == clean
