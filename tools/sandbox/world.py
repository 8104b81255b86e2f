"""Builds a sandbox from nothing, or brings one back: every step first looks at what is there."""

import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tools.sandbox import ports, zone
from tools.sandbox.postfix import sandbox_settings
from tools.sandbox.process import Trouble
from tools.sandbox.sandbox import DATABASE, ROLES, Sandbox

SERVICE_DOMAIN = "relay.example"
SHARED_DOMAIN = "alias.example"
CUSTOM_DOMAIN = "own.example"
ACCOUNT = "johndoe"
MAILBOX = "me@inbox.example"
ADMIN = "admin"
OPERATOR = "admin@inbox.example"
DEMO_ALIAS = "shop@alias.example"
# Of somebody without an account here: mail goes on untouched where that is safe.
PLAIN_ALIAS = "open@alias.example"
PLAIN_MAILBOX = "you@inbox.example"

Say = Callable[[str], None]


def up(root: Path, say: Say, overrides: Mapping[str, Any] | None = None, hasty: bool = False) -> Sandbox:
    """A running sandbox in this folder. overrides: sections of mailrelay.yaml that a new one gets. Raises Trouble."""
    sandbox = Sandbox(root, hasty)
    steps = _Steps(say)
    _refuse_taken_ports(sandbox)
    sandbox.note()
    with steps("PostgreSQL: a cluster of our own"):
        sandbox.postgres.create()
        sandbox.postgres.start()
        sandbox.postgres.create_database(DATABASE)
    with steps("name server and outside world"):
        zone.create_keys(sandbox.places.keys)
        if not sandbox.places.zone.exists():
            sandbox.places.zone.write_text(zone.zone_text(sandbox.places.keys))
        if not sandbox.supervised.running():
            sandbox.start_neighbourhood()
    with steps("settings, secret keys, database schema"):
        _write_settings(sandbox, overrides or {})
        sandbox.cli("secrets", "init")
        sandbox.cli("migrate")
    with steps(f"domains, account {ACCOUNT}, aliases {DEMO_ALIAS} and {PLAIN_ALIAS}, credentials"):
        _populate(sandbox)
        sandbox.publish_keys()
        sandbox.cli("check-config")
    with steps("Postfix: a private instance, joined by `mailrelay adopt`"):
        sandbox.postfix.create(sandbox.memory.ports["smtp"], sandbox_settings(sandbox.memory.ports["outside"]))
        sandbox.cli("adopt", "--postfix-dir", str(sandbox.postfix.etc), "--yes")
    with steps(f"roles: {', '.join(ROLES)}"):
        sandbox.start_roles()
    with steps("Postfix: start"):
        sandbox.postfix.start()
    write_env(sandbox)
    return sandbox


class _Steps:
    """Tells each step while it runs and how long it took."""

    def __init__(self, say: Say) -> None:
        self._say = say

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._say(f"  {time.monotonic() - began:5.1f} s  {what}")


def _refuse_taken_ports(sandbox: Sandbox) -> None:
    """Ports are remembered; between two starts somebody else may have taken one."""
    if any(state != "stopped" for state in sandbox.states().values()):
        return
    taken = [f"{port} ({purpose})" for purpose, port in sandbox.memory.ports.items() if not ports.free(port)]
    if taken:
        raise Trouble(
            f"these ports of the sandbox are taken by other programs: {', '.join(taken)}. "
            f"Free them, or remove {sandbox.places.root} to begin with new ones"
        )


def settings(sandbox: Sandbox) -> dict[str, Any]:
    """What mailrelay.yaml of a sandbox says."""
    address = sandbox.address
    return {
        "service": {
            "domain": SERVICE_DOMAIN,
            "hostname": "mx.relay.example",
            "operator": [OPERATOR],
            # As mynetworks of the sandbox's Postfix: all other loopback addresses play strangers.
            "trusted_networks": ["127.0.0.2/32"],
        },
        "database": {"dsn": sandbox.dsn},
        "secrets": str(sandbox.places.secrets),
        "dkim": str(sandbox.places.dkim),
        "state": str(sandbox.places.product_state),
        "policy": {
            "listen": address("policy"),
            "socketmap": address("socketmap"),
            "status": address("policy_status"),
        },
        "milter": {"listen": f"unix:{sandbox.postfix.queue}/mailrelay/milter", "status": address("milter_status")},
        "dns": {"nameservers": [address("dns")]},
        "lmtp": {"listen": address("lmtp"), "status": address("lmtp_status")},
        "submit": {"address": address("submit")},
        "api": {"listen": address("api"), "url": sandbox.http},
        "webhooks": {"networks": ["127.0.0.0/8"]},  # receivers of whoever tries it out
        "worker": {"status": address("worker_status"), "mail_log": str(sandbox.postfix.maillog)},
    }


def _write_settings(sandbox: Sandbox, overrides: Mapping[str, Any]) -> None:
    path = sandbox.places.config
    if path.exists():
        return
    document = settings(sandbox)
    for section, values in overrides.items():
        document[section] = {**document.get(section, {}), **values}
    temporary = path.with_suffix(".new")
    temporary.write_text("# Settings of the sandbox; conf/mailrelay.yaml explains every key.\n")
    with temporary.open("a") as file:
        yaml.safe_dump(document, file, sort_keys=False)
    temporary.rename(path)


def _populate(sandbox: Sandbox) -> None:
    cli, kept = sandbox.cli, sandbox.memory.credentials
    accounts, domains = _column(sandbox, "select name from account"), _column(sandbox, "select name from domain")
    if ACCOUNT not in accounts:
        cli("account", "add", ACCOUNT, "--recipient", MAILBOX, "--verified")
    if "admin" not in kept:
        kept["admin"] = f"{ADMIN}:{secrets.token_urlsafe(12)}"
        sandbox.note()
    if ADMIN not in accounts:
        password = kept["admin"].partition(":")[2]
        arguments = (ADMIN, "--recipient", OPERATOR, "--verified", "--admin", "--password-file", "-")
        cli("account", "add", *arguments, stdin=f"{password}\n")
    if not list((sandbox.places.dkim / SERVICE_DOMAIN).glob("*.pem")):
        cli("domain", "add", SERVICE_DOMAIN)  # makes its keys; the domain itself is a setting
    if SHARED_DOMAIN not in domains:
        cli("domain", "add", SHARED_DOMAIN, "--shared")
    if CUSTOM_DOMAIN not in domains:
        cli("domain", "add", CUSTOM_DOMAIN, "--account", ACCOUNT, "--verified", "--catch-all")
    aliases = _column(sandbox, "select local_part || '@' || domain from alias")
    if DEMO_ALIAS not in aliases:
        cli("alias", "add", DEMO_ALIAS, "--to", MAILBOX, "--account", ACCOUNT)
    if PLAIN_ALIAS not in aliases:
        cli("alias", "add", PLAIN_ALIAS, "--to", PLAIN_MAILBOX)
    if "token" not in kept:
        kept["token"] = cli("--json", "token", "add", ACCOUNT, "--name", "quickstart").json()["token"]
        sandbox.note()
    if "api_key" not in kept:
        options = ("--name", "quickstart", "--expires-days", "3650")
        kept["api_key"] = cli("--json", "api-key", "add", MAILBOX, *options).json()["token"]
        sandbox.note()


def _column(sandbox: Sandbox, sql: str) -> set[str]:
    return {row[0] for row in sandbox.query(sql)}


def environment(sandbox: Sandbox) -> dict[str, str]:
    """The variables of design section 5."""
    kept = sandbox.memory.credentials
    return {
        "MAILRELAY_CONFIG": str(sandbox.places.config),
        "MAILRELAY_SMTP": sandbox.address("smtp"),
        "MAILRELAY_HTTP": sandbox.http,
        "MAILRELAY_METRICS": ",".join(f"{url}/metrics" for url in sandbox.status_urls.values()),
        "MAILRELAY_DSN": sandbox.dsn,
        "MAILRELAY_OUTSIDE": str(sandbox.places.outside),
        "MAILRELAY_ZONE": str(sandbox.places.zone),
        "MAILRELAY_SHARED_DOMAIN": SHARED_DOMAIN,
        "MAILRELAY_ACCOUNT": ACCOUNT,
        "MAILRELAY_ADDY_TOKEN": kept["token"],
        "MAILRELAY_API_KEY": kept["api_key"],
        "MAILRELAY_ADMIN": kept["admin"],
    }


def write_env(sandbox: Sandbox) -> None:
    """Shell syntax: assignments, which plain readers understand too, then one line that exports them."""
    variables = environment(sandbox)
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    temporary = sandbox.places.env.with_name("env.new")
    temporary.touch(mode=0o600)
    temporary.write_text("\n".join((*lines, f"export {' '.join(variables)}")) + "\n")
    temporary.rename(sandbox.places.env)
