"""What the pages of signed links say, in plain English. Never whose alias it is: links travel with quoted mail."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mailrelay.api.sheet import Text
from mailrelay.core.links import Action
from mailrelay.core.oneclick import AliasSight, HeldSight, Sight, Wish
from mailrelay.core.verp import EmailType


@dataclass(frozen=True, slots=True)
class _Words:
    """Of one action. nothing: when it is so already; undo: the button that takes something back by this action."""

    question: str
    effect: tuple[str, ...]
    button: str
    done: str
    result: str
    nothing: str
    undo: str = ""


_WORDS: Mapping[Action, _Words] = MappingProxyType(
    {
        Action.DEACTIVATE: _Words(
            "Deactivate this alias?",
            ("Mail to this address will no longer arrive.", "It can be activated again at any time."),
            "Deactivate alias",
            "The alias is deactivated",
            "Mail to this address no longer arrives.",
            "This alias is deactivated already",
            "Undo: deactivate it again",
        ),
        Action.ACTIVATE: _Words(
            "Activate this alias again?",
            ("Mail to this address will arrive again.",),
            "Activate alias",
            "The alias is active",
            "Mail to this address arrives again.",
            "This alias is active already",
            "Undo: activate it again",
        ),
        Action.DELETE: _Words(
            "Delete this alias?",
            ("Mail to this address will be refused.", "The address stays reserved, and its owner can restore it."),
            "Delete alias",
            "The alias is deleted",
            "Mail to this address is refused. The address stays reserved, and its owner can restore it.",
            "This alias was deleted before",
        ),
        Action.RESTORE: _Words(
            "Restore this alias?",
            ("It was deleted. Restored, it takes mail again.",),
            "Restore alias",
            "The alias is restored",
            "Mail to this address arrives again.",
            "This alias is not deleted",
            "Undo: restore it",
        ),
        Action.BLOCK_EMAIL: _Words(
            "Block this sender?",
            ("Mail from this address will no longer arrive, whichever alias of the same owner it is sent to.",),
            "Block sender",
            "The sender is blocked",
            "Mail from this address no longer arrives.",
            "This sender is blocked already",
        ),
        Action.BLOCK_DOMAIN: _Words(
            "Block this domain?",
            (
                "Mail from all addresses at this domain, and at domains below it, will no longer arrive, whichever "
                "alias of the same owner it is sent to.",
            ),
            "Block domain",
            "The domain is blocked",
            "Mail from addresses at this domain no longer arrives.",
            "This domain is blocked already",
        ),
        Action.UNBLOCK: _Words(
            "Take this off the block list?",
            ("Mail from there will arrive again.",),
            "Unblock",
            "It is off the block list",
            "Mail from there arrives again.",
            "This is not on the block list",
            "Undo: unblock it",
        ),
        Action.VERIFY: _Words(
            "Is this your mailbox?",
            ("Aliases can deliver mail to this mailbox once you confirm that it is yours.",),
            "Confirm mailbox",
            "The mailbox is confirmed",
            "Aliases can deliver mail to it now. You can close this page.",
            "This mailbox is confirmed already",
        ),
        Action.SEND: _Words(
            "Send this message?",
            (),
            "Send message",
            "The message is on its way",
            "You can close this page.",
            "This message was sent before",
        ),
    }
)

NOT_FOUND = Text("There is nothing here", ("The alias or message that this link was made for is not there any more.",))
DELETED = Text("This alias was deleted", ("Mail to it is refused already, so there is nothing to do.",))
FORGED = Text("This link is not valid", ("It may have been cut off or changed on its way. Use the link as it came.",))
EXPIRED = Text("This link has expired", ("Links work for a limited time. Use the one in a newer message.",))
TOO_MANY = Text("Too many requests", ("Please wait a minute, then try again.",))
TOO_LARGE = Text("The request is too large", ("Nothing was changed.",))
TOO_SLOW = Text("The request did not end", ("Nothing was changed. Please try again.",))
UNAVAILABLE = Text("Not available at the moment", ("Nothing was changed. Please try again in a minute.",))
NOT_ALLOWED = Text("Method not allowed", ("This address takes GET, HEAD and POST.",))
LOGIN = Text(
    "Please sign in",
    (
        "The owner of this alias wants links in mail to work only after signing in, and this page cannot do that.",
        "If you are the owner, change the alias where you manage your aliases.",
    ),
)


def ask(wish: Wish, sight: Sight) -> Text:
    """The page with the button, or without if there is nothing to do."""
    words = _WORDS[wish.action]
    text = Text(words.question, words.effect, _subject(wish, sight), words.button)
    if isinstance(sight, HeldSight):
        text = replace(text, paragraphs=_of_held(sight))
        if sight.state == "held" and sight.kept:
            return text
        return Text(words.nothing, (), sight.alias) if sight.state == "released" else _gone(sight)
    return text if _is_open(wish, sight) else replace(text, title=words.nothing, paragraphs=(), button="")


def done(wish: Wish, sight: Sight, *, changed: bool, undo: Wish | None) -> Text:
    """After the button. sight: as it was before; undo: what a button would take back, None for no button."""
    words = _WORDS[wish.action]
    text = Text(words.done, (words.result,), _subject(wish, sight))
    if not changed:
        return replace(text, title=words.nothing, paragraphs=())
    return text if undo is None else replace(text, button=_WORDS[undo.action].undo, undoes=True)


def invalid(problem: str) -> Text:
    """A genuine link that asks for what cannot be. problem: a clause without a full stop."""
    return Text("This cannot be done", (f"Nothing was changed: {problem}.",))


def _subject(wish: Wish, sight: Sight) -> str:
    if wish.entry is not None:
        return wish.entry.value
    return sight.alias if isinstance(sight, HeldSight) else sight.address


def _is_open(wish: Wish, sight: Sight) -> bool:
    """Whether the wish is still to be fulfilled."""
    match sight, wish.action:
        case AliasSight(), Action.DEACTIVATE:
            return sight.state == "active"
        case AliasSight(), Action.ACTIVATE:
            return sight.state == "inactive"
        case AliasSight(), Action.RESTORE:
            return sight.state == "deleted"
        case AliasSight(), Action.BLOCK_EMAIL | Action.BLOCK_DOMAIN:
            return not sight.listed
        case AliasSight(), Action.UNBLOCK:
            return sight.listed
        case AliasSight(), _:
            return sight.state != "deleted"
        case HeldSight(), _:
            return sight.state == "held"
        case _:
            return not sight.verified or sight.failing


def _of_held(sight: HeldSight) -> tuple[str, ...]:
    when = f"{sight.held_at.day} {sight.held_at:%B %Y at %H:%M} UTC"
    if sight.type is EmailType.FORWARD:
        return (
            f"It came for this alias on {when} and was kept back as suspicious.",
            "Sent, it is delivered as usual. Be careful with its links and attachments.",
        )
    if sight.kind == "unauthorised":
        return (
            f"It was written through this alias on {when} and kept back, because it could not be proved who wrote it.",
            "Only send it if you wrote it. Whoever it is addressed to sees the alias, not your own address.",
        )
    return (f"It was written through this alias on {when} and kept back.", "Only send it if you are sure.")


def _gone(sight: HeldSight) -> Text:
    return Text("This message is gone", ("It was discarded, or only a record of it was kept.",), sight.alias)
