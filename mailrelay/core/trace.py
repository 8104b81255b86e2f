"""What became of a message, out of the ledger: which entries to look for, and their story in words."""

import re
from base64 import b32decode
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from mailrelay.core.facts import REASON_TEXTS, AliasId, Reason
from mailrelay.core.failed import FailedId
from mailrelay.core.held import HeldId
from mailrelay.core.ledger import Mode, OutboundId, Outcome
from mailrelay.core.verp import EmailType

_QUEUE_ID = re.compile(r"[0-9A-Za-z]{6,24}")
_RETURN_PATH = re.compile(r"b-([a-z2-7]{34})")


@dataclass(frozen=True, slots=True)
class Sought:
    """What to look for; whatever is empty or None matches nothing."""

    queue_id: str = ""
    message_ids: tuple[str, ...] = ()
    rcpt: str = ""
    outbound_id: OutboundId | None = None


def seek(text: str) -> Sought:
    """What an operator means: a queue id, a Message-ID with or without brackets, a recipient, or a return path."""
    text = text.strip()
    if _QUEUE_ID.fullmatch(text):
        return Sought(queue_id=text, message_ids=(f"<{text}>", text))
    inner = text.removeprefix("<").removesuffix(">")
    if text.startswith("<"):
        return Sought(message_ids=(text, inner))
    if match := _RETURN_PATH.fullmatch(text.partition("@")[0].lower()):
        # Only to look it up: whether it verifies does not matter here.
        octets = b32decode(match[1].upper() + "======")
        return Sought(rcpt=text.lower(), outbound_id=OutboundId(int.from_bytes(octets[1:9], "big")))
    return Sought(message_ids=(f"<{inner}>", inner), rcpt=text.lower())


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One entry of the ledger with its copy or the record of held mail, if there is one.

    sender: '' for the null sender. sent_at, remote: when its destination took the copy, and what it said last, if
    somebody reads the mail log. held_id: for `mailrelay held`; held_until: None if the message is not kept. failed_id:
    for `mailrelay failed`. told_…: of the notification about it, if there is one. resend_of: whose
    message this copy brings once more.
    """

    id: int
    at: datetime
    queue_id: str
    message_id: str | None
    sender: str
    rcpt: str
    client_address: str | None
    size_octets: int
    account: str | None
    alias_id: AliasId | None
    alias_uuid: UUID | None
    alias: str | None
    outcome: Outcome
    reason: str | None
    mode: Mode | None
    finished_at: datetime | None
    outbound_id: OutboundId | None
    email_type: str | None
    destination: str | None
    outbound_queue_id: str | None
    bounced_at: datetime | None
    bounce_status: str | None
    bounce_text: str | None
    sent_at: datetime | None
    remote: str | None
    notice: str | None
    held_id: HeldId | None
    quarantined: bool | None
    held_until: datetime | None
    failed_id: FailedId | None
    failed_stored: bool | None
    bounce_type: str | None
    told_to: str | None = None
    told_at: datetime | None = None
    told_outcome: Outcome | None = None
    told_queue_id: str | None = None
    told_sent_at: datetime | None = None
    told_bounced_at: datetime | None = None
    resend_of: FailedId | None = None

    @property
    def reason_text(self) -> str | None:
        """The reason in words."""
        if self.reason is None:
            return None
        try:
            return REASON_TEXTS[Reason(self.reason)]
        except ValueError:
            return self.reason  # written by a newer release

    @property
    def return_path(self) -> str | None:
        """The copy's number as logs of return paths show it, 16 hexadecimal digits."""
        return None if self.outbound_id is None else f"{self.outbound_id:016x}"


_TYPES = {
    EmailType.FORWARD: "forward",
    EmailType.REPLY: "reply",
    EmailType.SEND: "message of the owner",
    EmailType.NOTIFICATION: "notification",
}


def tell(entry: TraceEntry) -> list[str]:
    """What happened, one sentence a line, in its order."""
    lines = [f"<{entry.sender}> wrote to {entry.rcpt}{_circumstances(entry)}"]
    if entry.alias is not None:
        lines.append(f"alias {entry.alias}" + (f" of account {entry.account}" if entry.account else ""))
    if entry.resend_of is not None:
        lines.append(f"sent once more, as failed delivery {entry.resend_of} had not arrived")
    if entry.destination is not None:
        lines.append(_copy(entry))
    if entry.outbound_queue_id and entry.outcome != "delivered":
        lines.append(f"was handed to Postfix as {entry.outbound_queue_id}")
    lines.append(_outcome(entry))
    if entry.held_id is not None:
        lines.append(_record(entry))
    if entry.sent_at is not None:
        lines.append(f"arrived {_moment(entry.sent_at)}: {entry.remote or 'without a word'}")
    elif entry.remote and entry.bounced_at is None:
        lines.append(f"has not arrived: {entry.remote}")
    if entry.bounced_at is not None:
        words = " ".join(filter(None, (entry.bounce_status, entry.bounce_text)))
        lines.append(f"came back as undeliverable {_moment(entry.bounced_at)}: {words or 'without an explanation'}")
    elif entry.bounce_text:
        lines.append(f"the answer was: {entry.bounce_text}")
    if entry.failed_id is not None and entry.held_id is None:
        kind = f", {entry.bounce_type}" if entry.bounce_type else ""
        stored = "whose message is kept" if entry.failed_stored else "of which only the record is kept"
        lines.append(f"failed delivery {entry.failed_id}{kind}, {stored}")
    if entry.told_to is not None:
        lines.append(_told(entry))
    return lines


def _circumstances(entry: TraceEntry) -> str:
    client = f" from {entry.client_address}" if entry.client_address else ""
    queue = f", queue id {entry.queue_id}" if entry.queue_id else ", refused before it had a queue id"
    size = f", {entry.size_octets} octets" if entry.size_octets else ""
    return f"{client}{queue}{size}"


def _copy(entry: TraceEntry) -> str:
    kind = _TYPES[EmailType(entry.email_type)] if entry.email_type else "copy"
    if entry.email_type == EmailType.NOTIFICATION:
        # Made by us; reports to the senders of SRS addresses have no code.
        return f"{kind}{f' {entry.notice}' if entry.notice else ''} to {entry.destination}"
    mode = f", {entry.mode}" if entry.mode else ""
    return f"{kind} to {entry.destination}{mode}, return path {entry.return_path}"


def _record(entry: TraceEntry) -> str:
    """Where the message lies, for who wants to see or release it."""
    kind = "quarantine" if entry.quarantined else "held mail"
    if entry.held_until is None:
        return f"{kind} {entry.held_id}, of which only the record is kept"
    return f"{kind} {entry.held_id}, kept until {_moment(entry.held_until)}"


def _told(entry: TraceEntry) -> str:
    """What became of the notification."""
    if entry.told_bounced_at is not None:
        end = f"came back as undeliverable {_moment(entry.told_bounced_at)}"
    elif entry.told_sent_at is not None:
        end = f"arrived {_moment(entry.told_sent_at)}"
    elif entry.told_outcome == "delivered":
        end = f"handed to Postfix as {entry.told_queue_id}"
    else:
        end = "waits" if entry.told_outcome == "queued" else str(entry.told_outcome)
    return f"its owner was told by a notification to {entry.told_to}: {end}"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _outcome(entry: TraceEntry) -> str:
    reason = f": {entry.reason_text}" if entry.reason is not None else ""
    match entry.outcome:
        case "delivered":
            queue = f" as {entry.outbound_queue_id}" if entry.outbound_queue_id else ""
            return f"handed to Postfix{queue}"
        case "queued":
            return "waits: it was not handed over yet"
        case "refused" | "discarded" | "failed" | "held":
            return f"{entry.outcome}{reason}"
