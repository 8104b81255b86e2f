"""Which rules of a book match, and what they do together (spec sections 5.2, 5.4, 5.5)."""

from mailrelay.core.rules.model import Book, Effects, Flow, Tested


def evaluate(book: Book, flow: Flow, tested: Tested) -> Effects:
    """The effects of all rules for this flow that match, in rule order: later ones override, there is no stop."""
    raise NotImplementedError
