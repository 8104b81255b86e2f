"""Measures what the milter adds to the time that a sender waits.

A client takes the place of Postfix and holds whole conversations with it, at fixed times whatever the answers do: from
the time at which a message was due to the answer at its end. Postfix has to wait for no more than that, as nearly all
of the conversation goes unanswered.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tools.benchmark import conversation
from tools.benchmark.conversation import Spoken
from tools.benchmark.population import DOMAIN, Population
from tools.benchmark.product import Product
from tools.benchmark.quiet import Patience
from tools.benchmark.watch import Watch
from tools.sandbox.process import Trouble

ROUNDS = 3
_SESSIONS = 50  # more than are ever busy, so that none is late for its message
_WARM_UP = 100
_PACES = {4096: (500, 100.0), 102400: (150, 25.0)}  # octets -> messages in a round, messages a second
_VERIFIED = (b"dkim=pass", b"spf=pass", b"dmarc=pass")


@dataclass(frozen=True, slots=True)
class Round:
    """p50, p99: seconds. cpu_seconds: of the role, for a message. foreign_share: as in policy.Round."""

    p50: float
    p99: float
    cpu_seconds: float
    foreign_share: float


@dataclass(frozen=True, slots=True)
class Latency:
    """The rounds with messages of so many octets, `pace` a second."""

    octets: int
    pace: float
    rounds: tuple[Round, ...]

    @property
    def median(self) -> Round:
        """Each figure's median; the worst foreign_share."""
        figures = {name: median(getattr(one, name) for one in self.rounds) for name in Round.__slots__}
        return Round(**{**figures, "foreign_share": max(one.foreign_share for one in self.rounds)})


@dataclass(frozen=True, slots=True)
class Client:
    """path: the milter's socket."""

    path: Path
    spoken: Spoken

    def examine(self, number: int, rcpt: str) -> None:
        """Raises Trouble unless the message is accepted and found genuine."""
        changes = b"".join(conversation.examined(self.path, self.spoken, rcpt, f"4bench{number:08}"))
        if missing := [word.decode() for word in _VERIFIED if word not in changes]:
            raise Trouble(f"the milter did not find {', '.join(missing)}: {changes!r}")

    def at_a_rate(self, rcpts: Sequence[str], rate: float) -> list[float]:
        """Seconds from each message's time to the answer, sorted."""
        todo, began = iter(enumerate(rcpts)), time.perf_counter() + 0.05
        waits: list[float] = []
        trouble: list[Exception] = []
        lock = threading.Lock()

        def session() -> None:
            while not trouble:
                with lock:
                    number, rcpt = next(todo, (0, ""))
                if not rcpt:
                    return
                due = began + number / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                try:
                    self.examine(number, rcpt)
                except (Trouble, OSError) as error:
                    trouble.append(error)
                waits.append(time.perf_counter() - due)

        sessions = [threading.Thread(target=session) for _ in range(_SESSIONS)]
        for one in sessions:
            one.start()
        for one in sessions:
            one.join()
        if trouble:
            raise Trouble(str(trouble[0])) from trouble[0]
        return sorted(waits)


def measure(
    product: Product, people: Population, letters: dict[int, bytes], patience: Patience, say: Callable[[str], None]
) -> list[Latency]:
    """With all DNS answers known. letters: content by octets."""
    path = product.sandbox.postfix.queue / "mailrelay" / "milter"
    rcpts = iter([f"{local}@{DOMAIN}" for local in people.local_parts()])
    found = []
    for octets, content in letters.items():
        count, pace = _PACES[octets]
        client = Client(path, Spoken.of(content))
        client.at_a_rate(_take(rcpts, _WARM_UP), pace)
        rounds = []
        for number in range(1, ROUNDS + 1):
            patience.wait(product.parts())
            one = _round(product, client, _take(rcpts, count), pace)
            rounds.append(one)
            say(f"  {octets // 1024:3} KB, {number}/{ROUNDS}  p99 {one.p99 * 1000:.1f} ms at {pace:g}/s")
        found.append(Latency(octets, pace, tuple(rounds)))
    return found


def _take(rcpts: Iterator[str], count: int) -> list[str]:
    return [next(rcpts) for _ in range(count)]


def _round(product: Product, client: Client, rcpts: Sequence[str], pace: float) -> Round:
    watch, began = Watch(product.parts()), time.monotonic()
    waits = client.at_a_rate(rcpts, pace)
    used = watch.used()
    return Round(
        waits[len(waits) // 2],
        waits[int(len(waits) * 0.99)],
        used.parts["milter"] / len(waits),
        used.foreign / (time.monotonic() - began),
    )
