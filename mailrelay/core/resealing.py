"""What is sealed with storage.key, and how far a walk over it has come after a new key was put in front."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Shelf = Literal["webhook", "account", "failed_delivery", "stored_message"]

# How many rows of each are sealed anew in one transaction: a message can have megabytes.
AT_ONCE: Mapping[Shelf, int] = {"webhook": 100, "account": 100, "failed_delivery": 100, "stored_message": 1}


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a table in the order of ids. position: where the next page begins; more: there may be one.

    old: ids of those that were sealed with another key than the newest.
    """

    position: int
    more: bool
    old: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resealed:
    """rows: sealed anew; lost: rows that none of the keys opens, they stay as they are. finished: nothing was left."""

    rows: int
    lost: int
    finished: bool
