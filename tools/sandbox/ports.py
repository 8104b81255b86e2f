"""Loopback ports that nobody uses."""

import random
import socket

# Below the range from which Linux takes the source ports of outgoing connections: nobody grabs one of ours in passing.
_LOWEST, _HIGHEST = 20000, 32000


def pick(count: int) -> list[int]:
    """Distinct ports that are free for TCP and UDP on 127.0.0.1 right now."""
    ports: list[int] = []
    candidates = random.sample(range(_LOWEST, _HIGHEST), 2000)
    for port in candidates:
        if len(ports) == count:
            return ports
        if free(port):
            ports.append(port)
    raise RuntimeError(f"no {count} free ports between {_LOWEST} and {_HIGHEST}")


def free(port: int) -> bool:
    """Whether a server can listen on this port of 127.0.0.1."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every server does
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def answers(port: int) -> bool:
    """Whether something accepts TCP connections on this port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
