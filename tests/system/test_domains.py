"""A domain that its owner brings: what is published decides what name its mail leaves under."""

from tests.system.scenario import (
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tools.sandbox.show import Arrived


def copy_under(scenario: Scenario, domain: str, mailbox: str) -> Arrived:
    sent = scenario.send(f"shop@{domain}")
    (copy,) = scenario.copies(sent, mailbox)
    return copy


def test_a_domain_signs_for_itself_once_its_records_are_right(scenario: Scenario) -> None:
    world, person = scenario.world, scenario.person(forward_mode="rewrite")
    domain = f"checked{person.account}.example"
    world.cli("domain", "add", domain, "--account", person.name, "--verified", "--catch-all")
    scenario.await_domain(domain)
    records = world.cli("domain", "check", domain)["records"]
    assert {record["state"] for record in records} == {"missing"}
    copy = copy_under(scenario, domain, person.mailbox)
    assert "@relay.example" in header(copy, "From")[0]
    assert set(world.signatures(copy)) == {"relay.example/mr1", "relay.example/mr1e"}

    name = domain.removesuffix(".example")
    wanted = [(record["publish"]["name"].removesuffix(".example"), record["publish"]) for record in records]
    assert [one for one, _ in wanted[:3]] == [name, name, f"_dmarc.{name}"]
    world.publish(
        f'{name} IN MX 10 mx.relay.example.\n{name} IN TXT "{records[1]["publish"]["value"]}"\n'
        f'_dmarc.{name} IN TXT "v=DMARC1; p=reject"'
    )
    world.sandbox.publish_keys()
    checked = world.cli("domain", "check", domain)
    assert {record["state"] for record in checked["records"]} == {"right"}
    assert checked["sending_verified_at"] is not None
    copy = copy_under(scenario, domain, person.mailbox)
    assert f"@{domain}" in header(copy, "From")[0]
    assert world.signatures(copy) == {f"{domain}/mr1": "valid", f"{domain}/mr1e": "valid"}
