"""A client of the policy service that asks as Postfix does: many connections, one request at a time on each."""

import gc
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tools.sandbox.process import Trouble

CONNECTIONS = 16
_ACCEPTED = b"action=DUNNO\n\n"
_SILENCE_SECONDS = 10.0

# What smtpd of Postfix 3.7 sends at RCPT for a stranger without TLS.
_REQUEST = """\
request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address=192.0.2.17
client_name=mx.shop.example
client_port=40312
reverse_client_name=mx.shop.example
server_address=192.0.2.1
server_port=25
helo_name=mx.shop.example
sender=orders@shop.example
recipient={recipient}
recipient_count=0
queue_id=
instance={instance}
size=4521
etrn_domain=
stress=
sasl_method=
sasl_username=
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=
encryption_cipher=
encryption_keysize=0
policy_context=

"""


def requests(recipients: Sequence[str]) -> list[bytes]:
    """A request for each."""
    return [
        _REQUEST.format(recipient=recipient, instance=f"{number:x}.65a1b2c3.4d5e6.0").encode()
        for number, recipient in enumerate(recipients)
    ]


@dataclass(frozen=True, slots=True)
class Client:
    """port: of the policy service on loopback. Every answer must be DUNNO, anything else is Trouble."""

    port: int

    @contextmanager
    def _connected(self) -> Iterator[list[socket.socket]]:
        sockets = [socket.create_connection(("127.0.0.1", self.port), 5) for _ in range(CONNECTIONS)]
        gc.disable()  # our own pauses are not the service's
        try:
            for one in sockets:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield sockets
        finally:
            gc.enable()
            for one in sockets:
                one.close()

    def as_fast_as_possible(self, asked: Sequence[bytes]) -> float:
        """Ask everything, always waiting for an answer before the next question; the seconds that it took."""
        with self._connected() as sockets:
            by_number = {one.fileno(): one for one in sockets}
            poll = select.epoll()
            for number in by_number:
                poll.register(number, select.EPOLLIN)
            began, todo, open_questions = time.perf_counter(), iter(asked), 0
            for one, request in zip(sockets, todo, strict=False):
                one.send(request)
                open_questions += 1
            while open_questions:
                for number, _ in _ready(poll):
                    _check(by_number[number].recv(1024))
                    request = next(todo, b"")
                    if request:
                        by_number[number].send(request)
                    else:
                        open_questions -= 1
            poll.close()
            return time.perf_counter() - began

    def at_a_rate(self, asked: Sequence[bytes], rate: float) -> list[float]:
        """Ask at fixed times whatever the answers do; seconds from each question's time to its answer, sorted."""
        with self._connected() as sockets:
            idle = list(sockets)
            due: dict[socket.socket, float] = {}  # who waits for an answer, and when it was to be asked
            waits: list[float] = []
            began = time.perf_counter() + 0.01
            for number, request in enumerate(asked):
                when = began + number / rate
                while not idle or time.perf_counter() < when:
                    pause = max(0.0, when - time.perf_counter()) if idle else _SILENCE_SECONDS
                    _collect(due, idle, waits, pause)
                one = idle.pop()
                one.send(request)
                due[one] = when
            while due:
                _collect(due, idle, waits, _SILENCE_SECONDS)
            return sorted(waits)


def _ready(poll: select.epoll) -> list[tuple[int, int]]:
    found = poll.poll(_SILENCE_SECONDS)
    if not found:
        raise Trouble(f"the policy service gave no answer for {_SILENCE_SECONDS:g} seconds")
    return found


def _collect(due: dict[socket.socket, float], idle: list[socket.socket], waits: list[float], seconds: float) -> None:
    """Take the answers that come within so many seconds, returning with the first ones."""
    ready, _, _ = select.select(list(due), [], [], seconds)
    now = time.perf_counter()
    if not ready and seconds == _SILENCE_SECONDS:
        raise Trouble(f"the policy service gave no answer for {_SILENCE_SECONDS:g} seconds")
    for one in ready:
        _check(one.recv(1024))
        waits.append(now - due.pop(one))
        idle.append(one)


def _check(answer: bytes) -> None:
    if answer != _ACCEPTED:
        raise Trouble(f"the policy service answered {answer!r} instead of DUNNO")
