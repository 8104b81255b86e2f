"""The pages of signed links in a real browser: without scripts, on a telephone, by keyboard, in the dark."""

import re
import secrets
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Response

from mailrelay.core.facts import AliasId
from mailrelay.core.links import Action, Links
from mailrelay.core.sealed import vault
from mailrelay.core.verp import EmailType
from mailrelay.store.held import HeldStore
from tests.browser.conftest import PHONE, Site
from tests.store.test_held import HOLD
from tests.store.world import JOHN, alias, insert, value

SHOP = "shop@alias.example"
LONG = "a-very-long-local-part-that-nobody-would-ever-want-to-type-in@own.example"


async def opened(context: BrowserContext, url: str) -> tuple[Page, Response]:
    page = await context.new_page()
    response = await page.goto(url)
    assert response is not None
    return page, response


async def press(page: Page) -> Response:
    """The only button, and the page that follows."""
    button = page.get_by_role("button")
    assert await button.count() == 1
    async with page.expect_navigation() as navigation:
        await button.click()
    response = await navigation.value
    assert response is not None
    return response


async def heading(page: Page) -> str:
    assert await page.get_by_role("heading").count() == 1
    return (await page.get_by_role("heading", level=1).inner_text()).strip()


async def test_rows_182_and_183_looking_changes_nothing_and_the_button_acts(site: Site, phone: BrowserContext) -> None:
    await alias(site.conn, SHOP)
    page, response = await opened(phone, site.links.banner(Action.DEACTIVATE, await site.uuid(SHOP)))
    assert (response.status, await heading(page)) == (200, "Deactivate this alias?")
    assert SHOP in await page.get_by_role("main").inner_text()
    await page.reload()
    assert await site.state(SHOP) == "active"
    assert (await press(page)).status == 200
    assert await heading(page) == "The alias is deactivated"
    assert await site.state(SHOP) == "inactive"
    assert await value(site.conn, "select count(*) from job where kind = 'notice'") == 1
    await press(page)
    assert await heading(page) == "The alias is active"
    assert await site.state(SHOP) == "active"
    assert await phone.cookies() == []


async def test_what_a_click_did_can_be_taken_back_and_done_again(site: Site, phone: BrowserContext) -> None:
    """From the link of a mail program's own button, which some show as a page."""
    await alias(site.conn, SHOP)
    url = site.links.one_click(Action.DELETE, await site.uuid(SHOP))
    page, _ = await opened(phone, url)
    assert await heading(page) == "Delete this alias?"
    states = []
    for _ in range(2):
        await press(page)
        states.append((await heading(page), await site.state(SHOP)))
    assert states == [("The alias is deleted", "deleted"), ("The alias is restored", "active")]
    assert await page.get_by_role("button").count() == 0  # whoever wants that has the mail
    await page.goto(url)
    assert (await heading(page), await site.state(SHOP)) == ("Delete this alias?", "active")


async def held(site: Site) -> tuple[UUID, Links]:
    """A reply that waits for its owner's word, and what makes links to it."""
    number = await alias(site.conn, SHOP)
    shelf = HeldStore(site.database, vault([b"a secret of the installation"]), secrets.token_bytes)
    envelope = replace(HOLD.envelope, alias_id=AliasId(number), rcpt="shop+contact=secret.example@alias.example")
    kept = await shelf.hold(replace(HOLD, envelope=envelope, kind="unauthorised", type=EmailType.REPLY))
    assert kept.uuid is not None
    return kept.uuid, site.links


async def test_a_held_reply_is_sent_at_its_owners_word(site: Site, phone: BrowserContext) -> None:
    about, links = await held(site)
    page, response = await opened(phone, links.page(Action.SEND, about))
    assert (response.status, await heading(page)) == (200, "Send this message?")
    said = await page.get_by_role("main").inner_text()
    assert SHOP in said and "Only send it if you wrote it." in said
    assert "secret.example" not in await page.content() and "inbox.example" not in await page.content()
    await page.reload()
    jobs = "select count(*) from job where kind = 'release'"
    assert await value(site.conn, jobs) == 0
    await press(page)
    assert await heading(page) == "The message is on its way"
    assert await page.get_by_role("button").count() == 0  # nobody can call it back
    await page.reload()  # sends the form once more
    assert await value(site.conn, jobs) == 1


@pytest.mark.parametrize(
    ("ending", "title"),
    [
        ("update failed_delivery set resent = true", "This message was sent before"),
        ("update stored_message set expires_at = now()", "This message is gone"),
        ("delete from stored_message", "This message is gone"),
        ("delete from failed_delivery", "There is nothing here"),
    ],
    ids=["sent", "expired", "cleared", "forgotten"],
)
async def test_what_was_sent_or_is_gone_offers_nothing(
    site: Site, phone: BrowserContext, ending: str, title: str
) -> None:
    about, links = await held(site)
    page, _ = await opened(phone, links.page(Action.SEND, about))
    await site.conn.execute(ending.encode())
    await press(page)
    said = await heading(page)
    assert said in (title, "This cannot be done")
    assert await value(site.conn, "select count(*) from job where kind = 'release'") == 0
    await page.goto(links.page(Action.SEND, about))
    assert await heading(page) == title
    assert await page.get_by_role("button").count() == 0


async def test_row_184_a_changed_link_says_so(site: Site, phone: BrowserContext) -> None:
    await alias(site.conn, SHOP)
    link = site.links.banner(Action.DEACTIVATE, await site.uuid(SHOP))
    page, response = await opened(phone, link.replace("expires=1", "expires=2"))
    assert (response.status, await heading(page)) == (403, "This link is not valid")
    assert await page.get_by_role("button").count() == 0


async def test_a_sender_is_blocked_and_unblocked(site: Site, phone: BrowserContext) -> None:
    await alias(site.conn, SHOP)
    link = site.links.page(Action.BLOCK_EMAIL, await site.uuid(SHOP), {"email": "news+a&b@shop.example"})
    page, _ = await opened(phone, link)
    assert "news+a&b@shop.example" in await page.get_by_role("main").inner_text()
    await press(page)
    assert await value(site.conn, "select value from blocked_sender") == "news+a&b@shop.example"
    await press(page)
    assert await value(site.conn, "select count(*) from blocked_sender") == 0


async def test_a_seventh_request_in_a_minute_has_to_wait(site: Site, phone: BrowserContext) -> None:
    await alias(site.conn, SHOP)
    link = site.links.banner(Action.DEACTIVATE, await site.uuid(SHOP))
    page = await phone.new_page()
    statuses: list[int] = []
    for _ in range(13):  # in two minutes, if one ends meanwhile
        response = await page.goto(link)
        assert response is not None
        statuses.append(response.status)
        if response.status == 429:
            break
    assert len(statuses) > 6 and statuses[:6] == [200] * 6
    assert await heading(page) == "Too many requests"
    await site.forget_requests()
    await page.goto(link)
    assert await heading(page) == "Deactivate this alias?"


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("zoom", ["100%", "200%"], ids=["plain", "large-print"])
async def test_nothing_has_to_be_scrolled_sideways(site: Site, browser: Browser, width: int, zoom: str) -> None:
    await alias(site.conn, LONG)
    context = await browser.new_context(viewport={"width": width, "height": 700})
    links, about = site.links, await site.uuid(LONG)
    domain = ".".join(["d" * 60] * 3) + ".example"
    for target in (
        links.banner(Action.DEACTIVATE, about),
        links.page(Action.BLOCK_DOMAIN, about, {"domain": domain}),
        links.page(Action.BLOCK_DOMAIN, about, {"domain": "x"}),
        site.url + "/u/x",
    ):
        page, _ = await opened(context, target)
        await page.evaluate("zoom => document.documentElement.style.fontSize = zoom", zoom)
        wide, window = await page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= window
        for button in await page.get_by_role("button").all():
            box = await button.bounding_box()
            assert box is not None and box["height"] >= 44 and box["width"] >= 44  # WCAG 2.2, 2.5.5
        await page.close()
    await context.close()


async def test_the_keyboard_is_enough(site: Site, browser: Browser) -> None:
    await alias(site.conn, SHOP)
    context = await browser.new_context(java_script_enabled=True)
    page, _ = await opened(context, site.links.page(Action.DELETE, await site.uuid(SHOP)))
    await page.keyboard.press("Tab")
    focused = page.locator("button:focus")
    assert await focused.count() == 1
    outline = await focused.evaluate("one => [getComputedStyle(one).outlineStyle, getComputedStyle(one).outlineWidth]")
    assert outline == ["solid", "3px"]
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    assert await heading(page) == "The alias is deleted"
    assert await site.state(SHOP) == "deleted"
    await context.close()


async def test_it_says_what_it_is_to_those_who_do_not_see_it(site: Site, browser: Browser) -> None:
    await alias(site.conn, SHOP)
    context = await browser.new_context()
    page, _ = await opened(context, site.links.page(Action.DEACTIVATE, await site.uuid(SHOP)))
    assert await page.locator("html").get_attribute("lang") == "en"
    assert await page.title() == "Deactivate this alias? – mailrelay"
    assert await page.get_by_role("main").count() == 1
    button = page.get_by_role("button", name="Deactivate alias", exact=True)
    described = await button.get_attribute("aria-describedby")
    assert described is not None
    assert (await page.locator(f"#{described}").inner_text()).strip() == SHOP
    assert await page.locator("meta[name=viewport]").get_attribute("content") == "width=device-width, initial-scale=1"
    assert await page.locator("script").count() == 0
    await context.close()


async def test_the_policy_lets_the_style_in_and_scripts_not(site: Site, browser: Browser) -> None:
    await alias(site.conn, SHOP)
    context = await browser.new_context()
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    await page.goto(site.links.page(Action.DEACTIVATE, await site.uuid(SHOP)))
    await press(page)
    assert complaints == []
    width = await page.locator("main").evaluate("one => getComputedStyle(one).borderTopStyle")
    assert width == "solid"
    await page.locator("main").evaluate("one => { one.innerHTML = '<img src=x onerror=\"document.title=1\">' }")
    assert complaints and all("Content Security Policy" in text for text in complaints)
    await context.close()


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance of `rgb(1, 2, 3)`."""
    numbers = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in numbers)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


_COLOURS = """
    () => [...document.querySelectorAll('h1, p, button, footer')].map(one => {
        let ground = one;
        while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
        return [one.tagName, getComputedStyle(one).color, getComputedStyle(ground).backgroundColor];
    })
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_can_be_read_by_day_and_by_night(site: Site, browser: Browser, scheme: Any) -> None:
    await alias(site.conn, SHOP)
    context = await browser.new_context(color_scheme=scheme, **PHONE)
    page, _ = await opened(context, site.links.page(Action.DEACTIVATE, await site.uuid(SHOP)))
    for _ in range(2):
        colours: list[tuple[str, str, str]] = await page.evaluate(_COLOURS)
        assert {name for name, *_ in colours} == {"H1", "P", "BUTTON", "FOOTER"}
        for name, ink, ground in colours:
            assert contrast(ink, ground) >= 4.5, (name, ink, ground)
        ground = colours[0][2]
        assert (luminance(ground) < 0.2) == (scheme == "dark")
        await page.keyboard.press("Tab")
        ring = await page.locator("button:focus").evaluate("one => getComputedStyle(one).outlineColor")
        assert contrast(ring, ground) >= 3  # WCAG 2.2, 1.4.11
        await press(page)
    await context.close()


async def test_who_wants_a_login_in_between_offers_nothing_to_press(site: Site, phone: BrowserContext) -> None:
    await alias(site.conn, SHOP)
    await site.conn.execute("update account set banner_link_login = true where id = %s", (JOHN,))
    page, _ = await opened(phone, site.links.banner(Action.DEACTIVATE, await site.uuid(SHOP)))
    assert await heading(page) == "Please sign in"
    assert await page.get_by_role("button").count() == await page.get_by_role("link").count() == 0
    assert SHOP not in await page.content()


async def test_nobody_learns_whose_alias_it_is(site: Site, phone: BrowserContext) -> None:
    await alias(site.conn, SHOP, description="of johndoe")
    await insert(site.conn, "recipient", account_id=JOHN, address="secret@inbox.example", verified_at="now")
    for action in (Action.DEACTIVATE, Action.DELETE):
        page, _ = await opened(phone, site.links.page(action, await site.uuid(SHOP)))
        for _ in range(2):
            content = await page.content()
            assert "inbox.example" not in content.lower() and "johndoe" not in content
            await press(page)
        assert "inbox.example" not in (await page.content()).lower()
        await page.close()
        await site.forget_requests()
