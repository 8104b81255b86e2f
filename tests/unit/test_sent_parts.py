"""What the headers of parts and attached messages keep, and what stands around parts (spec sections 4.4 and 4.8)."""

import pytest

from mailrelay.core.sending.leaks import Leak, Place
from tests.unit.sent import KEEP, leaf, multipart, scrubbed

ABOUT_HOSTS = (
    b"Content-Location: http://mail.inbox.example/x\r\n",
    b"Content-Base: http://inbox.example/\r\n",
    b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\n",
    b"Content-Whatever: Real Name,\r\n inbox.example\r\n",
    b"X-Apple-Part-Url: part1@inbox.example\r\n",
    b"X-Sender: real=40inbox.example\r\n",
    b"X-Device-Id: 12345\r\n",
    b"Received: from real.inbox.example by x\r\n",
    b"From real@inbox.example Tue Jan  6 12:00:00 2026\r\n",
)
CONTENT = (
    b"Content-Transfer-Encoding: 8bit\r\nContent-Disposition: inline\r\nContent-ID: <1@shop.example>\r\n"
    b"Content-Description: a file\r\nContent-Language: de\r\nMIME-Version: 1.0\r\n"
)


@pytest.mark.parametrize("field", ABOUT_HOSTS)
def test_row_109_a_part_keeps_fields_about_its_content_only(field: bytes) -> None:
    part = leaf(b"hello", more=CONTENT)
    with_field = field + part if field.startswith(b"From ") else part.replace(b"MIME-", field + b"MIME-")
    done = scrubbed(multipart(with_field), mode="off")
    assert done.message.content == multipart(part) and done.leaks == ()


def test_what_is_signed_keeps_its_fields() -> None:
    signature = leaf(b"x", b"application/pgp-signature")
    part = leaf(b"hello", more=ABOUT_HOSTS[5] + ABOUT_HOSTS[6])
    signed = multipart(part, signature, kind=b"signed", params=b"; protocol=application/pgp-signature")
    done = scrubbed(signed, removal=KEEP)
    assert part in done.message.content and done.leaks == (Leak(Place.PART, "x-sender"),)
