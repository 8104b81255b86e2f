"""What notifications say: a catalogue of texts in one language, checked as a whole, and its texts filled in.

A text has places such as `{alias}`; which there are depends on the notification. What fills them may come from
strangers: it is cleaned and cut, and can be nothing but text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from mailrelay.core.errors import BadConfig
from mailrelay.core.facts import REASON_TEXTS
from mailrelay.core.notices import Code
from mailrelay.core.phrase import shortened

# In place of a notice whose content must not travel in plain text (spec section 6.5).
STUB = "STUB"

MAX_VALUE_CHARACTERS = 300

# Every text may use these.
_COMMON = frozenset({"product", "service", "mailbox"})
# Subjects are shown on locked screens and are not encrypted by all programs: nothing that may have to stay hidden.
# Codes are there because people read them there; they live for minutes.
_IN_SUBJECTS = frozenset(
    {"product", "service", "alias", "domain", "count", "percent", "rule", "token", "code", "host", "tag"}
)

# Names by code: first what may stand in texts and facts, then what buttons may lead to.
_NAMES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        Code.VU: ("minutes", "verify"),
        Code.VR: ("minutes", "verify"),
        Code.UR: ("names", ""),
        Code.RP: ("minutes at ip", "reset"),
        Code.FLA: ("at ip user_agent", ""),
        Code.TES: ("token expires", ""),
        Code.DRU: ("old new at ip", ""),
        Code.NRV: ("recipient at ip", ""),
        Code.AIF: ("imported skipped", ""),
        Code.FDN: (
            "alias recipient remote_mta sender subject status answer authentication at until forward reply notice "
            "quarantined hard soft spam rule stored partial",
            "deactivate list",
        ),
        Code.FDN_DIGEST: ("count since", "list"),
        Code.IR_DIGEST: ("count since", "list"),
        Code.SRSA: ("alias contact dkim spf dmarc at kept", "send"),
        Code.DRSA: ("alias contact reason at", ""),
        Code.RSL: ("alias contact", ""),
        Code.GKE: ("recipient fingerprint expires problem days", ""),
        Code.NOT_ENCRYPTED: ("alias domain at problem kept", "list"),
        Code.NBL: ("percent", ""),
        Code.ADUN: ("alias reason at ip user_agent", "activate"),
        Code.ADLN: ("alias at ip user_agent", "restore"),
        Code.DMI: ("domain found", ""),
        Code.DUS: ("domain reason", ""),
        Code.CNF: ("code action about address minutes ip host tag days renews", "confirm"),
        Code.ABC: ("alias sender count blocked reply", "unblock block_email deactivate"),
        Code.LEAK: ("alias places exposed kept", "send"),
        Code.CYC: ("alias reason", ""),
        Code.RUL: ("rule problem", "list"),
        Code.OPS: ("text", ""),
        Code.DNR: ("domain type", ""),
        Code.DNE: ("text", ""),
        Code.DND: ("text", ""),
        Code.NRP: ("address operator", ""),
        Code.AKD: ("address at ip", ""),
        Code.MFY: ("address about tag host", "removal"),
        Code.PWC: ("code address minutes ip host", ""),
        Code.ADW: ("address username actor at", ""),
        Code.ADC: ("address action target actor fields at ip user_agent", ""),
        STUB: ("", "list"),
    }
)
_WORDS = frozenset({"unknown", "footer", "facts"})
_REASONS = {reason.value: text for reason, text in REASON_TEXTS.items()}

_PLACE = re.compile(r"\{([^{}]*)\}")
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# What hides or turns text round.
_REMOVED = re.compile(r"[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
# Of what programs make links of: between scheme and host, behind www, and before a last label that a path follows.
_LINK = re.compile(r"://|(?<![^\W_])www\.|\.(?=[^\W_][\w-]{0,62}(?::[0-9]{1,5})?[/?#])", re.IGNORECASE)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """when, unless: names of values or links that must be there, or must not; '' for none."""

    text: str
    when: str = ""
    unless: str = ""


@dataclass(frozen=True, slots=True)
class Button:
    """link: where it leads, by name. It is left out where there is no such link."""

    text: str
    link: str


@dataclass(frozen=True, slots=True)
class Entry:
    """The texts of one notification. facts: names of values, shown as a table as far as they are there."""

    subject: str
    paragraphs: tuple[Paragraph, ...]
    facts: tuple[str, ...] = ()
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All texts in one language. entries: by code; labels: of facts, by name; reasons: in words, by reason."""

    language: str
    entries: Mapping[str, Entry]
    labels: Mapping[str, str]
    words: Mapping[str, str]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What one notification is about. values: by name, '' or missing: not known, or not so; links: addresses.

    items: further rows of the table of facts.
    """

    code: str
    values: Mapping[str, str]
    links: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    items: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Filled:
    """A notification in words, each text on one line, without any markup."""

    language: str
    subject: str
    paragraphs: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    buttons: tuple[tuple[str, str], ...]  # text and address
    facts_title: str
    footer: str


def cleaned(text: str, limit: int = MAX_VALUE_CHARACTERS) -> str:
    """Text from outside on one line: no control characters, nothing invisible or turned round, no working links."""
    plain = _SURROGATE.sub("\ufffd", _REMOVED.sub("", _BLANKS.sub(" ", text))).strip()
    # Mail programs make links of whatever looks like one; a stranger's must not work from a mail of ours.
    return shortened(_LINK.sub(_broken, plain), limit)


def _broken(found: re.Match[str]) -> str:
    return found[0].replace(":", "[:]").replace(".", "[.]")


def fill(catalogue: Catalogue, told: Told) -> Filled:
    """The notification in this language."""
    entry, values = catalogue.entries[told.code], told.values

    def value(name: str) -> str:
        raw = values.get(name, "")
        if name == "reason":
            raw = catalogue.reasons.get(raw) or _REASONS.get(raw, raw)
        elif name in ("problem", "action"):
            raw = catalogue.reasons.get(raw, raw)
        return cleaned(raw)

    def text(pattern: str) -> str:
        return _PLACE.sub(lambda found: value(found[1]) or catalogue.words["unknown"], pattern)

    return Filled(
        language=catalogue.language,
        subject=text(entry.subject),
        paragraphs=tuple(text(one.text) for one in entry.paragraphs if _applies(one, told)),
        facts=(
            *((catalogue.labels[name], value(name)) for name in entry.facts if value(name)),
            *((cleaned(name), cleaned(value)) for name, value in told.items),
        ),
        buttons=tuple((text(one.text), told.links[one.link]) for one in entry.buttons if told.links.get(one.link)),
        facts_title=catalogue.words["facts"],
        footer=text(catalogue.words["footer"]),
    )


def _applies(paragraph: Paragraph, told: Told) -> bool:
    def there(name: str) -> bool:
        return bool(told.values.get(name) or told.links.get(name))

    return (not paragraph.when or there(paragraph.when)) and not (paragraph.unless and there(paragraph.unless))


def read(raw: object, where: str, fallback: Catalogue | None = None) -> Catalogue:
    """The catalogue of a file's YAML. where: the file; fallback: the texts for what is missing in it.

    Raises BadConfig with every mistake: unknown or missing keys, places that nothing fills.
    """
    reader = _Reader(where)
    top = reader.mapping(raw, "", {"language", "words", "labels", "reasons", "notices"})
    language = reader.text(top.get("language"), "language")
    if language and not _LANGUAGE.fullmatch(language):
        reader.complain("language", "is no language tag such as en or pt-BR")
    words = reader.texts(top.get("words", {}), "words", _WORDS)
    for name, word in words.items():
        reader.check(word, f"words.{name}", _COMMON)
    names = frozenset(name for places, _ in _NAMES.values() for name in places.split())
    labels = reader.texts(top.get("labels", {}), "labels", names)
    reasons = reader.texts(top.get("reasons", {}), "reasons", None)
    notices = reader.mapping(top.get("notices", {}), "notices", set(_NAMES))
    entries = {code: reader.entry(code, notices[code]) for code in notices if code in _NAMES}
    if fallback is not None:
        words, labels = {**fallback.words, **words}, {**fallback.labels, **labels}
        reasons, entries = {**fallback.reasons, **reasons}, {**fallback.entries, **entries}
    for section, required, found in (("words", _WORDS, words), ("notices", set(_NAMES), entries)):
        for name in sorted(required - found.keys()):
            reader.complain(f"{section}.{name}", "is missing")
    for name in sorted({fact for entry in entries.values() for fact in entry.facts} - labels.keys()):
        reader.complain(f"labels.{name}", "is missing")
    if reader.problems:
        raise BadConfig(tuple(reader.problems))
    texts = (MappingProxyType(part) for part in (labels, words, reasons))
    return Catalogue(language, MappingProxyType(entries), *texts)


class _Reader:
    """Reads one file, and remembers what is wrong."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.problems: list[str] = []

    def complain(self, key: str, problem: str) -> None:
        self.problems.append(f"{self._where}: {key or 'the file'}: {problem}")

    def mapping(self, raw: object, key: str, known: set[str] | None) -> dict[str, object]:
        if not isinstance(raw, Mapping):
            self.complain(key, "has to be a list of names with values")
            return {}
        found = {str(name): value for name, value in raw.items()}
        if known is not None:
            for name in sorted(found.keys() - known):
                self.complain(f"{key}.{name}".lstrip("."), "is not known")
        return found

    def text(self, raw: object, key: str) -> str:
        if not isinstance(raw, str) or not raw.strip():
            self.complain(key, "is missing, or is no text")
            return ""
        return " ".join(raw.split())

    def texts(self, raw: object, key: str, known: frozenset[str] | None) -> dict[str, str]:
        found = self.mapping(raw, key, None if known is None else set(known))
        return {name: self.text(value, f"{key}.{name}") for name, value in found.items()}

    def check(self, text: str, key: str, names: frozenset[str]) -> None:
        """Complain of places that nothing fills."""
        for name in _PLACE.findall(text):
            if name not in names:
                self.complain(key, f"{{{name}}} is not known here, but {', '.join(sorted(names))}")
        if "{" in (rest := _PLACE.sub("", text)) or "}" in rest:
            self.complain(key, "a brace stands alone")

    def entry(self, code: str, raw: object) -> Entry:
        key = f"notices.{code}"
        found = self.mapping(raw, key, {"subject", "paragraphs", "facts", "buttons"})
        own, links = (frozenset(names.split()) for names in _NAMES[code])
        subject = self.text(found.get("subject"), f"{key}.subject")
        self.check(subject, f"{key}.subject", (_COMMON | own) & _IN_SUBJECTS)
        return Entry(
            subject,
            tuple(self._paragraphs(found.get("paragraphs"), f"{key}.paragraphs", own, links)),
            tuple(self._facts(found.get("facts", []), f"{key}.facts", own)),
            tuple(self._buttons(found.get("buttons", []), f"{key}.buttons", own, links)),
        )

    def _list(self, raw: object, key: str) -> Iterator[tuple[str, object]]:
        if not isinstance(raw, list):
            self.complain(key, "is missing, or is no list")
            return
        yield from ((f"{key}.{number}", item) for number, item in enumerate(raw, 1))

    def _paragraphs(self, raw: object, key: str, own: frozenset[str], links: frozenset[str]) -> Iterator[Paragraph]:
        for place, item in self._list(raw, key):
            found = {"text": item} if isinstance(item, str) else self.mapping(item, place, {"text", "when", "unless"})
            text = self.text(found.get("text"), place)
            self.check(text, place, _COMMON | own)
            when, unless = (str(found.get(name, "")) for name in ("when", "unless"))
            for name in (when, unless):
                if name and name not in own | links:
                    self.complain(place, f"{name} is not known here, but {', '.join(sorted(own | links))}")
            yield Paragraph(text, when, unless)

    def _facts(self, raw: object, key: str, own: frozenset[str]) -> Iterator[str]:
        for place, item in self._list(raw, key):
            if item in own:
                yield str(item)
            else:
                self.complain(place, f"{item} is not known here, but {', '.join(sorted(own))}")

    def _buttons(self, raw: object, key: str, own: frozenset[str], links: frozenset[str]) -> Iterator[Button]:
        for place, item in self._list(raw, key):
            found = self.mapping(item, place, {"text", "link"})
            text, link = (self.text(found.get(name), f"{place}.{name}") for name in ("text", "link"))
            self.check(text, place, _COMMON | own)
            if link and link not in links:
                self.complain(place, f"{link} is no link of this notice, but {', '.join(sorted(links)) or 'none is'}")
            yield Button(text, link)
