"""Somebody without an account gets an alias by two commands, which the quick start prints, and what becomes of it."""

import json
import re
import secrets
import shlex
import subprocess
from dataclasses import dataclass

from tools.sandbox import show, world
from tools.sandbox.process import Trouble
from tools.sandbox.sender import sample
from tools.sandbox.story import SECONDS, SENDER, Story

_CODE = re.compile(r"\b[0-9]{6}\b")
_SHOWN = ("from", "to", "subject")


def ask_line(what: str, **members: str) -> str:
    """The command that asks for something. what: `subscribe` or `unsubscribe`; the variable is one of the env file."""
    given = " ".join(f"-d {name}={value}" for name, value in members.items())
    return f'curl -sS -G "$MAILRELAY_HTTP/api/forward/{what}" {given}'


def confirm_line(code: str) -> str:
    """The command that carries it out, with the code that came by mail."""
    return f'curl -sS -G "$MAILRELAY_HTTP/api/forward/confirm" -d token={code}'


@dataclass(frozen=True, slots=True)
class Signup:
    """One visitor, whom nobody knows yet. number: in the names of this time."""

    story: Story
    number: str

    @property
    def alias(self) -> str:
        return f"tea{self.number}@{world.SHARED_DOMAIN}"

    @property
    def mailbox(self) -> str:
        return f"visitor{self.number}@inbox.example"

    def told(self) -> bool:
        """True if mail arrives while the alias is there and nobody has banned it, and is refused otherwise.

        Raises Trouble if a request is not carried out, or mail does not arrive.
        """
        story, cli, name = self.story, self.story.sandbox.cli, self.alias.partition("@")[0]
        story.tell(
            f"{self.mailbox}, whom nobody knows here, wants {self.alias}, and confirms it by the code in a mail:"
        )
        self._confirmed(ask_line("subscribe", name=name, domain=world.SHARED_DOMAIN, to=self.mailbox))
        signed = story.signed(
            story.passed(SENDER, self.alias, sample(SENDER, [self.alias]), self.mailbox, _SHOWN), "shop.example"
        )
        story.tell(f"`mailrelay ban add name {name}`:")
        cli("ban", "add", "name", name, "--reason", "quick start")
        banned = self._refused()
        story.tell(f"`mailrelay ban revoke {name}`:")
        cli("ban", "revoke", name)
        story.passed(SENDER, self.alias, sample(SENDER, [self.alias]), self.mailbox, _SHOWN)
        story.tell(f"{self.mailbox} has enough of it:")
        self._confirmed(ask_line("unsubscribe", alias=self.alias))
        return signed and banned and self._refused()

    def _confirmed(self, line: str) -> None:
        """Asked for by that command, and confirmed by the other one."""
        mail = self.story.arrival(lambda: self._run(line), self.mailbox, _SHOWN)
        found = _CODE.search(" ".join(show.values(mail, "Subject")))
        if found is None:
            raise Trouble(f"{mail.path} has no code in its subject")
        self._run(confirm_line(found[0]))

    def _run(self, line: str) -> None:
        """One command, as a reader would type it. Raises Trouble unless it was carried out."""
        self.story.tell(f"  {line}")
        command = f". {shlex.quote(str(self.story.sandbox.places.env))} && {line}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=SECONDS)
        self.story.tell(f"  {done.stdout or done.stderr}")
        try:
            said = json.loads(done.stdout)
        except ValueError as error:
            raise Trouble(f"the API gave no answer: {done.stdout or done.stderr}") from error
        if not isinstance(said, dict) or said.get("ok") is not True:
            raise Trouble(f"the API refused: {done.stdout}")

    def _refused(self) -> bool:
        dispatch = self.story.sandbox.mailer.send(SENDER, [self.alias], sample(SENDER, [self.alias]))
        replies = (dispatch.sender, *dispatch.recipients)
        self.story.tell("\n".join((*(f"  {reply}" for reply in replies), "")))
        return not dispatch.accepted


def signup(story: Story) -> bool:
    """As `Signup.told` has it. What the last start counted is forgotten, so that it can be repeated."""
    story.sandbox.query("delete from request_window where name = 'fwd_cycle_ip'")
    return Signup(story, secrets.token_hex(3)).told()
