"""The Subject of a copy in rewrite mode (spec sections 3.9 and 3.10)."""

from typing import Literal

from mailrelay.core import phrase
from mailrelay.core.header import Field, fold

SpamWarning = Literal["banner", "subject", "off"]

_PLACEHOLDER = "{{subject}}"


def warning(behaviour: SpamWarning, *, dmarc_failed: bool, frozen: bool) -> str:
    """What a tagged message has in front of its subject, '' for nothing.

    frozen: the body must not be touched, so that a banner cannot say it (spec section 3.13).
    """
    if behaviour == "subject" or (behaviour == "banner" and frozen):
        return "[DMARC FAIL]" if dmarc_failed else "[SPAM]"
    return ""


def changed(original: Field | None, replacement: str | None, prefix: str) -> Field | None:
    """The Subject to write, None: the original stays as it is, or stays missing.

    original: the first one. replacement: of a rule, else of the account's email_subject, with `{{subject}}` for the
    original text; None or '': no replacement. prefix: see warning; it goes in front of whatever there is, so that
    neither a rule nor a missing field hides it.
    """
    if replacement:
        text = replacement.replace(_PLACEHOLDER, phrase.decoded(original.value) if original else "")
        return Field(b"subject", fold("Subject", f"{prefix} {text}"))
    if not prefix:
        return None
    # The octets behind the prefix stay, folding and encoded words too.
    rest = original.raw.partition(b":")[2].strip(b" \t\r\n") if original else b""
    return Field(
        b"subject", b"Subject: %b %b\r\n" % (prefix.encode("ascii"), rest) if rest else fold("Subject", prefix)
    )
