"""Who asks over HTTP."""

from starlette.requests import Request

from mailrelay.core.address import client_ip


def client(request: Request) -> str:
    """The address of whoever asks, '' if unknown. Through a unix socket only this host's proxy does, for others."""
    told = request.client.host if request.client is not None and request.client.host else ""
    address = client_ip(told or request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip())
    return "" if address is None else str(address)
