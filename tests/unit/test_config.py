"""The configuration: every mistake at once, each with its key, and nothing secret in the words."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrelay.config import DEFAULT_PATH, Config, load, path_from
from mailrelay.core.address import Address
from mailrelay.core.errors import BadConfig
from mailrelay.endpoint import Endpoint

MINIMAL: dict[str, Any] = {
    "service": {"domain": "relay.example", "hostname": "mx.relay.example", "operator": ["admin@inbox.example"]},
    "database": {"dsn": "host=/run/postgresql dbname=mailrelay"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mailrelay.yaml"


def read(path: Path, **sections: Any) -> Config:
    """MINIMAL with some sections added to."""
    settings = {**MINIMAL, **{name: _merged(name, section) for name, section in sections.items()}}
    path.write_text(yaml.safe_dump(settings, allow_unicode=True))
    return load(path)


def _merged(name: str, section: Any) -> Any:
    return {**MINIMAL.get(name, {}), **section} if isinstance(section, dict) else section


def problems(path: Path, **sections: Any) -> list[str]:
    """What is said about a configuration, without the file's name."""
    with pytest.raises(BadConfig) as caught:
        read(path, **sections)
    assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


def test_little_has_to_be_said(path: Path) -> None:
    config = read(path)
    assert config.service.bounce_domain == "bounces.relay.example"
    assert config.service.srs_domain == "srs.relay.example"
    assert config.service.operator == (Address("admin", "inbox.example"),)
    assert config.policy.listen == Endpoint("127.0.0.1", 10031)
    assert config.lmtp.listen.loopback
    assert config.submit.address == Endpoint("127.0.0.1", 10025)
    assert config.limits.messages_per_hour == 200


def test_what_is_said_counts(path: Path) -> None:
    config = read(
        path,
        service={
            "domain": "Relay.EXAMPLE.",
            "bounce_domain": "b.relay.example",
            "trusted_networks": ["192.0.2.0/24", "2001:db8::/32"],
            "operator": ["Admin@Inbox.example", "other@inbox.example"],
        },
        lmtp={"listen": "unix:/run/mailrelay/lmtp"},
        replies={"UNKNOWN": "Nobody here"},
    )
    assert (config.service.domain, config.service.bounce_domain) == ("relay.example", "b.relay.example")
    assert config.service.trusted_networks == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    assert [str(mailbox) for mailbox in config.service.operator] == ["Admin@inbox.example", "other@inbox.example"]
    assert config.lmtp.listen == Endpoint(path="/run/mailrelay/lmtp")
    assert config.replies == {"UNKNOWN": "Nobody here"}


def test_sealing_can_be_switched_off_in_the_words_of_yaml(path: Path) -> None:
    plain = read(path).service
    assert (plain.arc_seal, plain.trusted_arc_sealers, plain.srs_min_hash_length) == ("transparent", (), 8)
    settings = path.read_text().replace("service:", "service:\n  arc_seal: off\n  trusted_arc_sealers: [Lists.Example]")
    path.write_text(settings)
    assert load(path).service.arc_seal == "off"
    assert load(path).service.trusted_arc_sealers == ("lists.example",)


def test_the_order_of_spam_scores_is_checked(path: Path) -> None:
    (found,) = problems(path, milter={"spam": {"tag": 5, "reject": 4}})
    assert found == "milter.spam: tag is above reject"


def test_a_name_server_needs_no_port(path: Path) -> None:
    config = read(path, dns={"nameservers": ["192.0.2.53", "127.0.0.1:5353", "2001:db8::53"]})
    found = [(one.host, one.port) for one in config.dns.nameservers]
    assert found == [("192.0.2.53", 53), ("127.0.0.1", 5353), ("2001:db8::53", 53)]


def test_every_mistake_is_told_at_once(path: Path) -> None:
    found = problems(
        path,
        service={"domain": "not a domain", "hostname": "mx.relay.example", "operator": [], "colour": "red"},
        database={"dsn": "host=x password=swordfish", "connections": 0},
        policy={"listen": "localhost:1"},
        submit={"connections": "many"},
        limits={"messages_per_hour": -1, "message_octets": 1},
        replies={"HELLO": "x", "UNKNOWN": "two\nlines", "TEMP": 5},
        log={"level": "loud"},
        pigeons={"listen": "127.0.0.1:1"},
        milter={"processes": -1, "spam": {"tag": 5, "reject": 4, "macro": "spam score", "header": "X Spam"}},
        dns={"nameservers": ["resolver.example"]},
    )
    expected = [
        *("service.domain", "service.operator", "service.colour", "database.dsn", "database.connections"),
        *("policy.listen", "submit.connections", "limits.messages_per_hour", "limits.message_octets"),
        *("replies.HELLO", "replies.UNKNOWN", "replies.TEMP", "log.level", "pigeons"),
        *("milter.processes", "milter.spam.macro", "milter.spam.header", "dns.nameservers"),
    ]
    for key in expected:
        assert [problem for problem in found if problem.startswith(f"{key}")], f"{key} in {found}"
    assert "swordfish" not in str(found)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"database": {}}, "database.dsn: is missing and has no default"),
        (
            {"service": {"operator": ["admin@relay.example"]}},
            "service: operator: admin@relay.example is at a domain of the service itself, which has no mailboxes",
        ),
        ({"servce": {}}, "servce: is not a setting; see conf/mailrelay.yaml for the known ones"),
        ({"service": {"operator": ["no address"]}}, "service.operator.0: 'no address' is not a mail address"),
        (
            {"service": {"trusted_networks": ["192.0.2.1/24"]}},
            "service.trusted_networks.0: 192.0.2.1/24 has host bits set",
        ),
        ({"lmtp": {"listen": "unix:lmtp"}}, "lmtp.listen: 'unix:lmtp': a unix socket needs an absolute path"),
        ({"policy": {"listen": 10031}}, "policy.listen: '10031' is neither ADDRESS:PORT nor unix:/PATH"),
        ({"service": {"header_prefix": "Mailrelay"}}, "service.header_prefix: "),
        ({"service": {"arc_seal": True}}, "service.arc_seal: "),
        ({"service": {"srs_min_hash_length": 3}}, "service.srs_min_hash_length: "),
        ({"worker": {"queue_days": 99}}, "worker.queue_days: "),
        ({"database": {"dsn": "nonsense"}}, "database.dsn: is no PostgreSQL connection string"),
        ({"database": {"dsn": "postgresql://me:swordfish@db.example/x"}}, "database.dsn: holds a password"),
        ({"replies": {"NOPE": "x"}}, "replies.NOPE: is no reply; known are "),
        ({"replies": {"TEMP": ""}}, "replies.TEMP: must be one line of 1 to 200 ASCII characters"),
        ({"replies": {"TEMP": "später"}}, "replies.TEMP: must be one line of 1 to 200 ASCII characters"),
        ({"service": "relay.example"}, "service: "),
    ],
)
def test_a_mistake_is_named_by_its_key(path: Path, sections: dict[str, Any], words: str) -> None:
    if sections == {"database": {}}:
        path.write_text(yaml.safe_dump({**MINIMAL, **sections}))
        with pytest.raises(BadConfig) as caught:
            load(path)
        found = [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]
    else:
        found = problems(path, **sections)
    assert [problem for problem in found if problem.startswith(words)], found
    assert "swordfish" not in str(found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no settings; begin with conf/mailrelay.yaml"),
        (b"- a\n- b\n", "holds no settings; begin with conf/mailrelay.yaml"),
        (b"service: [", "is not YAML: "),
        (b"\xff\xfe\x00", "is not YAML: "),
        (b"a: *b\n", "is not YAML: "),
        (b"? [a]\n: b\n", "is not YAML: "),
        (b"5: x\n", "5: "),
    ],
)
def test_what_is_no_configuration_says_so(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BadConfig) as caught:
        load(path)
    assert [problem for problem in caught.value.problems if problem.startswith(f"{path}: {words}")]
    assert all("\n" not in problem for problem in caught.value.problems)


def test_a_file_that_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot be read: No such file or directory"):
        load(path)


def test_the_option_goes_before_the_environment_and_that_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILRELAY_CONFIG", "/from/environment")
    assert path_from(Path("/from/option")) == Path("/from/option")
    assert path_from(None) == Path("/from/environment")
    monkeypatch.setenv("MAILRELAY_CONFIG", "")
    assert path_from(None) == DEFAULT_PATH


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
_FLAT = _SCALARS | st.lists(_SCALARS, max_size=3)
_VALUES = _FLAT | st.dictionaries(st.text(max_size=8), _FLAT, max_size=3) | st.lists(st.lists(_SCALARS, max_size=2))
_SECTIONS = st.sampled_from(
    ["service", "database", "policy", "lmtp", "submit", "api", "worker", "limits", "replies", "log", "secrets"]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_SECTIONS, _VALUES, max_size=4), st.booleans())
def test_any_settings_are_read_or_refused(path: Path, sections: dict[str, Any], replace: bool) -> None:
    path.write_text(yaml.safe_dump(sections if replace else {**MINIMAL, **sections}))
    found: tuple[str, ...] = ()
    try:
        load(path)
    except BadConfig as error:
        found = error.problems or ("nothing",)
    assert all(problem.startswith(f"{path}: ") for problem in found)
