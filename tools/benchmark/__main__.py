"""tools/bench: measure and print. Exit code 1: a message was lost or doubled, or something did not run; 2: usage."""

import argparse
import fcntl
import json
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from tools.benchmark import footprint, policy, population, profiling, systems
from tools.benchmark.mail import Meter, Series
from tools.benchmark.population import Population
from tools.benchmark.product import Product
from tools.benchmark.quiet import Patience
from tools.benchmark.report import Report
from tools.benchmark.systems import SrsDaemon, System
from tools.benchmark.traffic import SESSIONS, Sink
from tools.sandbox import ports
from tools.sandbox.places import CHECKOUT
from tools.sandbox.postfix import Instance
from tools.sandbox.process import Trouble
from tools.sandbox.sandbox import ROLES, Sandbox

_FOLDER = CHECKOUT / "var" / "bench"
_OTHERS = (systems.PLAIN, systems.TWO_PASSES, systems.CLASSIC_SET_UP)
_SIZES = (4096, 102400)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    options = _options()
    if options.messages > options.aliases or options.large_messages > options.aliases:
        say("tools/bench: there must be an alias for each message of a run: raise --aliases")
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
            with _cleared():
                report = _measure(options)
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
    parser.add_argument("verb", nargs="?", choices=("all", "mail", "policy", "memory"), default="all")
    parser.add_argument("--messages", type=_count, default=2000, metavar="N", help="of 4 KB in a run (2000)")
    parser.add_argument("--large-messages", type=_count, default=400, metavar="N", help="of 100 KB in a run (400)")
    parser.add_argument("--repeat", type=_count, default=3, metavar="N", help="runs of each; the median counts (3)")
    parser.add_argument("--aliases", type=_aliases, default=100_000, metavar="N", help="in the tables (100000)")
    parser.add_argument(
        "--patience", type=float, default=0.0, metavar="SECONDS", help="spent on waiting for a quiet machine (0)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument(
        "--profile", choices=ROLES, help="run the role under cProfile, measure mailrelay alone, and show its hot spots"
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


@contextmanager
def _cleared() -> Iterator[None]:
    """Nothing of an earlier run before, and nothing of this one after."""
    _tear_down()
    try:
        yield
    finally:
        say("tearing down")
        _tear_down()


def _tear_down() -> None:
    if not _FOLDER.exists():
        return
    sandbox = Sandbox(_FOLDER)
    for key in _OTHERS:
        Instance(sandbox.places.run / key).stop()
    sandbox.stop()
    shutil.rmtree(sandbox.places.run)
    shutil.rmtree(_FOLDER, ignore_errors=True)


def _measure(options: argparse.Namespace) -> Report:
    per_block = max(options.messages, options.large_messages)
    people = Population(options.aliases, per_block)
    say("setting up")
    patience = Patience(options.patience)
    product = Product(_FOLDER, people, options.profile, say)
    report = Report({"aliases": people.aliases, "accounts": population.ACCOUNTS, "sessions": SESSIONS})
    if options.verb in ("all", "memory"):
        say("memory")
        report.footprints += footprint.idle(product)
    if options.verb in ("all", "mail"):
        _measure_mail(options, product, people, patience, report)
    if options.verb in ("all", "policy"):
        say("policy service")
        report.answers += policy.measure(product, people, patience, say)
    if options.profile:
        product.start(())  # it writes its figures when it ends
        report.remarks.append(f"{options.profile} ran under cProfile: its figures and all rates are far from the truth")
        print(profiling.hot_spots(product.profile_file, options.functions))
    return report


def _measure_mail(
    options: argparse.Namespace, product: Product, people: Population, patience: Patience, report: Report
) -> None:
    with ExitStack() as stack:
        sink = Sink(ports.pick(1)[0])
        stack.callback(sink.close)
        found = [product.join(sink.port)] if options.profile else _all_systems(product, people, sink.port, stack)
        meter = Meter(people, sink, product.sandbox.places.log, say, patience)
        batches = list(zip((options.messages, options.large_messages), _SIZES, strict=True))
        say("warming up")
        meter.warm_up(found, [(max(SESSIONS, messages // 5), octets) for messages, octets in batches])
        for messages, octets in batches:
            say(f"{octets // 1024} KB, {messages} messages")
            report.mail += meter.measure(found, messages, octets, options.repeat)
        report.footprints.append(footprint.now(product, "after all mail"))
        report.remarks += _remarks(report.mail)
        _check_ledger(product)


def _all_systems(product: Product, people: Population, sink_port: int, stack: ExitStack) -> list[System]:
    run = product.sandbox.places.run
    population.fill_classic(product.sandbox.postgres, people)
    srs = SrsDaemon(run)
    stack.callback(srs.close)
    return [
        systems.plain(run / systems.PLAIN, sink_port),
        systems.two_passes(run / systems.TWO_PASSES, sink_port),
        systems.classic(run / systems.CLASSIC_SET_UP, sink_port, product.sandbox.postgres, srs),
        product.join(sink_port),
    ]


def _remarks(mail: Sequence[Series]) -> list[str]:
    found = []
    for series in mail:
        where = f"{series.octets // 1024} KB, {series.system.title}"
        if deferred := sum(run.deferred for run in series.runs):
            found.append(f"{where}: {deferred} deliveries were deferred and tried again")
        found += [f"{where}: Postfix said {text}" for text in dict.fromkeys(w for r in series.runs for w in r.warnings)]
    return found


def _check_ledger(product: Product) -> None:
    """The product's own books must say the same as the log: every copy was queued or delivered."""
    others = {name: count for name, count in product.outcomes().items() if name not in ("queued", "delivered")}
    if others:
        raise Trouble(f"the ledger knows of other outcomes than deliveries: {others}")


if __name__ == "__main__":
    sys.exit(main())
