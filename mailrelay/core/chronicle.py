"""What owners are told of the ledger: which of its rows become failed deliveries, notices and events."""

import hashlib
from datetime import UTC, datetime

from mailrelay.core.facts import AccountId, AliasId


def ir_key(account_id: AccountId, alias_id: AliasId | None, sender: str, client: str, reason: str, at: datetime) -> str:
    """The `ir_dedupe_key` of spec section 7.6: 64 hex digits, equal for equal rejections within one minute (UTC).

    sender: envelope sender, folded, '' for the null sender; client: its address without brackets, '' unknown;
    reason: a value of Reason, or for what others refuse a word or reply code that stands for it.
    """
    minute = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")
    told = (str(account_id), "" if alias_id is None else str(alias_id), sender, client, reason, minute)
    return hashlib.sha256("|".join(told).encode("utf-8", "replace")).hexdigest()
