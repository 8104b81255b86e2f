"""Ugly messages, each built when it is asked for: (name, builder). None may raise, be slow, or lose an octet.

They arrive as Postfix hands them on, mostly: lines end in CRLF unless the name says otherwise.
"""

from binascii import b2a_base64
from collections.abc import Callable

Builder = Callable[[], bytes]

HEAD = (
    b"Received: from mta.shop.example (mta.shop.example [192.0.2.10])\r\n"
    b"\tby mx.relay.example (Postfix) with ESMTPS id 4XyZ12AbCd;\r\n"
    b"\tTue,  6 Jan 2026 09:00:01 +0000 (UTC)\r\n"
    b'From: "Example Shop" <news@shop.example>\r\nTo: a1@alias.example\r\nSubject: Your order 77\r\n'
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\nMessage-ID: <20260106.77@shop.example>\r\nMIME-Version: 1.0\r\n"
)
PLAIN = b"Content-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n"
HTML = b"Content-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>Hello</p></body></html>\r\n"
QP = b"Content-Transfer-Encoding: quoted-printable\r\n"
BASE64 = b"Content-Transfer-Encoding: base64\r\n"
EIGHT_BIT = b"Content-Transfer-Encoding: 8bit\r\n"
ARMOR = b"-----BEGIN PGP MESSAGE-----\r\nComment: x\r\n\r\nhQEMA3\r\n-----END PGP MESSAGE-----\r\n"
INVITE = (
    b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nORGANIZER:mailto:boss@shop.example\r\n"
    b"ATTENDEE:mailto:a1@alias.example\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def multipart(kind: bytes, *parts: bytes, boundary: bytes = b"=_b1", more: bytes = b"") -> bytes:
    """A multipart entity with its header."""
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    head = b'Content-Type: multipart/%b;%b\r\n\tboundary="%b"\r\n\r\n' % (kind, more, boundary)
    return b"%bThis is MIME.\r\n%b--%b--\r\n" % (head, lines, boundary)


def part(kind: bytes, body: bytes, fields: bytes = b"") -> bytes:
    """A leaf with its header."""
    return b"Content-Type: %b\r\n%b\r\n%b" % (kind, fields, body)


def nested(levels: int) -> bytes:
    entity = PLAIN
    for level in range(levels):
        entity = multipart(b"mixed", entity, boundary=b"level-%d" % level)
    return entity


def wrapped(levels: int) -> bytes:
    entity = PLAIN
    for _ in range(levels):
        entity = part(b"message/rfc822", b"Subject: inner\r\n" + entity)
    return entity


def header(*lines: bytes) -> bytes:
    """A message with other fields than the usual ones."""
    return b"\r\n".join([*lines, b"", b"Hello", b""])


def with_fields(*lines: bytes) -> bytes:
    """The usual fields, then some more, then a text."""
    return HEAD + b"".join(line + b"\r\n" for line in lines) + PLAIN


def both(plain: bytes = PLAIN, html: bytes = HTML) -> bytes:
    return HEAD + multipart(b"alternative", plain, html)


ADDRESSES = b",\r\n\t".join(b'"User %d" <user%d@elsewhere.example>' % (at, at) for at in range(20_000))
BOMB = b"=?utf-8?q?" + b"=41" * 20 + b"?="
DSN = multipart(
    b"report",
    part(b"text/plain", b"This is the mail system.\r\n"),
    part(
        b"message/delivery-status", b"Reporting-MTA: dns; mta.shop.example\r\n\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    ),
    part(b"message/rfc822", b"From: a1@alias.example\r\nSubject: x\r\n\r\nHello\r\n"),
    more=b" report-type=delivery-status;",
)
ARF = multipart(
    b"report",
    part(b"text/plain", b"This is an abuse report.\r\n"),
    part(b"message/feedback-report", b"Feedback-Type: abuse\r\nUser-Agent: x\r\nVersion: 1\r\n"),
    part(b"text/rfc822-headers", b"From: a1@alias.example\r\n"),
    more=b" report-type=feedback-report;",
)
LIST_FIELDS = (
    b"List-Id: =?utf-8?q?Announcements?= <announce.shop.example>",
    b"List-Unsubscribe: <https://shop.example/u/77>,\r\n\t<mailto:unsub-77@shop.example?subject=stop>,\r\n\t<ftp://x.example/>",
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click",
    b"List-Post: NO",
    b"Precedence: list",
)

HEADERS: list[tuple[str, Builder]] = [
    ("empty", lambda: b""),
    ("one-octet", lambda: b"x"),
    ("only-line-ends", lambda: b"\r\n" * 5000),
    ("header-only", lambda: HEAD),
    ("body-only", lambda: b"\r\nHello\r\n"),
    ("no-separator", lambda: HEAD + b"Hello, this is no field\r\n\r\nHello\r\n"),
    ("no-from", lambda: header(b"To: a1@alias.example", b"Date: Tue, 06 Jan 2026 10:00:00 +0100")),
    ("no-date-no-id", lambda: header(b"From: news@shop.example", b"To: a1@alias.example")),
    ("malformed-message-id", lambda: header(b"From: news@shop.example", b"Message-ID: <[abc@x]> (odd")),
    ("empty-fields", lambda: header(b"From:", b"To:", b"Cc:", b"Reply-To:", b"Subject:", b"Date:", b"Message-ID:")),
    (
        "two-of-each",
        lambda: with_fields(b"From: b@x.example", b"To: c@x.example", b"Subject: 2", b"Date: x", b"Message-ID: <2>"),
    ),
    ("two-mime-versions", lambda: with_fields(b"MIME-Version: 1.0", b"mime-version: 1.0")),
    (
        "two-content-types",
        lambda: HEAD + b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n<b>Hello</b>\r\n",
    ),
    ("two-transfer-encodings", lambda: HEAD + QP + BASE64 + b"\r\nSGVsbG8=\r\n"),
    ("20000-addresses-in-to", lambda: header(b"From: news@shop.example", b"To: " + ADDRESSES)),
    ("20000-addresses-on-one-line", lambda: header(b"From: x@x.example", b"Cc: " + ADDRESSES.replace(b"\r\n", b""))),
    ("header-of-1-mb-in-one-field", lambda: with_fields(b"X-Big: " + b"x" * 1_000_000)),
    ("header-of-1-mb-folded", lambda: with_fields(b"X-Big: x" + b"\r\n\tfolded" * 110_000)),
    ("header-of-1-mb-of-fields", lambda: HEAD + b"a: b\r\n" * 170_000 + PLAIN),
    ("subject-of-1-mb", lambda: header(b"From: x@x.example", b"Subject: " + b"x" * 1_000_000)),
    ("content-type-of-1-mb", lambda: HEAD + b"Content-Type: text/plain" + b"; a=b" * 200_000 + b"\r\n\r\nHello\r\n"),
    ("encoded-word-bomb", lambda: header(b"From: x@x.example", b"Subject: " + b"\r\n ".join([BOMB] * 10_000))),
    (
        "encoded-words-that-never-end",
        lambda: header(b"From: =?utf-8?q?" * 5000 + b" <x@x.example>", b"Subject: =?" * 20_000),
    ),
    ("encoded-word-with-line-ends", lambda: header(b"From: =?utf-8?q?a=0D=0ABcc:_x=40x.example?= <x@x.example>")),
    (
        "encoded-word-of-odd-charset",
        lambda: header(b"From: =?zlib?b?eJw=?= <x@x.example>", b"Subject: =?x?y?z?= =?utf-8?b?!?="),
    ),
    (
        "nested-angle-brackets",
        lambda: header(b"From: <" * 5000 + b"x@x.example" + b">" * 5000, b"To: <<a1@alias.example>>"),
    ),
    ("nested-comments", lambda: header(b"From: " + b"(" * 20_000 + b"x@x.example" + b")" * 20_000)),
    ("nested-groups", lambda: header(b"From: x@x.example", b"To: " + b"g:" * 10_000 + b" a1@alias.example;")),
    ("open-quotes", lambda: header(b'From: "' + b'\\"' * 20_000 + b" <x@x.example>", b'To: "a1@alias.example')),
    (
        "quoted-commas",
        lambda: header(b'From: "Doe, John" <x@x.example>', b'To: "a,b"@x.example, "c, <d@x.example>" <e@x.example>'),
    ),
    ("many-commas", lambda: header(b"From: x@x.example", b"To: " + b"," * 100_000)),
    ("two-authors", lambda: header(b"From: x@x.example, y@y.example", b"Sender: x@x.example")),
    ("undisclosed", lambda: header(b"From: x@x.example", b"To: undisclosed-recipients:;")),
    ("eight-bit-header", lambda: header(b"From: J\xf6rg <x@x.example>", "Subject: Grüße ☃".encode(), b"X-\xff: y")),
    ("smtputf8-header", lambda: header("From: Jörg <jörg@müller.example>".encode(), b"To: a1@alias.example")),
    ("bidi-name", lambda: header("From: \u202egnp.exe\u202c <x@x.example>".encode())),
    ("long-name", lambda: header(b'From: "' + b"x" * 300 + b'" <x@x.example>')),
    ("long-local-part", lambda: header(b"From: " + b"x" * 5000 + b"@x.example")),
    ("nul-in-header", lambda: header(b"From: x\0y@x.example", b"Subject: a\0b")),
    ("cr-in-header", lambda: header(b"From: x@x.example\rBcc: y@y.example", b"Subject: a\rb")),
    ("lf-lines", lambda: both().replace(b"\r\n", b"\n")),
    ("cr-lines", lambda: both().replace(b"\r\n", b"\r")),
    ("mixed-line-ends", lambda: both().replace(b"\r\n\r\n", b"\n\n").replace(b"Hello", b"Hel\rlo")),
    ("lfcr-lines", lambda: both().replace(b"\r\n", b"\n\r")),
    (
        "white-space-lines-in-header",
        lambda: header(b"From: x@x.example", b" \t", b" continued", b"To: a1@alias.example"),
    ),
    ("colon-first", lambda: header(b"From: x@x.example", b": nothing", b"To: a1@alias.example")),
    ("mbox-line", lambda: b"From news@shop.example Tue Jan  6 10:00:00 2026\r\n" + HEAD + PLAIN),
    (
        "forged-own-fields",
        lambda: with_fields(b"X-Mailrelay-Ingress: v=1;mac=0", b"X-Mailrelay-Loop: v1; 0", b"X-AnonAddy-Spam: No"),
    ),
    ("list-mail", lambda: with_fields(*LIST_FIELDS)),
    ("fifty-hops", lambda: b"Received: by x.example; Tue, 6 Jan 2026 09:00:00 +0000\r\n" * 50 + HEAD + PLAIN),
    ("resent", lambda: b"Resent-From: y@y.example\r\nResent-To: a1@alias.example\r\nResent-Date: x\r\n" + HEAD + PLAIN),
    (
        "read-receipt",
        lambda: with_fields(b"Disposition-Notification-To: x@x.example", b"Return-Receipt-To: x@x.example"),
    ),
    (
        "signed-with-length",
        lambda: b"DKIM-Signature: v=1; a=rsa-sha1; l=5; h=" + b"from:" * 5000 + b"; b=\r\n" + HEAD + PLAIN,
    ),
    ("fifty-arc-sets", lambda: b"".join(b"ARC-Seal: i=%d; cv=pass; b=x\r\n" % at for at in range(50)) + HEAD + PLAIN),
]

BODIES: list[tuple[str, Builder]] = [
    ("long-line", lambda: HEAD + part(b"text/plain", b"x" * 100_000 + b"\r\n")),
    ("long-line-in-html", lambda: both(html=HTML.replace(b"Hello", b"Hello " * 20_000))),
    ("long-line-in-attachment", lambda: HEAD + multipart(b"mixed", PLAIN, part(b"image/png", b"x" * 5000))),
    ("long-line-in-signed", lambda: HEAD + multipart(b"signed", PLAIN.replace(b"Hello", b"x" * 2000))),
    ("boundary-missing", lambda: HEAD + b"Content-Type: multipart/mixed\r\n\r\n--b\r\n" + PLAIN + b"--b--\r\n"),
    ("boundary-empty", lambda: HEAD + multipart(b"mixed", PLAIN, boundary=b"")),
    ("boundary-of-1000-octets", lambda: HEAD + multipart(b"mixed", PLAIN, boundary=b"x" * 1000)),
    ("boundary-never-used", lambda: HEAD + multipart(b"mixed", PLAIN).replace(b"--=_b1", b"--=_b2")),
    (
        "boundary-in-pieces",
        lambda: HEAD + multipart(b"mixed", PLAIN).replace(b'boundary="=_b1"', b"boundary*0==_; boundary*1=b1"),
    ),
    ("boundary-is-our-mark", lambda: HEAD + multipart(b"mixed", PLAIN, boundary=b"--- mailrelay -----")),
    ("final-boundary-missing", lambda: HEAD + multipart(b"mixed", PLAIN, HTML).removesuffix(b"--=_b1--\r\n")),
    (
        "final-boundary-first",
        lambda: HEAD + multipart(b"mixed").replace(b"--=_b1--", b"--=_b1--\r\n--=_b1\r\n" + PLAIN),
    ),
    ("same-boundary-inside", lambda: HEAD + multipart(b"mixed", multipart(b"alternative", PLAIN, HTML), PLAIN)),
    ("parts-after-the-end", lambda: both() + b"--=_b1\r\n" + PLAIN + b"--=_b1--\r\n"),
    ("nested-40", lambda: HEAD + nested(40)),
    ("nested-29", lambda: HEAD + nested(29)),
    ("nested-1000", lambda: HEAD + nested(1000)),
    ("wrapped-40", lambda: HEAD + wrapped(40)),
    ("wrapped-2000", lambda: HEAD + wrapped(2000)),
    ("10000-parts", lambda: HEAD + multipart(b"mixed", *[PLAIN] * 10_000)),
    ("10000-empty-parts", lambda: HEAD + multipart(b"mixed", *[b""] * 10_000)),
    ("like-boundaries", lambda: HEAD + multipart(b"mixed", PLAIN + b"--=_b1x\r\n" * 100_000)),
    ("like-boundaries-deep", lambda: HEAD + multipart(b"mixed", nested(25) + b"--level-\r\n" * 20_000, boundary=b"l")),
    ("part-header-of-1-mb", lambda: HEAD + multipart(b"mixed", b"X: " + b"x" * 1_000_000 + b"\r\n" + PLAIN)),
    ("part-without-header", lambda: HEAD + multipart(b"mixed", b"\r\nHello", b"Hello")),
    ("empty-parts", lambda: HEAD + multipart(b"alternative", b"", b"\r\n", b"Content-Type: text/plain\r\n\r\n")),
    ("related-first", lambda: HEAD + multipart(b"related", part(b"image/png", b"x"), HTML, more=b' start="<a>";')),
    (
        "types-that-are-none",
        lambda: HEAD + multipart(b"mixed", *(part(kind, b"x") for kind in (b"png", b".pdf", b"text", b"/", b""))),
    ),
    ("html-as-attachment", lambda: HEAD + part(b"text/html", b"<body>x", b"Content-Disposition: attachment\r\n")),
    ("two-texts-apart", lambda: HEAD + multipart(b"mixed", PLAIN, part(b"image/png", b"x"), PLAIN)),
    ("encoding-8bits", lambda: HEAD + part(b"text/plain", b"\xe4", b"Content-Transfer-Encoding: 8bits\r\n")),
    ("encoding-utf-8", lambda: HEAD + part(b"text/plain", b"\xe4", b"Content-Transfer-Encoding: utf-8\r\n")),
    (
        "encoding-uuencode",
        lambda: HEAD + part(b"text/plain", b"begin 644 x\r\n", b"Content-Transfer-Encoding: x-uuencode\r\n"),
    ),
    ("multipart-in-base64", lambda: HEAD + BASE64 + multipart(b"mixed", PLAIN)),
    ("base64-with-footer", lambda: HEAD + part(b"text/plain", b2a_base64(b"Hello") + b"____\r\nA footer\r\n", BASE64)),
    ("base64-on-one-line", lambda: HEAD + part(b"text/html", b2a_base64(b"<body>Hello" * 9999, newline=False), BASE64)),
    ("base64-cut", lambda: HEAD + part(b"text/plain", b"SGVsbG8gd29ybG\r\n", BASE64)),
    ("qp-with-eight-bits", lambda: HEAD + part(b"text/plain; charset=utf-8", "Grüße =\r\n=C3=9\r\n=".encode(), QP)),
    ("qp-on-one-line", lambda: HEAD + part(b"text/html", b"<body>=3D" * 10_000, QP)),
    ("qp-of-equals", lambda: HEAD + part(b"text/html", b"=" * 100_001, QP)),
    ("seven-bits-with-eight", lambda: HEAD + part(b"text/plain; charset=us-ascii", b"Gr\xfc\xdfe\r\n")),
    ("raw-latin-1", lambda: HEAD + b"\r\nGr\xfc\xdfe\r\n"),
    (
        "raw-utf-16",
        lambda: HEAD + part(b"text/plain; charset=utf-16", "\ufeffGrüße\r\n".encode("utf-16-le"), EIGHT_BIT),
    ),
    (
        "utf-16-html-in-base64",
        lambda: HEAD + part(b"text/html; charset=utf-16", b2a_base64("<body>ß".encode("utf-16")), BASE64),
    ),
    ("utf-16-that-is-none", lambda: HEAD + part(b"text/plain; charset=utf-16", b"odd", EIGHT_BIT)),
    ("charset-unknown", lambda: HEAD + part(b"text/plain; charset=x-klingon", b"Hello\r\n")),
    ("charset-utf-7", lambda: HEAD + part(b"text/html; charset=utf-7", b"+ADw-body+AD4-\r\n")),
    ("charset-zlib", lambda: HEAD + part(b"text/plain; charset=zlib", b"x\x9c\r\n")),
    (
        "charset-iso-2022-jp",
        lambda: HEAD + part(b"text/html; charset=iso-2022-jp", "<p>\u65e5\u672c</p>".encode("iso2022_jp")),
    ),
    ("charset-iso-2022-jp-open", lambda: HEAD + part(b"text/html; charset=iso-2022-jp", b"<p>\x1b$BF|K\\")),
    (
        "charset-big5",
        lambda: HEAD + part(b"text/html; charset=big5", "<body>\u8a31\u529f\u84cb".encode("big5"), EIGHT_BIT),
    ),
    ("nul-octets", lambda: HEAD + part(b"text/plain", b"a\0b\0\r\n" * 1000)),
    ("nul-octets-only", lambda: b"\0" * 100_000),
    (
        "binary",
        lambda: (
            HEAD + part(b"application/octet-stream", bytes(range(256)) * 400, b"Content-Transfer-Encoding: binary\r\n")
        ),
    ),
    (
        "html-with-comments",
        lambda: both(html=part(b"text/html", b"<!--[if mso]><body><![endif]--><body>x</body><!--</body>-->")),
    ),
    ("html-of-brackets", lambda: HEAD + part(b"text/html", b"<" * 100_000 + b"body")),
    ("html-open-comment", lambda: HEAD + part(b"text/html", b"<!-- <body> " * 9000)),
    ("html-open-quotes", lambda: HEAD + part(b"text/html", b"<a b=\"'" * 15_000 + b"<body>")),
    ("html-open-scripts", lambda: HEAD + part(b"text/html", b"<script></scripts>" * 6000 + b"<body>")),
    (
        "pgp-mime",
        lambda: (
            HEAD + multipart(b"encrypted", b"\r\nVersion: 1", ARMOR, more=b' protocol="application/pgp-encrypted";')
        ),
    ),
    (
        "pgp-signed",
        lambda: (
            HEAD + multipart(b"signed", PLAIN, part(b"application/pgp-signature", b"x"), more=b" micalg=pgp-sha256;")
        ),
    ),
    ("pgp-inline", lambda: HEAD + part(b"text/plain", ARMOR)),
    (
        "pgp-inline-signed",
        lambda: HEAD + part(b"text/plain", b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nHello\r\n"),
    ),
    ("pgp-inline-after-blank-lines", lambda: HEAD + part(b"text/plain", b"\r\n \t\r\n" * 20_000 + ARMOR)),
    ("smime-encrypted", lambda: HEAD + part(b"application/pkcs7-mime; smime-type=enveloped-data", b"MIAG\r\n", BASE64)),
    ("smime-opaque", lambda: HEAD + part(b"application/x-pkcs7-mime; smime-type=signed-data", b"MIAG\r\n", BASE64)),
    (
        "smime-unsaid",
        lambda: HEAD + part(b"application/pkcs7-mime; name=smime.p7m", b"MIAGCSqGSIb3DQEHA6CAMIAC\r\n", BASE64),
    ),
    ("smime-signed", lambda: HEAD + multipart(b"signed", HTML, part(b"application/pkcs7-signature", b"MIAG", BASE64))),
    ("calendar-only", lambda: HEAD + part(b"text/calendar; method=REQUEST; charset=utf-8", INVITE)),
    (
        "calendar-invite",
        lambda: HEAD + multipart(b"alternative", PLAIN, HTML, part(b"text/calendar; method=REQUEST", INVITE)),
    ),
    ("calendar-attached", lambda: HEAD + multipart(b"mixed", PLAIN, part(b"application/ics; name=i.ics", INVITE))),
    ("amp", lambda: HEAD + multipart(b"alternative", PLAIN, part(b"text/x-amp-html", b"<html amp4email>"), HTML)),
    ("dsn", lambda: HEAD + DSN),
    ("mdn", lambda: HEAD + DSN.replace(b"delivery-status", b"disposition-notification")),
    ("arf", lambda: HEAD + ARF),
    ("partial", lambda: HEAD + part(b'message/partial; id="x"; number=1; total=2', PLAIN)),
    (
        "external-body",
        lambda: HEAD + part(b"message/external-body; access-type=URL", b"Content-Type: image/png\r\n\r\n"),
    ),
    ("digest", lambda: HEAD + multipart(b"digest", b"\r\nSubject: 1\r\n\r\nHello", b"\r\nSubject: 2\r\n\r\nHello")),
    (
        "attached-message",
        lambda: HEAD + multipart(b"mixed", PLAIN, part(b"message/rfc822", both().replace(b"_b1", b"_b2"))),
    ),
    ("list-footer", lambda: HEAD + multipart(b"mixed", multipart(b"signed", PLAIN, boundary=b"=_b2"), PLAIN)),
    ("appledouble", lambda: HEAD + multipart(b"mixed", multipart(b"appledouble", PLAIN, HTML, boundary=b"=_b2"), HTML)),
]

UGLY: list[tuple[str, Builder]] = [*HEADERS, *BODIES]
