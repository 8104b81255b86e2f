"""What owners are told of mail that they wrote to contacts, or that somebody wrote in their name (spec 4.3 and 4.8)."""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.facts import REASON_TEXTS, AccountId, RecipientId
from mailrelay.core.findings import Findings
from mailrelay.core.notices import Code, Notice, Value
from mailrelay.core.sending.authorise import Refusal
from mailrelay.core.sending.classify import Aim, Evidence, Owner, Who
from mailrelay.core.sending.leaks import Leak, Place

_PLACES = {
    Place.PROSE: "text",
    Place.SIGNATURE: "signature below the text",
    Place.HISTORY: "quoted history",
    Place.HEADER: "header",
    Place.PART: "names of attachments",
    Place.KEY: "OpenPGP key or signature",
    Place.CALENDAR: "calendar entry",
    Place.CARD: "business card",
    Place.CERTIFICATE: "S/MIME certificate",
    Place.ATTACHMENT: "attachment",
}
_EXPOSED_SHOWN = 10


def of_refusal(
    refusal: Refusal, evidence: Evidence, aim: Aim, account_id: AccountId, who: Who, at: datetime, kept: UUID | None
) -> Notice | None:
    """What to tell of a refusal; None: nothing, or what became of the mail is told otherwise.

    at: when the mail came; kept: the record under which it can be released, None if its sender still has it.
    """
    if refusal.notice is None or refusal.notice == "FDN" or not isinstance(who, Owner):
        return None
    data: dict[str, Value] = {"alias": str(aim.alias), "contact": str(aim.contact or "")}
    match refusal.notice:
        case "SRSA":
            data |= _results(evidence.findings)
            data |= {"failed_uuid": str(kept or ""), "at": at.astimezone(UTC).isoformat(timespec="seconds")}
        case "DRSA":
            data["reason"] = REASON_TEXTS[refusal.reason]
        case "RSL":
            pass
    return Notice(Code(refusal.notice), account_id, who.mailbox.id, data=data)


def of_leaks(
    leaks: Collection[Leak],
    exposed: Collection[Address],
    alias: Address,
    account_id: AccountId,
    recipient_id: RecipientId,
    kept: UUID | None,
    *,
    refused: bool = False,
) -> Notice | None:
    """What to tell of addresses that were left in a message; None if none were.

    exposed: others in To and Cc, who got it from the owner's own mailbox (row 117 of section 12.4). kept: the record
    under which it lies, None if it does not. refused: in the session; else it went out unless it is kept.
    """
    if not leaks and not exposed:
        return None
    places = "; ".join(dict.fromkeys(_PLACES[leak.place] for leak in leaks))
    others = ", ".join(str(address) for address in [*exposed][:_EXPOSED_SHOWN])
    data: dict[str, Value] = {"alias": str(alias), "places": places, "exposed": others, "held_uuid": str(kept or "")}
    data |= {"refused": True} if refused else {}
    # Of what is kept its owner hears each time, or nobody would decide about it.
    return Notice(Code.LEAK, account_id, recipient_id, about=str(kept or ""), data=data)


def _results(findings: Findings | None) -> dict[str, Value]:
    """In words of RFC 8601; "none" where nobody looked."""
    if findings is None:
        return {"dkim": "none", "spf": "none", "dmarc": "none"}
    dkim = ", ".join(
        dict.fromkeys(f"{one.result} ({one.domain})" if one.domain else one.result for one in findings.dkim)
    )
    spf = f"{findings.spf.result} ({findings.spf.domain})" if findings.spf.domain else findings.spf.result
    return {"dkim": dkim or "none", "spf": spf, "dmarc": findings.dmarc.result}
