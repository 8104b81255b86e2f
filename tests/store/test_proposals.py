"""Proposed domains on a real database: who looks at them, how many at once, and what two of them make of one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.domaincheck import Report
from mailrelay.core.errors import Unavailable
from mailrelay.core.naming import ServiceNames
from mailrelay.core.notices import Code
from mailrelay.core.onboarding import TYPES, Look, RequestType, Seen, Wanted, examine_mail, mail_questions
from mailrelay.core.webcheck import Hosting
from mailrelay.flows.onboarding import AT_ONCE, Onboarding, ProposalChecks
from mailrelay.store.database import Database
from mailrelay.store.proposals import Proposals
from tests.store.world import Connection, value

SERVICE = ServiceNames("relay.example", "bounces.relay.example", "srs.relay.example", "mx.relay.example")
WANTED = Wanted(SERVICE, Hosting("www.relay.example"))
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    opened = Database(dsn, 8, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def store(database: Database) -> Proposals:
    return Proposals(database, SERVICE, ("admin@inbox.example", "other@inbox.example"))


class Checker:
    """Has a verdict on every domain, and remembers how many it looked at, and at once."""

    def __init__(self, right: bool | None = False) -> None:
        self.wanted = WANTED
        self.right = right
        self.looked: list[str] = []
        self.at_once = self.most = 0
        self.broken: set[str] = set()

    async def look(self, target: str, kind: RequestType) -> Look:
        self.looked.append(target)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if target in self.broken:
            raise Unavailable("a mistake")
        return Look(report(target, self.right), [(9, 9)])


def report(target: str, right: bool | None) -> Report:
    found = examine_mail(target, WANTED, dict.fromkeys(mail_questions(target, WANTED))).findings
    state = {True: "right", False: "missing", None: "unknown"}[right]
    return Report(target, tuple(type(one)(one.key, one.purpose, one.publish, state, "So.") for one in found))  # type: ignore[arg-type]


def story(store: Proposals, checker: Checker) -> Onboarding:
    return Onboarding(store, checker, MINUTE, DAY)


def worker(store: Proposals, checker: Checker, dice: float = 0.0) -> ProposalChecks:
    return ProposalChecks(story(store, checker), lambda: dice)


async def propose(conn: Connection, count: int, minutes: float = 0) -> None:
    await conn.execute(
        """insert into dns_request (target, type, expires_at, next_check_at)
           select 'd' || n || '.example', 'EMAIL', %s, %s from generate_series(1, %s) n""",
        (NOW + DAY, NOW + minutes * MINUTE, count),
    )


async def states(conn: Connection) -> Sequence[str]:
    rows = await (await conn.execute("select distinct status from dns_request order by 1")).fetchall()
    return [row[0] for row in rows]


async def test_each_is_looked_at_once_a_minute(store: Proposals, conn: Connection) -> None:
    await propose(conn, 3)
    checker = Checker()
    look = worker(store, checker)
    for seconds in (0, 5, 30, 59):
        assert await look(NOW + seconds * SECOND) == 0
    assert len(checker.looked) == 3
    await look(NOW + 60 * SECOND)
    assert len(checker.looked) == 6


async def test_ten_at_once_at_most_and_all_in_the_end(store: Proposals, conn: Connection) -> None:
    await propose(conn, 120)
    checker = Checker()
    look = worker(store, checker)
    for _ in range(3):
        await look(NOW)
    assert (len(checker.looked), len(set(checker.looked)), checker.most) == (120, 120, AT_ONCE)


async def test_several_workers_share_them(store: Proposals, conn: Connection) -> None:
    await propose(conn, 60)
    checkers = [Checker() for _ in range(4)]
    await asyncio.gather(*(worker(store, one)(NOW) for one in checkers))
    looked = [target for one in checkers for target in one.looked]
    assert len(looked) == len(set(looked)) == 60


async def test_after_a_start_a_worker_waits_for_up_to_five_seconds(store: Proposals, conn: Connection) -> None:
    await propose(conn, 1)
    checker = Checker()
    look = worker(store, checker, dice=0.8)
    for seconds in (0, 3.9):
        await look(NOW + seconds * SECOND)
    assert checker.looked == []
    await look(NOW + 4 * SECOND)
    assert checker.looked == ["d1.example"]


async def test_trouble_with_one_is_none_of_the_others(store: Proposals, conn: Connection) -> None:
    await propose(conn, 3)
    checker = Checker(right=True)
    checker.broken = {"d2.example"}
    with pytest.raises(Unavailable, match="1 of 3 proposals"):
        await worker(store, checker)(NOW)
    rows = await (await conn.execute("select target, status from dns_request order by id")).fetchall()
    assert rows == [("d1.example", "ACTIVE"), ("d2.example", "PENDING"), ("d3.example", "ACTIVE")]


async def test_they_end_with_their_time_once_and_operators_hear_of_it(store: Proposals, conn: Connection) -> None:
    await propose(conn, 2)
    looks = [worker(store, Checker()) for _ in range(3)]
    ended = await asyncio.gather(*(look(NOW + DAY) for look in looks))
    assert (sum(ended), await states(conn)) == (2, ["EXPIRED"])
    assert await value(conn, "select count(*) from job where payload ->> 'code' = %s", Code.DNE.value) == 4
    assert await value(conn, "select count(*) from audit where action = 'dns_request.end'") == 2


async def test_nothing_is_looked_at_when_its_time_is_over(store: Proposals, conn: Connection) -> None:
    await propose(conn, 1)
    checker = Checker(right=True)
    await worker(store, checker)(NOW + DAY)
    assert (checker.looked, await states(conn)) == ([], ["EXPIRED"])


async def test_the_next_look_is_not_after_the_end(store: Proposals, conn: Connection) -> None:
    await propose(conn, 1)
    await worker(store, Checker())(NOW + DAY - 10 * SECOND)
    assert await value(conn, "select next_check_at from dns_request") == NOW + DAY


async def test_of_many_looks_at_one_domain_one_approves_it(store: Proposals, conn: Connection) -> None:
    await propose(conn, 1)
    (request,) = await store.of_target("d1.example")
    seen = Seen(True, "", {"ok": True}, NOW, NOW + MINUTE)
    settled = await asyncio.gather(*(store.settle(request, seen, "worker") for _ in range(10)))
    assert sum(one.status == "ACTIVE" for one in settled) == 1
    assert await value(conn, "select count(*) from domain where name = 'd1.example'") == 1
    assert await value(conn, "select count(*) from audit where action = 'domain.add'") == 1


async def test_both_types_of_one_domain_that_pass_at_once_make_one_domain(store: Proposals, conn: Connection) -> None:
    asked = await asyncio.gather(*(store.ask("new.example", kind, NOW, DAY, "public") for kind in TYPES))
    seen = Seen(True, "", {"ok": True}, NOW, NOW + MINUTE)
    await asyncio.gather(*(store.settle(request, seen, "worker") for request in asked))
    query = "select mx_verified_at is not null and ui_verified_at is not null from domain where name = 'new.example'"
    assert await value(conn, query) is True
    assert await states(conn) == ["ACTIVE"]


async def test_many_who_ask_at_once_make_one_request(store: Proposals, conn: Connection) -> None:
    asked = await asyncio.gather(*(store.ask("new.example", "EMAIL", NOW, DAY, "public") for _ in range(20)))
    assert len({one.id for one in asked}) == 1
    assert await value(conn, "select count(*) from dns_request") == 1
    assert await value(conn, "select count(*) from job where payload ->> 'code' = %s", Code.DNR.value) == 2


async def test_what_was_settled_meanwhile_is_not_touched(store: Proposals, conn: Connection) -> None:
    await propose(conn, 1)
    (request,) = await store.of_target("d1.example")
    await conn.execute("update dns_request set status = 'FAILED', fail_reason = 'An administrator said so.'")
    seen = Seen(True, "", {"ok": True}, NOW, NOW + MINUTE)
    assert (await store.settle(request, seen, "worker")).status == "PENDING"
    assert await states(conn) == ["FAILED"]
    assert await value(conn, "select count(*) from domain where name = 'd1.example'") == 0


@pytest.mark.parametrize("change", ["target = 'other.example'", "type = 'UI'"])
async def test_a_look_at_something_else_approves_nothing(store: Proposals, conn: Connection, change: str) -> None:
    """Administrators may change a request while its target is looked at."""
    await propose(conn, 1)
    (request,) = await store.of_target("d1.example")
    await conn.execute(f"update dns_request set {change}".encode())
    await store.settle(request, Seen(True, "", {"ok": True}, NOW, NOW + MINUTE), "worker")
    assert await states(conn) == ["PENDING"]
    assert await value(conn, "select count(*) from domain where name in ('d1.example', 'other.example')") == 0


@pytest.mark.parametrize(
    ("change", "status"),
    [("scope = 'both'", "FAILED"), ("revoked_at = now()", "ACTIVE"), ("expires_at = now() - interval '1 h'", "ACTIVE")],
)
async def test_what_was_banned_meanwhile_is_not_approved(
    store: Proposals, conn: Connection, change: str, status: str
) -> None:
    await store.ask("new.part.example", "EMAIL", NOW, DAY, "public")
    await conn.execute("insert into ban (type, value) values ('domain', 'part.example')")
    await conn.execute(f"update ban set {change}".encode())
    (request,) = await store.of_target("new.part.example")
    settled = await store.settle(request, Seen(True, "", {"ok": True}, NOW, NOW + MINUTE), "worker")
    assert settled.status == status
    assert ("banned" in (settled.fail_reason or "")) is (status == "FAILED")


async def test_silence_keeps_the_last_result(store: Proposals, conn: Connection) -> None:
    await propose(conn, 1)
    await worker(store, Checker(right=False))(NOW)
    await worker(store, Checker(right=None))(NOW + MINUTE)
    assert await value(conn, "select last_result ->> 'checked_at' from dns_request") == "2026-11-21T12:00:00.000Z"
    assert await value(conn, "select last_checked_at from dns_request") == NOW + MINUTE


async def test_approval_forgives_earlier_failures(store: Proposals, conn: Connection) -> None:
    await conn.execute("insert into domain (name) values ('d1.example')")
    await conn.execute(
        """insert into dns_recheck (domain_id, type, status, consecutive_failures)
           select id, 'EMAIL', 'INVALID', 3 from domain where name = 'd1.example'"""
    )
    await propose(conn, 1)
    await worker(store, Checker(right=True))(NOW)
    rows = await (
        await conn.execute("select type, status, consecutive_failures from dns_recheck order by 1")
    ).fetchall()
    assert rows == [("EMAIL", "OK", 0), ("SENDING", "OK", 0)]
