"""Standing checks of domains on a real database: what is due, and what a check changes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailrelay.core.domaincheck import Expected, Report, examine, questions
from mailrelay.core.errors import Absent
from mailrelay.core.lookup import ABSENT, Answer, Mx
from mailrelay.core.naming import ServiceNames
from mailrelay.core.notices import Code, from_json
from mailrelay.core.recheck import Incident
from mailrelay.core.records import Named, NewDomain
from mailrelay.core.webcheck import Hosting, Trail, finding
from mailrelay.store.database import Database
from mailrelay.store.manage_domains import Domains
from mailrelay.store.rechecks import Change, DueDomain, Rechecks
from tests.store.world import ALIAS_EXAMPLE, JOHN, OWN_EXAMPLE, Connection, until_waiting, value

SERVICE = ServiceNames("relay.example", "bounces.relay.example", "srs.relay.example", "mx.relay.example")
KEY = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BY = "worker"


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    opened = Database(dsn, 8, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def store(database: Database) -> Rechecks:
    return Rechecks(database)


def report(name: str = "own.example", mx: str | None = "mx.relay.example", sending: bool | None = True) -> Report:
    """What DNS said. mx: where mail goes, '' for no record; sending: whether the other records are right. None: nobody
    answered."""
    expected = Expected(name, SERVICE, (("mr1", KEY),))
    answers: dict[Any, Answer | None] = dict.fromkeys(questions(expected), ABSENT if sending is False else None)
    answers[name, "MX"] = None if mx is None else Answer((Mx(10, mx),) if mx else ())
    if sending:
        answers[name, "TXT"] = Answer((b"v=spf1 a:mx.relay.example ~all",))
        answers[f"_dmarc.{name}", "TXT"] = Answer((b"v=DMARC1; p=none",))
        answers[f"mr1._domainkey.{name}", "TXT"] = Answer((KEY.encode(),))
    return examine(expected, answers)


RIGHT, WRONG, SILENT = report(), report(mx="mx.elsewhere.example", sending=False), report(mx=None, sending=None)


async def stamps(conn: Connection, domain: int = OWN_EXAMPLE) -> tuple[datetime | None, datetime | None]:
    query = "select mx_verified_at, sending_verified_at from domain where id = %s"
    row = await (await conn.execute(query.encode(), (domain,))).fetchone()
    assert row is not None
    return row[0], row[1]


async def stand(conn: Connection, domain: int = OWN_EXAMPLE) -> dict[str, tuple[Any, ...]]:
    query = "select type, status, consecutive_failures, alert_state, alert_count from dns_recheck where domain_id = %s"
    return {row[0]: row[1:] for row in await (await conn.execute(query.encode(), (domain,))).fetchall()}


async def told(conn: Connection) -> list[tuple[Code, int | None, Any]]:
    rows = await (await conn.execute("select payload from job where kind = 'notice' order by id")).fetchall()
    return [(one.code, one.account_id, dict(one.data)) for one in (from_json(row[0]) for row in rows)]


async def schedule(conn: Connection, minutes: float, domain: int = OWN_EXAMPLE, kinds: str = "EMAIL SENDING") -> None:
    await conn.execute(
        """insert into dns_recheck (domain_id, type, next_check_at) select %s, kind, %s from unnest(%s::text[]) kind""",
        (domain, NOW + minutes * MINUTE, kinds.split()),
    )


async def failed(store: Rechecks, *minutes: float, said: Report = WRONG, domain: int = OWN_EXAMPLE) -> list[Change]:
    """What the last of the checks changed."""
    changes: list[Change] = []
    for minute in minutes:
        changes = await store.record(domain, said, NOW + minute * MINUTE, 0.5, BY)
    return changes


async def test_what_is_right_gets_its_stamps_and_is_looked_at_daily(store: Rechecks, conn: Connection) -> None:
    changes = await store.record(OWN_EXAMPLE, RIGHT, NOW, 0.5, BY)
    assert changes == [Change("EMAIL", True, True), Change("SENDING", True, True)]
    assert await stamps(conn) == (NOW, NOW)
    assert await stand(conn) == {"EMAIL": ("OK", 0, "NONE", 0), "SENDING": ("OK", 0, "NONE", 0)}
    assert await value(conn, "select array_agg(distinct next_check_at) from dns_recheck") == [NOW + DAY]
    assert await store.record(OWN_EXAMPLE, RIGHT, NOW + DAY, 0.5, BY) == []
    assert await stamps(conn) == (NOW, NOW)  # of when it was found right
    assert await told(conn) == []


async def test_one_purpose_does_without_the_other(store: Rechecks, conn: Connection) -> None:
    await store.record(OWN_EXAMPLE, report(sending=False), NOW, 0.5, BY)
    assert await stamps(conn) == (NOW, None)
    await store.record(OWN_EXAMPLE, report(mx="", sending=True), NOW, 0.5, BY)
    assert await stamps(conn) == (NOW, NOW)  # the MX is missing for the first time


async def test_stamps_go_with_the_third_failure_and_the_owner_is_told_once(store: Rechecks, conn: Connection) -> None:
    await store.record(OWN_EXAMPLE, RIGHT, NOW - DAY, 0.5, BY)
    assert await failed(store, 0, 30) == []
    assert (await stamps(conn), await told(conn)) == ((NOW - DAY, NOW - DAY), [])
    assert await failed(store, 60) == [Change("EMAIL", False, True), Change("SENDING", False, True)]
    assert await stamps(conn) == (None, None)
    assert await stand(conn) == {"EMAIL": ("INVALID", 3, "DISABLED", 1), "SENDING": ("INVALID", 3, "DISABLED", 1)}
    assert await told(conn) == [
        (Code.DMI, JOHN, {"domain": "own.example", "found": "10 mx.elsewhere.example"}),
        (Code.DUS, JOHN, {"domain": "own.example", "reason": "dns_spf_missing"}),
    ]
    assert await failed(store, 90, 5000) == []
    assert len(await told(conn)) == 2
    details = await (await conn.execute("select actor, account_id, action, detail from audit order by id")).fetchall()
    assert details[-1] == ("worker", JOHN, "domain.check", {"for": "sending", "change": "withdrawn"})
    assert len(details) == 4


async def test_events_tell_of_stamps(store: Rechecks, conn: Connection) -> None:
    await conn.execute(
        "insert into webhook (account_id, url, secret, key_id, events) values (1, 'https://x.example', 'k', 'k', '{}')"
    )
    await store.record(OWN_EXAMPLE, RIGHT, NOW, 0.5, BY)
    await failed(store, 0, 30, 60)
    query = "select payload ->> 'mx_verified', payload ->> 'sending_verified' from outbox order by id"
    assert await (await conn.execute(query)).fetchall() == [
        ("true", "true"),
        ("false", "false"),
    ]


async def test_what_never_was_right_is_nobodys_news(store: Rechecks, conn: Connection) -> None:
    assert await failed(store, 0, 30, 60, 90) == []
    assert (await stamps(conn), await told(conn)) == ((None, None), [])
    assert await value(conn, "select count(*) from audit") == 0


async def test_silence_of_dns_takes_nothing(store: Rechecks, conn: Connection) -> None:
    await store.record(OWN_EXAMPLE, RIGHT, NOW - DAY, 0.5, BY)
    assert await failed(store, *range(0, 3000, 30), said=SILENT) == []
    assert await stamps(conn) == (NOW - DAY, NOW - DAY)
    assert await stand(conn) == {"EMAIL": ("OK", 0, "NONE", 0), "SENDING": ("OK", 0, "NONE", 0)}
    assert "DNS gave no answer" in await value(conn, "select last_error from dns_recheck where type = 'EMAIL'")
    assert await value(conn, "select last_result -> 0 ->> 'state' from dns_recheck where type = 'EMAIL'") == "right"


async def test_an_operators_word_holds_until_three_failures_after_it(
    store: Rechecks, database: Database, conn: Connection
) -> None:
    await Domains(database).verify("own.example", True, "cli:root")
    assert await failed(store, 0, 30) == []
    assert await failed(store, 60) != []
    await Domains(database).verify("own.example", True, "cli:root")
    assert None not in await stamps(conn)
    assert await failed(store, 90, 120) == []
    assert None not in await stamps(conn)
    assert len(await failed(store, 150)) == 2


async def test_a_word_about_mail_forgives_nothing_about_sending(
    store: Rechecks, database: Database, conn: Connection
) -> None:
    await store.record(OWN_EXAMPLE, RIGHT, NOW - DAY, 0.5, BY)
    await failed(store, 0, 30)
    await Domains(database).verify("own.example", False, "cli:root")
    assert await failed(store, 60) == [Change("SENDING", False, True)]


async def test_results_are_kept(store: Rechecks, conn: Connection) -> None:
    await store.record(OWN_EXAMPLE, RIGHT, NOW - DAY, 0.5, BY)
    await failed(store, 0, 30)
    query = """select last_checked_at, last_ok_at, failing_since, last_result -> 0 ->> 'state',
                      last_valid_result -> 0 ->> 'state', first_invalid_result -> 0 ->> 'state', last_error
               from dns_recheck where type = 'EMAIL'"""
    row = await (await conn.execute(query.encode())).fetchone()
    sentence = "Mail to own.example goes to mx.elsewhere.example, not to mx.relay.example."
    assert row == (NOW + 30 * MINUTE, NOW - DAY, NOW, "wrong", "right", "wrong", sentence)
    await store.record(OWN_EXAMPLE, RIGHT, NOW + DAY, 0.5, BY)
    row = await (await conn.execute(query.encode())).fetchone()
    assert row == (NOW + DAY, NOW + DAY, None, "right", "right", None, None)


async def test_a_domain_that_went_is_nothing(store: Rechecks, conn: Connection) -> None:
    assert await store.record(77, RIGHT, NOW, 0.5, BY) == []
    await schedule(conn, 0)
    await conn.execute("delete from domain where id = %s", (OWN_EXAMPLE,))
    assert await store.due(NOW, 10) == []


async def test_a_shared_domain_is_looked_at_from_when_it_was_right_once(store: Rechecks, conn: Connection) -> None:
    await conn.execute("update domain set mx_verified_at = %s where id = %s", (NOW - DAY, ALIAS_EXAMPLE))
    wrong = report("alias.example", mx="mx.elsewhere.example", sending=False)
    assert await failed(store, 0, 30, 60, 90, said=wrong, domain=ALIAS_EXAMPLE) == []
    assert (await stamps(conn, ALIAS_EXAMPLE), await stand(conn, ALIAS_EXAMPLE)) == ((NOW - DAY, None), {})
    changes = await store.record(ALIAS_EXAMPLE, report("alias.example", sending=False), NOW, 0.5, BY)
    assert (changes, list(await stand(conn, ALIAS_EXAMPLE))) == ([], ["EMAIL"])
    assert await failed(store, 0, 30, 60, said=wrong, domain=ALIAS_EXAMPLE) == [Change("EMAIL", False, False)]
    assert await told(conn) == []


OPERATOR = "admin@inbox.example"


async def test_operators_hear_of_each_grade_of_a_shared_domain(database: Database, conn: Connection) -> None:
    store = Rechecks(database, (OPERATOR,))
    await store.record(ALIAS_EXAMPLE, report("alias.example"), NOW - DAY, 0.5, BY)
    assert await told(conn) == []
    bad = report("alias.example", mx="mx.elsewhere.example")
    await failed(store, 0, 30, 60, 90, said=bad, domain=ALIAS_EXAMPLE)
    await store.record(ALIAS_EXAMPLE, report("alias.example"), NOW + DAY, 0.5, BY)
    words = [(code, data["address"], data["text"].partition(":")[0]) for code, _, data in await told(conn)]
    grades = ("WARNING", "DEGRADED", "DISABLED", "RECOVERED")
    assert words == [(Code.OPS, OPERATOR, grade) for grade in grades]
    (_, _, warning), *_ = await told(conn)
    for part in ("alias.example still gets mail here", "after 2 more", "mx.elsewhere.example", "10 mx.relay.example"):
        assert part in warning["text"]
    assert await stand(conn, ALIAS_EXAMPLE) == {"EMAIL": ("OK", 0, "NONE", 3), "SENDING": ("OK", 0, "NONE", 0)}


async def test_operators_hear_nothing_of_domains_that_are_not_switched_on(database: Database, conn: Connection) -> None:
    """Anybody can propose any number of them, and have them fail."""
    store = Rechecks(database, (OPERATOR,))
    await conn.execute("update domain set active = false where id = %s", (ALIAS_EXAMPLE,))
    await store.record(ALIAS_EXAMPLE, report("alias.example"), NOW - DAY, 0.5, BY)
    bad = report("alias.example", mx="mx.elsewhere.example")
    assert await failed(store, 0, 30, 60, said=bad, domain=ALIAS_EXAMPLE) == [Change("EMAIL", False, False)]
    await store.record(ALIAS_EXAMPLE, report("alias.example"), NOW + DAY, 0.5, BY)
    assert (await told(conn), await store.incidents()) == ([], [])


async def test_what_was_asked_under_the_old_name_says_nothing_of_the_new_one(store: Rechecks, conn: Connection) -> None:
    await conn.execute(
        "update domain set name = 'fresh.example', mx_verified_at = null where id = %s", (ALIAS_EXAMPLE,)
    )
    assert await store.record(ALIAS_EXAMPLE, report("alias.example"), NOW, 0.5, BY) == []
    assert await stamps(conn, ALIAS_EXAMPLE) == (None, None)


async def test_checks_take_the_table_before_its_rows(store: Rechecks, conn: Connection) -> None:
    """As those who rename and approve domains do, so that none waits for another in a ring."""
    async with conn.transaction():
        await conn.execute("lock table domain in share row exclusive mode")
        waiting = asyncio.create_task(store.record(ALIAS_EXAMPLE, report("alias.example"), NOW, 0.5, BY))
        await until_waiting(conn)
        await conn.execute("select from domain where id = %s for update nowait", (ALIAS_EXAMPLE,))
    assert await waiting != []


async def test_incidents_are_what_operators_were_told_of(database: Database, conn: Connection) -> None:
    store = Rechecks(database, (OPERATOR,))
    for domain, name in ((ALIAS_EXAMPLE, "alias.example"), (OWN_EXAMPLE, "own.example")):
        await store.record(domain, report(name), NOW - DAY, 0.5, BY)
        await failed(store, 0, 30, said=report(name, mx="mx.elsewhere.example"), domain=domain)
    sentence = "Mail to alias.example goes to mx.elsewhere.example, not to mx.relay.example."
    assert await store.incidents() == [Incident("alias.example", "EMAIL", "DEGRADED", NOW, sentence)]
    await store.record(ALIAS_EXAMPLE, report("alias.example"), NOW + DAY, 0.5, BY)
    assert await store.incidents() == []


def web(led: bool) -> Report:
    """What DNS said of the web interface at alias.example."""
    trail = Trail(("www.relay.example",), state="right") if led else Trail(("www.elsewhere.example",), state="wrong")
    return Report("alias.example", (finding("alias.example", Hosting("www.relay.example"), trail),))


async def test_the_web_interface_is_graded_by_itself(store: Rechecks, conn: Connection) -> None:
    shown = "select ui_verified_at is not null from domain where id = 1"
    await conn.execute("update domain set mx_verified_at = %s where id = %s", (NOW, ALIAS_EXAMPLE))
    assert await store.record(ALIAS_EXAMPLE, web(True), NOW - DAY, 0.5, BY) == [Change("UI", True, False)]
    assert await value(conn, shown) is True
    assert await failed(store, 0, 30, said=web(False), domain=ALIAS_EXAMPLE) == []
    assert await value(conn, shown) is True
    assert await failed(store, 60, said=web(False), domain=ALIAS_EXAMPLE) == [Change("UI", False, False)]
    assert await value(conn, shown) is False
    assert await stamps(conn, ALIAS_EXAMPLE) == (NOW, None)
    assert await stand(conn, ALIAS_EXAMPLE) == {"UI": ("INVALID", 3, "DISABLED", 3)}
    assert await store.record(ALIAS_EXAMPLE, web(True), NOW + DAY, 0.5, BY) == [Change("UI", True, False)]


async def test_shared_domains_that_are_switched_off_are_looked_at_daily(store: Rechecks, conn: Connection) -> None:
    rests = "select next_check_at - %s from dns_recheck where domain_id = 1 and type = 'EMAIL'"
    for active, hours in ((True, 4), (False, 24)):
        await conn.execute("update domain set active = %s where id = 1", (active,))
        await store.record(ALIAS_EXAMPLE, report("alias.example"), NOW, 0.5, BY)
        assert await value(conn, rests, NOW) == timedelta(hours=hours)


# --- when ----------------------------------------------------------------------------------------------------------


async def test_what_comes_here_is_looked_at_soon(database: Database, conn: Connection) -> None:
    store = Domains(database)
    proved = await store.add(NewDomain("new.example", Named("johndoe"), True, True, with_mx=False), "token:1")
    unproved = await store.add(NewDomain("later.example", Named("johndoe"), False, True), "cli:root")
    shared = await store.add(NewDomain("shared.example", None, True, False), "cli:root")
    query = "select domain_id, type from dns_recheck where next_check_at - now() <= interval '2 minutes' order by 1, 2"
    assert await (await conn.execute(query)).fetchall() == [(proved.id, "EMAIL"), (proved.id, "SENDING")]
    await store.verify("later.example", False, "cli:root")
    await store.verify("shared.example", False, "cli:root")
    rows = await (await conn.execute("select distinct domain_id from dns_recheck order by 1")).fetchall()
    assert rows == [(proved.id,), (unproved.id,)]
    assert shared.id not in (row[0] for row in rows)
    with pytest.raises(Absent):
        await store.verify("nowhere.example", False, "cli:root")


async def test_what_is_due_is_given_once_until_the_lease_ends(store: Rechecks, conn: Connection) -> None:
    await schedule(conn, 0)
    assert await store.due(NOW - MINUTE, 10) == []
    assert await store.due(NOW, 10) == [DueDomain(OWN_EXAMPLE, "own.example")]
    assert await store.due(NOW + MINUTE, 10) == []
    assert await store.due(NOW + 6 * MINUTE, 10) == [DueDomain(OWN_EXAMPLE, "own.example")]
    await store.record(OWN_EXAMPLE, RIGHT, NOW + 6 * MINUTE, 0.5, BY)
    assert await store.due(NOW + 20 * 60 * MINUTE, 10) == []
    assert await store.due(NOW + 2 * DAY, 10) != []


async def test_one_purpose_of_mail_that_is_due_is_enough_and_the_web_interface_is_by_itself(
    store: Rechecks, conn: Connection
) -> None:
    await schedule(conn, 0, kinds="UI")
    assert await store.due(NOW, 10) == [DueDomain(OWN_EXAMPLE, "own.example", mail=False, web=True)]
    await schedule(conn, 0, kinds="SENDING")
    await schedule(conn, 60, kinds="EMAIL")
    assert await store.due(NOW, 10) == [DueDomain(OWN_EXAMPLE, "own.example")]
    assert await store.due(NOW, 10) == []


async def test_ten_workers_share_what_is_due_and_none_gets_anothers(store: Rechecks, conn: Connection) -> None:
    await conn.execute(
        """with made as (insert into domain (name, account_id, verified_at)
                         select 'd' || n || '.example', 1, now() from generate_series(1, 200) n returning id)
           insert into dns_recheck (domain_id, type, next_check_at)
           select id, kind, %s from made, unnest(array['EMAIL', 'SENDING']) kind""",
        (NOW,),
    )
    found: list[DueDomain] = []
    while taken := [one for some in await asyncio.gather(*(store.due(NOW, 20) for _ in range(10))) for one in some]:
        found += taken
    assert len(found) == len(set(found)) == 200


async def test_operators_and_workers_who_check_at_once_count_one_failure(store: Rechecks, conn: Connection) -> None:
    await store.record(OWN_EXAMPLE, RIGHT, NOW - DAY, 0.5, BY)
    await asyncio.gather(*(store.record(OWN_EXAMPLE, WRONG, NOW, 0.5, BY) for _ in range(20)))
    assert await stand(conn) == {"EMAIL": ("WARNING", 1, "NONE", 0), "SENDING": ("WARNING", 1, "NONE", 0)}
