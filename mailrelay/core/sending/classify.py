"""Is this mail to a reverse address from the alias' owner, and then a reply or a send? (spec section 4.1)

Who somebody claims to be is not yet proved: that is for authorise.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailrelay.core.address import Address, Reverse, split_extension
from mailrelay.core.address import classify as meaning
from mailrelay.core.author import VALUE_OCTETS, from_values
from mailrelay.core.automatic import is_automatic, is_report
from mailrelay.core.findings import Findings
from mailrelay.core.header import Message
from mailrelay.core.mailbox import MAX_AUTHORS, Mailbox, address_of, mailboxes
from mailrelay.core.selfmail import same_mailbox
from mailrelay.core.sending.facts import OwnMailbox, SendingFacts
from mailrelay.core.verp import EmailType

_LOGIN = "login:"
_THREADS = (b"in-reply-to", b"references")
_READ = 1000  # addresses of To and of Cc, among which the recipient is looked for
_GROUP = re.compile(rb"[^\"(<:]*+:")  # RFC 6854
# RFC 5322 section 3.6 and RFC 2045 section 3 allow one of each; signatures cover the last, readers show the first.
_SINGLE = (
    *(b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to", b"references", b"sender"),
    *(b"mime-version", b"content-type", b"content-transfer-encoding"),
)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a reverse address means. alias: folded, without extension; contact None: what is stored is no address."""

    alias: Address
    contact: Address | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a message tells of who wrote it; the same for all its recipients.

    author: of the From field; sender: of the envelope, '' is the null sender; route: as in the ingress header;
    findings: None if nobody checked. automatic: nobody wrote it by hand; report: it is a bounce, receipt or complaint,
    which is automatic whatever its envelope says. threaded: it answers something. named: To or Cc has the recipient.
    ambiguous: fields that there may be one of are there twice, or From is not one plain mailbox.
    """

    author: Address | None
    sender: str
    route: str
    findings: Findings | None
    automatic: bool = False
    report: bool = False
    threaded: bool = False
    named: bool = True
    ambiguous: bool = False

    @property
    def speaker(self) -> Address | None:
        """Who is asked for among the recipients: the author, or the sender where From names nobody."""
        return self.author or address_of(self.sender.encode("utf-8", "surrogateescape"))

    @property
    def login(self) -> str:
        """The name that the client signed in with, folded, '' if it did not."""
        return self.route.removeprefix(_LOGIN).lower() if self.route.startswith(_LOGIN) else ""


@dataclass(frozen=True, slots=True)
class Owner:
    """The mail claims to be from a recipient of the alias' account.

    kind: EmailType.REPLY or SEND. by_login: the client signed in as that recipient.
    """

    kind: EmailType
    mailbox: OwnMailbox
    by_login: bool = False


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody else: the reverse address is the alias with a tag (spec section 4.3)."""


Who = Owner | Stranger


def plain_aim(rcpt: Address) -> Aim | None:
    """What a plain reverse address means; None for other addresses, opaque ones included."""
    base, extension = split_extension(rcpt.local)
    found = meaning(extension) if extension else None
    return Aim(Address(base, rcpt.domain), found.contact) if isinstance(found, Reverse) else None


def opaque_aim(facts: SendingFacts) -> Aim | None:
    """What an opaque reverse address means, once it was looked up."""
    return None if facts.alias is None else Aim(facts.alias, address_of(facts.contact.encode("utf-8", "replace")))


def evidence_of(
    message: Message, rcpt: Address, author: Address | None, sender: str, route: str, findings: Findings | None
) -> Evidence:
    """Read a message for one recipient. author, sender, route, findings: see Evidence."""
    return Evidence(
        author,
        sender,
        route,
        findings,
        automatic=is_automatic(message, sender) or is_report(message),
        report=is_report(message),
        threaded=any(value.strip() for name in _THREADS for value in message.values(name)),
        named=_names(message, rcpt),
        ambiguous=any(message.count(name) > 1 for name in _SINGLE) or not _has_one_author(message),
    )


def _names(message: Message, rcpt: Address) -> bool:
    found = (one for name in (b"to", b"cc") for value in message.values(name) for one in mailboxes(value, limit=_READ))
    addresses = (one.address for one in found if isinstance(one, Mailbox))
    return any(address is not None and address.folded == rcpt.folded for address in addresses)


def _has_one_author(message: Message) -> bool:
    """No From at all is one: then the envelope sender speaks."""
    values = from_values(message)
    if any(map(_GROUP.match, values)):
        return False
    found = [one for value in values for one in mailboxes(value[:VALUE_OCTETS], limit=MAX_AUTHORS)]
    return len(found) == 0 or (len(found) == 1 and isinstance(found[0], Mailbox))


def classify(evidence: Evidence, alias: Address, facts: SendingFacts) -> Who:
    """Who writes, and what it is to be. alias: folded, without extension.

    A client that signed in as a recipient may also write as the alias, as mail programs do that know it as an identity.
    """
    speaker = evidence.speaker
    if speaker is None:
        return Stranger()
    kind = EmailType.REPLY if evidence.threaded and facts.alias is not None else EmailType.SEND
    mailbox = _mailbox_of(speaker, facts.mailboxes)
    if mailbox is not None:
        return Owner(kind, mailbox, by_login=_is_login(evidence.login, mailbox))
    if evidence.login and speaker.domain == alias.domain and split_extension(speaker.local)[0] == alias.local:
        mailbox = next((one for one in facts.mailboxes if _is_login(evidence.login, one)), None)
    return Stranger() if mailbox is None else Owner(kind, mailbox, by_login=True)


def _mailbox_of(speaker: Address, mailboxes: Sequence[OwnMailbox]) -> OwnMailbox | None:
    """The recipient that writes: the one of exactly this address first, then one that is attached to the alias."""
    found = [one for one in mailboxes if one.verified and same_mailbox(speaker, one.address)]
    return min(found, key=lambda one: (one.address.folded != speaker.folded, not one.attached), default=None)


def _is_login(login: str, mailbox: OwnMailbox) -> bool:
    """True if a client that signed in by this name is that recipient: its address is the name."""
    address = address_of(login.encode("utf-8", "surrogateescape")) if "@" in login else None
    return address is not None and mailbox.verified and same_mailbox(address, mailbox.address)
