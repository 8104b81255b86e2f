"""The worked example of spec section 3.16, to the octet: both modes, through the whole delivery.

The message is that of tests/unit/example.py, with a body in which there is room for a banner.
"""

import re

from mailrelay.core import verp
from mailrelay.core.header import split
from tests.golden.cases import FOLDER, Case, Result, run
from tests.unit import example

REWRITE, TRANSPARENT = Case(FOLDER / "worked-example-rewrite"), Case(FOLDER / "worked-example-transparent")

SIGNED_REWRITTEN = """\
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=alias.example; s=mr1;
	t=1767690002; x=1768294802; h=from:from:reply-to:reply-to:subject:subject:
	date:date:to:to:cc:cc:message-id:message-id:in-reply-to:references:
	mime-version:mime-version:content-type:content-type:
	content-transfer-encoding:sender:list-unsubscribe:list-unsubscribe:
	list-unsubscribe-post:list-unsubscribe-post:feedback-id:feedback-id:
	auto-submitted; bh=<sig>; b=<sig>
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=alias.example; s=mr1e;
	t=1767690002; x=1768294802; h=from:from:reply-to:reply-to:subject:subject:
	date:date:to:to:cc:cc:message-id:message-id:in-reply-to:references:
	mime-version:mime-version:content-type:content-type:
	content-transfer-encoding:sender:list-unsubscribe:list-unsubscribe:
	list-unsubscribe-post:list-unsubscribe-post:feedback-id:feedback-id:
	auto-submitted; bh=<sig>; b=<sig>
"""
# The specification leaves out the second signature, which the ARC set covers as well.
SEALED = """\
ARC-Seal: i=1; a=rsa-sha256; cv=none; d=relay.example; s=mr1; t=1767690002; b=<sig>
ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=relay.example; s=mr1;
	t=1767690002; h=dkim-signature:dkim-signature:dkim-signature:from:reply-to:
	to:cc:subject:date:message-id:list-unsubscribe:list-unsubscribe-post:
	mime-version:content-type; bh=<sig>; b=<sig>
ARC-Authentication-Results: i=1; mx.relay.example; spf=pass
	smtp.mailfrom=mta.shop.example; dkim=pass header.d=shop.example header.s=k1
	header.a=rsa-sha256; dmarc=pass (p=reject) header.from=shop.example; arc=none
"""
# What is not there is named once, what is there once more.
SIGNED_TRANSPARENT = SIGNED_REWRITTEN.replace("d=alias.example", "d=relay.example").replace(
    "feedback-id:feedback-id:", "feedback-id:"
)


_SIGNATURES = (b"dkim-signature", b"arc-seal", b"arc-message-signature")


def masked(header: str) -> list[str]:
    """The fields of a header. Those with signatures are without them and white space, as folding depends on both."""
    fields = split(header.replace("\n", "\r\n").encode()).fields
    return [_masked(one.raw.decode()) if one.name in _SIGNATURES else one.raw.decode() for one in fields]


def _masked(raw: str) -> str:
    return re.sub(r"(?<=;)(bh?)=(?!\.\.\.)[^;]+", r"\1=<sig>", re.sub(r"\s", "", raw))


def return_path(domain: str) -> str:
    """The specification prints the vector of section 7.1 here, which was issued five days before."""
    path = verp.VerpId(verp.EmailType.FORWARD, 0x0123456789ABCDEF, 20459)
    return f"{verp.encode(path, domain, example.KEY)}@{domain}"


def copy_of(case: Case) -> tuple[Result, str, bytes]:
    """The result, and header and body of its only copy."""
    done = run(case)
    return done, header_of(done.out), done.out[split(done.out).header_end :]


def header_of(content: bytes) -> str:
    return content[: split(content).header_end].decode().replace("\r\n", "\n")


def test_the_message_is_that_of_the_specification() -> None:
    for case in (REWRITE, TRANSPARENT):
        assert header_of(case.message) == header_of(example.CONTENT)


def test_rewrite_mode() -> None:
    done, header, body = copy_of(REWRITE)
    [copy] = done.copies
    assert copy.sender == return_path("alias.example")
    assert copy.rcpt == "real@inbox.example"
    assert masked(header) == masked(SIGNED_REWRITTEN + header_of(example.REWRITTEN))
    assert body.count(b"----- mailrelay -----") == 2 and body.count(b"<!--mr-banner-->") == 1


def test_transparent_mode() -> None:
    done, header, _ = copy_of(TRANSPARENT)
    [copy] = done.copies
    assert copy.sender == return_path("bounces.relay.example")
    assert masked(header) == masked(SEALED + SIGNED_TRANSPARENT + header_of(example.TRANSPARENT))
    assert done.out.endswith(TRANSPARENT.message)
