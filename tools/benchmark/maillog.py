"""What became of every single message of a run, from Postfix' log: a lost or doubled one must not go unnoticed."""

import re
from collections import Counter
from dataclasses import dataclass

_MESSAGE_ID = re.compile(r"/cleanup\[\d+\]: (\w+): message-id=(<[^>]*>)")
_DELIVERY = re.compile(r"/(\w+)\[\d+\]: (\w+): to=<[^>]*>.* relay=([^,]+),.* status=(\w+)")
_TROUBLE = re.compile(r"/\w+\[\d+\]: (?:warning|error|fatal|panic): (.*)")


@dataclass(frozen=True, slots=True)
class Audit:
    """messages: different ones that came in. delivered: how often the sink took each of them, summed up.

    deferred: deliveries, inside or to the sink, that had to be tried again. warnings: Postfix' different remarks.
    """

    messages: int
    delivered: int
    lost: int
    doubled: int
    deferred: int
    refused: int
    warnings: tuple[str, ...] = ()

    def complaint(self, sent: int) -> str:
        """What is wrong with a run of so many messages; '' if each arrived exactly once."""
        said = []
        if self.messages != sent:
            said.append(f"{sent} messages were sent and {self.messages} came in")
        if self.lost:
            said.append(f"{self.lost} were lost")
        if self.doubled:
            said.append(f"{self.doubled} arrived more than once")
        if self.refused:
            said.append(f"{self.refused} deliveries failed for good")
        return ", ".join(said)


def audit(log: str, sink_port: int) -> Audit:
    """The story of all messages in a piece of log. A message is known by its Message-ID, which all systems keep."""
    ids: dict[str, str] = {}  # queue id -> Message-ID; the product and filters queue a message twice
    arrivals: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    for line in log.splitlines():
        if found := _MESSAGE_ID.search(line):
            ids[found[1]] = found[2]
        elif found := _DELIVERY.search(line):
            _, queue_id, relay, status = found.groups()
            statuses[status] += 1
            if status == "sent" and relay.endswith(f":{sink_port}"):
                arrivals[ids.get(queue_id, queue_id)] += 1
        elif found := _TROUBLE.search(line):
            warnings[found[1]] += 1
    messages = set(ids.values())
    return Audit(
        messages=len(messages),
        delivered=arrivals.total(),
        lost=len(messages - arrivals.keys()),
        doubled=sum(count > 1 for count in arrivals.values()),
        deferred=statuses["deferred"],
        refused=statuses["bounced"] + statuses["expired"],
        warnings=tuple(f"{count} x {text}" for text, count in warnings.most_common(5)),
    )
