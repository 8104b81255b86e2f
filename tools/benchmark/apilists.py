"""What administrators ask of the list of all aliases."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from tools.benchmark.population import DOMAIN

ACCOUNTS = 900  # of those who have the others
WORDS = (
    *("shop", "shoes", "news", "mail", "book", "bank", "travel", "hotel", "music", "video", "game", "cloud", "phone"),
    *("water", "paper", "green", "house", "light", "store", "train", "plane", "ticket", "garden", "coffee", "forum"),
    *("health", "sport", "pizza", "radio", "photo", "market", "school", "museum", "theatre", "energy", "doctor"),
)
_REQUESTS = 130
_SIZE = 50  # of a page

Requests = Iterator[tuple[str, dict[str, Any]]]


def lists(aliases: int) -> list[tuple[str, Requests]]:
    """Kinds of requests by name. aliases: how many there are."""
    rnd = random.Random(13)
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "newest page": dict,
        "any page": lambda: {"offset": rnd.randrange(aliases)},
        "last page": lambda: {"offset": max(0, aliases - _SIZE)},
        "active ones": lambda: {"active": 1},
        "active ones, any page": lambda: {"active": 1, "offset": rnd.randrange(aliases * 8 // 10)},
        "a word in the address": lambda: {"address": rnd.choice(WORDS)},
        "a word in the address, any page": lambda: {
            "address": rnd.choice(WORDS),
            "offset": rnd.randrange(aliases // 25),
        },
        "a number in the address": lambda: {"address": rnd.randrange(100, 10_000)},
        "a word in the handle, active ones": lambda: {"handle": rnd.choice(WORDS), "active": 1},
        "domain, any page": lambda: {"domain": DOMAIN[:9], "offset": rnd.randrange(aliases)},
        "one destination": lambda: {"goto": f"api{rnd.randrange(1, ACCOUNTS)}-1@"},
        "a part of destinations": lambda: {"goto": f"api{rnd.randrange(1, 100)}"},
        "all destinations, any page": lambda: {"goto": "inbox.example", "offset": rnd.randrange(aliases)},
        "destination and word, active ones": lambda: {"goto": "inbox", "handle": rnd.choice(WORDS), "active": 1},
    }
    return [(name, _requests(query)) for name, query in kinds.items()]


def _requests(query: Callable[[], dict[str, Any]]) -> Requests:
    for _ in range(_REQUESTS):
        yield "aliases", {"limit": _SIZE, **query()}
