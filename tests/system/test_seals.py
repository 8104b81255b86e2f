"""Seals and signatures on what leaves: spec section 12.7, and row 88, checked by another implementation (dkimpy)."""

import re
import shutil
from base64 import b64decode
from dataclasses import replace
from typing import Any

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.system.scenario import (
    NEWS,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.sealer import sealed
from tests.system.test_delivery import header
from tests.system.world import Mail
from tests.unit.test_arc import covered, tags
from tools.sandbox import show
from tools.sandbox.show import Arrived

PLAIN = "a@plain.example"  # whose domain neither signs nor publishes a policy
RESULTS = "dmarc=pass (p=reject) header.from=shop.example"


def untouched(scenario: Scenario, mail: Mail, sender: str = NEWS, **options: Any) -> tuple[Arrived, Sent]:
    """The one copy, which is transparent, and what was sent."""
    person = scenario.person(forward_mode="transparent")
    sent = scenario.send(scenario.alias(person), sender=sender, mail=mail, **options)
    (copy,) = scenario.copies(sent, person.mailbox)
    assert header(copy, "X-Mailrelay-Mode") == ["transparent"]
    assert copy.content.endswith(sent.dispatch.content)
    return copy, sent


def own_set(copy: Arrived) -> list[bytes]:
    """The three fields that seal the copy, from the top; fails if they are not below Postfix' own alone."""
    fields = re.findall(rb"(?m)^\S.*\r\n(?:[ \t].*\r\n)*", copy.header + b"\r\n")
    names = [field.partition(b":")[0] for field in fields[:4]]
    assert names == [b"Received", b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"]
    return fields[1:4]


def verdict(scenario: Scenario, content: bytes) -> tuple[str, list[int]]:
    """The chain as dkimpy sees it, `over` if it has ended, and the sets whose message signature holds."""
    port = scenario.world.sandbox.memory.ports["dns"]
    found, sets, _ = dkim.arc_verify(content, dnsfunc=lambda name, timeout=5: show.txt_record(name.decode(), port))
    return "over" if found is None else found.decode(), [one["instance"] for one in sets if one["ams-valid"]]


def seals(scenario: Scenario, copy: Arrived, instances: list[int]) -> bool:
    """True if our seal is over these sets and no others."""
    path = scenario.world.sandbox.places.dkim / "relay.example" / "mr1.pem"
    public = load_pem_private_key(path.read_bytes(), None).public_key()
    assert isinstance(public, RSAPublicKey)
    content = copy.content[copy.content.index(b"ARC-Seal:") :]
    signature = b64decode(tags(own_set(copy)[0])[b"b"])
    try:
        public.verify(signature, covered(content, instances), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def sealed_by_a_list(scenario: Scenario, mail: Mail, *validations: str) -> Mail:
    """The message with so many sets of a list."""
    content = mail.content
    for validation in validations:
        content = sealed(content, scenario.world.sandbox.places.keys, results=RESULTS, validation=validation)
    return Mail(content, mail.message_id)


# --- our seal ------------------------------------------------------------------------------------------------------


def test_12_3_88_an_untouched_copy_proves_its_author_and_is_sealed(scenario: Scenario) -> None:
    copy, _ = untouched(scenario, scenario.world.message())
    seal, signature, results = own_set(copy)
    assert (tags(seal)[b"i"], tags(seal)[b"cv"], tags(seal)[b"d"]) == (b"1", b"none", b"relay.example")
    assert verdict(scenario, copy.content) == ("pass", [1])
    assert scenario.world.signatures(copy)["shop.example/sandbox"] == "valid"
    # 12.7-197
    covers = tags(signature)[b"h"].split(b":")
    assert covers.count(b"dkim-signature") == len(header(copy, "DKIM-Signature")) == 3
    assert {b"from", b"to", b"subject", b"date", b"message-id"} <= set(covers)
    assert not {b"authentication-results", b"received", b"arc-seal"} & set(covers)
    assert b"=".join((b"header.from", b"shop.example")) in results
    (shown,) = header(copy, "X-Mailrelay-Authentication-Results")
    unfolded = re.sub(rb"\r\n\s+", b" ", results).strip().decode()
    assert unfolded == f"ARC-Authentication-Results: i=1; {shown}"


def test_12_7_193_a_chain_that_holds_goes_on(scenario: Scenario) -> None:
    mail = scenario.signed(scenario.world.message())
    copy, _ = untouched(scenario, sealed_by_a_list(scenario, mail, "none"), signed=False)
    seal = own_set(copy)[0]
    assert (tags(seal)[b"i"], tags(seal)[b"cv"]) == (b"2", b"pass")
    assert verdict(scenario, copy.content) == ("pass", [2, 1])
    assert seals(scenario, copy, [1, 2])


def test_12_7_194_a_chain_that_was_broken_is_closed(scenario: Scenario) -> None:
    mail = sealed_by_a_list(scenario, scenario.world.message(sender=PLAIN), "none")
    altered = Mail(mail.content.replace(b"Good morning", b"Good evening"), mail.message_id)
    copy, _ = untouched(scenario, altered, sender=PLAIN)
    seal = own_set(copy)[0]
    assert (tags(seal)[b"i"], tags(seal)[b"cv"]) == (b"2", b"fail")
    assert (seals(scenario, copy, [2]), seals(scenario, copy, [1, 2])) == (True, False)
    assert verdict(scenario, copy.content) == ("over", [2])


@pytest.mark.parametrize(
    ("validations", "found"),
    [
        pytest.param(["none", "fail"], "arc=fail", id="12.7-195-ended"),
        pytest.param(["none", *["pass"] * 49], "arc=pass", id="12.7-196-fifty-sets"),
    ],
)
def test_a_chain_that_nobody_can_continue_stays_as_it_is(
    scenario: Scenario, validations: list[str], found: str
) -> None:
    mail = sealed_by_a_list(scenario, scenario.world.message(sender=PLAIN), *validations)
    copy, _ = untouched(scenario, mail, sender=PLAIN)
    assert len(header(copy, "ARC-Seal")) == len(validations)
    assert found in header(copy, "X-Mailrelay-Authentication-Results")[0]


# --- our signatures ------------------------------------------------------------------------------------------------


def test_12_7_198_whoever_adds_to_a_rewritten_copy_breaks_both_signatures(scenario: Scenario) -> None:
    person = scenario.person(forward_mode="rewrite")
    sent = scenario.send(scenario.alias(person))
    (copy,) = scenario.copies(sent, person.mailbox)
    both = {"alias.example/mr1", "alias.example/mr1e"}
    assert scenario.world.signatures(copy) == dict.fromkeys(both, "valid")
    for name in ("Subject", "From", "To"):
        added = replace(copy, content=f"{name}: somebody <else@plain.example>\r\n".encode() + copy.content)
        assert scenario.world.signatures(added).keys() == both
        assert "valid" not in scenario.world.signatures(added).values()


def test_12_7_199_one_key_is_enough_and_without_any_mail_waits(scenario: Scenario) -> None:
    sandbox = scenario.world.sandbox
    person = scenario.person(forward_mode="rewrite")
    one, none = (scenario.domain(person, catch_all=True, sending_verified_at="now") for _ in range(2))
    for domain, selectors in ((one, ["mr1"]), (none, [])):
        (sandbox.places.dkim / domain).mkdir(exist_ok=True)
        for selector in selectors:
            shutil.copy(sandbox.places.dkim / "alias.example" / f"{selector}.pem", sandbox.places.dkim / domain)
    sandbox.publish_keys()
    sent = scenario.send(f"x@{one}", f"y@{none}")
    waits = rf" {sent.queue_id}: to=<y@{none}>.*dsn=4\.3\.0, status=deferred"
    scenario.eventually(lambda: re.search(waits, sandbox.postfix.log_text()) is not None, "the other to wait")
    (copy,) = scenario.world.arrived(1, containing=sent.message_id)
    assert scenario.world.signatures(copy) == {f"{one}/mr1": "valid"}
    shutil.copy(sandbox.places.dkim / "alias.example" / "mr1e.pem", sandbox.places.dkim / none)
    sandbox.publish_keys()
    _, late = sorted(scenario.copies(sent, person.mailbox, person.mailbox), key=lambda found: found.path != copy.path)
    assert scenario.world.signatures(late) == {f"{none}/mr1e": "valid"}
