"""tools/bench: measure and print. Exit code 1: a message was lost or doubled, or something did not run; 2: usage."""

import argparse
import fcntl
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from tools.benchmark import policy
from tools.benchmark.ground import Ground, cleared
from tools.benchmark.measure import Measurement, Wish
from tools.benchmark.population import Population
from tools.benchmark.quiet import Patience
from tools.benchmark.report import Report
from tools.benchmark.systems import FULL, RULED, TITLES
from tools.sandbox.places import CHECKOUT
from tools.sandbox.process import Trouble
from tools.sandbox.sandbox import ROLES

_FOLDER = CHECKOUT / "var" / "bench"
_VERBS = (
    "memory",
    "mail",
    "milter",
    "policy",
    "bans",
    "encryption",
    "bounces",
    "failed",
    "api",
)  # in their order


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    options = _options()
    if options.messages > options.aliases or options.large_messages > options.aliases:
        say("tools/bench: there must be an alias for each message of a run: raise --aliases")
        return 2
    keys = _keys(options)
    if options.profile == "milter" and not {FULL, RULED} & set(keys):
        say(f"tools/bench: only {FULL} has a milter")
        return 2
    signal.signal(signal.SIGTERM, _leave)
    _FOLDER.parent.mkdir(exist_ok=True)
    with (_FOLDER.parent / "bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("tools/bench: another one runs, and two at once would measure each other")
            return 1
        try:
            with cleared(_FOLDER, say) as ground:
                report = _measure(options, keys, ground)
        except Trouble as error:
            say(f"tools/bench: {error}")
            return 1
        except KeyboardInterrupt:
            say("tools/bench: aborted")
            return 130
    print(report.text(), end="")
    if options.json:
        options.json.write_text(json.dumps(report.document(), indent=1) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench", description="Compare mailrelay with plain Postfix in one run.")
    parser.add_argument("verb", nargs="?", choices=("all", *_VERBS), default="all")
    parser.add_argument("--messages", type=_count, default=2000, metavar="N", help="of 4 KB in a run (2000)")
    parser.add_argument("--large-messages", type=_count, default=400, metavar="N", help="of 100 KB in a run (400)")
    parser.add_argument("--bounces", type=_count, default=10_000, metavar="N", help="reports of a flood (10000)")
    parser.add_argument("--failed", type=_count, default=1_000_000, metavar="N", help="rows of a list (1000000)")
    parser.add_argument("--api", type=_count, default=1_000_000, metavar="N", help="aliases that it knows (1000000)")
    parser.add_argument("--bans", type=_count, default=100_000, metavar="N", help="that are in force (100000)")
    parser.add_argument("--repeat", type=_count, default=3, metavar="N", help="runs of each; the median counts (3)")
    parser.add_argument("--aliases", type=_aliases, default=100_000, metavar="N", help="in the tables (100000)")
    parser.add_argument(
        "--patience", type=float, default=0.0, metavar="SECONDS", help="spent on waiting for a quiet machine (0)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument(
        "--only", action="append", choices=tuple(TITLES), metavar="SYSTEM", help=f"of {', '.join(TITLES)}; repeatable"
    )
    parser.add_argument(
        "--profile",
        choices=ROLES,
        help=f"show the role's hot spots (py-spy); of systems only {FULL}, unless you say so",
    )
    parser.add_argument("--functions", type=_count, default=25, metavar="N", help="hot spots to show (25)")
    return parser.parse_args()


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def _aliases(text: str) -> int:
    if (value := int(text)) < policy.ALIASES_NEEDED:
        raise argparse.ArgumentTypeError(f"at least {policy.ALIASES_NEEDED}")
    return value


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _keys(options: argparse.Namespace) -> list[str]:
    """Of the systems to measure, in their order."""
    wanted = options.only or ([FULL] if options.profile else TITLES)
    return [key for key in TITLES if key in wanted]


def _measure(options: argparse.Namespace, keys: list[str], ground: Ground) -> Report:
    messages = (options.messages, options.large_messages)
    wish = Wish(
        messages,
        options.repeat,
        keys,
        options.profile,
        options.functions,
        options.bounces,
        options.failed,
        options.api,
        options.bans,
    )
    people = Population(options.aliases, max(messages))
    measurement = Measurement(wish, ground, people, Patience(options.patience), say)
    for verb in _VERBS if options.verb == "all" else (options.verb,):
        getattr(measurement, verb)()
    return measurement.report


if __name__ == "__main__":
    sys.exit(main())
