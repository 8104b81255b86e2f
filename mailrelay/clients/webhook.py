"""Sends events to webhooks over HTTP: to the very address that was found harmless, in bounded time and memory."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import TracebackType
from typing import Protocol, Self

import httpx2

from mailrelay import __version__
from mailrelay.core.errors import Unavailable
from mailrelay.core.httptarget import IPAddress, IPNetwork, Target, refusal
from mailrelay.core.lookup import Answer as Found
from mailrelay.core.lookup import Kind
from mailrelay.core.webhooks import Answer

_READ_OCTETS = 4096
_BODY_SECONDS = 2.0
_EXCERPT_CHARACTERS = 200
_TRIED_ADDRESSES = 4


class Resolver(Protocol):
    """DNS, as clients/resolver.py asks it."""

    async def lookup(self, name: str, kind: Kind) -> Found: ...


Resolve = Callable[[str], Awaitable[Sequence[IPAddress]]]


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """All addresses of a host name by DNS. An address is its own. Raises Unavailable if nothing can be found out."""

    resolver: Resolver

    async def __call__(self, host: str, /) -> Sequence[IPAddress]:
        with contextlib.suppress(ValueError):
            return (ip_address(host),)
        # IPv4 first: where both work it makes no difference, and it is IPv6 that is broken without saying so.
        found = await asyncio.gather(self._ask(host, "A"), self._ask(host, "AAAA"))
        if all(texts is None for texts in found):
            raise Unavailable(f"DNS gave no answer for {host}")
        return tuple(ip_address(text) for texts in found for text in texts or ())

    async def _ask(self, host: str, kind: Kind) -> Sequence[str] | None:
        try:
            return (await self.resolver.lookup(host, kind)).names
        except Unavailable:
            return None


@dataclass(frozen=True, slots=True)
class WebhookClient:
    """Opens lines to receivers.

    resolve: all addresses of a host, or Unavailable. networks: permitted besides public addresses. timeout_seconds:
    for one attempt altogether, from the look-up to the last octet. tls: verifies certificates and host names.
    """

    resolve: Resolve
    networks: Sequence[IPNetwork] = ()
    timeout_seconds: float = 10.0
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    def line(self, target: Target, of_account: bool) -> "Line":
        """For several requests to one receiver, one after the other; use it as a context. of_account: as `refusal`."""
        return Line(self, target, of_account)


class Line:
    """A kept connection. What the name of the receiver means is looked up once, and the connection goes there.

    So it is meant for a while: a name may move.
    """

    def __init__(self, client: WebhookClient, target: Target, of_account: bool) -> None:
        self._client = client
        self._target = target
        self._of_account = of_account
        self._addresses: Sequence[IPAddress] = ()  # not looked up yet
        # The bare transport: neither redirects, cookies, decompression, proxies nor anything of the environment.
        self._transport = httpx2.AsyncHTTPTransport(
            verify=client.tls, trust_env=False, limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1)
        )
        self._kept = False  # there may be a connection of an earlier request

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """What the receiver said to a body. Whatever happens is an answer."""
        try:
            async with asyncio.timeout(self._client.timeout_seconds):
                return await self._attempt(headers, body)
        except TimeoutError:
            return Answer(None, f"no answer within {self._client.timeout_seconds:g} seconds")
        except Unavailable as error:
            return Answer(None, str(error))
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
            return Answer(None, words(error))

    async def _attempt(self, headers: Mapping[str, str], body: bytes) -> Answer:
        if not self._addresses:
            addresses = await self._client.resolve(self._target.host)
            if problem := refusal(self._target, addresses, self._client.networks, self._of_account):
                return Answer(None, problem)
            self._addresses = addresses[:_TRIED_ADDRESSES]
        if self._kept:
            try:
                return await self._exchange(self._addresses[0], headers, body)
            except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError):
                self._kept = False  # the receiver had closed it, as it may; a fresh one tells the truth
        return await self._first_that_connects(headers, body)

    async def _first_that_connects(self, headers: Mapping[str, str], body: bytes) -> Answer:
        *others, last = self._addresses
        for number, address in enumerate(others):
            with contextlib.suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                answer = await self._exchange(address, headers, body)
                self._addresses = self._addresses[number:]
                return answer
        answer = await self._exchange(last, headers, body)
        self._addresses = (last,)
        return answer

    async def _exchange(self, address: IPAddress, headers: Mapping[str, str], body: bytes) -> Answer:
        response = await self._transport.handle_async_request(self._request(address, headers, body))
        try:
            content, self._kept = await _beginning(response)
        finally:
            await response.aclose()
        excerpt = "".join(char if char.isprintable() else " " for char in content.decode("utf-8", "replace"))
        problem = "" if 200 <= response.status_code < 300 else f"answered {response.status_code}"
        return Answer(response.status_code, problem, excerpt[:_EXCERPT_CHARACTERS].strip())

    def _request(self, address: IPAddress, headers: Mapping[str, str], body: bytes) -> httpx2.Request:
        """To an address, while Host, SNI and the certificate are about the name."""
        target = self._target
        half = self._client.timeout_seconds / 2  # so that another address can be tried
        extensions: dict[str, object] = {"timeout": {"connect": half}}
        if target.secure and target.address is None:
            extensions["sni_hostname"] = target.host
        return httpx2.Request(
            "POST",
            httpx2.URL(
                scheme="https" if target.secure else "http",
                host=str(address),
                port=target.port,
                raw_path=target.path.encode("ascii"),
            ),
            headers={
                "Host": target.authority,
                "User-Agent": f"mailrelay/{__version__}",
                "Accept-Encoding": "identity",
                **headers,
            },
            content=body,
            extensions=extensions,
        )


async def _beginning(response: httpx2.Response) -> tuple[bytes, bool]:
    """The first octets of the body, and whether there were no more.

    The status has said everything: for a body that is long, slow or broken nobody waits.
    """
    content = b""
    with contextlib.suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(_BODY_SECONDS), aclosing(response.aiter_raw()) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > _READ_OCTETS:
                    return content[:_READ_OCTETS], False
            return content, True
    return content, False


def words(error: BaseException) -> str:
    """One line about trouble with a connection: the library's own words are about itself."""
    if isinstance(error, httpx2.TimeoutException):
        return "no connection in time"
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return " ".join(str(error).split())[:_EXCERPT_CHARACTERS] or type(error).__name__
