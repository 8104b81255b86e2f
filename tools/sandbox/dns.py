"""An authoritative name server for the sandbox's zone, UDP and TCP on one loopback port.

SIGHUP reads the zone file again. The notice, a file, then holds the SHA-256 of the text that is served, so that
whoever edited the zone can see when it is in force. A zone that does not parse leaves the old one in place.
"""

import asyncio
import contextlib
import hashlib
import logging
import signal
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

log = logging.getLogger("sandbox.dns")

_CHAIN_LIMIT = 8  # CNAMEs followed within the zone


def parse_zone(text: str) -> dns.zone.Zone:
    """The zone, all names absolute. Raises ValueError with the place of the mistake."""
    try:
        return dns.zone.from_text(text, relativize=False, check_origin=True)
    except (dns.exception.DNSException, ValueError, KeyError) as error:
        raise ValueError(f"zone file: {error or type(error).__name__}") from error


def fingerprint(text: str) -> str:
    """What the notice says while this text is in force."""
    return hashlib.sha256(text.encode()).hexdigest()


class Answerer:
    """Queries to answers; RFC 1034 section 4.3.2 for one zone without delegations."""

    def __init__(self, zone: dns.zone.Zone) -> None:
        self.zone = zone

    def answer(self, wire: bytes, limit: int | None) -> bytes | None:
        """Bytes to bytes; None where silence is right.

        limit: octets that a UDP answer may have without EDNS; None over TCP, which knows no limit.
        """
        try:
            query = dns.message.from_wire(wire, ignore_trailing=True)
        except dns.exception.DNSException:
            return _format_error(wire)
        if query.flags & dns.flags.QR:
            return None
        response = dns.message.make_response(query, recursion_available=False, our_payload=1232)
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            response.set_rcode(dns.rcode.NOTIMP)
        else:
            self._fill(response, query.question[0])
        if limit is None:
            return response.to_wire(max_size=65535)
        size = max(limit, query.payload) if query.edns >= 0 else limit
        return _fit(response, size)

    def _fill(self, response: dns.message.Message, question: dns.rrset.RRset) -> None:
        origin = self.zone.origin
        assert origin is not None  # check_origin
        if question.rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY) or not question.name.is_subdomain(origin):
            response.set_rcode(dns.rcode.REFUSED)
            return
        response.flags |= dns.flags.AA
        name = question.name
        for _ in range(_CHAIN_LIMIT):
            node = self._node(name)
            found = _records(node, name, question.rdtype) if node is not None else []
            response.answer.extend(found)
            if not found:
                response.set_rcode(dns.rcode.NXDOMAIN if node is None else dns.rcode.NOERROR)
                self._add_soa(response, origin)
                return
            target = _alias_target(found, question.rdtype)
            if target is None or not target.is_subdomain(origin):
                return
            name = target

    def _node(self, name: dns.name.Name) -> dns.node.Node | None:
        """The node, an empty one for a name that only has names below it, or None: NXDOMAIN."""
        node = self.zone.nodes.get(name)
        if node is not None:
            return node
        if self._has_below(name):
            return dns.node.Node()  # type: ignore[no-untyped-call]
        # RFC 4592: the wildcard directly below the closest existing ancestor, and no other.
        ancestor = name
        while ancestor != self.zone.origin:
            ancestor = ancestor.parent()
            wildcard = self.zone.nodes.get(dns.name.Name((b"*", *ancestor.labels)))
            if wildcard is not None or ancestor in self.zone.nodes or self._has_below(ancestor):
                return wildcard
        return None

    def _has_below(self, name: dns.name.Name) -> bool:
        return any(other != name and other.is_subdomain(name) for other in self.zone.nodes)

    def _add_soa(self, response: dns.message.Message, origin: dns.name.Name) -> None:
        # RFC 2308 section 3: a negative answer carries the SOA, with the smaller of its TTL and its minimum.
        rdataset = self.zone.get_rdataset(origin, dns.rdatatype.SOA)
        assert rdataset is not None  # check_origin
        rrset = dns.rrset.RRset(origin, dns.rdataclass.IN, dns.rdatatype.SOA)
        rrset.update(rdataset)  # type: ignore[no-untyped-call]
        rrset.ttl = min(rdataset.ttl, rdataset[0].minimum)
        response.authority.append(rrset)


def _records(node: dns.node.Node, name: dns.name.Name, wanted: dns.rdatatype.RdataType) -> list[dns.rrset.RRset]:
    found = []
    for rdataset in node.rdatasets:
        if wanted in (rdataset.rdtype, dns.rdatatype.ANY) or rdataset.rdtype == dns.rdatatype.CNAME:
            rrset = dns.rrset.RRset(name, rdataset.rdclass, rdataset.rdtype)
            rrset.update(rdataset)  # type: ignore[no-untyped-call]
            found.append(rrset)
    return found


def _alias_target(found: list[dns.rrset.RRset], wanted: dns.rdatatype.RdataType) -> dns.name.Name | None:
    if wanted in (dns.rdatatype.CNAME, dns.rdatatype.ANY):
        return None
    for rrset in found:
        if rrset.rdtype == dns.rdatatype.CNAME:
            target = rrset[0].target
            assert isinstance(target, dns.name.Name)
            return target
    return None


def _fit(response: dns.message.Message, size: int) -> bytes:
    """The answer, or only its head with the truncation flag: the client then asks over TCP."""
    try:
        return response.to_wire(max_size=size)
    except dns.exception.TooBig:
        response.answer, response.authority, response.additional = [], [], []
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=size)


def _format_error(wire: bytes) -> bytes | None:
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    return wire[:2] + bytes([0x80 | (wire[2] & 0x79), dns.rcode.FORMERR]) + bytes(8)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self.answerer.answer(data, limit=512)
        if reply is not None and self.transport is not None:
            self.transport.sendto(reply, addr)


@contextlib.asynccontextmanager
async def serving(answerer: Answerer, port: int) -> AsyncIterator[None]:
    """Answers on 127.0.0.1:port, UDP and TCP, as long as the block lasts."""

    async def tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            while True:
                async with asyncio.timeout(30):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    reply = answerer.answer(await reader.readexactly(length), limit=None)
                if reply is None:
                    break
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(answerer), local_addr=("127.0.0.1", port))
    try:
        async with await asyncio.start_server(tcp, "127.0.0.1", port):
            yield
    finally:
        transport.close()


def load(path: Path, notice: Path, answerer: Answerer | None) -> Answerer:
    """Read the zone into the answerer (or a new one) and say so in the notice. Raises ValueError."""
    text = path.read_text()
    zone = parse_zone(text)
    if answerer is None:
        answerer = Answerer(zone)
    answerer.zone = zone
    notice.write_text(fingerprint(text))
    log.info("serving %s: %d names", path, len(zone.nodes))
    return answerer


async def main(path: Path, notice: Path, port: int) -> None:
    answerer = load(path, notice, None)

    def reload() -> None:
        try:
            load(path, notice, answerer)
        except (OSError, ValueError) as error:
            log.error("the zone stays as it was: %s", error)

    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with serving(answerer, port):
        await stopped.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
