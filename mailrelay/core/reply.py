"""SMTP replies and the texts an operator may change (spec section 2.5); the codes are fixed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]+")
_MAX_WORDS = 300  # of the 512 octets that a line may have (RFC 5321 section 4.5.3.1.5)


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply, such as `450 4.2.1 Address is not accepting mail now`."""

    code: int  # RFC 5321 section 4.2
    enhanced: str  # RFC 3463: class.subject.detail
    text: str  # one ASCII line, nothing about our insides

    def __post_init__(self) -> None:
        # RFC 2034 section 4: both codes say the same of success, later, never.
        if self.enhanced.partition(".")[0] != str(self.code)[0]:
            raise ValueError(f"reply codes disagree: {self.code} {self.enhanced}")

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"

    @property
    def temporary(self) -> bool:
        """The client shall try again."""
        return 400 <= self.code < 500


ACCEPTED = Reply(250, "2.0.0", "Ok")

# key: code, enhanced code, text
_CODES: Mapping[str, tuple[int, str, str]] = {
    "SYNTAX": (501, "5.1.3", "Bad recipient address syntax"),
    "LONG": (550, "5.1.3", "Recipient address too long"),
    "QUOTED": (553, "5.1.3", "Quoted local part not available at this domain"),
    "NONASCII": (553, "5.6.7", "Non-ASCII local part not available at this domain"),
    "UNKNOWN": (550, "5.1.1", "Address does not exist"),
    "BUSY": (450, "4.2.1", "Address is not accepting mail now"),
    "SUSPENDED": (550, "5.2.1", "Account is suspended"),
    "NOTREADY": (450, "4.2.1", "Address is not ready to receive mail"),
    "NEVERREADY": (550, "5.2.1", "Address is not ready to receive mail"),
    "QUOTA_LATER": (452, "4.2.2", "Recipient is over quota"),
    "QUOTA": (552, "5.2.2", "Recipient is over quota"),
    "RATE": (450, "4.2.1", "Recipient is receiving mail too fast, try later"),
    "NEWALIAS": (450, "4.2.1", "Too many new addresses, try later"),
    "BANNED": (554, "5.7.1", "Not accepted here"),
    "NODELIVERY": (550, "5.7.1", "Mail to this address is not accepted"),
    "SRSFORGED": (550, "5.7.1", "Forged or expired return path"),
    "REPORTSONLY": (550, "5.7.1", "This address takes delivery reports only"),
    "LOCALSPOOF": (550, "5.7.1", "Sender address may not be used from outside"),
    "NULLMULTI": (452, "4.5.3", "One recipient at a time for the null sender"),
    "LOOP": (554, "5.4.6", "Routing loop detected"),
    "SIZE": (552, "5.3.4", "Message is larger than {limit} bytes"),
    "BARE": (550, "5.6.0", "Bare CR or LF in the message"),
    "HEADER": (552, "5.3.4", "Message header has too many fields"),
    "UNCHECKED": (451, "4.3.5", "Message has not been checked, try again"),
    "BADFROM": (550, "5.6.0", "A single valid From address is required"),
    "DMARC": (550, "5.7.26", "Rejected by the DMARC policy of {domain}"),
    "SPAM": (550, "5.7.1", "Message content rejected"),
    "NOTAUTH": (550, "5.7.1", "Sender could not be authenticated: {check}"),
    "AUTHLATER": (451, "4.7.0", "Sender could not be authenticated now, try again"),
    "SENDOFF": (550, "5.7.1", "Replying from this address is switched off"),
    "LEAK": (550, "5.7.1", "Message would show the address that is to stay hidden"),
    "NOTALIAS": (550, "5.7.1", "From is no alias that this login may send with"),
    "SENDLIMIT": (550, "5.7.1", "Sending limit reached"),
    "SENDLIMIT_LATER": (450, "4.7.1", "Sending limit reached"),
    "BADCONTACT": (550, "5.1.2", "Contact cannot receive mail"),
    "NOCONTACT": (550, "5.7.1", "Mail to this contact is not accepted"),
    "TEMP": (451, "4.3.0", "Temporary failure, try again"),
    "LOOKUP": (451, "4.3.0", "Temporary look-up failure"),
}

DEFAULT_TEXTS: Mapping[str, str] = {key: text for key, (_, _, text) in _CODES.items()}


class Replies:
    """The replies by key, with the operator's texts in place of ours."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        chosen = {**DEFAULT_TEXTS, **(texts or {})}
        self._replies = {key: Reply(code, enhanced, chosen[key]) for key, (code, enhanced, _) in _CODES.items()}

    def __getitem__(self, key: str) -> Reply:
        return self._replies[key]

    def banned(self, ban_id: int) -> Reply:
        """BANNED, with the number by which the operator finds the ban again."""
        reply = self._replies["BANNED"]
        return Reply(reply.code, reply.enhanced, f"{reply.text} (ref {ban_id})")

    def too_large(self, limit_octets: int) -> Reply:
        """SIZE, naming the limit."""
        reply = self._replies["SIZE"]
        return Reply(reply.code, reply.enhanced, reply.text.replace("{limit}", str(limit_octets)))

    def dmarc(self, domain: str) -> Reply:
        """DMARC, naming the domain of the From field, as A-labels."""
        reply = self._replies["DMARC"]
        return Reply(reply.code, reply.enhanced, reply.text.replace("{domain}", domain))

    def not_authenticated(self, check: str) -> Reply:
        """NOTAUTH, naming the check that failed and its result, such as `dmarc=fail`."""
        reply = self._replies["NOTAUTH"]
        return Reply(reply.code, reply.enhanced, reply.text.replace("{check}", check))

    def because(self, key: str, words: str) -> Reply:
        """A reply followed by what another server said, as far as it fits one line; '' adds nothing."""
        reply = self._replies[key]
        line = " ".join(_NOT_PRINTABLE.sub(" ", words.removeprefix("smtp;")).split())[:_MAX_WORDS]
        return Reply(reply.code, reply.enhanced, f"{reply.text}: {line}") if line else reply
