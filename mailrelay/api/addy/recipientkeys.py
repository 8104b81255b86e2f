"""OpenPGP keys of recipients and how they are used: E41 to E48 of addy-api.md."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.responses import Response

from mailrelay.api.addy.call import Call, data, empty
from mailrelay.api.addy.checks import ID_FIELDS, STRING, Fields, Rule, attribute, validate
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Text, missing
from mailrelay.api.addy.recipients import MODEL, Reader
from mailrelay.api.addy.shapes import Data, Recipient, recipient_shape
from mailrelay.core.certificate import KeyUnusable
from mailrelay.core.pgppackets import MAX_OCTETS
from mailrelay.core.recipientkeys import Encryption, Gate, InlineChosen, NoKey, SubjectHidden, Switch, switched
from mailrelay.flows.manage import keys
from mailrelay.flows.manage.keys import KeyStore

NOT_IMPORTED: Final = "Key could not be imported"
_BEGIN, _END = "-----begin pgp public key block-----", "-----end pgp public key block-----"
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,40}:")
_DATA = re.compile(r"[A-Za-z0-9+/=\s]*", re.ASCII)


def is_block(value: Value) -> bool:
    """An armored public key somewhere in the text: armor headers, and line ends of any kind, included.

    What is larger than any key passes, and is refused as a key. Each line is looked at once: regular expressions over
    all of them take their time with what is made for that.
    """
    if not isinstance(value, str):
        return False
    folded = value.lower()
    begin = folded.find(_BEGIN)
    end = folded.find(_END, begin + len(_BEGIN))
    inner = value[begin + len(_BEGIN) : end]
    if begin < 0 or end < 0 or not inner:
        return False
    if len(inner) > MAX_OCTETS or _DATA.fullmatch(inner):
        return True
    return all(_DATA.fullmatch(line) or _HEADER.match(line.strip()) for line in re.split(r"\r\n|\r|\n", inner))


KEY_FIELDS: Fields = (attribute("key_data", STRING, Rule(is_block, "The {a} format is invalid.")),)


@dataclass(frozen=True, slots=True)
class KeyEndpoints:
    """gate: what decides whether a key can be used."""

    store: KeyStore
    reader: Reader
    gate: Gate
    clock: Callable[[], datetime]

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "PATCH",
                "recipient-keys/{id}",
                self.put,
                "E41 Set its OpenPGP key",
                Data[Recipient],
                fields=KEY_FIELDS,
                texts=((404, NOT_IMPORTED),),
            ),
            Endpoint("DELETE", "recipient-keys/{id}", self.remove, "E42 Take its OpenPGP key away", status=204),
            *self._switches("encrypted-recipients", Switch.ENCRYPT, "E43", "E44"),
            *self._switches("inline-encrypted-recipients", Switch.INLINE, "E45", "E46"),
            *self._switches("protected-headers-recipients", Switch.HIDE_SUBJECT, "E47", "E48"),
        )

    def _switches(self, path: str, switch: Switch, on: str, off: str) -> tuple[Endpoint, Endpoint]:
        async def switch_on(call: Call) -> Response:
            sent = validate(ID_FIELDS, call.input)["id"]
            which = call.owned(MODEL, sent)
            with missing(MODEL, sent), _clashes():
                await keys.switch(self.store, which.account, which.uuid, switch, True, call.actor)
                return data(recipient_shape(await self.reader.one(which.account, which.uuid)))

        async def switch_off(call: Call) -> Response:
            which = call.owned(MODEL)
            with missing(MODEL, call.id):
                await keys.switch(self.store, which.account, which.uuid, switch, False, call.actor)
            return empty()

        texts = tuple((422, text) for text in _clashing(switch))
        return (
            Endpoint("POST", path, switch_on, f"{on} Set {switch}", Data[Recipient], fields=ID_FIELDS, texts=texts),
            Endpoint("DELETE", f"{path}/{{id}}", switch_off, f"{off} Clear {switch}", status=204),
        )

    async def put(self, call: Call) -> Response:
        given = validate(KEY_FIELDS, call.input)
        which = call.owned(MODEL)
        with missing(MODEL, call.id):
            await self.reader.one(which.account, which.uuid, counted=False)  # a key takes longer to look at
            if "key_data" not in given:
                raise Text(404, NOT_IMPORTED)
            octets = given["key_data"].encode()
            try:
                await keys.set_key(self.store, self.gate, self.clock, which.account, which.uuid, octets, call.actor)
            except KeyUnusable as error:
                raise Text(404, NOT_IMPORTED) from error
            return data(recipient_shape(await self.reader.one(which.account, which.uuid)))

    async def remove(self, call: Call) -> Response:
        which = call.owned(MODEL)
        with missing(MODEL, call.id):
            await keys.remove_key(self.store, which.account, which.uuid, call.actor)
        return empty()


def _clashing(switch: Switch) -> Iterator[str]:
    """All that may keep it from being switched on, in words."""
    for found in (
        Encryption(False),
        Encryption(True, protected_headers=True),
        Encryption(True, inline_encryption=True),
    ):
        try:
            switched(found, switch, True)
        except (NoKey, SubjectHidden, InlineChosen) as error:
            yield str(error)


@contextmanager
def _clashes() -> Iterator[None]:
    """What cannot be switched on says why in the API's own words."""
    try:
        yield
    except (NoKey, SubjectHidden, InlineChosen) as error:
        raise Text(422, str(error)) from error
