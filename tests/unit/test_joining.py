"""What adopt adds to a Postfix, and what makes it refuse."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mailrelay.core import joincheck, joining, maincf
from mailrelay.core.joining import Facts, Joining, Service

WANTED = Joining(
    policy="127.0.0.1:10031",
    socketmap="127.0.0.1:10032",
    lmtp="127.0.0.1:10024",
    submit="127.0.0.1:10025",
    message_octets=30_000_000,
    domains=("alias.example",),
)
CHECK = "check_policy_service inet:127.0.0.1:10031"
DEFAULTS = {
    "virtual_mailbox_domains": "$virtual_mailbox_maps",
    "virtual_mailbox_maps": "",
    "transport_maps": "",
    "smtpd_recipient_restrictions": "",
    "smtpd_milters": "",
    "non_smtpd_milters": "",
}
SMTP = Service("smtp", "inet", "smtpd", {})
STOCK = Facts(
    version="3.7.11",
    table_types=frozenset({"hash", "socketmap"}),
    parameters=frozenset(re.findall(r"-o (\w+)=", " ".join(joining.services(WANTED).values()))),
    raw=DEFAULTS,
    expanded={
        **dict.fromkeys(joincheck.EXPANDED, ""),
        "mydestination": "mx.relay.example, localhost",
        "mynetworks": "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128",
        "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination",
        "inet_protocols": "all",
        "mail_version": "3.7.11",
        "message_size_limit": "10240000",
        "smtpd_discard_ehlo_keywords": "silent-discard, dsn",
        "default_destination_rate_delay": "0s",
        "default_transport_rate_delay": "0s",
    },
    references={},
    services=(SMTP, Service("smtp", "unix", "smtp", {})),
    files={},
    answers={},
)


def with_(**expanded: str) -> Facts:
    """The stock Postfix with other settings."""
    raw = {name: expanded.get(name, value) for name, value in STOCK.raw.items()}
    return replace(STOCK, raw=raw, expanded={**STOCK.expanded, **expanded})


def refused(facts: Facts, wanted: Joining = WANTED) -> list[str]:
    return [problem.parameter for problem in joincheck.problems(wanted, facts)]


# What is added


def test_a_stock_postfix_gets_three_values_and_three_services() -> None:
    added = joining.additions(WANTED, STOCK)
    assert added.values == {
        "virtual_mailbox_domains": "$virtual_mailbox_maps, socketmap:inet:127.0.0.1:10032:domain",
        "transport_maps": "socketmap:inet:127.0.0.1:10032:transport",
        "smtpd_recipient_restrictions": CHECK,
    }
    names = ["mailrelay/unix", "127.0.0.1:10025/inet", "mailrelay-cleanup/unix", "mailrelay-rewrite/unix"]
    assert list(added.services) == names


MILTER = replace(WANTED, milter="unix:mailrelay/milter")
ASKED = "{ unix:mailrelay/milter, protocol=6, default_action=tempfail }"


def test_the_milter_is_asked_last_about_mail_from_everywhere() -> None:
    added = joining.additions(MILTER, with_(smtpd_milters="inet:127.0.0.1:11332 { unix:a/b, protocol=2 }"))
    assert added.values["smtpd_milters"] == f"inet:127.0.0.1:11332 {{ unix:a/b, protocol=2 }}, {ASKED}"
    assert added.values["non_smtpd_milters"] == ASKED


@pytest.mark.parametrize(
    ("one", "other"), [("smtpd_milters", "non_smtpd_milters"), ("non_smtpd_milters", "smtpd_milters")]
)
def test_a_list_of_milters_that_repeats_the_other_is_left_alone(one: str, other: str) -> None:
    for reference in (f"${one}", f"${{{one}}}"):
        values = joining.additions(MILTER, with_(**{one: "unix:a/b", other: reference})).values
        assert (values[one], other in values) == (f"unix:a/b, {ASKED}", False)


@pytest.mark.parametrize(
    ("listen", "folder", "asked"),
    [
        ("unix:/var/spool/postfix/mailrelay/milter", "/var/spool/postfix", "unix:mailrelay/milter"),
        ("unix:/var/spool/postfix/mailrelay/milter", "/var/spool/postfix/", "unix:mailrelay/milter"),
        ("127.0.0.1:10033", "/var/spool/postfix", "inet:127.0.0.1:10033"),
    ],
)
def test_the_milters_socket_is_reached_from_the_chroot(listen: str, folder: str, asked: str) -> None:
    wanted = replace(WANTED, milter=listen).beside(folder)
    assert joining.units(wanted)["smtpd_milters"] == (f"{{ {asked}, protocol=6, default_action=tempfail }}",)
    assert refused(STOCK, wanted) == []


def test_a_milters_socket_outside_of_the_chroot_is_refused() -> None:
    facts = with_(queue_directory="/var/spool/postfix")
    for listen in ("unix:/run/mailrelay/milter", "unix:/var/spool/postfix-out/milter"):
        (problem,) = joincheck.problems(replace(WANTED, milter=listen).beside("/var/spool/postfix"), facts)
        assert (problem.parameter, problem.remedy) == ("milter.listen", "put it below /var/spool/postfix")


def test_a_milter_that_others_reach_is_refused() -> None:
    assert refused(STOCK, replace(WANTED, milter="192.0.2.1:10033")) == ["milter.listen"]


def test_services_with_milters_of_their_own_are_told() -> None:
    submission = Service("submission", "inet", "smtpd", {"smtpd_milters": "inet:127.0.0.1:8891"})
    facts = replace(with_(smtpd_milter_maps="cidr:/etc/postfix/milters"), services=(SMTP, submission))
    own, maps = (text for text in joincheck.remarks(MILTER, facts) if "milter" in text)
    assert own.startswith("master.cf: submission/inet: smtpd_milters is a list of its own")
    assert maps.startswith("smtpd_milter_maps = cidr:/etc/postfix/milters goes before smtpd_milters")
    assert ASKED in own
    assert ASKED in maps
    assert not [text for text in joincheck.remarks(WANTED, facts) if "milter" in text]


def test_virtual_mailboxes_of_the_host_get_company() -> None:
    added = joining.additions(WANTED, with_(virtual_mailbox_maps="hash:/a hash:/b"))
    assert added.values["virtual_mailbox_maps"] == "hash:/a hash:/b socketmap:inet:127.0.0.1:10032:recipient"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", CHECK),
        ("permit_mynetworks", f"permit_mynetworks, {CHECK}"),
        ("permit_mynetworks reject_unlisted_recipient", f"permit_mynetworks reject_unlisted_recipient {CHECK}"),
        (
            "permit_mynetworks, reject_unauth_destination, permit",
            f"permit_mynetworks, reject_unauth_destination, {CHECK}, permit",
        ),
        (
            "reject_unauth_destination, check_x x:y, reject_unauth_destination,reject_rbl_client x",
            f"reject_unauth_destination, check_x x:y, reject_unauth_destination, {CHECK},reject_rbl_client x",
        ),
        ("permit_mynetworks, permit", f"permit_mynetworks, {CHECK}, permit"),
        ("reject", f"{CHECK}, reject"),
        ("warn_if_reject reject, defer", f"warn_if_reject reject, {CHECK}, defer"),
        ("permit_mynetworks, $ours, permit", f"permit_mynetworks, $ours, {CHECK}, permit"),
        ("permit_mynetworks, class, permit", f"permit_mynetworks, class, {CHECK}, permit"),
        ("sleep 1, ${closing}", f"sleep 1, {CHECK}, ${{closing}}"),
    ],
)
def test_the_check_stands_behind_the_relay_check_or_before_the_end(value: str, expected: str) -> None:
    references = {
        "ours": "reject_unauth_destination, reject_unknown_sender_domain",
        "class": "reject_unauth_destination",
        "closing": "permit_sasl_authenticated, reject",
    }
    facts = replace(with_(smtpd_recipient_restrictions=value), references=references)
    unit = joining.units(WANTED)["smtpd_recipient_restrictions"]
    assert joining.restricted(value, unit, facts) == expected
    assert joining.reachable(expected, unit, facts)


def test_options_that_this_postfix_does_not_know_are_left_out() -> None:
    line = joining.services(WANTED, frozenset({"syslog_name", "lmtp_send_xforward_command"}))["mailrelay/unix"]
    assert [part.partition("=")[0] for part in line.split(" -o ")[1:]] == ["syslog_name", "lmtp_send_xforward_command"]


def test_copies_may_be_two_fifths_larger_than_what_came_in() -> None:
    entries = joining.services(WANTED)
    assert "-o message_size_limit=42000000" in entries["127.0.0.1:10025/inet"]
    assert "-o message_size_limit=42000000" in entries["mailrelay-cleanup/unix"]


def test_the_files_for_joining_by_hand_say_the_same() -> None:
    folder = Path(__file__).parents[2] / "conf" / "postfix"
    usual = replace(MILTER, message_octets=26_214_400)
    master = maincf.master_meaning((folder / "master.cf").read_bytes())
    assert master == {key: line.split() for key, line in joining.services(usual).items()}
    main = maincf.main_meaning((folder / "main.cf").read_bytes())
    assert main == {name: maincf.texts(value) for name, value in joining.additions(usual, STOCK).values.items()}


# What is refused


def test_a_well_kept_postfix_is_welcome() -> None:
    assert joincheck.problems(WANTED, STOCK) == ()
    assert joincheck.remarks(WANTED, STOCK) == ()


@pytest.mark.parametrize(
    "value",
    ["", "permit_mynetworks", "permit, reject_unauth_destination", "warn_if_reject reject_unauth_destination, permit"],
)
def test_an_open_relay_is_refused(value: str) -> None:
    facts = with_(smtpd_relay_restrictions=value, smtpd_recipient_restrictions="permit_mynetworks")
    assert refused(facts) == ["smtpd_relay_restrictions"]


@pytest.mark.parametrize(
    "value", ["permit_mynetworks, reject_unauth_destination", "permit_mynetworks, reject", "trusted"]
)
def test_either_list_may_hold_the_relay_check(value: str) -> None:
    facts = with_(
        smtpd_relay_restrictions="", smtpd_recipient_restrictions=value, smtpd_restriction_classes="trusted, other"
    )
    classes = {"trusted": "permit_mynetworks, reject_unauth_destination", "other": ""}
    assert refused(replace(facts, references=classes)) == []


def test_a_listener_that_is_an_open_relay_by_its_own_options_is_refused() -> None:
    open_ = Service("2525", "inet", "smtpd", {"smtpd_relay_restrictions": "permit", "mynetworks": "0.0.0.0/0"})
    inside = Service("127.0.0.1:10026", "inet", "smtpd", {"smtpd_relay_restrictions": "permit"})
    assert refused(replace(STOCK, services=(SMTP, open_, inside))) == [
        "master.cf: 2525/inet: smtpd_relay_restrictions",
        "master.cf: 2525/inet: mynetworks",
    ]


@pytest.mark.parametrize(
    "value",
    ["0.0.0.0/0", "127.0.0.0/8, 64.0.0.0/7", "[::]/0", "[2000::]/3", "[::ffff:0.0.0.0]/96", "10.0.0.0/8 /list"],
)
def test_trusting_strangers_is_refused(value: str) -> None:
    facts = replace(with_(mynetworks=value), files={"/list": "# all\n192.0.2.0/24\n0.0.0.0/1\n"})
    assert refused(facts) == ["mynetworks"]


def test_a_table_that_trusts_every_address_is_refused() -> None:
    facts = with_(mynetworks="127.0.0.0/8, cidr:/all")
    asked = joincheck.questions(facts.expanded, WANTED.domains)
    assert refused(replace(facts, answers={question: "x" for question in asked if ":" not in question[1]})) == [
        "mynetworks"
    ]
    assert refused(replace(facts, answers={("cidr:/all", "192.0.2.1"): "x"})) == []


@pytest.mark.parametrize(
    "value", ["10.0.0.0/8, 172.16.0.0/12", "[fc00::]/7 [fe80::]/10", "192.0.2.0/24, !192.0.2.1", ""]
)
def test_private_networks_may_be_trusted(value: str) -> None:
    assert refused(with_(mynetworks=value)) == []


@pytest.mark.parametrize("key", ["policy", "socketmap", "lmtp", "submit"])
@pytest.mark.parametrize("address", ["192.0.2.1:1000", "0.0.0.0:1000", "[2001:db8::1]:1000", "[::]:1000"])
def test_addresses_that_others_reach_are_refused(key: str, address: str) -> None:
    values = {name: getattr(WANTED, name) for name in WANTED.__dataclass_fields__}
    assert len(refused(STOCK, Joining(**{**values, key: address}))) == 1


def test_ipv6_loopback_is_loopback() -> None:
    assert refused(STOCK, replace(WANTED, submit="[::1]:10025")) == []


def test_sockets_beyond_a_chroot_are_refused() -> None:
    wanted = replace(WANTED, policy="unix:/run/policy", submit="unix:/run/submit", lmtp="unix:/run/lmtp")
    assert refused(STOCK, wanted) == ["policy.listen", "submit.address"]


def test_an_address_family_that_postfix_does_not_speak_is_refused() -> None:
    assert set(refused(with_(inet_protocols="ipv6"))) == {"inet_protocols"}
    assert refused(with_(inet_protocols="ipv6, ipv4")) == []


@pytest.mark.parametrize("name", ["10025", "127.0.0.1:10025", "localhost:10025", "0.0.0.0:10025"])
def test_a_port_in_use_is_refused(name: str) -> None:
    taken = Service(name, "inet", "smtpd", {})
    assert refused(replace(STOCK, services=(SMTP, taken))) == [f"master.cf: {name}/inet"]


def test_a_port_of_another_address_or_of_a_well_known_name() -> None:
    elsewhere = Service("192.0.2.1:10025", "inet", "smtpd", {})
    assert refused(replace(STOCK, services=(SMTP, elsewhere))) == []
    assert refused(STOCK, replace(WANTED, submit="127.0.0.1:25")) == ["master.cf: smtp/inet"]


def test_one_port_for_two_things_is_refused() -> None:
    assert refused(STOCK, replace(WANTED, submit=WANTED.lmtp)) == ["submit.address"]


@pytest.mark.parametrize("name", ["mailrelay", "mailrelay-cleanup", "mailrelay-rewrite"])
def test_a_foreign_service_of_our_name_is_refused(name: str) -> None:
    assert refused(replace(STOCK, services=(SMTP, Service(name, "unix", "pipe", {})))) == [f"master.cf: {name}/unix"]


@pytest.mark.parametrize("parameter", ["mydestination", "relay_domains", "virtual_alias_domains"])
def test_domains_that_postfix_serves_itself_are_refused(parameter: str) -> None:
    assert refused(with_(**{parameter: "localhost, Alias.Example"})) == [parameter]
    assert refused(replace(with_(**{parameter: "/list"}), files={"/list": "alias.example\n"})) == [parameter]
    answers = {("hash:/x", "alias.example"): "anything"}
    assert refused(replace(with_(**{parameter: "proxy:hash:/x"}), answers=answers)) == [parameter]
    assert refused(with_(**{parameter: "localhost, other.alias.example, !alias.example"})) == []


def test_a_transport_that_would_win_over_ours_is_refused() -> None:
    facts = with_(transport_maps="regexp:/x")
    questions = joincheck.questions(facts.expanded, WANTED.domains)
    assert ("regexp:/x", "mailrelay-probe@alias.example") in questions
    assert refused(replace(facts, answers={("regexp:/x", "mailrelay-probe@alias.example"): "smtp:[192.0.2.1]"})) == [
        "transport_maps"
    ]


@pytest.mark.parametrize(("version", "parameters"), [("3.3.9", ["mail_version"]), ("3.4.0", []), ("3.10-20250101", [])])
def test_old_postfix_is_refused(version: str, parameters: list[str]) -> None:
    assert refused(replace(STOCK, version=version)) == parameters


def test_postfix_without_socketmap_is_refused() -> None:
    assert refused(replace(STOCK, table_types=frozenset({"hash"}))) == ["transport_maps"]


def test_a_list_whose_end_hides_our_check_is_refused() -> None:
    facts = replace(
        with_(smtpd_recipient_restrictions="$all"),
        references={"all": "permit_mynetworks, reject_unauth_destination, permit"},
    )
    assert refused(facts) == ["smtpd_recipient_restrictions"]


def test_all_reasons_come_at_once_with_value_and_way_out() -> None:
    facts = with_(mynetworks="0.0.0.0/0", smtpd_relay_restrictions="permit", relay_domains="alias.example")
    texts = [str(problem) for problem in joincheck.problems(WANTED, facts)]
    assert texts == [
        "smtpd_relay_restrictions = permit: neither this nor smtpd_recipient_restrictions refuses foreign recipients: "
        "the host would be an open relay; put reject_unauth_destination before any permit",
        "mynetworks = 0.0.0.0/0: 0.0.0.0/0 trusts strangers, who could relay mail through the host; "
        "list only networks of your own",
        "relay_domains = alias.example: Postfix itself would take the mail for alias.example "
        "and not know its addresses; take alias.example out of relay_domains",
    ]


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (with_(virtual_mailbox_domains="alias.example"), "virtual_mailbox_domains"),
        (
            replace(with_(transport_maps="hash:/x"), answers={("hash:/x", "alias.example"): "smtp:y"}),
            "hash:/x of transport_maps has alias.example",
        ),
        (with_(message_size_limit="0"), "message_size_limit"),
        (with_(default_destination_rate_delay="1s"), "mailrelay_destination_rate_delay"),
        (with_(transport_maps="socketmap:inet:127.0.0.1:9999:transport"), "earlier adoption"),
        (replace(STOCK, services=(replace(SMTP, options={"smtpd_recipient_restrictions": "reject"}),)), CHECK),
        (with_(smtpd_discard_ehlo_keywords=""), "smtpd_discard_ehlo_keywords = (empty): "),
        (
            replace(STOCK, services=(Service("smtpd", "pass", "smtpd", {"smtpd_discard_ehlo_keywords": "ETRN"}),)),
            "master.cf: smtpd/pass: smtpd_discard_ehlo_keywords = ETRN: ",
        ),
        (
            with_(smtpd_recipient_restrictions="permit_mynetworks, permit_sasl_authenticated reject_rbl_client x"),
            f"has permit_mynetworks, permit_sasl_authenticated before our check: mail of such clients to addresses "
            f"that do not exist is accepted, and dropped at delivery; to have it refused, move `{CHECK}` before them",
        ),
        (
            replace(
                with_(smtpd_recipient_restrictions="ours, permit_mynetworks"),
                references={"ours": "permit_tls_clientcerts, reject_unauth_destination"},
            ),
            "has permit_tls_clientcerts before our check",
        ),
    ],
)
def test_what_is_odd_but_safe_is_remarked(facts: Facts, word: str) -> None:
    assert word in " ".join(joincheck.remarks(WANTED, facts))


def test_clients_permitted_behind_our_check_and_doors_for_our_own_users_need_no_remark() -> None:
    facts = with_(smtpd_recipient_restrictions="reject_unauth_destination, permit_mynetworks")
    submission = Service("submission", "inet", "smtpd", {"smtpd_discard_ehlo_keywords": ""})
    assert joincheck.remarks(WANTED, replace(facts, services=(SMTP, submission))) == ()


@pytest.mark.parametrize("parameter", ["mydestination", "relay_domains", "virtual_alias_domains"])
def test_a_domain_of_the_host_below_a_shared_one_is_refused_unless_it_is_foreign(parameter: str) -> None:
    host = with_(**{parameter: "localhost, mail.alias.example"})
    wanted = replace(WANTED, shared=("alias.example",))
    assert refused(host, wanted) == [parameter]
    assert refused(host, replace(wanted, foreign=("mail.alias.example",))) == []
    assert refused(with_(**{parameter: "a.mail.alias.example"}), replace(wanted, foreign=("mail.alias.example",))) == []
