"""100 000 aliases of 1 000 accounts, in the product's tables and in the classic one; and some accounts with rules."""

import json
import random
from dataclasses import dataclass

import psycopg

from tools.sandbox.postgres import Cluster

DOMAIN = "alias.example"
ACCOUNTS = 1_000
RULED_ACCOUNTS = 100
RULES = 20  # of each of these
MATCHING = 2  # of these, for every message
CLASSIC = "classic"  # database of the classic set-up
# No limits that could be met, yet limits: the product has to count.
_MESSAGES_PER_HOUR = 1_000_000_000
_OCTETS_PER_MONTH = 1 << 50


@dataclass(frozen=True, slots=True)
class Population:
    """Addresses `NrBLOCK@alias.example`: a block has N = 1 … per_block, and each run sends to a block of its own.

    smtp-source counts through a block, whose aliases lie in random places of the tables: each message is for another
    random alias, which no cache has seen before.

    letter: that r; of accounts' names, too. has_rules: each account has some.
    """

    aliases: int
    per_block: int
    accounts: int = ACCOUNTS
    letter: str = "r"
    has_rules: bool = False

    def ruled(self) -> "Population":
        """Fewer people, who have rules."""
        return Population(max(self.per_block, self.aliases // 5), self.per_block, RULED_ACCOUNTS, "s", has_rules=True)

    @property
    def blocks(self) -> int:
        """How many whole ones there are."""
        return self.aliases // self.per_block

    def pattern(self, block: int) -> str:
        """What smtp-source puts its numbers before."""
        return f"{self.letter}{block}@{DOMAIN}"

    def local_parts(self) -> list[str]:
        """All aliases, in random but always the same order."""
        found = [f"{at % self.per_block + 1}{self.letter}{at // self.per_block}" for at in range(self.aliases)]
        random.Random(7).shuffle(found)
        return found

    def mailbox(self, row: int) -> str:
        """Where the alias in this row goes."""
        return f"user{row % self.accounts:04}@inbox.example"


_ACCOUNTS = """
    with a as (
        insert into account (name, messages_per_hour, bandwidth_octets_per_month, banner_location)
        select 'bench' || %(letter)s || to_char(n, 'FM0000'), %(messages)s, %(octets)s, %(banner)s
        from generate_series(0, %(last)s) n
        returning id, name
    ), r as (
        insert into recipient (account_id, address, verified_at)
        select id, 'user' || right(name, 4) || '@inbox.example', now() from a order by name
    )
    select id from a order by name
"""
_DEFAULTS = """
    update account set default_recipient_id = recipient.id from recipient
    where recipient.account_id = account.id and account.default_recipient_id is null
"""


def fill_product(dsn: str, population: Population, banner: str) -> None:
    """Accounts with a verified recipient each, and the aliases. No role may run: each would hear of every row.

    banner: where rewritten copies have it.
    """
    values = {
        "messages": _MESSAGES_PER_HOUR,
        "octets": _OCTETS_PER_MONTH,
        "last": population.accounts - 1,
        "letter": population.letter,
        "banner": banner,
    }
    with psycopg.connect(dsn) as connection:
        with connection.transaction():
            accounts = [row[0] for row in connection.execute(_ACCOUNTS, values)]
            connection.execute(_DEFAULTS)
        with connection.cursor().copy("copy alias (account_id, local_part, domain) from stdin") as copy:
            for row, local_part in enumerate(population.local_parts()):
                copy.write_row((accounts[row % population.accounts], local_part, DOMAIN))
        if population.has_rules:
            with connection.cursor().copy(_COPY_RULES) as copy:
                for account in accounts:
                    for number in range(RULES):
                        copy.write_row((account, f"rule {number}", number, *rule(number)))
        connection.commit()
        _settle(connection)


_COPY_RULES = "copy rule (account_id, name, position, forwards, conditions, actions) from stdin"


def rule(number: int) -> tuple[bool, str, str]:
    """Flag, conditions and actions of a rule that blocks nothing. All three conditions are asked; few rules match."""
    subject = ("matches regex", rf"(?i)\b(invoice|receipt)s? no\.? ?{number}\d{{3,}}")
    if number >= RULES - MATCHING:
        subject = ("does not contain", f"parcel {number}")
    conditions = [
        {"type": "sender", "match": "ends with", "values": ["@mail.example", "@shop.example"]},
        {"type": "alias", "match": "does not start with", "values": [f"{number}-", "private"]},
        {"type": "subject", "match": subject[0], "values": [subject[1]]},
    ]
    action = {"type": "subject", "value": "[shop] {{subject}}"} if number % 2 else {"type": "displayFrom", "value": "A"}
    return True, json.dumps(conditions), json.dumps([action])


def fill_classic(cluster: Cluster, population: Population) -> None:
    """One table of addresses and where they go, as hand-made set-ups have it."""
    cluster.create_database(CLASSIC)
    with psycopg.connect(cluster.dsn(CLASSIC)) as connection:
        connection.execute("create table alias (address text primary key, goto text not null)")
        with connection.cursor().copy("copy alias (address, goto) from stdin") as copy:
            for row, local_part in enumerate(population.local_parts()):
                copy.write_row((f"{local_part}@{DOMAIN}", population.mailbox(row)))
        connection.commit()
        _settle(connection)


def _settle(connection: psycopg.Connection) -> None:
    """Do now what PostgreSQL would otherwise do in the middle of a measurement."""
    connection.autocommit = True
    connection.execute("vacuum (analyze)")
    connection.execute("checkpoint")
