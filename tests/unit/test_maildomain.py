"""Whether a domain takes mail: what DNS says, and what holds when it says nothing."""

import pytest

from mailrelay.clients.maildomain import MailDomains
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import ABSENT, Answer, Kind, Mx

NONE = Answer()
IPV4, IPV6 = Answer(("192.0.2.1",)), Answer(("2001:db8::1",))


def domains(**answers: Answer | None) -> MailDomains:
    """Answers by kind; None: DNS is in trouble."""

    async def lookup(name: str, kind: Kind) -> Answer:
        assert name == "inbox.example"
        answer = answers[kind]
        if answer is None:
            raise Unavailable("DNS gave no answer")
        return answer

    return MailDomains(lookup)


@pytest.mark.parametrize(
    ("found", "takes"),
    [
        (domains(MX=Answer((Mx(10, "mx.inbox.example"),))), True),
        (domains(MX=Answer((Mx(0, ""),))), False),
        (domains(MX=Answer((Mx(0, ""), Mx(10, "mx.inbox.example")))), True),
        (domains(MX=ABSENT), False),
        (domains(MX=NONE, A=IPV4), True),
        (domains(MX=NONE, A=NONE, AAAA=IPV6), True),
        (domains(MX=NONE, A=NONE, AAAA=NONE), False),
        (domains(MX=None), True),
        (domains(MX=NONE, A=None), True),
        (domains(MX=NONE, A=NONE, AAAA=None), True),
    ],
    ids=["mx", "null-mx", "null-mx-among-others", "no-such-name", "a", "aaaa", "nothing", "no-dns", "no-a", "no-aaaa"],
)
async def test_a_domain_takes_mail_unless_dns_says_that_it_does_not(found: MailDomains, takes: bool) -> None:
    assert await found.takes_mail("inbox.example") is takes
