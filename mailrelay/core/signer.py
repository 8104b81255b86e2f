"""Who signs a copy: which domain's keys, and what happens if it has none (spec section 11.6)."""

from collections.abc import Sequence

from mailrelay.core.dkim import SigningKey
from mailrelay.core.errors import Unavailable
from mailrelay.core.ledger import Mode
from mailrelay.core.realm import Custom, Place, Shared, Subdomain
from mailrelay.core.verp import EmailType


def from_domain(place: Place | None, service_domain: str, *, verified_for_sending: bool) -> str:
    """The domain that signs what goes out under an alias, so that the signature is aligned with its From.

    place: of the alias' domain; None: the mail belongs to no alias. verified_for_sending: the custom domain publishes
    our keys; without that its mail goes out from the service's fallback address.
    """
    match place:
        case Shared(domain):
            return domain
        case Subdomain(_, shared):
            return shared  # the organisational domain of the From of a username's alias
        case Custom(domain) if verified_for_sending:
            return domain
        case _:
            return service_domain


def signing_domain(
    kind: EmailType,
    mode: Mode,
    place: Place | None,
    service_domain: str,
    *,
    verified_for_sending: bool,
    sign_transparent: bool = True,
) -> str | None:
    """d= of the signatures of a copy, None: it is not signed. See from_domain for place and verified_for_sending.

    kind: what the copy is; mode: how a forward is made, of no matter otherwise.
    """
    match kind:
        case EmailType.NOTIFICATION:
            return service_domain
        case EmailType.FORWARD if mode == "transparent":
            return service_domain if sign_transparent else None
        case _:
            return from_domain(place, service_domain, verified_for_sending=verified_for_sending)


def usable_keys(kind: EmailType, mode: Mode, keys: Sequence[SigningKey]) -> tuple[SigningKey, ...]:
    """The keys to sign with: the first of each algorithm, RSA before Ed25519; one alone will do.

    keys: all of the signing domain. Raises Unavailable if there is none for a copy that must not leave without a
    signature, which is any but an untouched forward.
    """
    first = {key.algorithm: key for key in reversed(keys)}
    chosen = tuple(first[algorithm] for algorithm in ("rsa-sha256", "ed25519-sha256") if algorithm in first)
    if not chosen and not (kind is EmailType.FORWARD and mode == "transparent"):
        raise Unavailable("the signing domain of a copy has no keys")
    return chosen


def sealing_key(keys: Sequence[SigningKey]) -> SigningKey | None:
    """The RSA key of the service's domain, None: nothing can be sealed (spec section 11.5)."""
    return next((key for key in keys if key.algorithm == "rsa-sha256"), None)
