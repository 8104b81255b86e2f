"""The files in conf/ against the code that they are about."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel

from mailrelay import metrics
from mailrelay.config import Config, load

CONF = Path(__file__).resolve().parents[2] / "conf"
SETTINGS = CONF / "mailrelay.yaml"

# `#name: …`, or within a section that is commented out `#  name: …`; prose has one space.
_HIDDEN = re.compile(r"^(\s*)#((?:  )*[a-z_]+:.*)$", re.MULTILINE)


def revealed() -> str:
    """The settings with every default spelt out."""
    return _HIDDEN.sub(r"\1\2", SETTINGS.read_text())


def options(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every setting of the model, as section.name."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from options(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def keys(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in data.items():
        if isinstance(value, dict) and name not in ("replies", "rates"):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_the_settings_load_as_they_are() -> None:
    config = load(SETTINGS)
    assert config.service.domain == "relay.example"
    assert config.service.bounce_domain == "bounces.relay.example"


def test_no_setting_is_missing_and_none_is_invented() -> None:
    assert list(keys(yaml.safe_load(revealed()))) == list(options(Config))


def test_the_defaults_that_are_shown_are_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mailrelay.yaml"
    path.write_text(revealed())
    assert load(path) == load(SETTINGS)


def test_every_setting_is_explained() -> None:
    lines = revealed().splitlines()
    for above, line in pairwise(lines):
        if re.match(r"\s*[a-z_]+:", line):
            opens_its_section = above.endswith(":")  # whose comment stands for it
            shares_its_comment = above.strip().startswith("new_aliases_per_hour:")
            assert above.strip().startswith("# ") or opens_its_section or shares_its_comment, line


FILES = sorted([*(CONF / "prometheus").glob("*.yml"), *(CONF / "grafana").glob("*.json")])
# Labels that come from scraping and from histograms.
OTHER_LABELS = {"role", "job", "instance", "le"}
OTHER_METRICS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def known() -> dict[str, set[str]]:
    """Names of our samples and their labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            [family] = metric.describe()
            suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}[family.type]
            for suffix in suffixes:
                found[family.name + suffix] = set(metric._labelnames)
    return found


def expressions(path: Path) -> list[str]:
    if path.suffix == ".json":
        return [target["expr"] for panel in json.loads(path.read_text())["panels"] for target in panel["targets"]]
    rules = yaml.safe_load(path.read_text()).get("groups", [])
    return [rule["expr"] for group in rules for rule in group["rules"]]


def test_there_are_expressions_to_check() -> None:
    assert [bool(expressions(path)) for path in FILES] == [True, True, False]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_metrics_and_labels_that_exist_are_used(path: Path) -> None:
    samples = known()
    for expression in expressions(path):
        names = re.findall(r"\b(mailrelay_\w+|process_\w+|up)\b", expression)
        assert names, expression
        assert set(names) <= set(samples) | OTHER_METRICS, expression
        allowed = OTHER_LABELS.union(*(samples.get(name, set()) for name in names))
        grouped = [label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")]
        selected = re.findall(r"[{,]\s*(\w+)\s*[!=~]", expression)
        assert {*grouped, *selected} <= allowed, expression


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(expressions(CONF / "grafana" / "mailrelay.json"))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known()}
    assert {name for name in families if name not in shown} == set()


def test_the_panels_have_numbers_of_their_own() -> None:
    panels = json.loads((CONF / "grafana" / "mailrelay.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_asks_the_default_ports() -> None:
    config = load(SETTINGS)
    expected = {
        "policy": config.policy.status,
        "milter": config.milter.status,
        "lmtp": config.lmtp.status,
        "api": config.api.listen,
        "worker": config.worker.status,
    }
    [job] = yaml.safe_load((CONF / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    asked = {static["labels"]["role"]: static["targets"] for static in job["static_configs"]}
    assert asked == {role: [str(endpoint)] for role, endpoint in expected.items()}


def test_prometheus_reads_the_rules() -> None:
    [file] = yaml.safe_load((CONF / "prometheus" / "prometheus.yml").read_text())["rule_files"]
    assert (CONF / "prometheus" / file).is_file()


def test_nginx_passes_to_the_default_port() -> None:
    passes = re.findall(r"proxy_pass (\S+);", (CONF / "nginx" / "mailrelay.conf").read_text())
    assert set(passes) == {f"http://{load(SETTINGS).api.listen}"}


def test_the_submission_service_asks_the_default_ports() -> None:
    text = (CONF / "postfix" / "submission.cf").read_text()
    policy = load(SETTINGS).policy
    assert re.findall(r"socketmap:inet:(\S+):sender_login", text) == [str(policy.socketmap)]
    assert re.findall(r"check_policy_service inet:([^\s,]+)", text) == [str(policy.listen)]


def test_dovecot_listens_where_postfix_asks() -> None:
    [path] = re.findall(r"smtpd_sasl_path=(\S+)", (CONF / "postfix" / "submission.cf").read_text())
    for name in ("mailrelay-auth.conf.ext", "mailrelay-2.4.conf"):
        assert f"unix_listener /var/spool/postfix/{path} {{" in (CONF / "dovecot" / name).read_text()
