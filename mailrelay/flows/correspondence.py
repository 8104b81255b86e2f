"""Makes the message that a contact gets from an alias: nothing in it leads to who wrote it (spec 4.4 to 4.9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mailrelay.core import bodyedit, dkim, ingress, loop, verp
from mailrelay.core.address import Address, parse_address
from mailrelay.core.facts import AccountId, Alias, AliasId
from mailrelay.core.findings import Findings
from mailrelay.core.frozen import frozen
from mailrelay.core.header import Field, Message, split
from mailrelay.core.ingress import Ingress
from mailrelay.core.ledger import Mode, OutboundId, Sent
from mailrelay.core.letterhead import Header, Signer
from mailrelay.core.mime import Tree, tree
from mailrelay.core.plan import Copy
from mailrelay.core.realm import Place
from mailrelay.core.rewrite import House
from mailrelay.core.rules.attachments import removed
from mailrelay.core.rules.model import Effects
from mailrelay.core.screen import day_number
from mailrelay.core.sending import scrub
from mailrelay.core.sending.addressees import Named, Whose, addressed, named, replies_to_contact
from mailrelay.core.sending.authorise import Allowed
from mailrelay.core.sending.context import NamedFacts, NamedInquiry
from mailrelay.core.sending.facts import SendingFacts
from mailrelay.core.sending.header import Outgoing, outgoing, sender_name
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.ids import Cited, cited, minted, threaded
from mailrelay.core.sending.leaks import Leak, Verdict, distinct, in_fields, verdict
from mailrelay.core.sending.openpgp import Removal
from mailrelay.core.sending.scrub import Edited, Scrubbing
from mailrelay.core.signer import signing_domain, usable_keys
from mailrelay.flows.drafts import SigningKeys
from mailrelay.flows.letter import Letter, apart
from mailrelay.flows.rules import Rules

T = TypeVar("T")


class ReadNamed(Protocol):
    """Whose the addresses and ids are that a message names. Raises Unavailable."""

    async def __call__(self, inquiry: NamedInquiry, /) -> NamedFacts: ...


@dataclass(frozen=True, slots=True)
class Errand:
    """A message that may go out. alias: with its row; contact: who is to get it; effects: of the owner's rules."""

    letter: Letter
    place: Place
    alias: Alias
    address: Address
    contact: Address
    sending: SendingFacts
    allowed: Allowed
    effects: Effects


@dataclass(frozen=True, slots=True)
class Outbound:
    """The one copy of an errand.

    leaks: where addresses are left in it; verdict: what is to become of it for that. exposed: see Addressees.
    """

    rules: Rules
    signing_keys: SigningKeys
    errand: Errand
    header: Header
    edited: Edited
    body_hash: bytes
    sent: Sent
    verdict: Verdict
    leaks: tuple[Leak, ...]
    exposed: tuple[Address, ...]

    def mode(self, destination: Address) -> Mode | None:
        return None

    async def copy(self, destination: Address, outbound_id: OutboundId) -> Copy:
        """Raises Unavailable if there is no key to sign with."""
        errand, rules = self.errand, self.rules
        now = int(errand.letter.now.timestamp())
        verified = errand.sending.sending_verified
        domain = signing_domain(
            self.errand.allowed.kind, "rewrite", errand.place, rules.identity.domain, verified_for_sending=verified
        )
        assert domain is not None  # only untouched copies may go out unsigned
        keys = usable_keys(self.errand.allowed.kind, "rewrite", self.signing_keys(domain))
        header = self.header.signed(self.body_hash, Signer(keys, now))
        bounce_domain = errand.address.domain if verified else rules.identity.domain
        path = verp.VerpId(self.errand.allowed.kind, outbound_id, day_number(errand.letter.now))
        sender = f"{verp.encode(path, bounce_domain, rules.around.keys.verp[0])}@{bounce_domain}"
        if rules.around.realm.locate(destination.domain) is not None:
            header = self._vouched(header, sender, now)
        if self.edited.message is errand.letter.message:
            content = header.above(errand.letter.message)
        else:
            content = (header.block + b"\r\n", self.edited.message.body)
        return Copy(
            sender=sender,
            rcpt=str(destination),
            content=content,
            envelope_id=f"{outbound_id:016x}",
            eight_bit=not all(chunk.isascii() for chunk in content),
            smtputf8=not header.block.isascii() or not destination.local.isascii(),
            return_full=errand.sending.manner.stores_failed,
        )

    def _vouched(self, header: Header, sender: str, now: int) -> Header:
        """For another alias here: its mail passes no milter, and is authenticated as this alias' (spec section 9.5)."""
        rules = self.rules
        made = Ingress(self.errand.letter.queue_id, now, "", "", sender, "internal", Findings())
        value = ingress.compose(made, split(header.block + b"\r\n"), rules.checks.keys[0])
        name = f"{rules.identity.header_prefix}Ingress".encode("ascii")
        return header.topped([b"%b: %b\r\n" % (name, value)])


@dataclass(frozen=True, slots=True)
class Correspondence:
    """Prepares outgoing messages. link_host: of our signed links, '' if there are none."""

    rules: Rules
    read_named: ReadNamed
    signing_keys: SigningKeys
    link_host: str

    async def compose(self, errand: Errand) -> Outbound:
        """Ask what has to be asked, and compose. Raises Unavailable."""
        letter, sending = errand.letter, errand.sending
        author = letter.author
        hidden = Hidden.of([one.address for one in sending.mailboxes], author, errand.address)
        who, ids = named(letter.message), cited(letter.message)
        mentioned = await apart(
            len(letter.message.content), lambda: scrub.opaque_mentioned(letter.message, errand.address.domain)
        )
        known = await self._known(errand, who, ids, mentioned)
        edited, body_hash = await self._edited(errand, hidden, known)
        our_id = minted(
            ids.own or letter.key.hex(), errand.alias.uuid, errand.address.domain, self.rules.around.keys.loop[0]
        )
        said = self._said(errand, hidden, who, ids, known, edited, our_id)
        identity, key = self.rules.identity, self.rules.around.keys.loop[0]
        header = outgoing(letter.message, said, House(identity.header_prefix, identity.hostname, key))
        contact = sending.contact or str(errand.contact)
        sent = Sent(errand.allowed.kind, contact, not sending.contact_known, errand.allowed.automatic, our_id, ids.own)
        leaks = distinct((*edited.leaks, *in_fields(header.fields, hidden)))
        return Outbound(
            self.rules,
            self.signing_keys,
            errand,
            header,
            edited,
            body_hash,
            sent,
            verdict(leaks, sending.manner.leak_policy),
            leaks,
            said.parties.exposed,
        )

    async def answers_contact(self, letter: Letter, address: Address, account_id: AccountId, alias_id: AliasId) -> bool:
        """Whether a message for an alias itself is part of its owner's reply to all (spec section 4.7).

        address: the alias, without extension. Raises Unavailable.
        """
        who = named(letter.message)
        asked = tuple([one.folded for one in who.opaque])
        known = await self.read_named(NamedInquiry(account_id, alias_id, asked)) if asked else NamedFacts()
        return replies_to_contact(who, Whose(address, known.aliases, known.contacts, Hidden((), frozenset())))

    async def _known(self, errand: Errand, who: Named, ids: Cited, mentioned: Sequence[Address]) -> NamedFacts:
        addresses = dict.fromkeys([one.folded for one in (*who.addresses, *mentioned)])
        asked = NamedInquiry(errand.sending.account_id, errand.alias.id, tuple(addresses), ids.others)
        return await self.read_named(asked) if asked.addresses or asked.ids else NamedFacts()

    def _said(
        self,
        errand: Errand,
        hidden: Hidden,
        who: Named,
        ids: Cited,
        known: NamedFacts,
        edited: Edited,
        our_id: str,
    ) -> Outgoing:
        letter, sending, effects = errand.letter, errand.sending, errand.effects
        whose = Whose(errand.address, known.aliases, known.contacts, hidden)
        is_ours = self.rules.around.realm.locate(errand.contact.domain) is not None
        fallback = None if sending.sending_verified else parse_address(self.rules.identity.fallback_from)
        return Outgoing(
            kind=errand.allowed.kind,
            alias=errand.address,
            alias_id=errand.alias.uuid,
            name=sender_name(hidden, effects.display_from, *sending.from_names),
            parties=addressed(who, whose, errand.contact),
            thread=threaded(letter.message, ids, known.known, our_id, hidden),
            hidden=hidden,
            now=letter.now,
            fallback_from=fallback,
            subject=effects.subject,
            body_fields=edited.fields,
            loop_mark=loop.mark(errand.alias.uuid, self.rules.around.keys.loop[0]) if is_ours else "",
            automatic=errand.allowed.automatic,
        )

    async def _edited(self, errand: Errand, hidden: Hidden, known: NamedFacts) -> tuple[Edited, bytes]:
        """The body and its hash."""
        sending, mailbox = errand.sending, errand.allowed.mailbox
        how = Scrubbing(
            alias=errand.address,
            hidden=hidden,
            link_host=self.link_host,
            contacts=known.contacts,
            names={errand.contact.folded: sending.contact_name} if sending.contact_name else {},
            mode=sending.manner.reply_scrub,
            removal=Removal(mailbox.remove_pgp_keys, mailbox.remove_pgp_signatures),
            remove_attachments=_without_attachments if errand.effects.remove_attachments else None,
            key=self.rules.around.keys.loop[0],
        )
        return await apart(len(errand.letter.message.content), lambda: _finished(errand.letter, how))


def _finished(letter: Letter, how: Scrubbing) -> tuple[Edited, bytes]:
    """The body as it goes out, and the hash of it that DKIM signs."""
    edited = _sendable(scrub.edit(letter.message, how))
    same = edited.message is letter.message
    return edited, letter.body_hash if same else dkim.body_hash(edited.message.body)


def _sendable(edited: Edited) -> Edited:
    """With lines and octets that every host takes, as copies have them (spec section 3.11)."""
    message = edited.message
    if not bodyedit.needs_reencoding(message):
        return edited
    parts = tree(message)
    done = bodyedit.edit(parts, frozen(parts), None, None)
    fields = {**edited.fields, **{name: Field(name, raw) for name, raw in done.fields.items()}}
    return Edited(split(message.content[: message.body_start] + done.body), fields, edited.leaks)


def _without_attachments(parts: Tree) -> Message | None:
    taken = removed(parts, frozen(parts))
    return taken.message if taken is not None else None
