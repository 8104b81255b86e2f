"""What the quick start shows: mail through the product, and what everybody sees of it."""

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tools.sandbox import show, world
from tools.sandbox.gnupg import Gnupg
from tools.sandbox.process import Trouble, wait_until
from tools.sandbox.sandbox import Sandbox
from tools.sandbox.sender import answer, sample
from tools.sandbox.show import Arrived

SENDER = "news@shop.example"
SECONDS = 60.0
_REASONS = ("bounce_type", "status", "code", "destination", "is_stored", "expires_at")
# Asks as an app of addy.io does; the variables are those of the env file.
CURL = (
    'curl -sS "$MAILRELAY_HTTP/api/v1/aliases" -H "Authorization: Bearer $MAILRELAY_ADDY_TOKEN" '
    """-H 'Content-Type: application/json' -d '{"domain": "alias.example", "description": "by curl"}'"""
)
_IN_SHORT = ("from", "to", "subject", "message-id", "in-reply-to")


@dataclass(frozen=True, slots=True)
class Story:
    """tell: gets each line of it."""

    sandbox: Sandbox
    tell: Callable[[str], None]

    def conversation(self) -> bool:
        """A question to an alias, its owner's answer, and an answer to that. True if the owner stays unknown, all is
        signed, and both sides see one thread. Raises Trouble if a message does not arrive.
        """
        alias, owner = world.DEMO_ALIAS, world.MAILBOX
        self.tell(f"{SENDER} writes to {alias}, which stands for {owner} and keeps it secret:")
        question = sample(SENDER, [alias])
        first = self.passed(SENDER, alias, question, owner)
        reply = answer(first.content, owner, "Good evening,\n\nwhat if nobody is at home?")
        self.tell(f"{owner} answers, to the address that it came from:")
        second = self.passed(owner, reply.rcpt, reply.content, SENDER, _IN_SHORT)
        back = answer(second.content, SENDER, "Good night,\n\nthen it stays with your neighbour.")
        self.tell(f"{SENDER} answers that:")
        third = self.passed(SENDER, back.rcpt, back.content, owner, _IN_SHORT)
        unknown = owner.partition("@")[2].encode() not in second.content.lower()
        threads = show.values(second, "In-Reply-To") == show.values(first, "Message-ID")
        threads = threads and show.values(third, "In-Reply-To") == [reply.message_id]
        self.tell(
            f"For {SENDER} its customer is {alias}{' and nobody else' if unknown else ', BUT THE MAILBOX SHOWS'}."
        )
        self.tell(f"Both mail programs {'show one thread' if threads else 'LOSE THE THREAD'}.\n")
        signed = all(self.signed(copy, "alias.example") for copy in (first, second, third))
        return unknown and threads and signed

    def untouched(self) -> bool:
        """Mail that only passes: True if the sender's signature still holds. Raises Trouble if it does not arrive."""
        alias, mailbox = world.PLAIN_ALIAS, world.PLAIN_MAILBOX
        self.tell(f"{SENDER} writes to {alias}, which stands for {mailbox} and only passes on:")
        return self.signed(self.passed(SENDER, alias, sample(SENDER, [alias]), mailbox), "shop.example")

    def bounce(self) -> bool:
        """Mail to a mailbox that is gone: True if its owner is told at the other one, and nobody else hears of it.

        Raises Trouble if it is not told.
        """
        alias, gone, owner = "moved@alias.example", "refuse.jane@inbox.example", "jane@inbox.example"
        self._furnish(alias, gone, owner)
        self.tell(f"{SENDER} writes to {alias}, which stands for {gone}, a mailbox that is gone:")
        notice = self.passed(SENDER, alias, sample(SENDER, [alias]), owner, _IN_SHORT)
        cli = self.sandbox.cli
        newest = cli("--json", "failed", "list", "--account", "janedoe").json()[0]
        self.tell(f"It went to the account's other mailbox. `mailrelay failed show {newest['id']}` says:")
        self.tell("".join(f"  {name:<13} {newest[name]}\n" for name in _REASONS))
        self.tell("`mailrelay trace` has the whole story:")
        self.tell(cli("trace", newest["queue_id"]).out)
        silent = not any(SENDER in message.recipients for message in self._since(notice))
        return silent and newest["status"] == "5.1.1" and self.signed(notice, world.SERVICE_DOMAIN)

    def encrypted(self) -> bool:
        """Mail to somebody with a key: True if only she can read it, and the service vouches for it.

        Raises Trouble if it does not arrive, or cannot be opened.
        """
        alias, owner = "sealed@alias.example", "kim@inbox.example"
        person = Gnupg(self.sandbox.places.run / "gnupg")
        try:
            self._give_key(person, alias, owner)
            self.tell(f"{SENDER} writes to {alias}, which stands for {owner}, who has an OpenPGP key:")
            question = sample(SENDER, [alias])
            copy = self.passed(SENDER, alias, question, owner, (*_IN_SHORT, "content-type"))
            opened = person.open(copy.body)
        finally:
            person.close()
        text = question.partition(b"\r\n\r\n")[2].strip()
        sealed = text not in copy.content and text in opened.content
        self.tell(f"`gpg --decrypt` of {owner} finds {'a good signature of the service' if opened.signed else 'NONE'}:")
        self.tell("".join(f"  | {line}\n" for line in opened.content.decode(errors="replace").splitlines()[-8:]))
        return sealed and opened.signed and self.signed(copy, "alias.example")

    def over_http(self) -> bool:
        """An alias made by the command that is printed for the reader: True if mail to it arrives.

        Raises Trouble if it cannot be made, or the message does not arrive.
        """
        self.tell(f"{world.ACCOUNT}'s app makes an alias:\n  {CURL}")
        command = f". {shlex.quote(str(self.sandbox.places.env))} && {CURL}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=SECONDS)
        try:
            alias = json.loads(done.stdout)["data"]["email"]
        except (ValueError, LookupError, TypeError) as error:
            raise Trouble(f"the API made no alias: {done.stdout or done.stderr}") from error
        self.tell(f"  {alias}\n{SENDER} writes to it:")
        return self.signed(
            self.passed(SENDER, alias, sample(SENDER, [alias]), world.MAILBOX, _IN_SHORT), "alias.example"
        )

    def _give_key(self, person: Gnupg, alias: str, owner: str) -> None:
        """An account whose only mailbox has a key."""
        cli, key = self.sandbox.cli, person.public_key(owner)
        if all(account["name"] != "kim" for account in cli("--json", "account", "list").json()):
            cli("account", "add", "kim", "--recipient", owner, "--verified")
            cli("alias", "add", alias, "--account", "kim")
        cli("recipient", "key", owner, "-", stdin=key)
        published = self.sandbox.places.root / "published"
        cli("pgp-key", "publish", str(published))
        person.know((published / "service-key.asc").read_bytes())

    def _furnish(self, alias: str, gone: str, owner: str) -> None:
        """An account with two mailboxes, one of which is believed in anew."""
        cli = self.sandbox.cli
        if all(account["name"] != "janedoe" for account in cli("--json", "account", "list").json()):
            cli("account", "add", "janedoe", "--recipient", owner, "--verified")
            cli("recipient", "add", gone, "--account", "janedoe", "--verified")
            cli("alias", "add", alias, "--account", "janedoe", "--to", gone)
        cli("recipient", "resume", gone)

    def _since(self, first: Arrived) -> list[Arrived]:
        """What arrived outside after a message."""
        found = sorted(self.sandbox.places.outside.glob("*.eml"))
        return [show.read(path) for path in found if path.name > first.path.name]

    def signed(self, copy: Arrived, domain: str) -> bool:
        """Whether a signature of this domain holds."""
        found = show.signatures(copy.content, self.sandbox.memory.ports["dns"])
        return any(each.domain == domain and each.verdict == "valid" for each in found)

    def passed(self, sender: str, rcpt: str, content: bytes, mailbox: str, names: Collection[str] = ()) -> Arrived:
        """Send a message and show what arrived for the mailbox. names: as show.lines has it."""

        def send() -> None:
            dispatch = self.sandbox.mailer.send(sender, [rcpt], content)
            replies = (dispatch.sender, *dispatch.recipients, *((dispatch.data,) if dispatch.data else ()))
            self.tell("\n".join(f"  {reply}" for reply in replies))
            if not dispatch.accepted:
                raise Trouble(f"the message was not taken; {self._logs}")

        return self.arrival(send, mailbox, names)

    def arrival(self, act: Callable[[], None], mailbox: str, names: Collection[str] = ()) -> Arrived:
        """Do something, and show what arrived for the mailbox since."""
        outside = self.sandbox.places.outside
        before = {path.name for path in outside.glob("*.eml")}
        act()
        found: list[Arrived] = []

        def arrived() -> bool:
            new = (path for path in sorted(outside.glob("*.eml")) if path.name not in before)
            found[:] = [message for message in map(show.read, new) if mailbox in message.recipients]
            return bool(found)

        began = time.monotonic()
        try:
            wait_until(arrived, "the message to arrive outside", SECONDS, pause=0.02)
        except Trouble as error:
            raise Trouble(f"{error}; {self._logs}") from error
        self.tell(f"after {time.monotonic() - began:.2f} s it")
        signatures = show.signatures(found[0].content, self.sandbox.memory.ports["dns"])
        self.tell("\n".join((*show.lines(found[0], signatures, names), "")))
        return found[0]

    @property
    def _logs(self) -> str:
        return f"see {self.sandbox.places.log} and {self.sandbox.postfix.maillog}"
