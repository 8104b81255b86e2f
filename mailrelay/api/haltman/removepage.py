"""Our own page behind the link that somebody finds in the mail about what an administrator made for them.

Its button asks for the end of it, as the API's own endpoint does when it is called: programs that look into mail follow
links, but press no buttons.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from starlette.responses import Response

from mailrelay.api.haltman.call import Call, Value
from mailrelay.api.haltman.confirmpage import NOT_YOU, refused
from mailrelay.api.haltman.endpoint import ROOT, Endpoint
from mailrelay.api.haltman.problems import Problem
from mailrelay.api.sheet import Form, Text, page
from mailrelay.flows.administration import REMOVAL_PAGE

_EFFECT: Final = "Its owner gets a mail with a code. With that code it ends, and nobody can have it again."
_ASKED: Final = (
    "If it is there, its owner gets a mail with a code now, unless there was one a moment ago.",
    "With that code it ends.",
)


@dataclass(frozen=True, slots=True)
class RemovePage:
    """kind: what is removed and the member of a request that names it; named: reads it, or raises Problem; asking: the
    API's endpoint that has a code mailed.
    """

    kind: str
    named: Callable[[Value], str]
    asking: Endpoint
    product: str

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Beside those of the API. The limits of acting are those of the API's endpoint."""
        path, rules = f"{REMOVAL_PAGE}/{self.kind}", self.asking.rules
        return (
            Endpoint("GET", path, self.show, "A page", refusal=self.refusal, safe=True),
            Endpoint("POST", path, self.act, "A page", rules=rules, refusal=self.refusal),
        )

    async def show(self, call: Call) -> Response:
        """The same whether it exists or not."""
        about = self.named(call.member(self.kind))
        text = Text(f"Do you not want this {self.kind}?", (_EFFECT, NOT_YOU), about, "Mail me the code")
        return page(self.product, text, Form(f"{ROOT}/{REMOVAL_PAGE}/{self.kind}", {self.kind: about}))

    async def act(self, call: Call) -> Response:
        about = self.named(call.member(self.kind))
        await self.asking.handler(replace(call, query={self.kind: about}))
        return page(self.product, Text("Look into your mailbox", _ASKED, about))

    def refusal(self, problem: Problem) -> Response:
        return refused(self.product, problem)
