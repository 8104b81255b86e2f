"""Opens a listening socket for a protocol, TCP or unix."""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

from mailrelay.core.errors import BadConfig
from mailrelay.endpoint import Endpoint


async def listen(factory: Callable[[], asyncio.Protocol], endpoint: Endpoint) -> asyncio.Server:
    """Serve `factory`'s protocols. Raises BadConfig when the address cannot be used."""
    loop = asyncio.get_running_loop()
    try:
        if not endpoint.path:
            return await loop.create_server(factory, endpoint.host, endpoint.port, backlog=512)
        clear_the_way(endpoint.path)
        server = await loop.create_unix_server(factory, endpoint.path, backlog=512)
        os.chmod(endpoint.path, 0o666)  # noqa: S103  # the folder's mode decides who may connect
        return server
    except OSError as error:
        raise BadConfig((f"{endpoint}: cannot listen there: {error.strerror or error}",)) from error


def clear_the_way(path: str) -> None:
    """Remove the socket that a killed predecessor left behind, and nothing else. Raises OSError."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "something that is no socket stands there")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise OSError(errno.EADDRINUSE, "somebody already listens there")
        os.unlink(path)
