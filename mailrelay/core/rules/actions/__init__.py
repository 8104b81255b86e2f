"""The types of actions (spec section 5.5). `webhook` is reserved: known, and not executed."""

from collections.abc import Mapping
from types import MappingProxyType

from mailrelay.core.rules.actions.banner import BANNER
from mailrelay.core.rules.actions.block import BLOCK
from mailrelay.core.rules.actions.display_from import DISPLAY_FROM
from mailrelay.core.rules.actions.encryption import ENCRYPTION
from mailrelay.core.rules.actions.forward_to import FORWARD_TO
from mailrelay.core.rules.actions.quarantine import QUARANTINE
from mailrelay.core.rules.actions.remove_attachments import REMOVE_ATTACHMENTS
from mailrelay.core.rules.actions.subject import SUBJECT
from mailrelay.core.rules.kinds import ActionType

ACTIONS: Mapping[str, ActionType] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            SUBJECT,
            DISPLAY_FROM,
            ENCRYPTION,
            BANNER,
            BLOCK,
            REMOVE_ATTACHMENTS,
            FORWARD_TO,
            QUARANTINE,
        )
    }
)
RESERVED = frozenset({"webhook"})
