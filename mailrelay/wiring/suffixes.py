"""Where organisations begin below registries, by the public suffix list that the library ships."""

from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList

from mailrelay.core.inquiry import OrganisationalDomain


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@cache
def organisational_domains() -> OrganisationalDomain:
    """Remembers the domains asked for last."""
    suffixes = _suffixes()

    @lru_cache(maxsize=10_000)
    def organisation(domain: str) -> str:
        return suffixes.privatesuffix(domain) or domain

    return organisation


def is_public_suffix(domain: str) -> bool:
    """True for a name below which everybody may register names, such as `com` and `co.uk`. domain: folded."""
    return bool(_suffixes().is_public(domain))
