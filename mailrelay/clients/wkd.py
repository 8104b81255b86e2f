"""Fetches published OpenPGP keys: by https, from public addresses only, in bounded time and memory."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import httpx2

from mailrelay import __version__
from mailrelay.clients.webhook import Resolve, words
from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Malformed, Unavailable
from mailrelay.core.httptarget import IPAddress, IPNetwork, Target, refusal
from mailrelay.core.wkd import advanced_host, advanced_path, direct_path

MAX_OCTETS = 256 * 1024
_TRIED_ADDRESSES = 2


@dataclass(frozen=True, slots=True)
class KeyDirectory:
    """Asks the Web Key Directory of a mailbox' domain.

    resolve: all addresses of a host, or Unavailable. networks: permitted besides public addresses. timeout_seconds: for
    one key altogether. tls: verifies certificates and host names.
    """

    resolve: Resolve
    networks: Sequence[IPNetwork] = ()
    timeout_seconds: float = 15.0
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)
    port: int = 443

    async def fetch(self, mailbox: Address, /) -> bytes:
        """What is published for a mailbox, unchecked.

        Raises Absent if nothing is, Unavailable, and Malformed for an answer that can be no key.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._fetch(mailbox)
        except TimeoutError as error:
            raise Unavailable(f"{mailbox.domain}: no answer within {self.timeout_seconds:g} seconds") from error

    async def _fetch(self, mailbox: Address) -> bytes:
        host, path = advanced_host(mailbox.domain), advanced_path(mailbox)
        addresses = await self.resolve(host)
        if not addresses:
            host, path = mailbox.domain, direct_path(mailbox)
            addresses = await self.resolve(host)
        wanted = Target(secure=True, host=host, port=self.port, path=path)
        if not addresses:
            raise Absent(f"{mailbox.domain} has no Web Key Directory")
        if problem := refusal(wanted, addresses, self.networks, True):
            raise Unavailable(problem)
        return await self._get(wanted, addresses[:_TRIED_ADDRESSES])

    async def _get(self, wanted: Target, addresses: Sequence[IPAddress]) -> bytes:
        # The bare transport: neither redirects, cookies, decompression, proxies nor anything of the environment.
        transport = httpx2.AsyncHTTPTransport(verify=self.tls, trust_env=False)
        problem = ""
        try:
            for address in addresses:
                try:
                    return await self._exchange(transport, wanted, address)
                except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                    problem = words(error)
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
            problem = words(error)
        finally:
            await transport.aclose()
        raise Unavailable(f"{wanted.host}: {problem}")

    async def _exchange(self, transport: httpx2.AsyncHTTPTransport, wanted: Target, address: IPAddress) -> bytes:
        """From an address, while Host, SNI and the certificate are about the name."""
        request = httpx2.Request(
            "GET",
            httpx2.URL(scheme="https", host=str(address), port=wanted.port, raw_path=wanted.path.encode("ascii")),
            headers={
                "Host": wanted.authority,
                "User-Agent": f"mailrelay/{__version__}",
                "Accept-Encoding": "identity",
            },
            extensions={"timeout": {"connect": self.timeout_seconds / 3}, "sni_hostname": wanted.host},
        )
        response = await transport.handle_async_request(request)
        try:
            if response.status_code in (404, 410):
                raise Absent(f"{wanted.host} publishes no key for this mailbox")
            if response.status_code != 200:
                raise Unavailable(f"{wanted.host} answered {response.status_code}")
            return await _body(response, wanted.host)
        finally:
            await response.aclose()


async def _body(response: httpx2.Response, host: str) -> bytes:
    content = b""
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            content += chunk
            if len(content) > MAX_OCTETS:
                raise Malformed(f"{host} sends more than a key can have")
    if not content:
        raise Malformed(f"{host} sends an empty key")
    return content
