"""The sandbox itself: what the other system tests and the quick start rely on."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.system.world import World
from tools.sandbox import show
from tools.sandbox import world as building
from tools.sandbox.process import Trouble, wait_until
from tools.sandbox.sandbox import ROLES, Sandbox
from tools.sandbox.story import Story


def test_a_signed_message_reaches_the_outside_with_its_signature_intact(world: World) -> None:
    mail = world.message()
    dispatch = world.send("news@shop.example", "shop@alias.example", content=mail.content)
    assert dispatch.accepted
    (copy,) = world.arrived(to="me@inbox.example", containing=mail.message_id)
    assert world.signatures(copy)["shop.example/sandbox"] == "valid"
    world.settle()
    assert copy.sender.endswith("@bounces.relay.example")
    assert world.outcomes(dispatch.queue_id) == [("shop@alias.example", "delivered", "")]


def test_the_neighbours_come_from_the_addresses_in_their_spf_records(world: World) -> None:
    mail = world.message(sender="a@plain.example")
    world.send("a@plain.example", "shop@alias.example", content=mail.content)
    (copy,) = world.arrived(containing=mail.message_id)
    assert b"(unknown [127.0.0.12])" in copy.header
    assert not any(key.startswith("plain.example/") for key in world.signatures(copy))
    spf = show.txt_record("plain.example", world.sandbox.memory.ports["dns"])
    assert spf == b"v=spf1 ip4:127.0.0.12 -all"


def test_a_test_can_come_from_any_address(world: World) -> None:
    mail = world.message()
    world.send("news@shop.example", "shop@alias.example", content=mail.content, client="2001:db8::7")
    (copy,) = world.arrived(containing=mail.message_id)
    assert b"(unknown [IPv6:2001:db8::7])" in copy.header


@pytest.fixture
def _keeping_secrets(world: World) -> Iterator[None]:
    """The account of the quick start is as it is there."""
    account = f"where name = '{building.ACCOUNT}'"
    world.sandbox.query(f"update account set forward_mode = 'rewrite', banner_location = 'top' {account}")
    yield
    world.sandbox.query(f"update account set forward_mode = null, banner_location = 'off' {account}")


@pytest.mark.usefixtures("_keeping_secrets")
def test_the_quick_start_shows_a_conversation(world: World) -> None:
    told: list[str] = []
    story = Story(world.sandbox, told.append)
    assert story.conversation()
    text = "\n".join(told)
    assert text.count("arrived outside as") == 3
    assert "For news@shop.example its customer is shop@alias.example and nobody else." in text
    assert "Both mail programs show one thread." in text
    (answered,) = [one for one in told if "envelope recipient  <news@shop.example>" in one]
    assert "  | From: shop@alias.example" in answered
    assert "inbox.example" not in answered
    assert "what if nobody is at home?" in answered


def test_the_quick_start_shows_mail_that_only_passes(world: World) -> None:
    told: list[str] = []
    assert Story(world.sandbox, told.append).untouched()
    assert "shop.example (selector sandbox): valid" in "\n".join(told)


@pytest.mark.usefixtures("_keeping_secrets")
def test_the_quick_start_shows_mail_that_is_encrypted(world: World) -> None:
    told: list[str] = []
    assert Story(world.sandbox, told.append).encrypted()
    text = "\n".join(told)
    assert "multipart/encrypted" in text
    assert "finds a good signature of the service" in text


def test_a_stranger_cannot_relay(world: World) -> None:
    dispatch = world.send("news@shop.example", "me@inbox.example")
    assert [reply.code // 100 for reply in dispatch.recipients] == [4]


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_role_comes_back(world: World, role: str) -> None:
    before = world.sandbox.supervised.pid(role)
    world.kill(role)
    wait_until(lambda: world.sandbox.supervised.pid(role) not in (None, before), f"{role} to be started again")
    world.sandbox.wait_healthy(role)


def test_a_second_start_finds_everything_and_changes_nothing(world: World) -> None:
    places = world.sandbox.places
    before = {path: path.read_bytes() for path in (places.env, places.config, places.memory)}
    pids = [world.sandbox.supervised.pid(role) for role in ROLES]
    again = building.up(places.root, lambda text: None)
    assert {path: path.read_bytes() for path in before} == before
    assert [again.supervised.pid(role) for role in ROLES] == pids


def test_the_env_file_is_shell_and_leads_to_a_working_command(world: World) -> None:
    script = f". {world.sandbox.places.env}; env | grep ^MAILRELAY_ | sort"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert found == building.environment(world.sandbox)
    assert len(found) == 12


def test_credentials_do_not_lie_about(world: World) -> None:
    places = world.sandbox.places
    open_to_others = [path.name for path in (places.env, places.memory) if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_a_zone_that_does_not_parse_is_refused_and_the_old_one_served(world: World) -> None:
    zone = world.sandbox.places.zone
    before = zone.read_text()
    try:
        zone.write_text(before + 'new IN TXT "hello"\n')
        world.sandbox.reload_dns()
        zone.write_text("this is no zone")
        with pytest.raises(Trouble, match="the old zone stays"):
            world.sandbox.reload_dns()
        assert show.txt_record("new.example", world.sandbox.memory.ports["dns"]) == b"hello"
    finally:
        zone.write_text(before)
        world.sandbox.reload_dns()


def test_every_role_has_metrics(world: World) -> None:
    for role in ROLES:
        assert re.search(r"(?m)^mailrelay_", world.sandbox.metrics(role)), role


def test_taken_ports_are_named(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Sandbox(tmp_path_factory.mktemp("other"))
    other.memory.ports.update(world.sandbox.memory.ports)
    other.note()
    with pytest.raises(Trouble, match=r"taken by other programs: .*\(smtp\)"):
        building.up(other.places.root, lambda text: None)
    other.discard()


@pytest.mark.parametrize("trouble", ["lmtp", "database", "submission"])
def test_mail_waits_out_trouble_and_arrives_once(world: World, trouble: str) -> None:
    mail = world.message()
    down = {
        "lmtp": lambda: world.without_role("lmtp"),
        "database": world.without_database,
        "submission": world.without_submission,
    }[trouble]
    # While the database is away only aliases that were just used are known: be one.
    world.send("news@shop.example", "shop@alias.example", content=world.message().content)
    with down():
        dispatch = world.send("news@shop.example", "shop@alias.example", content=mail.content)
        assert dispatch.accepted
        wait_until(lambda: f"{dispatch.queue_id}: to=" in world.sandbox.postfix.log_text(), "Postfix to try")
        assert world.arrivals(containing=mail.message_id) == []
    world.sandbox.postfix.flush()  # after a reload the queue manager sleeps until somebody wakes it
    world.arrived(containing=mail.message_id)
    world.settle()
    world.arrived(containing=mail.message_id)
    assert world.outcomes(dispatch.queue_id) == [("shop@alias.example", "delivered", "")]


def test_mail_that_the_outside_defers_stays_queued(world: World) -> None:
    world.cli("alias", "add", "slow@alias.example", "--to", "later@inbox.example")
    world.send("news@shop.example", "slow@alias.example")
    wait_until(lambda: "451 4.3.0 <later@inbox.example>" in world.sandbox.postfix.log_text(), "the outside to defer")
    wait_until(lambda: world.sandbox.postfix.queued() == 1, "Postfix to keep one message")
    world.drop_queue()
