"""One typed object with every setting, read once from YAML; all mistakes are reported together."""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mailrelay.core.address import Address, domain_name, parse_address
from mailrelay.core.errors import BadConfig, Malformed
from mailrelay.core.reply import DEFAULT_TEXTS
from mailrelay.endpoint import Endpoint

DEFAULT_PATH = Path("/etc/mailrelay/mailrelay.yaml")


def _address(value: str) -> str:
    return str(ip_address(value))


def _endpoint(value: object) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    return Endpoint.parse(str(value))


def _domain(value: str) -> str:
    try:
        return domain_name(value)
    except Malformed as error:
        raise ValueError(f"{value!r} is not a domain name: {error}") from error


def _mailbox(value: object) -> Address:
    try:
        return parse_address(str(value))
    except Malformed as error:
        raise ValueError(f"{value!r} is not a mail address: {error}") from error


def _network(value: object) -> IPv4Network | IPv6Network:
    return ip_network(str(value))


def _dsn(value: str) -> str:
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(value)
    except Exception as error:  # whose words may repeat a password
        raise ValueError("is no PostgreSQL connection string") from error
    if parts.get("password"):
        raise ValueError("holds a password: put it into a file and name that with passfile=")
    return value


def _off(value: object) -> object:
    """YAML reads a bare `off` as a truth value."""
    return "off" if value is False else value


def _reply_key(key: str) -> str:
    if key not in DEFAULT_TEXTS:
        raise ValueError(f"is no reply; known are {', '.join(sorted(DEFAULT_TEXTS))}")
    return key


def _reply_text(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not 1 <= len(text) <= 200:
        raise ValueError("must be one line of 1 to 200 ASCII characters")
    return text


Listen = Annotated[Endpoint, BeforeValidator(_endpoint)]
Domain = Annotated[str, AfterValidator(_domain)]
Mailbox = Annotated[Address, BeforeValidator(_mailbox)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Service(_Section):
    """Names under which the installation appears."""

    domain: Domain
    hostname: Domain
    bounce_domain: Domain = ""
    srs_domain: Domain = ""
    operator: Annotated[tuple[Mailbox, ...], Field(min_length=1)]
    trusted_networks: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    header_prefix: Annotated[str, Field(pattern=r"^X-[A-Za-z0-9-]+-$", max_length=40)] = "X-Mailrelay-"
    forward_mode: Literal["rewrite", "transparent", "auto"] = "rewrite"
    sign_transparent: bool = True
    arc_seal: Annotated[Literal["off", "transparent", "always"], BeforeValidator(_off)] = "transparent"
    trusted_arc_sealers: tuple[Domain, ...] = ()
    srs_min_hash_length: Annotated[int, Field(ge=4, le=8)] = 8
    foreign_domains: tuple[Domain, ...] = ()  # subdomains of shared domains that are served elsewhere
    catch_all: str | None = None  # account that gets unknown addresses of shared domains
    reserved_usernames: Path | None = None  # a file that goes before ours

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("domain"), str):
            return {
                "bounce_domain": f"bounces.{data['domain']}",
                "srs_domain": f"srs.{data['domain']}",
                **data,
            }
        return data

    @model_validator(mode="after")
    def _operator_elsewhere(self) -> "Service":
        own = {self.domain, self.bounce_domain, self.srs_domain}
        if back := [str(mailbox) for mailbox in self.operator if mailbox.domain in own]:
            raise ValueError(
                f"operator: {', '.join(back)} is at a domain of the service itself, which has no mailboxes"
            )
        return self


class Database(_Section):
    """Where PostgreSQL is. No password belongs here: use a peer login, `passfile=` or PGPASSFILE."""

    dsn: Annotated[str, AfterValidator(_dsn)]
    connections: Annotated[int, Field(ge=1, le=100)] = 4
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0


class Policy(_Section):
    listen: Listen = Endpoint.parse("127.0.0.1:10031")
    socketmap: Listen = Endpoint.parse("127.0.0.1:10032")
    status: Listen = Endpoint.parse("127.0.0.1:9631")
    cache_entries: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000  # about 1.3 KB each
    cache_seconds: Annotated[float, Field(gt=0, le=3600)] = 300.0


class Lmtp(_Section):
    listen: Listen = Endpoint.parse("127.0.0.1:10024")
    status: Listen = Endpoint.parse("127.0.0.1:9632")
    sessions: Annotated[int, Field(ge=1, le=1000)] = 50
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0


class Spam(_Section):
    """Where a filter that Postfix asks before us leaves its score; without a name in either, nobody is believed."""

    macro: Annotated[str, Field(pattern=r"^(|[A-Za-z]|\{[A-Za-z0-9_]{1,40}\})$")] = ""
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$", max_length=70)] = ""
    tag: float = 6.0
    reject: float = 15.0

    @model_validator(mode="after")
    def _in_order(self) -> "Spam":
        if self.tag > self.reject:
            raise ValueError("tag is above reject")
        return self


class Milter(_Section):
    enabled: bool = True
    listen: Listen = Endpoint.parse("unix:/var/spool/postfix/mailrelay/milter")
    status: Listen = Endpoint.parse("127.0.0.1:9633")
    processes: Annotated[int, Field(ge=0, le=64)] = 0  # 0: one for each processor
    timeout_seconds: Annotated[float, Field(gt=0, le=240)] = 30.0
    spam: Spam = Spam()


def _nameserver(value: object) -> Endpoint:
    text = str(value)
    try:
        ip_address(text)
    except ValueError:
        return Endpoint.parse(text)
    return Endpoint(host=text, port=53)


class Dns(_Section):
    """Whom the milter asks for SPF, DKIM and DMARC records, and the api for proofs of ownership."""

    nameservers: tuple[Annotated[Endpoint, BeforeValidator(_nameserver)], ...] = ()  # none: those of resolv.conf


class Submit(_Section):
    address: Listen = Endpoint.parse("127.0.0.1:10025")
    connections: Annotated[int, Field(ge=1, le=1000)] = 10
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0


class Api(_Section):
    listen: Listen = Endpoint.parse("127.0.0.1:8025")
    url: Annotated[str, Field(pattern=r"^(https?://[A-Za-z0-9.:\[\]-]+)?$")] = ""  # how the world reaches it


class BlocklistCheck(_Section):
    """Who may ask whether a sender is blocked; without either, nobody may."""

    secret_file: Path | None = None
    networks: tuple[Network, ...] = ()


class Addy(_Section):
    """What the addy.io API does in its own way."""

    version: Annotated[str, Field(pattern=r"^([0-9]{1,4}(\.[0-9]{1,4}){0,2})?$")] = "1.6.2"
    account_details_as_list: bool = False
    verify_recipients: bool = True  # off: new ones count as verified
    check_mail_domains: bool = True
    blocklist_check: BlocklistCheck = BlocklistCheck()
    shared_domains: bool = True  # everybody may have aliases on shared domains themselves
    username_domains: bool = True  # and on the subdomains of them that their usernames give
    custom_on_shared_domains: bool = False  # owners may choose names there, too
    words: Path | None = None  # a folder of lists that go before ours


class Onboarding(_Section):
    """What domains have to publish besides mail records, and what becomes of those that do."""

    ui_host: Domain | None = None  # CNAME of domains that show the web interface; None: the host of api.url
    ui_addresses: tuple[Annotated[str, AfterValidator(_address)], ...] = ()  # or they lead there
    auto_approve: bool = False  # new domains are switched on when their records are right
    poll_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    request_hours: Annotated[float, Field(gt=0, le=720)] = 24.0


class Haltman(_Section):
    """What the Haltman API does in its own way."""

    origins: tuple[Annotated[str, Field(pattern=r"^https?://[a-z0-9.:\[\]-]+$")], ...] = ()  # that may use it
    credentials: bool = True  # and send cookies along
    default_domain: Domain | None = None  # of new aliases that name none
    confirm_page: Annotated[str, Field(pattern=r"^(|/[A-Za-z0-9._/-]*)$")] = ""  # where codes lead; '': our own page
    tombstone: Mailbox | None = None  # shown as destination of deleted aliases; None: deleted@ the service's domain
    session_days: Annotated[int, Field(ge=1, le=365)] = 30
    session_families: Annotated[int, Field(ge=1, le=100)] = 5
    same_site: Literal["lax", "strict", "none"] = "lax"
    admin_notices: bool = True  # mail about what administrators change
    ban_mx_hosts: bool = False  # bans of domains also hit domains whose mail goes to hosts of them
    bot_secret_file: Path | None = None
    counter_secret_file: Path | None = None
    rates: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")], int] = {}  # limits by name; 0 and less: off
    onboarding: Onboarding = Onboarding()


def _mail_log(value: str) -> str:
    if value not in ("", "journal") and not value.startswith("/"):
        raise ValueError("is neither a file's full path nor `journal`")
    return value


class Worker(_Section):
    status: Listen = Endpoint.parse("127.0.0.1:9634")
    mail_log: Annotated[str, AfterValidator(_mail_log)] = ""  # a file, or `journal`; none: nobody reads it
    purge_minutes: Annotated[float, Field(gt=0, le=1440)] = 60.0
    queue_days: Annotated[float, Field(gt=0, le=30)] = 6.0
    ledger_days: Annotated[int, Field(ge=14, le=3650)] = 90


class Notices(_Section):
    """Mail that the service writes to its users."""

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f\"\\\\<>]+$", max_length=60)] = "mailrelay"
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    folder: Path | None = None  # of catalogues that go before ours


class Webhooks(_Section):
    """Whom events may be sent to besides hosts that the whole world reaches."""

    networks: tuple[Network, ...] = ()


class Limits(_Section):
    """Defaults of spec section 2.6; an account may have its own."""

    messages_per_hour: Annotated[int, Field(ge=1)] = 200
    new_aliases_per_hour: Annotated[int, Field(ge=0)] = 100
    new_aliases_per_hour_and_network: Annotated[int, Field(ge=0)] = 30
    bandwidth_octets_per_month: Annotated[int, Field(ge=0)] = 104_857_600
    replies_and_sends_per_day: Annotated[int, Field(ge=0)] = 100
    replies_and_sends_per_hour: Annotated[int, Field(ge=0)] = 30
    new_contacts_per_day: Annotated[int, Field(ge=0)] = 50
    usernames_per_account: Annotated[int, Field(ge=1)] = 10
    recipients_per_account: Annotated[int, Field(ge=1)] = 100
    message_octets: Annotated[int, Field(ge=65_536, le=1_073_741_824)] = 26_214_400


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Config(_Section):
    """Everything in mailrelay.yaml; conf/mailrelay.yaml explains each key."""

    service: Service
    database: Database
    secrets: Path = Path("/etc/mailrelay/secrets")
    dkim: Path = Path("/etc/mailrelay/dkim")
    state: Path = Path("/var/lib/mailrelay")
    policy: Policy = Policy()
    milter: Milter = Milter()
    dns: Dns = Dns()
    lmtp: Lmtp = Lmtp()
    submit: Submit = Submit()
    api: Api = Api()
    addy: Addy = Addy()
    haltman: Haltman = Haltman()
    worker: Worker = Worker()
    notices: Notices = Notices()
    webhooks: Webhooks = Webhooks()
    limits: Limits = Limits()
    replies: dict[Annotated[str, AfterValidator(_reply_key)], Annotated[str, AfterValidator(_reply_text)]] = {}
    log: Log = Log()


def path_from(option: Path | None) -> Path:
    """The file to read: the option, else MAILRELAY_CONFIG, else /etc/mailrelay/mailrelay.yaml."""
    return option or Path(os.environ.get("MAILRELAY_CONFIG") or DEFAULT_PATH)


def load(path: Path) -> Config:
    """Read and check the file. Raises BadConfig with every mistake at once."""
    try:
        raw = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except OSError as error:
        raise BadConfig((f"{path}: cannot be read: {error.strerror}",)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig((f"{path}: is not YAML: {' '.join(str(error).split())}",)) from error
    if not isinstance(raw, dict):
        raise BadConfig((f"{path}: holds no settings; begin with conf/mailrelay.yaml",))
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise BadConfig(tuple(_problem(path, item) for item in error.errors())) from error


def _problem(path: Path, item: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"] if part != "[key]") or "settings"
    return f"{path}: {where}: {_WORDS.get(item['type'], item['msg']).removeprefix('Value error, ')}"


_WORDS = {
    "missing": "is missing and has no default",
    "too_short": "needs at least one entry",
    "extra_forbidden": "is not a setting; see conf/mailrelay.yaml for the known ones",
}
