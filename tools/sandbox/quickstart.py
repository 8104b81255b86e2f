"""tools/quickstart: a miniature internet with the product in it.

tools/quickstart [start]                 build it or bring it back, then show a conversation through an alias, a message
                                         that only passes, one that bounces, one that is encrypted, an alias that is
                                         made over HTTP, and one that somebody without an account asks for
tools/quickstart stop                    end everything; mail, database and credentials stay for the next start
tools/quickstart remove                  end everything and delete it
tools/quickstart status                  what runs
tools/quickstart send FROM TO… [FILE]    send FILE (or a sample) as a neighbour would
tools/quickstart reload-dns              serve the edited zone file
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tools.sandbox import world
from tools.sandbox.places import CHECKOUT, ELSEWHERE
from tools.sandbox.process import Trouble
from tools.sandbox.sandbox import Sandbox
from tools.sandbox.sender import Reply
from tools.sandbox.signup import ask_line, confirm_line, signup
from tools.sandbox.story import CURL, SENDER, Story

ROOT = CHECKOUT / "var" / "quickstart"
_REVERSE = "shop+news=shop.example@alias.example"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def start() -> int:
    """Build or bring back, then show mail. 0 if all arrived as it should."""
    began = time.monotonic()
    say(f"sandbox in {ROOT}")
    with _alone():
        sandbox = world.up(ROOT, say)
    say(f"  {time.monotonic() - began:5.1f} s  everything runs\n")
    story = Story(sandbox, print)
    told = [
        story.conversation(),
        story.untouched(),
        story.bounce(),
        story.encrypted(),
        story.over_http(),
        signup(story),
    ]
    print(_directions(sandbox))
    return 0 if all(told) else 1


def _directions(sandbox: Sandbox) -> str:
    variables = world.environment(sandbox)
    width = max(map(len, variables))
    listed = "\n".join(f"  {name:<{width}}  {value}" for name, value in variables.items())
    asked = ask_line("subscribe", name="tea", domain=world.SHARED_DOMAIN, to=world.PLAIN_MAILBOX)
    return f"""
It stays up until `tools/quickstart stop`. All of this is in {sandbox.places.env} for scripts:
{listed}

Try:
  tools/quickstart send {SENDER} {world.DEMO_ALIAS} {world.PLAIN_ALIAS}
  tools/quickstart send {world.MAILBOX} {_REVERSE}
  . {_short(sandbox.places.env)} && .venv/bin/mailrelay alias show {world.DEMO_ALIAS}
  . {_short(sandbox.places.env)} && {CURL}
  . {_short(sandbox.places.env)} && {asked}
  . {_short(sandbox.places.env)} && {confirm_line("CODE")}   # that of the newest mail in the folder below
  ls {_short(sandbox.places.outside)}
Logs: {_short(sandbox.places.log)}, {_short(sandbox.postfix.maillog)}"""


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def stop() -> int:
    """End everything; what it made stays, so that the next start is quick and finds it."""
    with _alone():
        if not _built():
            say("stopped")
            return 0
        sandbox = Sandbox(ROOT)
        sandbox.stop()
    say(f"stopped; {_kept(sandbox)}")
    return 0


def _kept(sandbox: Sandbox) -> str:
    folders = dict.fromkeys(str(path.resolve()) for path in (ROOT, sandbox.places.run))
    inside = [folder for folder in folders if not folder.startswith(f"{ROOT.resolve()}/")]
    return f"mail, database and credentials stay in {' and '.join(inside)} until `tools/quickstart remove`"


def remove() -> int:
    """End everything and delete it, also what had to be outside the checkout."""
    with _alone():
        if _built():
            Sandbox(ROOT).discard()
    with suppress(OSError):
        ELSEWHERE.rmdir()  # others of this host may have theirs in it
    say("removed")
    return 0


def status() -> int:
    """One line per part. 0 if all run, 3 if not (as init scripts have it)."""
    if not _built():
        say(f"there is no sandbox in {ROOT}; `tools/quickstart` builds one")
        return 3
    sandbox = Sandbox(ROOT)
    states = sandbox.states()
    width = max(map(len, states))
    print("\n".join(f"{name:<{width}}  {state}" for name, state in states.items()))
    print(f"{'queued':<{width}}  {sandbox.postfix.queued()} messages")
    say(_kept(sandbox))
    return 0 if all(state == "running" for state in states.values()) else 3


def send(arguments: list[str]) -> int:
    """FROM TO… [FILE]: the last word is a file if there is one of that name. 0 if every recipient was accepted."""
    if len(arguments) < 2:
        say("usage: tools/quickstart send FROM TO... [FILE]")
        return 2
    sender, *rest = arguments
    file = rest.pop() if "@" not in rest[-1] or Path(rest[-1]).is_file() else None
    if not rest:
        say("usage: tools/quickstart send FROM TO... [FILE]")
        return 2
    content = None
    if file is not None:
        try:
            content = Path(file).read_bytes() if file != "-" else sys.stdin.buffer.read()
        except OSError as error:
            say(f"{file}: {error.strerror}")
            return 2
    sandbox = _running_sandbox()

    def tell(reply: Reply) -> None:
        print(reply, flush=True)

    mailer = sandbox.mailer
    dispatch = type(mailer)(mailer.smtp, mailer.keys, tell).send(sender.strip("<>"), rest, content)
    return 0 if dispatch.accepted else 1


def reload_dns() -> int:
    """Serve the edited zone."""
    _running_sandbox().reload_dns()
    say("the name server serves the zone as it is in the file")
    return 0


def _running_sandbox() -> Sandbox:
    sandbox = Sandbox(ROOT) if _built() else None
    if sandbox is None or sandbox.postfix.pid is None:
        raise Trouble("the sandbox does not run: start it with tools/quickstart")
    return sandbox


def _built() -> bool:
    return (ROOT / "sandbox.json").exists()


@contextmanager
def _alone() -> Iterator[None]:
    """One start or stop at a time."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another tools/quickstart is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    verbs: dict[str, Callable[[], int]] = {
        "start": start,
        "stop": stop,
        "remove": remove,
        "status": status,
        "reload-dns": reload_dns,
        "send": lambda: send(arguments[1:]),
    }
    name = arguments[0] if arguments else "start"
    if name not in verbs or (name != "send" and len(arguments) > 1):
        print(__doc__, file=sys.stdout if name in ("-h", "--help", "help") else sys.stderr)
        return 0 if name in ("-h", "--help", "help") else 2
    if os.geteuid() != 0:
        say("quickstart: Postfix and PostgreSQL of the sandbox need root to start; run it as root")
        return 1
    try:
        return verbs[name]()
    except Trouble as error:
        say(f"quickstart: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
