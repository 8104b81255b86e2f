"""What the examination of messages is set to."""

from mailrelay.config import Config
from mailrelay.flows.examine import Trusted


def trusted(config: Config) -> Trusted:
    """Whose word is taken."""
    return Trusted(frozenset(config.service.trusted_arc_sealers), config.milter.spam.header)
