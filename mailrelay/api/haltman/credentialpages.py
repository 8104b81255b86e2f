"""Pages for people who follow the link of a mail about API keys: what the code does, and the key, once."""

from starlette.responses import Response

from mailrelay.api.haltman.confirmpage import NOT_YOU
from mailrelay.api.haltman.endpoint import NO_STORE
from mailrelay.api.sheet import Form, Text, page
from mailrelay.core.codes import Intent, Pending
from mailrelay.flows.credentials import Drawn

_TEMPLATE = "credentials.html"
# Title, what happens, and the button.
_WORDS = {
    Intent.API_KEY_CREATE: (
        "Make an API key?",
        "Whoever has the key can make aliases for this mailbox, and manage those it has.",
        "Make the key",
    ),
    Intent.API_KEY_LIST: (
        "List your API keys?",
        "You see which keys of this mailbox can be used, though not the keys themselves.",
        "Show the list",
    ),
    Intent.API_KEY_DESTROY_ALL: (
        "Destroy all your API keys?",
        "Programs that use one of them are refused from then on. This cannot be undone.",
        "Destroy all keys",
    ),
}


def preview(pending: Pending, code: str, action: str, product: str) -> Response:
    """What a code does, with the button that does it. action: where the button posts to."""
    title, effect, button = _WORDS[pending.intent]
    facts = [("Mailbox", pending.email.folded)]
    if pending.intent is Intent.API_KEY_CREATE:
        facts += _life(pending.days or 0, pending.automatic_renew)
    text = Text(title, (effect, NOT_YOU), button=button)
    form = Form(action, {"token": code})
    return page(product, text, form, headers=NO_STORE, template=_TEMPLATE, facts=facts, secret="")


def told(drawn: Drawn, mailbox: str, product: str) -> Response:
    """The new key."""
    text = Text(
        "Your API key", ("This is your key. It is shown this once only: copy it now, and keep it like a password.",)
    )
    facts = [("Mailbox", mailbox), *_life(drawn.days, drawn.automatic_renew)]
    return page(product, text, headers=NO_STORE, template=_TEMPLATE, facts=facts, secret=drawn.secret)


def _life(days: int, renew: bool) -> list[tuple[str, str]]:
    renewing = "yes, as long as it is used" if renew else "no"
    return [("Good for", f"{days} day{'' if days == 1 else 's'}"), ("Renews itself", renewing)]
