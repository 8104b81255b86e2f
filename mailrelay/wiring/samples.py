"""Metrics of several processes that share one role, as those of one."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

# All else adds up, memory and processor time too.
_LEAST = frozenset({"mailrelay_listening", "process_start_time_seconds", "process_max_fds"})
_GREATEST = frozenset({"python_info"})

_Key = tuple[str, tuple[tuple[str, str], ...]]


def merged(expositions: Iterable[str], parent: str = "") -> list[Metric]:
    """The families of several expositions in the text format of Prometheus.

    parent: of the process that does not work itself; it counts for memory and processor time alone.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[_Key, float]] = {}
    for family in (*_families(expositions), *(one for one in _families([parent]) if one.name.startswith("process_"))):
        families.setdefault(family.name, family)
        known = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            known[key] = _both(family.name, known[key], sample.value) if key in known else sample.value
    found = []
    for name, family in families.items():
        metric = Metric(name, family.documentation, family.type)
        for (sample_name, labels), value in values[name].items():
            metric.add_sample(sample_name, dict(labels), value)
        found.append(metric)
    return found


def _families(expositions: Iterable[str]) -> Iterator[Metric]:
    for text in expositions:
        # When a counter began is different in each process.
        yield from (one for one in text_string_to_metric_families(text) if not one.name.endswith("_created"))


def _both(family: str, one: float, other: float) -> float:
    if family in _LEAST:
        return min(one, other)
    return max(one, other) if family in _GREATEST else one + other
