"""Where a banner goes in HTML."""

import time

import pytest

from mailrelay.core.htmlsplice import after_body_tag, before_body_end

# The mark `|` shows the place.
TOP_79 = [
    b"<html><body>|<p>x",
    b"<BODY\r\n bgcolor=#fff>|x",
    b"<body title=\"a>b\" x='c>d'>|x",
    b"<body title=it's>|x</body>",
    b'<body a=b="c>|d">x',
    b"<body/>|x",
    b"<!-- <body> --><body>|x",
    b"<!--[if mso]><body class=mso><![endif]--><!--[if !mso]><!--><body>|<!--<![endif]-->",
    b"<![if !mso]><body>|<![endif]>",
    b"<!--><body>|-->",
    b"<!---><body>|-->",
    b"<!-- a --!><body>|",
    b"<!-- a -- > <body> --><body>|",
    b"<style>/* <body> */ a > b {}</style><body>|",
    b"<STYLE type='a>b'><body></Style ><body>|",
    b"<script>if (a<b) document.write('<body>')</script><body>|",
    b"<script></scripts><body></script><body>|",
    b"<title><body></title><body>|",
    b"<meta content=\"<body>\"><img alt='<body>'><body>|",
    b'<a href="x"title="<body>"><body>|',
    b"<body-guard><bodyx><body>|",
    b"<?xml version='1.0'?><!DOCTYPE html PUBLIC '-//W3C//DTD'><html><body>|<body>",
    b"< body><1<body>|",
    b"a < b <body>|",
    b"</body><body>|",
]
NO_TOP = [
    b"",
    b"<p>x</p>",
    b"<body",
    b'<body a="',
    b"<!-- <body>",
    b"<script><body></p>",
    b"<style><body>",
    b"body",
    b"&lt;body>",
    b"<p title='<body>",
]


@pytest.mark.parametrize("marked", TOP_79, ids=lambda marked: f"79-{TOP_79.index(marked)}")
def test_behind_the_real_body_tag(marked: bytes) -> None:
    before, _, after = marked.partition(b"|")
    assert after_body_tag(before + after) == len(before)


@pytest.mark.parametrize("html", NO_TOP)
def test_no_body_tag_no_place(html: bytes) -> None:
    assert after_body_tag(html) is None


@pytest.mark.parametrize(
    "marked",
    [
        b"<body>x|</body></html>",
        b"<body>x</body>y|</BODY >z",
        b"x|</body><!-- </body> -->",
        b"x|</body><script>'</body>'</script><p title='</body>'>",
        b"x|</body",
        b"x|</body>\r\n",
    ],
)
def test_before_the_last_end_of_the_body(marked: bytes) -> None:
    before, _, after = marked.partition(b"|")
    if after == b"</body":
        assert before_body_end(before + after) is None
    else:
        assert before_body_end(before + after) == len(before)


@pytest.mark.parametrize(
    "piece",
    [
        b"<",
        b"<a",
        b"<a>",
        b"<!--",
        b"<!-- >",
        b"-",
        b"<a =",
        b"<a ='",
        b"<a b=\"'",
        b"<script>",
        b"</scrip",
        b"<body ",
        b"=x",
    ],
)
@pytest.mark.parametrize("start", [b"", b"<a ", b"<!--", b"<style>", b"<a b='"])
def test_hostile_markup_takes_linear_time(start: bytes, piece: bytes) -> None:
    html = start + piece * (100_000 // len(piece)) + b"body"
    began = time.process_time()
    after_body_tag(html)
    before_body_end(html)
    assert time.process_time() - began < 1
