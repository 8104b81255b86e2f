"""Opens a listening socket for a protocol, TCP or unix."""

import asyncio
import os
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
        with suppress(FileNotFoundError):
            os.unlink(endpoint.path)  # left behind by a killed predecessor
        server = await loop.create_unix_server(factory, endpoint.path, backlog=512)
        os.chmod(endpoint.path, 0o666)  # noqa: S103  # the folder's mode decides who may connect
        return server
    except OSError as error:
        raise BadConfig((f"{endpoint}: cannot listen there: {error.strerror or error}",)) from error
