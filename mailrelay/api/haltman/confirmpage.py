"""Our own page behind the links of mails with codes: it shows what a code does, and only its button does it.

Programs that look into mail follow links, but press no buttons (haltman-api.md section 4.4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from mailrelay.api.haltman import names
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.codelinks import PAGE
from mailrelay.api.haltman.endpoint import Endpoint, Handler, Rule
from mailrelay.api.haltman.messages import SENTENCES
from mailrelay.api.haltman.problems import Problem
from mailrelay.api.haltman.tries import too_many_tries
from mailrelay.api.sheet import Form, Text, page
from mailrelay.core.codes import Intent, Pending
from mailrelay.flows.codes import Codes, TooManyTries

_INCOMPLETE: Final = "The link is incomplete, or was changed on its way. Use it as it came."
_TROUBLE: Final = SENTENCES["internal_error"]
NOT_YOU: Final = "If you did not ask for this, close the page: nothing happens then."


@dataclass(frozen=True, slots=True)
class _Words:
    """title, effect, button: before; done, after: when it has happened. {mailbox}: that got the code."""

    title: str
    effect: str
    button: str
    done: str
    after: str


_WORDS: Final[Mapping[Intent, _Words]] = {
    Intent.SUBSCRIBE: _Words(
        "Create this alias?",
        "Mail to it will be forwarded to {mailbox}.",
        "Create the alias",
        "The alias is there",
        "Mail to it is forwarded to {mailbox}.",
    ),
    Intent.UNSUBSCRIBE: _Words(
        "Deactivate this alias?",
        "Mail to it will be refused, and nobody can have it again. This cannot be undone.",
        "Deactivate the alias",
        "The alias is deactivated",
        "Mail to it is refused from now on.",
    ),
    Intent.HANDLE_SUBSCRIBE: _Words(
        "Create this handle?",
        "Mail to it, on every domain of this service, will be forwarded to {mailbox}.",
        "Create the handle",
        "The handle is there",
        "Mail to it, on every domain of this service, is forwarded to {mailbox}.",
    ),
    Intent.HANDLE_UNSUBSCRIBE: _Words(
        "Deactivate this handle?",
        "Mail to it will be refused on all domains, and nobody can have it again. This cannot be undone.",
        "Deactivate the handle",
        "The handle is deactivated",
        "Mail to it is refused from now on.",
    ),
    Intent.HANDLE_DOMAIN_DISABLE: _Words(
        "Refuse mail there?",
        "Mail to this handle will be refused on this domain, and forwarded on the others as before.",
        "Refuse mail there",
        "Mail is refused there",
        "On other domains nothing has changed.",
    ),
    Intent.HANDLE_DOMAIN_ENABLE: _Words(
        "Forward mail there again?",
        "Mail to this handle will be forwarded on this domain again.",
        "Forward mail there",
        "Mail is forwarded there again",
        "On other domains nothing has changed.",
    ),
}


@dataclass(frozen=True, slots=True)
class ConfirmPage:
    """doers: what carries out a code that a request brings along, by its intent; acts: limits of doing so.

    A look is no operation, so that the first of them, which counts operations, does not hold for it.
    """

    codes: Codes
    doers: Mapping[Intent, Handler]
    product: str
    acts: tuple[Rule, ...]

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Beside those of the API."""
        return (
            Endpoint("GET", PAGE, self.show, "A page", root="", rules=self.acts[1:], refusal=self.refusal, safe=True),
            Endpoint("POST", PAGE, self.act, "A page", root="", rules=self.acts, refusal=self.refusal),
        )

    async def show(self, call: Call) -> Response:
        code, pending = await self._find(call)
        words = _WORDS[pending.intent]
        effect = words.effect.format(mailbox=pending.email)
        text = Text(words.title, (effect, NOT_YOU), pending.about, words.button)
        return page(self.product, text, Form(f"/{PAGE}", {"token": code}))

    async def act(self, call: Call) -> Response:
        _, pending = await self._find(call)
        await self.doers[pending.intent](call)
        words = _WORDS[pending.intent]
        return page(self.product, Text(words.done, (words.after.format(mailbox=pending.email),), pending.about))

    def refusal(self, problem: Problem) -> Response:
        return refused(self.product, problem)

    async def _find(self, call: Call) -> tuple[str, Pending]:
        """The code of a request and what it is for. Raises Problem."""
        code = names.code(call.member("token"))
        if code is None:
            raise Problem(400, "invalid_token")
        guess = await self.codes.guess(code, "forward", call.origin)
        if isinstance(guess, TooManyTries):
            raise too_many_tries(guess, "confirm", call.now)
        pending = await self.codes.look(guess)
        if pending is None or pending.intent not in self.doers:
            raise Problem(400, "invalid_or_expired")
        return code, pending


def refused(product: str, problem: Problem) -> Response:
    """A page that says why nothing happened."""
    sentence = _INCOMPLETE if problem.error == "invalid_params" else SENTENCES.get(problem.error, _TROUBLE)
    text = Text("Nothing has happened", (sentence,))
    return page(product, text, status=problem.status, headers=problem.headers)
