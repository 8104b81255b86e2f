"""What all pages have in common: one style, strict headers, and templates that escape."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from starlette.responses import Response

import mailrelay

_FOLDER = Path(mailrelay.__file__).parent / "pages"
_STYLE = (_FOLDER / "page.css").read_text()
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
)
SAFE: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the address of the page is what acts
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Text:
    """One page. subject: the address that it is about, '' if none; button: '' for a page without; undoes: the button
    takes back what was just done.
    """

    title: str
    paragraphs: tuple[str, ...]
    subject: str = ""
    button: str = ""
    undoes: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """What the button of a page posts: hidden, to the path action."""

    action: str
    hidden: Mapping[str, str]


def page(
    product: str,
    text: Text,
    form: Form | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    template: str = "page.html",
    **more: Any,
) -> Response:
    """A page. product: how the installation calls itself; headers: besides the strict ones, or instead of one of them;
    more: what else the template wants.
    """
    values = {"text": text, "form": form, "product": product, "style": Markup(_STYLE), **more}  # noqa: S704
    body = _TEMPLATES.get_template(template).render(values)
    return Response(body, status, {**SAFE, **(headers or {})}, media_type="text/html")
