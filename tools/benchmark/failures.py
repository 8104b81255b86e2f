"""The list of failed deliveries of an account that has a million, as the API reads it."""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from uuid import UUID

import psycopg

from mailrelay import config
from mailrelay.core.facts import AccountId
from mailrelay.core.failed import FailedType
from mailrelay.core.held import place
from mailrelay.core.sealed import NONCE_OCTETS, seal, vault
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.wiring.failed import failed_store
from tools.benchmark.product import Product
from tools.sandbox.process import Trouble

SIZE = 100  # of a page
_TIMES = 20
_ACCOUNT = "select min(account_id), min(id) from alias where domain = 'alias.example' and account_id is not null"
_COPY = """
    copy failed_delivery (uuid, account_id, alias_id, email_type, bounce_type, status, code, remote_mta, sender,
                          destination, key_id, quarantined, created_at, attempted_at) from stdin
"""
_DAY = timedelta(days=1)
_START = "select now() - interval '6 days'"


@dataclass(frozen=True, slots=True)
class Page:
    """One page, read again and again. of: which; seconds: of each reading."""

    of: str
    records: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def worst(self) -> float:
        return max(self.seconds)


@dataclass(frozen=True, slots=True)
class FailedList:
    """rows: of the account."""

    rows: int
    pages: tuple[Page, ...]


def fill(product: Product, rows: int) -> AccountId:
    """So many records of one account; one in a thousand is quarantined, the others are bounces and rejections."""
    settings = config.load(product.sandbox.places.config)
    keys = vault(read_secret(settings.secrets, "storage.key"))
    with psycopg.connect(product.sandbox.dsn) as connection:
        found = connection.execute(_ACCOUNT).fetchone()
        start = connection.execute(_START).fetchone()
        if found is None or start is None or found[0] is None:
            raise Trouble("there is no account whose list could be read")
        account, alias = found
        with connection.cursor().copy(_COPY) as copy:
            for number in range(rows):
                uuid = UUID(bytes=secrets.token_bytes(16), version=4)
                sealed = [
                    seal(keys, secrets.token_bytes(NONCE_OCTETS), place(column, uuid), clear)
                    for column, clear in (("author", b"orders@shop.example"), ("destination", b"me@inbox.example"))
                ]
                kind = "IR" if number % 3 == 0 else "F"
                held = number % 1000 == 1
                at = start[0] + _DAY * (5 * number / rows)
                words = ("hard", "5.1.1", "smtp; 550 5.1.1 no such user", "mx.inbox.example")
                copy.write_row((uuid, account, alias, kind, *words, *sealed, keys.key_id, held, at, at))
        connection.commit()
        connection.autocommit = True
        connection.execute("vacuum (analyze) failed_delivery")
    return AccountId(account)


def measure(product: Product, rows: int, say: Callable[[str], None]) -> FailedList:
    """Every kind of page, as somebody sees it who just came and as who keeps turning pages."""
    account = fill(product, rows)
    found = asyncio.run(_read(product, account))
    total = found[0].records
    if total != SIZE:
        raise Trouble(f"the first page has {total} records, and not {SIZE}")
    for page in found:
        say(f"  {page.of:<36} {page.median * 1000:6.1f} ms, at worst {page.worst * 1000:.1f} ms")
    return FailedList(rows, tuple(found))


async def _read(product: Product, account: AccountId) -> list[Page]:
    settings = config.load(product.sandbox.places.config)
    database = Database(settings.database.dsn, 1, 10.0, "bench")
    await database.open()
    try:
        store = failed_store(settings, database)
        total = (await store.page(account, None, 1, 1)).total
        wanted: list[tuple[str, FailedType | None, int]] = [
            ("the first page", None, 1),
            ("the last page", None, -(-total // SIZE)),
            ("the page in the middle", None, total // SIZE // 2),
            *((f"the first page, {kind}", kind, 1) for kind in FailedType),
        ]
        found = []
        for of, kind, number in wanted:
            seconds = []
            records = 0
            for _ in range(_TIMES):
                began = time.perf_counter()
                page = await store.page(account, kind, number, SIZE)
                seconds.append(time.perf_counter() - began)
                records = len(page.records)
            found.append(Page(of, records, tuple(seconds)))
        return found
    finally:
        await database.close()
