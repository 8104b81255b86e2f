"""The metrics of several processes as those of one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mailrelay.wiring.samples import merged


def exposition(count: int, listening: int, seconds: float) -> str:
    registry = CollectorRegistry()
    answers = Counter("mailrelay_answers", "Answers.", ["verdict"], registry=registry)
    answers.labels("accept").inc(count)
    answers.labels(f"only{count}").inc()
    Gauge("mailrelay_listening", "1 or 0.", registry=registry).set(listening)
    Histogram("mailrelay_seconds", "Time.", buckets=(0.1, 1.0), registry=registry).observe(seconds)
    Gauge("process_resident_memory_bytes", "Memory.", registry=registry).set(1000 * count)
    return generate_latest(registry).decode()


def samples(*texts: str, parent: str = "") -> dict[str, float]:
    found = {}
    for family in merged(texts, parent):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_counters_histograms_and_memory_add_up() -> None:
    found = samples(exposition(2, 1, 0.05), exposition(5, 1, 0.5))
    assert found["mailrelay_answers_total{verdict=accept}"] == 7
    assert found["mailrelay_answers_total{verdict=only2}"] == found["mailrelay_answers_total{verdict=only5}"] == 1
    assert found["mailrelay_seconds_bucket{le=0.1}"] == 1
    assert found["mailrelay_seconds_bucket{le=+Inf}"] == found["mailrelay_seconds_count{}"] == 2
    assert found["mailrelay_seconds_sum{}"] == 0.55
    assert found["process_resident_memory_bytes{}"] == 7000


def test_who_does_not_listen_is_seen() -> None:
    assert samples(exposition(1, 1, 0), exposition(1, 0, 0))["mailrelay_listening{}"] == 0


def test_the_parent_counts_for_its_memory_alone() -> None:
    found = samples(exposition(1, 1, 0), parent=exposition(3, 0, 0))
    assert found["process_resident_memory_bytes{}"] == 4000
    assert found["mailrelay_listening{}"] == 1
    assert found["mailrelay_answers_total{verdict=accept}"] == 1


def test_when_counters_began_is_nobodys_concern() -> None:
    assert not [name for name in samples(exposition(1, 1, 0)) if "_created" in name]
