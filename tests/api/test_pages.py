"""The pages of signed links, asked over real connections as mail programs and browsers do."""

import asyncio
import http.client
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from mailrelay.api.app import build
from mailrelay.api.pages import MAX_BODY_OCTETS, Pages, is_one_click
from mailrelay.api.server import HttpServer, serve
from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.links import ONE_CLICK_SECONDS, Action, Links
from mailrelay.core.oneclick import AliasSight, RecipientSight
from mailrelay.endpoint import Endpoint
from mailrelay.flows.oneclick import OneClick
from tests.unit.onelink import ABOUT, HELD, NOW, Memory, Sender

KEY, OLD_KEY = b"k" * 32, b"o" * 32
ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"
OURS = b"confirm=yes"
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def form(self) -> str:
        """Where the only button leads, '' if there is none."""
        found = re.findall(r'<form method="post" action="([^"]+)"', self.body)
        assert len(found) <= 1 and len(found) == self.body.count("<button")
        return found[0].replace("&amp;", "&") if found else ""

    @property
    def title(self) -> str:
        found = re.search(r"<h1>([^<]+)</h1>", self.body)
        return found[1] if found is not None else ""


@dataclass
class Site:
    """The started application over a store in memory. seconds: what the clock is ahead."""

    store: Memory = field(default_factory=Memory)
    sender: Sender = field(default_factory=Sender)
    seconds: int = 0
    endpoint: Endpoint = Endpoint(host="127.0.0.1", port=0)  # noqa: RUF009
    server: HttpServer = field(init=False)

    def __post_init__(self) -> None:
        pages = Pages(
            OneClick(self.store, self.sender),
            (KEY, OLD_KEY),
            lambda domain: domain == "co.example",
            lambda: NOW + timedelta(seconds=self.seconds),
        )
        self.server = serve(build(dict, pages.routes()), self.endpoint)

    async def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await asyncio.to_thread(_ask, self.server.port, method, target, body, named)

    async def press(self, target: str) -> Answer:
        """As our form does."""
        return await self.ask("POST", target, OURS, Content_Type=FORM, Accept=BROWSER)


def _ask(port: int, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read().decode())
    finally:
        connection.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.server.start()
    yield site
    await site.server.stop()


LINKS = Links("", KEY, int(NOW.timestamp()))


def one_click(action: Action, about: UUID = ABOUT, key: bytes = KEY, **params: str) -> str:
    return Links("", key, int(NOW.timestamp())).one_click(action, about, params)


DEACTIVATE = one_click(Action.DEACTIVATE)
VIEW = LINKS.banner(Action.DEACTIVATE, ABOUT)

MULTIPART = (
    b'--abc\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--abc--\r\n',
    "multipart/form-data; boundary=abc",
)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(ONE_CLICK, FORM), (ONE_CLICK + b"&x=1", FORM + "; charset=utf-8"), MULTIPART],
    ids=["urlencoded", "charset", "multipart"],
)
async def test_row_182_one_click_acts_and_says_nothing(site: Site, body: bytes, content_type: str) -> None:
    for _ in range(2):
        answer = await site.ask("POST", DEACTIVATE, body, Content_Type=content_type, User_Agent="Mail 1.0")
        assert (answer.status, answer.body) == (200, "")
        assert "Set-Cookie" not in answer.headers and "Location" not in answer.headers
    [(wanted, visitor)] = site.store.acted
    assert (wanted.action, wanted.about) == (Action.DEACTIVATE, ABOUT)
    assert visitor.actor == "link:127.0.0.1"
    assert (visitor.ip, visitor.user_agent, visitor.at) == ("127.0.0.1", "Mail 1.0", NOW)


@pytest.mark.parametrize("target", [DEACTIVATE, VIEW], ids=["one-click", "banner"])
async def test_row_183_get_shows_a_page_and_changes_nothing(site: Site, target: str) -> None:
    answer = await site.ask("GET", target)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.title == "Deactivate this alias?" and "a1@alias.example" in answer.body
    assert site.store.acted == []
    head = await site.ask("HEAD", target)
    assert (head.status, head.body) == (200, "")
    assert head.headers["content-length"] == answer.headers["content-length"]
    assert site.store.acted == []
    done = await site.press(answer.form)
    assert (done.status, done.title) == (200, "The alias is deactivated")
    assert len(site.store.acted) == 1


async def test_the_page_of_a_one_click_link_posts_to_that_link(site: Site) -> None:
    assert (await site.ask("GET", DEACTIVATE)).form == DEACTIVATE


async def test_the_button_of_a_banners_page_works_for_an_hour(site: Site) -> None:
    form = (await site.ask("GET", VIEW)).form
    site.seconds = 3601
    assert (await site.press(form)).status == 403
    site.seconds = 3600
    assert (await site.press(form)).status == 200


async def test_a_link_to_a_page_does_not_act(site: Site) -> None:
    assert (await site.ask("POST", VIEW, ONE_CLICK, Content_Type=FORM)).status == 403
    assert site.store.acted == []


@pytest.mark.parametrize(
    ("action", "params", "thing", "undone"),
    [
        (Action.DEACTIVATE, {}, AliasSight("a1@alias.example", "active"), "Undo: activate it again"),
        (Action.ACTIVATE, {}, AliasSight("a1@alias.example", "inactive"), "Undo: deactivate it again"),
        (Action.DELETE, {}, AliasSight("a1@alias.example", "inactive"), "Undo: restore it"),
        (Action.RESTORE, {}, AliasSight("a1@alias.example", "deleted"), ""),
        (Action.BLOCK_EMAIL, {"email": "n@shop.example"}, AliasSight("a@b.example", "active"), "Undo: unblock it"),
        (Action.BLOCK_DOMAIN, {"domain": "shop.example"}, AliasSight("a@b.example", "active"), "Undo: unblock it"),
        (
            Action.UNBLOCK,
            {"type": "domain", "value": "shop.example"},
            AliasSight("a@b.example", "active", listed=True),
            "",
        ),
        (Action.VERIFY, {}, RecipientSight("real@inbox.example", verified=False), ""),
    ],
)
async def test_every_action_asks_acts_and_takes_back(
    site: Site, action: Action, params: dict[str, str], thing: AliasSight | RecipientSight, undone: str
) -> None:
    site.store.thing = thing
    asked = await site.ask("GET", LINKS.page(action, ABOUT, params))
    assert asked.status == 200 and asked.title.endswith("?")
    done = await site.press(asked.form)
    assert done.status == 200 and done.title and not done.title.endswith("?")
    assert [wanted.action for wanted, _ in site.store.acted] == [action]
    assert (undone or "<button") in done.body if undone else "<button" not in done.body
    if undone:
        assert (await site.press(done.form)).status == 200
        before, after = thing, site.store.thing
        # What was deleted while inactive comes back active.
        assert after == before or (action is Action.DELETE and after == AliasSight("a1@alias.example", "active"))


async def test_pressing_twice_offers_no_undo(site: Site) -> None:
    await site.press(DEACTIVATE)
    again = await site.press(DEACTIVATE)
    assert (again.status, again.title, again.form) == (200, "This alias is deactivated already", "")
    looked = await site.ask("GET", DEACTIVATE)
    assert (looked.status, looked.title, looked.form) == (200, "This alias is deactivated already", "")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(DEACTIVATE[:-1] + ("0" if DEACTIVATE[-1] != "0" else "1"), id="row-184-signature"),
        pytest.param(DEACTIVATE.replace("50c9", "51c9"), id="row-184-alias"),
        pytest.param(DEACTIVATE.replace("deactivate", "delete"), id="row-184-action"),
        pytest.param(DEACTIVATE.replace("expires=1", "expires=2"), id="row-184-expiry"),
        pytest.param(DEACTIVATE + "&a=b", id="row-184-more"),
        pytest.param(DEACTIVATE.partition("?")[0], id="unsigned"),
        pytest.param(one_click(Action.DEACTIVATE, key=b"x" * 32), id="foreign-key"),
    ],
)
async def test_changed_links_are_refused(site: Site, target: str) -> None:
    for method in ("GET", "POST"):
        answer = await site.ask(method, target, ONE_CLICK if method == "POST" else None, Content_Type=FORM)
        assert (answer.status, answer.body) == (403, "This link is not valid\n")
    page = await site.ask("GET", target, Accept=BROWSER)
    assert (page.status, page.title, page.form) == (403, "This link is not valid", "")
    assert site.store.acted == []
    assert site.store.asked == []  # nobody troubled the database


async def test_links_end(site: Site) -> None:
    site.seconds = ONE_CLICK_SECONDS
    assert (await site.ask("GET", DEACTIVATE)).status == 200
    site.seconds += 1
    answer = await site.press(DEACTIVATE)
    assert (answer.status, answer.title) == (403, "This link has expired")
    assert site.store.acted == []


async def test_links_of_a_replaced_key_work(site: Site) -> None:
    answer = await site.ask("POST", one_click(Action.DEACTIVATE, key=OLD_KEY), ONE_CLICK, Content_Type=FORM)
    assert answer.status == 200


async def test_unknown_aliases_and_paths_are_not_found(site: Site) -> None:
    site.store.thing = None
    for target in (DEACTIVATE, "/u/", "/u/x", f"/u/resign/{ABOUT}", f"/u/deactivate/{ABOUT}/", "/u/deactivate/1"):
        assert (await site.ask("GET", target)).status == 404
        answer = await site.ask("POST", target, ONE_CLICK, Content_Type=FORM, Accept=BROWSER)
        assert (answer.status, answer.title) == (404, "There is nothing here")


async def test_a_deleted_alias_cannot_be_deleted(site: Site) -> None:
    site.store.thing = AliasSight("a1@alias.example", "deleted")
    target = one_click(Action.DELETE)
    assert (await site.ask("POST", target, ONE_CLICK, Content_Type=FORM)).status == 404
    assert (await site.ask("GET", target)).status == 404


async def test_too_many_requests_wait(site: Site) -> None:
    site.store.wait = 17
    for method, target in (("GET", DEACTIVATE), ("POST", DEACTIVATE), ("GET", VIEW)):
        answer = await site.ask(method, target, ONE_CLICK if method == "POST" else None, Content_Type=FORM)
        assert (answer.status, answer.headers["retry-after"]) == (429, "17")
    assert site.store.acted == []


async def test_the_proxy_tells_who_asks(site: Site) -> None:
    await site.ask("GET", DEACTIVATE, X_Forwarded_For="2001:db8:1:2::9")
    await site.ask("GET", DEACTIVATE, X_Forwarded_For="198.51.100.1, 192.0.2.7")
    assert site.store.asked == ["2001:db8:1:2::/64", "192.0.2.7"]


async def test_the_proxy_tells_who_asks_through_a_unix_socket_too(tmp_path: Path) -> None:
    site = Site(endpoint=Endpoint(path=str(tmp_path / "api")))
    await site.server.start()
    try:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "api"))
        head = f"GET {DEACTIVATE} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
    finally:
        await site.server.stop()
    assert site.store.asked == ["192.0.2.7"]


async def test_without_a_database_it_is_for_later(site: Site) -> None:
    site.store.away = True
    answer = await site.ask("POST", DEACTIVATE, ONE_CLICK, Content_Type=FORM)
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    page = await site.ask("GET", DEACTIVATE, Accept=BROWSER)
    assert (page.status, page.title) == (503, "Not available at the moment")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_not_allowed(site: Site, method: str) -> None:
    answer = await site.ask(method, DEACTIVATE)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert site.store.acted == []


async def test_large_bodies_are_refused(site: Site) -> None:
    body = ONE_CLICK + b"&x=" + b"x" * (MAX_BODY_OCTETS - len(ONE_CLICK) - 3)
    assert (await site.ask("POST", DEACTIVATE, body + b"x", Content_Type=FORM)).status == 413
    assert site.store.acted == []
    assert (await site.ask("POST", DEACTIVATE, body, Content_Type=FORM)).status == 200


async def test_who_breaks_off_did_nothing(site: Site) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(f"POST {DEACTIVATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nList".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await site.ask("GET", DEACTIVATE)).title == "Deactivate this alias?"
    assert site.store.acted == []


async def test_every_answer_is_kept_from_caches_indexes_frames_and_referrers(site: Site) -> None:
    answers = [
        await site.ask("GET", DEACTIVATE),
        await site.ask("POST", DEACTIVATE, ONE_CLICK, Content_Type=FORM),
        await site.ask("GET", DEACTIVATE + "0", Accept=BROWSER),
        await site.ask("PUT", DEACTIVATE),
        await site.ask("GET", "/u/x"),
    ]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "script-src" not in policy and "unsafe" not in policy
        assert "set-cookie" not in answer.headers


async def test_names_are_text_not_markup(site: Site) -> None:
    quoted = await site.ask("GET", one_click(Action.BLOCK_EMAIL, email="a&b'c@shop.example"))
    assert quoted.status == 200
    assert "a&amp;b&#39;c@shop.example" in quoted.body and "a&b" not in quoted.body


@pytest.mark.parametrize(
    ("action", "params", "words"),
    [
        (Action.BLOCK_DOMAIN, {"domain": "co.example"}, "shared by many"),
        (Action.BLOCK_DOMAIN, {"domain": "localhost"}, "at least two labels"),
        (Action.BLOCK_EMAIL, {"email": "news"}, "local@domain"),
        (Action.UNBLOCK, {}, "only addresses and domains"),
    ],
)
async def test_what_cannot_be_blocked_is_said(site: Site, action: Action, params: dict[str, str], words: str) -> None:
    answer = await site.ask("GET", LINKS.page(action, ABOUT, params), Accept=BROWSER)
    assert answer.status == 400 and words in answer.body and not answer.form


async def test_owners_who_want_a_login_get_no_button(site: Site) -> None:
    site.store.thing = AliasSight("a1@alias.example", "active", asks_login=True)
    answer = await site.ask("GET", VIEW)
    assert (answer.status, answer.title, answer.form) == (200, "Please sign in", "")
    assert "signature" not in answer.body and "a1@alias.example" not in answer.body
    assert (await site.ask("GET", DEACTIVATE)).form == DEACTIVATE  # which mail programs use
    assert (await site.ask("GET", LINKS.page(Action.DEACTIVATE, ABOUT))).form  # which nobody quotes


async def test_a_held_message_is_sent_once(site: Site) -> None:
    site.store.thing = HELD
    asked = await site.ask("GET", LINKS.page(Action.SEND, ABOUT))
    assert asked.title == "Send this message?" and "6 January 2026 at 12:00 UTC" in asked.body
    done = await site.press(asked.form)
    assert (done.status, done.title, done.form) == (200, "The message is on its way", "")
    assert site.sender.actors == ["link:127.0.0.1"]
    site.sender.error = Conflict("the alias was deleted")
    refused = await site.press(asked.form)
    assert refused.status == 409 and "the alias was deleted" in refused.body
    site.sender.error = Unavailable("Postfix does not take it now")
    assert (await site.press(asked.form)).status == 503


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (FORM, b"list-unsubscribe=one-click", True),
        ("", ONE_CLICK, True),
        (FORM, b"List%2DUnsubscribe=One%2DClick\r\n", True),
        (FORM, OURS, False),
        (FORM, b"List-Unsubscribe=", False),
        (FORM, b"&".join([b"a=b"] * 30), False),
        ('multipart/form-data; boundary="a b"', MULTIPART[0].replace(b"--abc", b"--a b"), True),
        (MULTIPART[1], MULTIPART[0].replace(b"\r\n", b"\n"), True),
        (MULTIPART[1], MULTIPART[0].replace(b"List-", b"Last-"), False),
        (MULTIPART[1], MULTIPART[0].replace(b"One-Click", b"Two"), False),
        ("multipart/form-data", MULTIPART[0], False),
        (MULTIPART[1], b"\xff" * 1000, False),
        (MULTIPART[1], b"--abc" * 1000, False),
    ],
)
def test_bodies_of_mail_programs_are_told_from_ours(content_type: str, body: bytes, expected: bool) -> None:
    assert is_one_click(content_type, body) is expected
