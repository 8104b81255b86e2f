"""Builds what is to be measured, measures it, and puts the figures together."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from statistics import median

from tools.benchmark import (
    api,
    bans,
    encryption,
    failures,
    footprint,
    letter,
    milter,
    policy,
    population,
    profiling,
    systems,
)
from tools.benchmark import bounces as reports
from tools.benchmark.ground import Ground
from tools.benchmark.mail import Meter, Series
from tools.benchmark.population import Population
from tools.benchmark.product import SETUPS, Product
from tools.benchmark.quiet import Patience
from tools.benchmark.report import Report
from tools.benchmark.systems import CLASSIC_SET_UP, FULL, PLAIN, PRODUCT, RULED, TWO_PASSES, SrsDaemon, System
from tools.benchmark.traffic import SESSIONS, Sink
from tools.sandbox import ports
from tools.sandbox.postgres import Cluster
from tools.sandbox.process import Trouble

SIZES = (4096, 102400)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted. messages: in a run, for each of SIZES. keys: of the systems. profile: a role, or none.

    bounces: reports of a flood; failed: records in a list; api: aliases in the table; bans: in theirs.
    """

    messages: tuple[int, ...]
    repeat: int
    keys: Sequence[str]
    profile: str | None
    functions: int
    bounces: int
    failed: int
    api: int
    bans: int = 100_000


@dataclass(slots=True)
class Measurement:
    """Each method measures one thing and adds it to the report. Products are built when they are wanted."""

    wish: Wish
    ground: Ground
    people: Population
    patience: Patience
    say: Callable[[str], None]
    report: Report = field(init=False)
    _products: dict[str, Product] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.report = Report({"aliases": self.people.aliases, "accounts": population.ACCOUNTS, "sessions": SESSIONS})

    def memory(self) -> None:
        """To come first: pages that an idle process shares with one of another product would be counted by half."""
        product = self._product(FULL)
        self.say("memory")
        self.report.footprints += footprint.idle(product)

    def mail(self) -> None:
        """Batches through all systems."""
        with ExitStack() as stack:
            sink = Sink(ports.pick(1)[0])
            stack.callback(sink.close)
            found = [self._system(key, sink.port, stack) for key in self.wish.keys]
            letters = {octets: letter.write(octets, self.ground.keys, self.ground.run) for octets in SIZES}
            people = {key: self.people.ruled() if key == RULED else self.people for key in self.wish.keys}
            meter = Meter(people, sink, letters, self.ground.log, self.say, self.patience)
            batches = list(zip(self.wish.messages, SIZES, strict=True))
            self.say("warming up")
            meter.warm_up(found, [(max(SESSIONS, messages // 5), octets) for messages, octets in batches])
            of = {_setup(key): None for key in self.wish.keys}
            with self._profiled(FULL if FULL in of else PRODUCT):
                for messages, octets in batches:
                    self.say(f"{octets // 1024} KB, {messages} messages")
                    # What rules cost does not grow with the message.
                    measured = [system for system in found if system.key != RULED or octets == SIZES[0]]
                    self.report.mail += meter.measure(measured, messages, octets, self.wish.repeat)
            self.report.remarks += _remarks(self.report.mail)
            for key in of:
                if key in SETUPS:
                    self._after_mail(self._products[key])

    def _after_mail(self, product: Product) -> None:
        of = f"{systems.TITLES[product.setup.key]}, after all mail"
        self.report.footprints.append(footprint.now(product, of))
        product.check_books()

    def policy(self) -> None:
        """Answers of the policy service."""
        product = self._product(FULL)
        self.say("policy service")
        product.start()  # with nothing in its memory
        with self._profiled(FULL):
            self.report.answers += policy.measure(product, self.people, self.patience, self.say)

    def milter(self) -> None:
        """How long senders wait for the milter."""
        product = self._product(FULL)
        self.say("milter")
        letters = {octets: letter.signed(octets, self.ground.keys) for octets in SIZES}
        with self._profiled(FULL):
            self.report.latencies += milter.measure(product, self.people, letters, self.patience, self.say)

    def bans(self) -> None:
        """What a hundred thousand bans cost. They stay, and hit nobody."""
        product = self._product(FULL)
        self.say(f"bans, {self.wish.bans} of them")
        self.report.stands += bans.measure(product, self.people, self.wish.bans, self.patience, self.say)

    def encryption(self) -> None:
        """Copies for people with a key, without Postfix and database."""
        self.say("encryption")
        self.report.encryptions.append(encryption.measure(self.say))

    def bounces(self) -> None:
        """A flood of reports alone, then mail alone and beside some of them."""
        product = self._product(PRODUCT)
        self.say(f"bounces, {self.wish.bounces} of them")
        found = reports.copies(product, self.wish.bounces + reports.WARM_UP)
        with self._profiled(PRODUCT):
            absorbed = reports.absorbed(product, found)
        recorded = reports.counted(product)
        self.say(f"  {self.wish.bounces / absorbed[0]:.0f}/s")
        if recorded[0] != len(found):
            raise Trouble(f"{len(found)} copies came back, and {recorded[0]} of them are known to have")
        alone, beside = self._beside(product)
        flood = reports.Flood(self.wish.bounces, *absorbed, *recorded, alone, beside, reports.PACE)
        self.report.floods.append(flood)
        if not flood.failed:
            self.report.remarks.append("bounces became no failed deliveries")

    def _beside(self, product: Product) -> tuple[float, float]:
        """Messages a second, without reports and with."""
        messages, octets = self.wish.messages[0], SIZES[0]
        with ExitStack() as stack:
            sink = Sink(ports.pick(1)[0])
            stack.callback(sink.close)
            system = product.join(sink.port)
            letters = {octets: letter.write(octets, self.ground.keys, self.ground.run)}
            meter = Meter({system.key: self.people}, sink, letters, self.ground.log, self.say, self.patience)
            meter.warm_up([system], [(max(SESSIONS, messages // 5), octets)])
            rates: list[list[float]] = [[], []]
            for _ in range(self.wish.repeat):  # in turns, as the machine has slow minutes
                rates[0].append(meter.measure([system], messages, octets, 1)[0].rate)
                rates[1].append(self._rate_beside(product, meter, system, messages, rates[0][-1]))
            return median(rates[0]), median(rates[1])

    def _rate_beside(self, product: Product, meter: Meter, system: System, messages: int, rate: float) -> float:
        """rate: as it was without; three times as many reports are ready as should be needed."""
        needed = round(3 * reports.PACE * (messages / rate + 10))
        sender = reports.Sender(
            product.sandbox.memory.ports["lmtp"], iter(reports.copies(product, needed)), reports.PACE
        )
        sender.start()
        try:
            found = meter.measure([system], messages, SIZES[0], 1)[0].rate
            if not sender.running():
                raise Trouble(f"{needed} reports were not enough for {messages} messages")
        finally:
            sender.stop()
        return found

    def failed(self) -> None:
        """The list of failed deliveries."""
        product = self._product(PRODUCT)
        self.say(f"failed list, {self.wish.failed} rows")
        self.report.lists.append(failures.measure(product, self.wish.failed, self.say))

    def api(self) -> None:
        """What clients of the addy.io API wait for. To come last: only its role runs afterwards."""
        product = self._product(PRODUCT)
        self.say(f"api, {self.wish.api} aliases")
        with self._profiled(PRODUCT):
            self.report.waits.append(api.measure(product, self.wish.api, self.say))

    # --- what is measured ------------------------------------------------------------------------------------------

    def _product(self, key: str) -> Product:
        if key not in self._products:
            self.say(f"setting up: {systems.TITLES[key]}")
            folder, setup = self.ground.root / key, SETUPS[key]
            people = [self.people]
            if key == FULL and RULED in self.wish.keys:
                people.append(self.people.ruled())
            self._products[key] = Product(setup, folder, people, self.ground.keys, self.say)
        return self._products[key]

    def _system(self, key: str, sink_port: int, stack: ExitStack) -> System:
        folder = self.ground.run / key
        if key == PLAIN:
            return systems.plain(folder, sink_port)
        if key == TWO_PASSES:
            return systems.two_passes(folder, sink_port)
        if key == CLASSIC_SET_UP:
            self.say(f"setting up: {systems.TITLES[key]}")
            folder.mkdir()
            cluster = Cluster(folder / "postgres")
            cluster.create()
            cluster.start()
            population.fill_classic(cluster, self.people)
            srs = SrsDaemon(folder)
            stack.callback(srs.close)
            return systems.classic(folder, sink_port, cluster, srs)
        return replace(self._product(_setup(key)).join(sink_port), key=key)

    def _profiled(self, key: str) -> AbstractContextManager[None]:
        role = self.wish.profile
        if role is None:
            return nullcontext()
        pid = self._product(key).pids()[role]
        return profiling.shown(pid, self.ground.root.with_name(f"profile-{role}.raw"), self.wish.functions)


def _setup(key: str) -> str:
    """The set-up in which a system is measured: its own, or that of another."""
    return FULL if key == RULED else key


def _remarks(mail: Sequence[Series]) -> list[str]:
    found = []
    for series in mail:
        where = f"{series.octets // 1024} KB, {series.system.title}"
        if deferred := sum(run.deferred for run in series.runs):
            found.append(f"{where}: {deferred} deliveries were deferred and tried again")
        found += [f"{where}: Postfix said {text}" for text in dict.fromkeys(w for r in series.runs for w in r.warnings)]
    return found
