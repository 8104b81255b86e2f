"""What the store in memory says about replies and sends; see tests/store/test_sending.py for the real one."""

import re
from datetime import timedelta

from mailrelay.core.address import Address, parse_address
from mailrelay.core.context import Contact, ContactId
from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.ledger import Tally
from mailrelay.core.sending.context import NamedFacts, NamedInquiry
from mailrelay.core.sending.facts import (
    Amount,
    Manner,
    OwnMailbox,
    SendingFacts,
    SendingInquiry,
    Spent,
    auto_reply_subject,
)
from mailrelay.core.sending.ids import Known
from tests.unit.fakes import FakeStore, Row

_COUNTERS = {"F": "emails_forwarded", "R": "emails_replied", "S": "emails_sent"}


class SendingRows:
    """Reads the same tables."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store

    async def read_sending(self, inquiry: SendingInquiry, /) -> SendingFacts | None:
        store = self.store
        store.trouble("before", "sending")
        contact = self._contact(inquiry)
        alias_id = inquiry.alias_id if contact is None else contact["alias_id"]
        alias = store.row("alias", id=alias_id)
        account = store.row("account", id=alias["account_id"] if alias is not None else inquiry.account_id)
        if account is None or (inquiry.opaque is not None and contact is None):
            return None
        domain = store.row("domain", name=alias["domain"]) if alias is not None else None
        if alias is None and inquiry.parent is not None:
            domain = store.row("domain", id=inquiry.parent.id) if inquiry.parent.kind == "domain" else None
        is_custom = domain is not None and domain["account_id"] is not None
        return SendingFacts(
            account_id=AccountId(account["id"]),
            alias_id=None if alias is None else AliasId(alias["id"]),
            alias=None if alias is None else Address(alias["local_part"], alias["domain"]),
            contact=inquiry.contact if contact is None else contact["address"],
            contact_name=(contact["display_name"] if contact is not None else None) or "",
            contact_known=contact is not None,
            suppressed_until=contact["suppressed_until"] if contact is not None else None,
            suppressed_reason=(contact["suppressed_reason"] if contact is not None else None) or "",
            mailboxes=tuple(self._mailbox(row, alias) for row in store.rows("recipient", account_id=account["id"])),
            attached_only=bool(alias is not None and alias["attached_recipients_only"]),
            from_names=(
                (alias["from_name"] if alias is not None else None) or "",
                (domain["from_name"] if domain is not None else None) or "",
                account["from_name"] or "",
            ),
            manner=Manner(
                account["reply_scrub"] or "quoted",
                account["leak_policy"] or "warn",
                bool(account["notify_co_recipients"]),
                bool(account["relay_auto_replies"]),
                bool(account["store_failed_deliveries"]),
            ),
            sending_verified=not is_custom or (domain is not None and domain["sending_verified_at"] is not None),
            spent=self._spent(account["id"], alias_id, inquiry.contact),
        )

    def _contact(self, inquiry: SendingInquiry) -> Row | None:
        store = self.store
        if inquiry.opaque is not None:
            return store.row("contact", reverse=inquiry.opaque)
        return store.row("contact", alias_id=inquiry.alias_id, address=inquiry.contact)

    def _mailbox(self, row: Row, alias: Row | None) -> OwnMailbox:
        store = self.store
        attached = alias is not None and store.row("alias_recipient", alias_id=alias["id"], recipient_id=row["id"])
        return OwnMailbox(
            RecipientId(row["id"]),
            parse_address(row["address"]),
            verified=row["verified_at"] is not None and not row["pending"],
            attached=bool(attached),
            can_reply_send=row["can_reply_send"] is not False,
            require_envelope_match=bool(row["require_envelope_match"]),
        )

    def _spent(self, account_id: int, alias_id: int | None, contact: str) -> Spent:
        store = self.store

        def amounts(kind: str, subject: str = "") -> tuple[Amount, ...]:
            since = store.clock() - timedelta(hours=24)
            rows = store.rows("rate_window", account_id=account_id, kind=kind, subject=subject)
            return tuple(Amount(row["window_start"], row["amount"]) for row in rows if row["window_start"] > since)

        subject = auto_reply_subject(AliasId(alias_id or 0), contact)
        return Spent(amounts("reply_send"), amounts("new_contact"), bool(amounts("auto_reply", subject)))

    async def read_named(self, inquiry: NamedInquiry, /) -> NamedFacts:
        store, account = self.store, inquiry.account_id
        aliases = {f"{row['local_part']}@{row['domain']}" for row in store.rows("alias", account_id=account)}
        contacts = {}
        for row in store.rows("contact"):
            alias = store.row("alias", id=row["alias_id"], account_id=account)
            if alias is not None and row["reverse"] is not None and row["reverse"].folded in inquiry.addresses:
                address = Address(alias["local_part"], alias["domain"])
                contacts[row["reverse"].folded] = Contact(
                    ContactId(row["id"]), account, AliasId(alias["id"]), address, row["address"], ""
                )
        ours = {
            row["original_id"]: row["our_id"] for row in store.rows("message_id") if row["original_id"] in inquiry.ids
        }
        seen = {
            row["message_id"]
            for row in store.rows("ledger", alias_id=inquiry.alias_id)
            if row["message_id"] in inquiry.ids and row["outbound_id"] is not None
        }
        bases = {one: re.sub(r"\+.*@", "@", one) for one in inquiry.addresses}
        return NamedFacts(
            frozenset(one for one, base in bases.items() if base in aliases), contacts, Known(ours, frozenset(seen))
        )


def count_sent(store: FakeStore, tally: Tally) -> None:
    """What closing a copy does besides the counters of forwards."""
    sent = tally.sent
    for row in store.rows("alias", id=tally.alias_id):
        row[_COUNTERS[sent.type if sent is not None else "F"]] += 1
    if sent is None:
        return
    store.use(tally.account_id, "reply_send", "", 1)
    if sent.is_new and sent.type == "S":
        store.use(tally.account_id, "new_contact", "", 1)
    if sent.automatic:
        store.use(tally.account_id, "auto_reply", auto_reply_subject(tally.alias_id, sent.contact), 1)
    if store.row("contact", alias_id=tally.alias_id, address=sent.contact) is None:
        store.insert("contact", alias_id=tally.alias_id, address=sent.contact)
    if sent.original_id is not None and store.row("message_id", alias_id=tally.alias_id, our_id=sent.our_id) is None:
        store.insert(
            "message_id",
            account_id=tally.account_id,
            alias_id=tally.alias_id,
            our_id=sent.our_id,
            original_id=sent.original_id,
        )
