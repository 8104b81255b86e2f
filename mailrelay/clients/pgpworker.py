"""The process that encrypts large messages and decrypts: the library would stop all other mail meanwhile.

A job comes as one datagram on the inherited socket, with three descriptors: a file with what to do, and two pipes for
the content and for what becomes of it. So neither side ever copies a whole message, and nothing touches the disk.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import sys
from base64 import b64decode
from collections.abc import Sequence

from mailrelay.clients import sequoia
from mailrelay.core.errors import Malformed

MEMORY_OCTETS = 1 << 30  # of address space
JOB = b"j"
DONE, REFUSED, FAILED = b"d", b"r", b"f"


def main(descriptor: int) -> None:
    """Do jobs until the other side has gone."""
    _limit(resource.RLIMIT_AS, MEMORY_OCTETS)
    _limit(resource.RLIMIT_CORE, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd sends it to all; what has begun is finished
    with socket.socket(fileno=descriptor) as orders:
        orders.setblocking(True)
        while True:
            word, descriptors, _, _ = socket.recv_fds(orders, 1, 3)
            if not word:
                return
            answer = _answer(descriptors)
            orders.send(answer)


def _limit(kind: int, most: int) -> None:
    # Where that is forbidden, or less is allowed already, systemd keeps the limits.
    with contextlib.suppress(OSError, ValueError):
        resource.prlimit(0, kind, (most, most))


def _answer(descriptors: Sequence[int]) -> bytes:
    """Do one job. All descriptors are closed afterwards, which tells the other side where the result ends."""
    try:
        order, source, sink = descriptors
        with open(order, "rb", closefd=False) as file:
            job = json.load(file)
        _do(job, f"/proc/self/fd/{source}", f"/proc/self/fd/{sink}")
    except Malformed:
        return REFUSED
    except (MemoryError, OSError, ValueError):
        return FAILED
    else:
        return DONE
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _do(job: dict[str, list[str]], source: str, sink: str) -> None:
    secrets = [b64decode(each) for each in job["secrets"]]
    if "certificates" in job:
        sequoia.encrypt_stream(source, sink, [b64decode(each) for each in job["certificates"]], secrets[0])
    else:
        sequoia.decrypt_stream(source, sink, secrets[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))
