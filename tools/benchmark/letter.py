"""The message that is sent: signed, and with a text and an HTML part, as shops send them.

All systems get the same octets. The Message-ID is left to Postfix, which gives every message another one, so the
signature does not cover it.
"""

from bisect import bisect_right
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path

import dkim

from tools.sandbox import zone
from tools.sandbox.sender import neighbour_of
from tools.sandbox.zone import SELECTOR

SENDER = "orders@shop.example"
HELO = "mx.shop.example"
CLIENT = "127.0.0.1"  # smtp-source cannot choose where it comes from
_SIGNED = (b"from", b"to", b"subject", b"date", b"mime-version", b"content-type", b"content-transfer-encoding")
_TTL_SECONDS = 3600  # as DNS has it elsewhere; the sandbox' own is that of people who edit and look
_TEXT = """\
Nr. {n}: die bestellte Ware, 2 kg zu je 11,50 €, verlässt heute unser Haus. Größe und Gewicht stehen auf dem Paket.
See https://shop.example/orders/{n}?from=mail&step=2 for where it is.

"""
_HTML = """\
<tr><td style="padding:4px 8px"><b>Nr. {n}</b></td>
<td>die bestellte Ware, 2 kg zu je 11,50 &euro;, verlässt heute unser Haus. Größe und Gewicht stehen auf dem Paket.
<a href="https://shop.example/orders/{n}?from=mail&amp;step=2">See where it is</a></td></tr>
"""
_PAGE = "<html><head><title>Your order</title></head>\n<body><table>\n{rows}</table></body></html>\n"


def compose(octets: int) -> bytes:
    """A complete message without a signature, its body as many octets long as whole paragraphs allow."""

    def body_octets(paragraphs: int) -> int:
        return len(_with(paragraphs).partition(b"\r\n\r\n")[2])

    return _with(max(1, bisect_right(range(octets // 100), octets, key=body_octets) - 1))


def _with(paragraphs: int) -> bytes:
    message = EmailMessage(policy=SMTP_POLICY)
    message["Date"] = "Fri, 21 Nov 2025 09:00:00 +0000"
    message["From"] = f"A shop <{SENDER}>"
    message["To"] = "Our customers <customers@shop.example>"
    message["Subject"] = "Your order has left our house"
    numbers = range(1000, 1000 + paragraphs)
    message.set_content("".join(_TEXT.format(n=n) for n in numbers), cte="quoted-printable")
    page = _PAGE.format(rows="".join(_HTML.format(n=n) for n in numbers))
    message.add_alternative(page, subtype="html", cte="quoted-printable")
    message.set_boundary("part-of-an-order")
    return message.as_bytes()


def signed(octets: int, keys: Path) -> bytes:
    """The message with the signature of its sender's domain. keys: folder with the neighbours' private keys."""
    domain = neighbour_of(SENDER).domain
    key, content = (keys / f"{domain}.pem").read_bytes(), compose(octets)
    canonicalize = (b"relaxed", b"relaxed")
    signature = dkim.sign(
        content, SELECTOR.encode(), domain.encode(), key, canonicalize=canonicalize, include_headers=_SIGNED
    )
    assert isinstance(signature, bytes)
    return signature + content


def write(octets: int, keys: Path, folder: Path) -> Path:
    """The same as a file for smtp-source, which wants bare newlines and reads it as nobody."""
    file = folder / f"{octets}.eml"
    file.write_bytes(signed(octets, keys).replace(b"\r\n", b"\n"))
    file.chmod(0o644)
    return file


def zone_text(keys: Path) -> str:
    """The sandbox' zone with these keys, in which the sender's domain also sends from where smtp-source does."""
    own = f"ip4:{neighbour_of(SENDER).address} "
    text = zone.zone_text(keys)
    assert text.count(own) == 1
    assert text.count("$TTL 60\n") == 1
    return text.replace(own, f"{own}ip4:{CLIENT} ").replace("$TTL 60\n", f"$TTL {_TTL_SECONDS}\n")
