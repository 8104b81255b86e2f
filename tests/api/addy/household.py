"""What johndoe has, one thing of every kind, under ids that tests can write down.

Texts name a thing as `<alias>`; `written` puts its id there.
"""

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
from argon2 import PasswordHasher

from mailrelay.core import totp
from mailrelay.core.held import place
from mailrelay.core.sealed import NONCE_OCTETS, seal, vault
from mailrelay.keyring import read_secret
from mailrelay.wiring.runtime import utc_now
from tests.api.addy.conftest import TOKEN

KEY: Final = (Path(__file__).resolve().parents[2] / "data" / "addy-clients" / "key.asc").read_text()
FINGERPRINT: Final = "35910220331E23372A70644F714EA3F9E7EC6792"
PASSWORD: Final = "correct horse"
TOTP: Final = b"12345678901234567890"
CONTENT: Final = b"From: news@shop.example\r\nSubject: An offer\r\n\r\nBuy now.\r\n"
# What the installation has to allow for that: mailboxes that DNS knows nothing of, questions of a spam filter.
CHOSEN: Final[Mapping[str, Any]] = {
    "addy": {"check_mail_domains": False, "blocklist_check": {"networks": ["192.0.2.1/32"]}},
}
_THINGS = (
    "account",
    # Mailboxes: the default one, one more, one that is not verified, one with an OpenPGP key.
    *("me", "second", "unverified", "keyed"),
    # Usernames and a custom domain.
    *("johndoe", "janedoe", "own"),
    # Aliases: of the first username, one of them inactive, one deleted; of a shared domain; pinned, of the own domain.
    *("alias", "paused", "gone", "bare", "pinned"),
    # Rules, failed deliveries without and with their message, an entry of the block list, one more token.
    *("rule", "later", "failed", "stored", "entry", "spare"),
)
IDS: Final[Mapping[str, str]] = {
    name: f"00000000-0000-4000-8000-{number:012x}" for number, name in enumerate(_THINGS, 0xA0)
}
NAMES: Final[Mapping[str, str]] = {
    **IDS, "token": TOKEN, "key": KEY, "fingerprint": FINGERPRINT, "password": PASSWORD,
}  # fmt: skip
_NAME = re.compile(r"<([a-z][a-z -]*)>")

# Begins with the world of conftest.py.
_FURNITURE = """
    update account set uuid = '<account>', password_hash = %(password_hash)s, totp_secret = %(totp)s where id = 1;
    update recipient set uuid = '<me>' where address = 'me@inbox.example';
    update username set uuid = '<johndoe>' where name = 'johndoe';
    insert into recipient (uuid, account_id, address, verified_at, public_key, fingerprint, created_at) values
        ('<second>', 1, 'second@inbox.example', now(), null, null, now()),
        ('<unverified>', 1, 'unverified@inbox.example', null, null, null, now() + interval '1 microsecond'),
        ('<keyed>', 1, 'keyed@inbox.example', now(), %(key)s, %(fingerprint)s, now() + interval '2 microseconds');
    insert into username (uuid, account_id, name) values ('<janedoe>', 1, 'janedoe');
    insert into domain (uuid, account_id, name, verified_at, catch_all)
        values ('<own>', 1, 'own.example', now(), true);
    insert into alias (uuid, account_id, username_id, local_part, domain, state, deleted_at, pinned, description,
                       created_at)
        select one.uuid::uuid, 1, parent.id, one.local_part, one.domain, one.state,
               case when one.state = 'deleted' then now() end, one.pinned, one.description,
               now() + one.number * interval '1 microsecond'
        from (values
            (1, '<alias>', 'first', 'johndoe.alias.example', 'active', false, 'Shop'),
            (2, '<paused>', 'second', 'johndoe.alias.example', 'inactive', false, null),
            (3, '<gone>', 'third', 'johndoe.alias.example', 'deleted', false, null),
            (4, '<bare>', 'fourth', 'alias.example', 'active', false, null),
            (5, '<pinned>', 'fifth', 'own.example', 'active', true, null)
        ) as one (number, uuid, local_part, domain, state, pinned, description)
        left join username parent on one.domain = parent.name || '.alias.example'
        order by one.number;
    insert into alias_recipient (alias_id, recipient_id)
        select alias.id, recipient.id from alias, recipient
        where alias.uuid = '<alias>' and recipient.uuid = '<second>';
    insert into rule (uuid, account_id, name, position, conditions, actions, forwards)
        select uuid::uuid, 1, name, position,
               '[{"type": "subject", "match": "contains", "values": ["invoice"]}]',
               '[{"type": "subject", "value": "An invoice"}]', true
        from (values ('<rule>', 'Invoices', 0), ('<later>', 'More invoices', 1)) as one (uuid, name, position);
    insert into failed_delivery
        (uuid, account_id, alias_id, recipient_id, email_type, bounce_type, status, code, remote_mta, attempted_at,
         created_at)
        select one.uuid::uuid, 1, alias.id, recipient.id, 'F', 'hard', '5.1.1', '550 5.1.1 No such user',
               'mx.inbox.example', now(), now() + one.number * interval '1 microsecond'
        from (values (1, '<failed>'), (2, '<stored>')) as one (number, uuid), alias, recipient
        where alias.uuid = '<alias>' and recipient.uuid = '<second>'
        order by one.number;
    update failed_delivery set is_stored = true where uuid = '<stored>';
    insert into stored_message (account_id, failed_delivery_id, kind, content, key_id, size_octets, expires_at)
        select 1, id, 'failed', %(content)s, %(key_id)s, %(octets)s, now() + interval '7 days'
        from failed_delivery where uuid = '<stored>';
    insert into token (uuid, account_id, kind, name, hash) values ('<spare>', 1, 'addy', 'Spare', sha256(''));
    insert into blocked_sender (uuid, account_id, type, value) values ('<entry>', 1, 'email', 'spam@shop.example');
"""


def code() -> str:
    """What johndoe's second factor shows now."""
    return totp.code(TOTP, totp.step_at(utc_now().timestamp()))


def written(text: str, names: Mapping[str, str] = NAMES) -> str:
    """The text with names in angle brackets replaced. Raises KeyError for a name that nobody has."""
    return _NAME.sub(lambda found: names[found[1]], text)


def filled(value: Any, names: Mapping[str, str] = NAMES) -> Any:
    """The same in all strings of a JSON value."""
    if isinstance(value, str):
        return written(value, names)
    if isinstance(value, list):
        return [filled(one, names) for one in value]
    if isinstance(value, dict):
        return {key: filled(one, names) for key, one in value.items()}
    return value


def furnish(dsn: str, secrets: Path, second_factor: bool = False) -> None:
    """Puts everything in its place. secrets: folder of the installation; second_factor: johndoe has one."""
    keys = vault(read_secret(secrets, "storage.key"))
    armor = KEY.partition("\n\n")[2].partition("\n=")[0]
    values = {
        "password_hash": PasswordHasher(time_cost=1, memory_cost=32, parallelism=1).hash(PASSWORD),
        "key": base64.b64decode(armor),
        "fingerprint": FINGERPRINT,
        "content": seal(keys, os.urandom(NONCE_OCTETS), place("content", UUID(IDS["stored"])), CONTENT),
        "octets": len(CONTENT),
        "key_id": keys.key_id,
        "totp": seal(keys, os.urandom(NONCE_OCTETS), totp.place(UUID(IDS["account"])), TOTP) if second_factor else None,
    }
    # With parameters on this side of the connection, as several statements at once take none on the other.
    with psycopg.connect(dsn) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(written(_FURNITURE).encode(), values)
