"""Mail that was turned away at the door: spec section 7.7, rows 174 to 178, from Postfix' log and the ledger to the
list that its owner sees."""

import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from tests.system.scenario import (
    ACCEPTED,
    NEWS,
    SHARED,
    UNKNOWN,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
    text_of,
)
from tests.system.test_verdicts import DMARC, FORGER
from tools.sandbox.process import Trouble

PROBE = "probe.of.restrictions@shop.example"
BLOCKED = "pest@plain.example"
IPV6 = "2001:db8::25"

Record = tuple[str, str, str, str, str]


@contextmanager
def refusing(scenario: Scenario, actions: Mapping[str, str]) -> Iterator[None]:
    """Postfix by itself treats recipients so, as access(5) has it, and refuses forbidden subjects."""
    postfix = scenario.world.sandbox.postfix
    main, checks = postfix.etc / "main.cf", postfix.etc / "header_checks"
    before = main.read_bytes()
    table = ", ".join(f"{{{rcpt}={action}}}" for rcpt, action in {**actions, PROBE: "554 5.7.1 so it is"}.items())
    checks.write_text("/^Subject: forbidden/ REJECT not wanted\n")
    postfix.postconf("-e", f"smtpd_client_restrictions=check_recipient_access inline:{{{table}}}")
    postfix.postconf("-e", f"header_checks=regexp:{checks}")
    postfix.reload()
    try:
        scenario.answers("554 5.7.1", PROBE)
        yield
    finally:
        main.write_bytes(before)
        postfix.reload()
        scenario.eventually(lambda: not scenario.answer(PROBE).startswith("554 5.7.1 so it is"), "the old restrictions")


def records(scenario: Scenario, person: Person) -> dict[str, list[Record]]:
    """What the owner can read of each alias."""
    found: dict[str, list[Record]] = {}
    rows = scenario.sql(
        "select a.local_part || '@' || a.domain, f.email_type, f.bounce_type, f.status, f.code, f.remote_mta"
        " from failed_delivery f join alias a on a.id = f.alias_id where f.account_id = %s order by f.id",
        person.account,
    )
    for alias, *record in rows:
        found.setdefault(alias, []).append(tuple(record))
    return found


def become(scenario: Scenario, person: Person, expected: Mapping[str, list[Record]]) -> None:
    """Wait until these are there, and no others."""
    with suppress(Trouble):  # the assertion shows the difference
        scenario.eventually(lambda: records(scenario, person) == expected, "the records")
    assert records(scenario, person) == expected


def ir(code: str, status: str = "550", client: str = "127.0.0.11", bounce_type: str = "hard") -> Record:
    return ("IR", bounce_type, status, code, f"unknown[{client}]")


def by_postfix(rcpt: str, said: str) -> str:
    return f"<{rcpt}>: Recipient address rejected: {said}"


def restarted(scenario: Scenario) -> None:
    """The worker is killed in the middle of whatever it does, and is back."""
    worker = scenario.world.sandbox.supervised
    before = worker.signal("worker", signal.SIGKILL)
    scenario.eventually(lambda: worker.pid("worker") not in (None, before), "another worker")
    scenario.world.sandbox.wait_healthy("worker")


def rotated(scenario: Scenario, name: str, *, copied: bool = False) -> None:
    """As logrotate does: rename and tell Postfix, or copytruncate."""
    log = scenario.world.sandbox.postfix.maillog
    if copied:
        shutil.copyfile(log, log.with_name(name))
        with log.open("r+b") as file:
            file.truncate()
    else:
        log.rename(log.with_name(name))
        scenario.world.sandbox.postfix.reload()


def within_a_minute(scenario: Scenario) -> None:
    """Return when what is refused twice in a row is so within one minute of the clock."""
    scenario.eventually(lambda: datetime.now(UTC).second < 50, "the next minute")


def content_refused(scenario: Scenario, rcpt: str) -> None:
    said = scenario.refused(NEWS, rcpt, mail=scenario.world.message(subject="forbidden fruit"))
    assert said == "550 5.7.1 not wanted"


def recorded(scenario: Scenario, alias: str) -> bool:
    count = (
        "select count(*) > 0 from failed_delivery f join alias a on a.id = f.alias_id"
        " where a.local_part || '@' || a.domain = %s"
    )
    return bool(scenario.value(count, alias))


def test_12_6_174_to_178_what_postfix_refuses_is_recorded_once_over_rotations_and_kills(scenario: Scenario) -> None:
    person = scenario.person()
    first, later, dropped, content, meanwhile, last = (scenario.alias(person) for _ in range(6))
    names = f"nobody.has.this@{SHARED}"
    said = "Client host rejected: listed"
    actions = {
        **dict.fromkeys((first, meanwhile, last, names), f"554 5.7.1 {said}"),
        later: "450 4.7.1 not now",
        dropped: "DISCARD is inactive alias",
    }
    with refusing(scenario, actions):
        local, _, domain = first.partition("@")
        within_a_minute(scenario)
        for _ in range(3):  # one record: the same sender, client and reason within a minute
            assert scenario.answer(first, client=IPV6).startswith("554 5.7.1")
        assert scenario.answer(later).startswith("450")
        assert scenario.answer(names).startswith("554")
        assert scenario.answer(f"{local}+news@{domain}") == ACCEPTED  # another address for Postfix
        rotated(scenario, "maillog.1")
        assert scenario.answer(dropped, client="192.0.2.9") == ACCEPTED
        with scenario.world.without_role("worker"):
            assert scenario.answer(meanwhile).startswith("554")
            rotated(scenario, "maillog.2")
            content_refused(scenario, content)
        restarted(scenario)
        for alias in (meanwhile, content):  # a log that is cut has to be read before
            scenario.eventually(lambda alias=alias: recorded(scenario, alias), f"the record of {alias}")  # type: ignore[misc]
        rotated(scenario, "maillog.3", copied=True)
        assert scenario.answer(last).startswith("554")
        expected = {
            first: [ir(by_postfix(first, said), "554", IPV6)],
            dropped: [ir("alias is deactivated", "", "192.0.2.9")],
            meanwhile: [ir(by_postfix(meanwhile, said), "554")],
            content: [ir("not wanted", "5.7.1")],
            last: [ir(by_postfix(last, said), "554")],
        }
        become(scenario, person, expected)
        scenario.sql(
            "update log_position set inode = 0, position_octets = 0, cursor = '' where source like '%%maillog'"
        )
        restarted(scenario)  # row 178: and reads all of the last file again
        assert scenario.answer(last, sender="other@shop.example").startswith("554")
        become(scenario, person, {**expected, last: expected[last] * 2})


def test_7_7_what_we_refuse_is_recorded_once_although_the_log_has_it_as_well(scenario: Scenario) -> None:
    person = scenario.person(block_behaviour="reject")
    deleted, off, blocking, forged, dropping, rule, marker = (scenario.alias(person) for _ in range(7))
    cli = scenario.world.cli
    cli("alias", "delete", deleted)
    cli("alias", "pause", off)
    cli("block", "add", person.name, "email", BLOCKED, "--alias", blocking)
    scenario.set_alias(dropping, "block_behaviour", "discard")
    cli("alias", "pause", dropping)
    cli("rule", "add", person.name, "--name", "no ads", "--when", "subject is ads", "--do", "block")
    with refusing(scenario, {marker: "554 5.7.1 not here"}):
        asked = {deleted: NEWS, off: NEWS, blocking: BLOCKED, f"nobody.at.all@{SHARED}": NEWS}
        within_a_minute(scenario)
        for rcpt, sender in asked.items():
            scenario.answers(UNKNOWN, rcpt, sender)
            assert scenario.answer(rcpt, sender) == UNKNOWN  # one record: within the same minute
        assert scenario.refused(NEWS, forged, source=FORGER, signed=False) == DMARC
        silent = scenario.send(dropping)
        assert scenario.refused(NEWS, rule, mail=scenario.world.message(subject="ads")) == UNKNOWN
        assert scenario.answer(marker).startswith("554")
        scenario.copies(silent)
        become(
            scenario,
            person,
            {
                deleted: [ir("alias was deleted")],
                off: [ir("alias is deactivated")],
                blocking: [ir("sender is on your block list", client="127.0.0.12")],
                forged: [ir("the author could not be authenticated (DMARC)", client=FORGER)],
                dropping: [ir("alias is deactivated", "")],
                rule: [("F", "rule", "5.7.1", "one of your rules blocked it: no ads", "unknown[127.0.0.11]")],
                marker: [ir(by_postfix(marker, "not here"), "554")],
            },
        )
    listed = scenario.world.cli("failed", "list", "--account", person.name)
    assert {(one["destination"], one["type"]) for one in listed} == {
        (address, "inbound") for address in (deleted, off, blocking, forged, dropping, rule, marker)
    }
    assert {one["sender"] for one in listed} == {NEWS, BLOCKED}
    assert [one["sender"] for one in listed if one["destination"] == blocking] == [BLOCKED]
    assert not any(one["is_stored"] for one in listed)
    assert scenario.notices(person.mailbox, "FDN") == []  # nobody is told of each, but of all after a day
    scenario.sql(
        "update failed_delivery set created_at = created_at - interval '1 day' where account_id = %s", person.account
    )
    restarted(scenario)  # what is done hourly is done then as well
    digest = " ".join(text_of(scenario.notice(person.mailbox, "IRD")).split())
    assert digest.count("alias is deactivated") == 2
    assert "6 messages" in digest and "no ads" not in digest
